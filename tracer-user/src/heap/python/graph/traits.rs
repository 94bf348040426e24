//! What the objects of a type hold besides what their shape says: fields by name, the dictionary of
//! an instance, words of C types that nobody describes.

use super::label::{Label, Strength};
use crate::heap::python::layout::InstanceForm;
use crate::heap::python::{HeapLayout, Shape, TypeIndex, TypeInfo};

/// A base further up than this is not looked at.
const MOST_BASES: usize = 64;
/// Words of an object's fixed part that are looked at; larger types are cut.
const MOST_FIELDS: u64 = 512;
/// `Py_TPFLAGS_*`.
const INLINE_VALUES: u64 = 1 << 2;
const MANAGED_DICT: u64 = 1 << 4;
const HEAP_TYPE: u64 = 1 << 9;

/// Where an instance keeps its attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DictPlace {
    #[default]
    Nowhere,
    /// A pointer at this offset; if negative, from the end.
    Offset(i64),
    /// Before the object: dictionary at -24, values at -32 (3.11).
    BeforeObject,
    /// At -24: a dictionary, or values if the lowest bit is set (3.12).
    Tagged,
    /// At -24 a dictionary; values may lie behind the object (3.13 and later).
    Inline { values: bool },
}

/// A word of an object that may be a reference.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub offset: u64,
    pub label: Label,
    pub strength: Strength,
}

/// What a type says of its objects.
#[derive(Clone, Debug, Default)]
pub(super) struct Traits {
    pub shape: Shape,
    pub special: Special,
    pub fields: Vec<Field>,
    pub dict: DictPlace,
    /// Its objects have words behind the fixed part that may be references.
    pub scans_items: bool,
    /// Its words may lead to memory of malloc's that holds references.
    pub owns_memory: bool,
    /// A type made while the program ran: its objects hold a reference to it.
    pub is_counted: bool,
}

/// C types that are known by name and need care.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Special {
    #[default]
    None,
    OrderedDict,
    /// `contextvars.Context`, and the tree of its variables: pairs, or nodes only.
    Context,
    HamtRoot,
    HamtPairs,
    HamtArray,
    Tee,
    Coroutine,
    AsyncGenerator,
    /// `_lru_list_elem`.
    LruLink,
}

/// Fields of C types that are no references of their own (offsets), by the type's name without its
/// module; `u64::MAX` stands for all behind the one before.
///
/// # Sources
/// CPython's Modules/_functoolsmodule.c, Python/context.c (`ContextVar.get` caches),
/// Objects/memoryobject.c, Modules/_threadmodule.c, Objects/capsule.c.
const BORROWED: [(&str, &[u64]); 8] = [
    ("_lru_list_elem", &[16, 24, 32]),
    ("_lru_cache_wrapper", &[16, 24, 32]),
    ("ContextVar", &[32, 40, 48]),
    ("memoryview", &[32, u64::MAX]),
    ("_localdummy", &[16]),
    ("PyCapsule", &[16, 24, 32, 40]),
    ("float", &[16]),
    ("complex", &[16, 24]),
];

/// Modules, as types name them, whose C types keep references in each word of theirs that leads to
/// an object.
const KNOWN_MODULES: [&str; 26] = [
    "_asyncio",
    "asyncio",
    "_collections",
    "collections",
    "_contextvars",
    "contextvars",
    "_functools",
    "functools",
    "_io",
    "io",
    "_json",
    "_operator",
    "operator",
    "_queue",
    "queue",
    "_thread",
    "_threading_local",
    "array",
    "datetime",
    "itertools",
    "re",
    "_sre",
    "select",
    "types",
    "weakref",
    "_random",
];

/// Numbers, as types name them: C types that own no memory though nobody lays them out.
const NUMBERS: [&str; 2] = ["float", "complex"];

impl Traits {
    /// Whether its objects hold nothing.
    pub fn is_leaf(&self) -> bool {
        matches!(
            self.shape,
            Shape::Text | Shape::Int | Shape::Bytes | Shape::ByteArray | Shape::Other
        ) && self.special == Special::None
            && self.fields.is_empty()
            && self.dict == DictPlace::Nowhere
            && !self.scans_items
            && !self.owns_memory
            && !self.is_counted
    }

    /// Of all types, in their order.
    pub fn of_all(types: &[TypeInfo], layout: &HeapLayout) -> Vec<Traits> {
        (0..types.len()).map(|index| Self::of(types, TypeIndex(index as u32), layout)).collect()
    }

