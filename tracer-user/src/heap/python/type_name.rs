//! What types are called, what their fields are called, and how their objects are laid out.

use super::kind::{Member, Shape, TypeIndex, TypeInfo};
use super::kind_table::KindTable;
use super::reader::{MAX_NAME_BYTES, Reader};
use crate::runtime::memory::u64_in;

/// `tp_flags`: made at run time; subclass of int, list, tuple, bytes, str, dict, exceptions, type.
const HEAP_TYPE: u64 = 1 << 9;
const SUBCLASSES: [(u32, Shape); 8] = [
    (24, Shape::Int),
    (25, Shape::List),
    (26, Shape::Tuple),
    (27, Shape::Bytes),
    (28, Shape::Text),
    (29, Shape::Dict),
    (30, Shape::Exception),
    (31, Shape::Type),
];
/// Shapes that are told by the C name of a type.
const NAMED: [(&str, Shape); 23] = [
    ("set", Shape::Set),
    ("frozenset", Shape::Set),
    ("collections.deque", Shape::Deque),
    ("bytearray", Shape::ByteArray),
    ("module", Shape::Module),
    ("function", Shape::Function),
    ("method", Shape::Method),
    ("code", Shape::Code),
    ("cell", Shape::Cell),
    ("frame", Shape::Frame),
    ("traceback", Shape::Traceback),
    ("generator", Shape::Generator),
    ("coroutine", Shape::Generator),
    ("async_generator", Shape::Generator),
    ("weakref", Shape::WeakRef),
    ("weakref.ReferenceType", Shape::WeakRef),
    ("weakproxy", Shape::WeakRef),
    ("weakref.ProxyType", Shape::WeakRef),
    ("weakref.CallableProxyType", Shape::WeakRef),
    ("functools._lru_cache_wrapper", Shape::LruCache),
    ("_asyncio.Task", Shape::Future),
    ("_asyncio.Future", Shape::Future),
    ("numpy.ndarray", Shape::NdArray),
];
/// Bases that are followed.
const MAX_BASES: usize = 64;
/// Members of one type that are read, and what they are: `T_OBJECT`, `T_OBJECT_EX`.
const MAX_MEMBERS: usize = 256;
const REFERENCES: [u32; 2] = [6, 16];
/// `sizeof(PyMemberDef)`.
const MEMBER_BYTES: u64 = 40;
/// Entries of a type's dict that are looked at for its module.
const MAX_DICT_ENTRIES: u64 = 4096;

/// Reads memory that the image does not hold: constants of programs and libraries.
pub type Outside<'a> = &'a dyn Fn(u64, usize) -> Option<Vec<u8>>;

/// Describes the types at these addresses, in their order.
pub fn describe(reader: Reader<'_>, avmas: &[u64], outside: Outside<'_>) -> Vec<TypeInfo> {
    let table = KindTable::new(avmas);
    let known_texts = Texts { reader, outside };
    let mut kinds: Vec<TypeInfo> = Vec::with_capacity(avmas.len());
    let mut c_names = Vec::with_capacity(avmas.len());
    for avma in avmas {
        let c_name = known_texts.c_name(*avma);
        kinds.push(known_texts.describe(*avma, &c_name, &table));
        c_names.push(c_name);
    }
    for index in 0..kinds.len() {
        let shape = shape_of(index, &kinds, &c_names);
        kinds[index].shape = shape;
    }
    let own: Vec<Vec<Member>> = kinds.iter().map(|kind| kind.members.clone()).collect();
    // Those of bases, the nearest first.
    for index in 0..kinds.len() {
        let mut members = own[index].clone();
        for base in bases_of(index, &kinds) {
            for member in &own[base] {
                let is_new = members.iter().all(|other| other.offset != member.offset);
                if is_new && members.len() < MAX_MEMBERS {
                    members.push(member.clone());
                }
            }
        }
        kinds[index].members = members;
    }
    kinds
}

/// Whether the C name of the type at an address is this one.
pub fn is_called(reader: Reader<'_>, avma: u64, name: &str, outside: Outside<'_>) -> bool {
    Texts { reader, outside }.c_name(avma) == name
}

/// The bases of a type, the nearest first.
fn bases_of(index: usize, kinds: &[TypeInfo]) -> Vec<usize> {
    let mut bases = Vec::new();
    let mut at = index;
    while let Some(TypeIndex(base)) = kinds.get(at).and_then(|kind| kind.base) {
        at = base as usize;
        if at == index || bases.contains(&at) || bases.len() >= MAX_BASES {
            break;
        }
        bases.push(at);
    }
    bases
}

