//! Where CPython keeps what in its objects, per version: every offset that a reader of the heap
//! needs. Frames of running threads and code objects are also known to `runtime::python`.

use super::layout_table::table_of;
use super::state_layout::{StateLayout, said_state};
use crate::heap::Image;
use crate::runtime::python::Version;

/// Offsets of one CPython, in bytes. A field that a version does not have is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeapLayout {
    /// Whose.
    pub version: Version,
    /// Built without the GIL: only types and counts are read there.
    pub free_threaded: bool,
    /// The type of any object.
    pub object_kind: u64,
    /// Bytes of an object's header, behind which its fields begin; `ob_size` is the first.
    pub header_bytes: u64,
    /// Bytes of the collector's header before an object that has one.
    pub gc_bytes: u64,
    /// `tp_flags` of which an object has two words more before it (dict and weak references).
    pub preheader_flags: u64,
    /// Pools of the small-object allocator: bytes, and the alignment of their addresses.
    pub pool_bytes: u64,
    /// Type objects.
    pub kind: KindLayout,
    /// Dicts, and the dicts of instances.
    pub dict: DictLayout,
    /// Sets and frozen sets: `used`, `mask`, `table` (pairs of key and hash), and the table within.
    pub set: SetLayout,
    /// `list.ob_item`; its capacity is the word behind.
    pub list_items: u64,
    /// `list.allocated`.
    pub list_allocated: u64,
    /// First item of a tuple.
    pub tuple_items: u64,
    /// Deques and their blocks.
    pub deque: DequeLayout,
    /// Texts and bytes.
    pub text: TextLayout,
    /// Where a reference or two lie in small objects.
    pub small: SmallLayout,
    /// Functions.
    pub function: FunctionLayout,
    /// Code objects.
    pub code: CodeLayout,
    /// Frames, and generators, which hold one.
    pub frame: FrameLayout,
    /// Exceptions.
    pub exception: ExceptionLayout,
    /// Interpreters and their threads.
    pub state: StateLayout,
}

/// `PyTypeObject` and `PyHeapTypeObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct KindLayout {
    /// Bytes of a static type, and of one that was made at run time.
    pub static_bytes: u64,
    pub heap_bytes: u64,
    pub name: u64,
    pub basic_size: u64,
    pub item_size: u64,
    pub flags: u64,
    pub weak_list_offset: u64,
    pub members: u64,
    pub base: u64,
    pub dict: u64,
    pub dict_offset: u64,
    pub bases: u64,
    pub mro: u64,
    pub cache: u64,
    pub subclasses: u64,
    pub weak_list: u64,
    /// Of types that were made at run time: `ht_name`, `ht_slots`, `ht_qualname`,
    /// `ht_cached_keys`, `ht_module`.
    pub heap_name: u64,
    pub slots: u64,
    pub qualname: u64,
    pub cached_keys: u64,
    pub module: Option<u64>,
}

/// Dicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct DictLayout {
    /// Entries, keys table, values of a dict that shares its keys.
    pub used: u64,
    pub keys: u64,
    pub values: u64,
    /// Where the first value lies in what `values` points to.
    pub first_value: u64,
    pub keys_form: KeysForm,
    pub instance: InstanceForm,
}

/// How a keys table is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysForm {
    /// Up to 3.10: slots at 8, room at 24, entries at 32, indices from 40; entries are hash, key,
    /// value.
    Sized,
    /// From 3.11: log2 of slots and of the bytes of indices at 8 and 9, kind at 10 (0: hash, key,
    /// value; 1: key, value; 2: the same, shared by instances), room at 16, entries at 24, indices
    /// from 32.
    Logarithmic,
}

/// How an instance holds its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceForm {
    /// A dict at `tp_dictoffset`.
    DictOffset,
    /// 3.11: dict at -24, values at -32.
    DictAndValues,
    /// 3.12: one word at -24, with bit 0 set where it is that of values (add one).
    Tagged,
    /// From 3.13: dict at -24; values within the object where the flag bit 2 is set, behind its
    /// basic size: capacity, size, embedded, valid (a byte each), items at +8.
    Inline,
}

/// Sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SetLayout {
    pub used: u64,
    pub mask: u64,
    pub table: u64,
    /// The table of small sets, within the object.
    pub small_table: u64,
    pub weak_list: u64,
}

/// Deques.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct DequeLayout {
    pub left_block: u64,
    pub right_block: u64,
    /// Index in the left block of the first item, and in the right one of the last.
    pub left_index: u64,
    pub right_index: u64,
    /// Bytes of a block, the first item in it, its items, the block to the right.
    pub block_bytes: u64,
    pub block_items: u64,
    pub block_length: u64,
    pub block_right: u64,
}

/// Texts, bytes, byte arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct TextLayout {
    pub length: u64,
    pub state: u64,
    /// Bits of the state before the width of a character.
    pub state_shift: u32,
    /// Characters of a compact text, ASCII or not.
    pub ascii_data: u64,
    pub compact_data: u64,
    /// UTF-8 form and its length of a compact text that is not ASCII.
    pub utf8_length: u64,
    pub utf8: u64,
    /// Characters of a text that is not compact: a pointer.
    pub data_pointer: u64,
    pub bytes_data: u64,
    /// Byte arrays: bytes that were asked for, and where they are.
    pub array_allocated: u64,
    pub array_bytes: u64,
    /// From 3.12 the length of an int is in bits 3 and up of its first word.
    pub int_is_tagged: bool,
}

/// How a text keeps its characters, as its state says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextForm {
    /// Bytes of a character; 0 up to 3.11 where they are wide ones of C.
    pub width: u32,
    /// Whether they follow the text's fields.
    pub is_compact: bool,
    /// Whether the text is ASCII.
    pub is_ascii: bool,
}

impl TextLayout {
    /// The form of a text, by its state; nothing is checked.
    #[inline]
    pub fn form(&self, state: u32) -> TextForm {
        let bits = state >> self.state_shift;
        TextForm { width: bits & 7, is_compact: bits & 8 != 0, is_ascii: bits & 16 != 0 }
    }
}

/// Objects of a few fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SmallLayout {
    pub module_dict: u64,
    pub module_name: u64,
    pub cell: u64,
    pub method_function: u64,
    pub method_self: u64,
    pub method_weak_list: u64,
    /// Weak references: the object (held weakly), the callback (held), the neighbours (not held).
    pub weakref_object: u64,
    pub weakref_callback: u64,
    pub weakref_previous: u64,
    pub weakref_next: u64,
    pub traceback_next: u64,
    pub traceback_frame: u64,
    /// The dict of an `lru_cache`.
    pub lru_cache: u64,
    /// What a future came to, and the coroutine of a task.
    pub future_result: u64,
    pub task_coroutine: u64,
}

/// Functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct FunctionLayout {
    pub globals: u64,
    pub builtins: Option<u64>,
    pub name: u64,
    pub qualname: u64,
    pub code: u64,
    pub defaults: u64,
    pub keyword_defaults: u64,
    pub closure: u64,
    pub doc: u64,
    pub dict: u64,
    pub weak_list: u64,
    pub module: u64,
    pub annotations: u64,
    pub annotate: Option<u64>,
    pub type_params: Option<u64>,
    /// Behind the last reference.
    pub references_end: u64,
}

/// Code objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CodeLayout {
    pub constants: u64,
    pub names: u64,
    pub filename: u64,
    pub name: u64,
    pub qualname: Option<u64>,
    pub weak_list: u64,
    /// Slots of the evaluation stack, and named locals (32 bits each).
    pub stack_size: u64,
    pub local_count: u64,
    /// Up to 3.10: names of locals, of cells, of free variables (in the order of a frame's slots).
    pub variable_names: Option<[u64; 3]>,
    /// From 3.11: names of all slots, and their number (32 bits).
    pub slot_names: Option<u64>,
    pub slot_count: Option<u64>,
    pub first_line: u64,
    pub bytes: u64,
    /// From 3.11: the kinds of all slots (bytes).
    pub slot_kinds: Option<u64>,
    /// All references, weak ones left out.
    pub references: &'static [u64],
}

/// Frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct FrameLayout {
    /// Frame objects up to 3.10: where locals begin in the object. Frame objects from 3.11: where
    /// the frame that they own begins, and their pointer to the frame.
    pub object_back: u64,
    pub object_locals: Option<u64>,
    pub object_own_frame: Option<u64>,
    pub object_frame: Option<u64>,
    pub object_trace: u64,
    /// Up to 3.10 of frame objects, from 3.11 of frames: code, globals, builtins, locals (a dict).
    pub code: u64,
    /// Words of a frame may be tagged in their low bits (3.14 and later): these are to be kept.
    pub reference_mask: u64,
    pub globals: u64,
    pub builtins: u64,
    pub locals_dict: u64,
    /// From 3.11: function, frame object, previous frame.
    pub function: Option<u64>,
    pub frame_object: Option<u64>,
    pub previous: u64,
    /// First slot: locals, then the evaluation stack.
    pub slots: u64,
    /// Who owns a frame (a byte), from 3.11: 1 is a generator, 2 a frame object.
    pub owner: Option<u64>,
    pub stack_top: StackTop,
    /// Generators up to 3.10: pointer to the frame object; from 3.11: where the frame begins in it.
    pub generator_frame: u64,
    pub generator_state: Option<u64>,
    /// The state of one that runs; lower ones are suspended, higher ones are over.
    pub generator_executing: i8,
    pub generator_weak_list: u64,
    pub generator_name: u64,
    pub generator_qualname: u64,
    /// Up to 3.11: the code of a generator.
    pub generator_code: Option<u64>,
    /// The exception that it handles: three words up to 3.10, one later.
    pub generator_exception: u64,
    /// `cr_origin`; from 3.11 `gi_origin_or_finalizer`, which is not set in generators, so that it
    /// holds anything.
    pub generator_origin: u64,
}

/// How much of a frame's slots is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackTop {
    /// 3.8, 3.9: `f_valuestack` and `f_stacktop`, pointers; the latter is zero while it runs.
    Pointers(u64, u64),
    /// 3.10: `f_valuestack`, a pointer, and `f_stackdepth` (32 bits), which is negative while it
    /// runs.
    Depth(u64, u64),
    /// 3.11 to 3.13: `stacktop`, 32 bits, slots in use; -1 while it runs.
    Count(u64),
    /// From 3.14: a pointer behind the last slot in use; zero while it runs.
    Pointer(u64),
}

/// `PyBaseExceptionObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ExceptionLayout {
    pub dict: u64,
    pub args: u64,
    pub notes: Option<u64>,
    pub traceback: u64,
    pub context: u64,
    pub cause: u64,
}

impl HeapLayout {
    /// The layout of a version, corrected by what the interpreter in `image` says of itself;
    /// `None` where the version is not known, or says something else of itself.
    pub fn of(
        version: Version,
        free_threaded: bool,
        runtime_avma: u64,
        image: &Image,
    ) -> Option<Self> {
        let mut layout = table_of(version, free_threaded)?;
        if version.minor >= 13 && runtime_avma != 0 {
            layout.state = said_state(&layout, runtime_avma, image)?;
        }
        Some(layout)
    }

    /// Bytes of an object's block before its address.
    pub fn preheader_bytes(&self, flags: u64) -> u64 {
        const HAVE_GC: u64 = 1 << 14;
        let gc = if flags & HAVE_GC == 0 { 0 } else { self.gc_bytes };
        gc + if flags & self.preheader_flags == 0 { 0 } else { 16 }
    }
}