    fn of(types: &[TypeInfo], index: TypeIndex, layout: &HeapLayout) -> Traits {
        let Some(info) = types.get(index.0 as usize) else { return Traits::default() };
        let lineage = lineage(types, info);
        // The C type that lays the object out: the last that the shape or a C module describes.
        let solid = lineage.iter().rev().find(|base| base.shape == info.shape);
        let solid_bytes = match info.shape {
            Shape::Other | Shape::Future | Shape::LruCache => 16,
            Shape::Type => solid.map_or(0, |base| base.basic_size),
            _ => solid.map_or(16, |base| base.basic_size),
        };
        let c_base = lineage.iter().rev().find(|base| is_c_coded(base));
        let c_name =
            |names: &[&str]| lineage.iter().any(|base| names.contains(&last_name(&base.name)));
        let dict = dict_place(info, layout);
        let mut traits = Traits {
            shape: info.shape,
            special: special(info, &lineage),
            fields: Vec::new(),
            dict,
            scans_items: info.shape == Shape::Other && info.item_size >= 8 && !c_name(&["int"]),
            owns_memory: info.shape == Shape::Other
                && c_base.is_some_and(|base| !NUMBERS.contains(&&*base.name)),
            is_counted: info.flags & HEAP_TYPE != 0,
        };
        let borrowed: Vec<u64> = BORROWED
            .iter()
            .filter(|(name, _)| c_name(&[*name]))
            .flat_map(|(_, fields)| fields.iter().copied())
            .collect();
        let from_on = borrowed
            .iter()
            .position(|field| *field == u64::MAX)
            .map_or(u64::MAX, |at| borrowed[at.saturating_sub(1)]);
        let is_known = c_base.is_none_or(|base| {
            let module = base.name.split_once('.').map_or("", |(module, _)| module);
            module.is_empty() || KNOWN_MODULES.contains(&module)
        });
        let end = info.basic_size.min(solid_bytes.saturating_add(MOST_FIELDS * 8));
        for offset in (solid_bytes.max(16)..end.saturating_sub(7)).step_by(8) {
            let is_weak = info.weak_list_offset.cast_unsigned() == offset;
            let is_dict = dict == DictPlace::Offset(offset.cast_signed());
            if is_weak || is_dict || borrowed.contains(&offset) || offset >= from_on {
                continue;
            }
            if traits.special == Special::OrderedDict && (48..96).contains(&offset) {
                continue;
            }
            let member = info.members.iter().position(|member| member.offset == offset);
            let label = match member {
                Some(member) => Label::Member(index, member as u32),
                None => known_label(info, &lineage, layout, offset),
            };
            let strength = match (info.shape, offset) {
                (Shape::Future, 16) => Strength::Link,
                _ if member.is_some() || is_known => Strength::Plain,
                _ => Strength::Scanned,
            };
            traits.fields.push(Field { offset, label, strength });
        }
        traits
    }
}

/// A type and its bases, nearest first.
fn lineage<'a>(types: &'a [TypeInfo], info: &'a TypeInfo) -> Vec<&'a TypeInfo> {
    let mut lineage = vec![info];
    while let Some(base) = lineage[lineage.len() - 1].base
        && lineage.len() < MOST_BASES
        && let Some(info) = types.get(base.0 as usize)
    {
        lineage.push(info);
    }
    lineage
}

/// Whether its objects have fields that Python code did not define.
fn is_c_coded(info: &TypeInfo) -> bool {
    let slots = info.members.len() as u64 * 8;
    let pointers = u64::from(info.dict_offset > 0) + u64::from(info.weak_list_offset > 0);
    info.basic_size > 16 + slots + pointers * 8
}

/// The last part of a dotted name.
pub(super) fn last_name(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}

fn special(info: &TypeInfo, lineage: &[&TypeInfo]) -> Special {
    let is = |name: &str| lineage.iter().any(|base| last_name(&base.name) == name);
    // It has no subclasses.
    let is_context =
        matches!(&*info.name, "Context" | "_contextvars.Context") && info.basic_size == 48;
    match info.shape {
        Shape::Dict if is("OrderedDict") => Special::OrderedDict,
        Shape::Generator if is("coroutine") => Special::Coroutine,
        Shape::Generator if is("async_generator") => Special::AsyncGenerator,
        Shape::Other if is("hamt") => Special::HamtRoot,
        Shape::Other if is("hamt_bitmap_node") || is("hamt_collision_node") => Special::HamtPairs,
        Shape::Other if is("hamt_array_node") => Special::HamtArray,
        Shape::Other if is_context => Special::Context,
        Shape::Other if is("_tee_dataobject") => Special::Tee,
        Shape::Other if is("_lru_list_elem") => Special::LruLink,
        _ => Special::None,
    }
}

fn dict_place(info: &TypeInfo, layout: &HeapLayout) -> DictPlace {
    let is_managed = info.flags & MANAGED_DICT != 0;
    match layout.dict.instance {
        InstanceForm::DictAndValues if is_managed => return DictPlace::BeforeObject,
        InstanceForm::Tagged if is_managed => return DictPlace::Tagged,
        InstanceForm::Inline if is_managed => {
            return DictPlace::Inline { values: info.flags & INLINE_VALUES != 0 };
        }
        _ => {}
    }
    match info.dict_offset {
        // That of a module or type is a matter of its shape.
        0 => DictPlace::Nowhere,
        _ if matches!(info.shape, Shape::Module | Shape::Function | Shape::Type) => {
            DictPlace::Nowhere
        }
        offset => DictPlace::Offset(offset),
    }
}

/// Names of fields that no table of members has.
fn known_label(info: &TypeInfo, lineage: &[&TypeInfo], layout: &HeapLayout, offset: u64) -> Label {
    let is = |name: &str| lineage.iter().any(|base| last_name(&base.name) == name);
    match (info.shape, offset) {
        (Shape::LruCache, _) if offset == layout.small.lru_cache => Label::Field("cache"),
        (Shape::Future, _) if offset == layout.small.future_result => Label::Field("result"),
        (Shape::LruCache, 88) => Label::Field("__wrapped__"),
        (Shape::Other, 48) if is("_lru_list_elem") => Label::Inside,
        (Shape::Other, 40) if is("_lru_list_elem") => Label::Key,
        (Shape::Other, 32..) if is("_local") => Label::ThreadDicts,
        (Shape::Dict, 48) if is("defaultdict") => Label::Field("default_factory"),
        _ => Label::Offset(offset as u32),
    }
}