fn shape_of(index: usize, kinds: &[TypeInfo], c_names: &[String]) -> Shape {
    let flags = kinds[index].flags;
    if let Some((_, shape)) = SUBCLASSES.iter().find(|(bit, _)| flags >> bit & 1 != 0) {
        return *shape;
    }
    let by_name = |at: usize| {
        let name = c_names[at].as_str();
        // A class that a program calls `frame` is none.
        let may_be = kinds[at].flags & HEAP_TYPE == 0 || name.contains('.');
        NAMED.iter().find(|(known, _)| may_be && *known == name).map(|(_, shape)| *shape)
    };
    by_name(index)
        .or_else(|| bases_of(index, kinds).into_iter().find_map(by_name))
        .unwrap_or_default()
}

struct Texts<'a> {
    reader: Reader<'a>,
    outside: Outside<'a>,
}

impl Texts<'_> {
    fn describe(&self, avma: u64, c_name: &str, table: &KindTable) -> TypeInfo {
        let kind = &self.reader.layout.kind;
        let word = |offset: u64| self.reader.field(avma, offset).unwrap_or(0);
        let flags = word(kind.flags);
        TypeInfo {
            avma,
            name: self.name(avma, c_name, flags),
            basic_size: word(kind.basic_size),
            item_size: word(kind.item_size),
            flags,
            preheader_bytes: self.reader.layout.preheader_bytes(flags),
            dict_offset: word(kind.dict_offset).cast_signed(),
            weak_list_offset: word(kind.weak_list_offset).cast_signed(),
            base: table.find(word(kind.base)).map(TypeIndex),
            members: self.members(word(kind.members), word(kind.basic_size)),
            shape: Shape::Other,
        }
    }

    fn c_name(&self, avma: u64) -> String {
        self.reader
            .field(avma, self.reader.layout.kind.name)
            .and_then(|name| self.c_text(name))
            .unwrap_or_default()
    }

    fn name(&self, avma: u64, c_name: &str, flags: u64) -> String {
        let kind = &self.reader.layout.kind;
        if flags & HEAP_TYPE == 0 {
            return c_name.to_owned();
        }
        let text =
            |at: u64| (self.is_text(at)).then(|| self.reader.text(at, MAX_NAME_BYTES)).flatten();
        let qualname = self.reader.field(avma, kind.qualname).and_then(text);
        let qualname = qualname.filter(|name| !name.is_empty());
        let mut module = None;
        if let Some(dict) = self.reader.field(avma, kind.dict) {
            self.reader.visit_dict(dict, MAX_DICT_ENTRIES, |key, value| {
                let is_it = self.is_text(key)
                    && self.reader.text(key, MAX_NAME_BYTES).as_deref() == Some("__module__");
                if is_it {
                    module = text(value);
                }
                !is_it
            });
        }
        match (module, qualname) {
            (Some(module), Some(name)) if module == "builtins" => name,
            (Some(module), Some(name)) => format!("{module}.{name}"),
            (None, Some(name)) if !c_name.contains('.') => name,
            _ => c_name.to_owned(),
        }
    }

    /// Whether what is at an address is of type `str`, or of one that is a `str` too.
    fn is_text(&self, avma: u64) -> bool {
        let flags = self
            .reader
            .kind_avma(avma)
            .and_then(|kind| self.reader.field(kind, self.reader.layout.kind.flags));
        flags.is_some_and(|flags| flags >> 28 & 1 != 0)
    }

    /// Members that are references, and lie within the object.
    fn members(&self, table_avma: u64, basic_size: u64) -> Vec<Member> {
        let mut members = Vec::new();
        for index in 0..if table_avma == 0 { 0 } else { MAX_MEMBERS as u64 } {
            let Some(entry) = self.bytes(table_avma.saturating_add(index * MEMBER_BYTES), 32)
            else {
                break;
            };
            let word = |at: usize| u64_in(&entry, at).unwrap_or(0);
            if word(0) == 0 {
                break;
            }
            let (kind, offset) = (word(8) as u32, word(16));
            if !REFERENCES.contains(&kind) || offset.saturating_add(8) > basic_size {
                continue;
            }
            if let Some(name) = self.c_text(word(0)) {
                members.push(Member { name, offset });
            }
        }
        members
    }

    fn bytes(&self, avma: u64, length: usize) -> Option<Vec<u8>> {
        match self.reader.image.bytes(avma, length) {
            Some(bytes) => Some(bytes.to_vec()),
            None => (self.outside)(avma, length),
        }
    }

    /// A C string, cut at the longest name.
    fn c_text(&self, avma: u64) -> Option<String> {
        const PIECE: u64 = 64;
        let mut text = Vec::new();
        let mut at = avma;
        while text.len() < MAX_NAME_BYTES {
            // A piece never crosses a page that may be missing.
            let end = (at / PIECE + 1).checked_mul(PIECE)?;
            let piece = self.bytes(at, (end - at) as usize)?;
            match piece.iter().position(|byte| *byte == 0) {
                Some(length) => {
                    text.extend_from_slice(&piece[..length]);
                    break;
                }
                None => text.extend(piece),
            }
            at = end;
        }
        text.truncate(MAX_NAME_BYTES);
        (!text.is_empty()).then(|| String::from_utf8_lossy(&text).into_owned())
    }
}
