//! The heap of a CPython: its types, and its objects by address.

use super::census::Sums;
use super::kind::TypeInfo;
use super::layout::HeapLayout;
use super::measure::OwnedRange;
use super::object::{ObjectIndex, Objects};
use super::pools::Pools;
use super::reader::Reader;
use super::scan::{Found, Scanner};
use super::type_name::{Outside, describe, is_called};
use super::type_scan;
use crate::heap::Image;
use crate::runtime::memory::read_vec;
use crate::runtime::python::{PythonRuntime, Version};
use crate::target::Target;
use std::sync::OnceLock;

/// Why the heap of an interpreter cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PythonHeapError {
    /// A version that is not known, or one that says something else of itself.
    #[error("CPython {0} keeps its objects in ways that are not known here")]
    UnknownVersion(Version),
    /// Its own types were not found.
    #[error("the types of this CPython were not found in its memory")]
    NoTypes,
    /// Names that are constants of a file could not be read, or not to the end.
    #[error("the process ended before the types of its Python could be named")]
    NoNames,
}

/// What must be known of an interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// Its version.
    pub version: Version,
    /// Built without the GIL.
    pub free_threaded: bool,
    /// `PyType_Type` and `_PyRuntime`; 0 where one was not found.
    pub type_avma: u64,
    /// See the field above.
    pub runtime_avma: u64,
}

/// The heap of a CPython in an image of its memory.
#[derive(Clone, Debug)]
pub struct PythonHeap<'a> {
    /// The memory.
    pub image: &'a Image,
    /// Where things are.
    pub layout: HeapLayout,
    /// Its types, by address.
    pub types: Vec<TypeInfo>,
    /// Its objects, by address.
    pub objects: Objects,
    pub(super) pools: Pools,
    pub(super) found: Found,
    pub(super) has_chunks: bool,
    pub(super) prefix_bytes: u64,
    pub(super) sums: OnceLock<Sums>,
    pub(super) table_index: OnceLock<Vec<OwnedRange>>,
}

impl<'a> PythonHeap<'a> {
    /// Finds types and objects. Names of types that are constants of a file are read from the
    /// process, which must not have ended for that.
    ///
    /// # Errors
    /// [`PythonHeapError`] when the version is not known, the image not that of an interpreter, or
    /// the process has ended.
    pub fn read(
        image: &'a Image,
        target: &Target,
        runtime: &PythonRuntime,
    ) -> Result<Self, PythonHeapError> {
        let interpreter = Interpreter {
            version: runtime.version,
            free_threaded: runtime.free_threaded,
            type_avma: runtime.types.type_avma,
            runtime_avma: runtime.runtime_avma,
        };
        Self::of(image, interpreter, &|avma, length| read_vec(target.tgid, avma, length))
    }

    /// The same of an interpreter that is described; `outside` reads what the image does not hold.
    ///
    /// # Errors
    /// As [`PythonHeap::read`].
    pub fn of(
        image: &'a Image,
        interpreter: Interpreter,
        outside: Outside<'_>,
    ) -> Result<Self, PythonHeapError> {
        let Interpreter { version, free_threaded, type_avma, runtime_avma } = interpreter;
        let layout = HeapLayout::of(version, free_threaded, runtime_avma, image)
            .ok_or(PythonHeapError::UnknownVersion(version))?;
        let reader = Reader { image, layout: &layout };
        // `type` is its own type.
        if type_avma == 0 || reader.kind_avma(type_avma) != Some(type_avma) {
            return Err(PythonHeapError::NoTypes);
        }
        let pools = Pools::find(image, if free_threaded { 0 } else { layout.pool_bytes });
        let mut types = describe(reader, &type_scan::find(reader, &pools, type_avma), outside);
        types.shrink_to_fit();
        // Names and shapes of static types are known only while the process lives. Asked last, so
        // that it lived for all of them.
        if !is_called(reader, type_avma, "type", outside) {
            return Err(PythonHeapError::NoNames);
        }
        let scanner = Scanner::new(image, &layout, &types, &pools);
        let (objects, found) = scanner.all();
        let (has_chunks, prefix_bytes) = (scanner.has_chunks, scanner.prefix_bytes);
        Ok(Self {
            image,
            types,
            objects: Objects::new(objects),
            found,
            has_chunks,
            prefix_bytes,
            sums: OnceLock::new(),
            table_index: OnceLock::new(),
            pools,
            layout,
        })
    }

    /// Reads single objects.
    pub fn reader(&self) -> Reader<'_> {
        Reader { image: self.image, layout: &self.layout }
    }

    /// The type of an object; that of the first type for an object that does not exist.
    #[inline]
    pub fn kind_of(&self, object: ObjectIndex) -> &TypeInfo {
        let kind = self.objects.get(object).map_or(0, |object| object.kind.0 as usize);
        &self.types[kind.min(self.types.len() - 1)]
    }
}
