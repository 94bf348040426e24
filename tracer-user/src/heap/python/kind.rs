//! Types of Python objects, as far as reading objects needs them.

/// Place of a type in the list of types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeIndex(pub u32);

/// A type in the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeInfo {
    /// Where its object is.
    pub avma: u64,
    /// Module and qualified name (`gateway.run.AIAgent`); those of `builtins` without the module.
    pub name: String,
    /// `tp_basicsize` and `tp_itemsize`, bytes.
    pub basic_size: u64,
    /// See the field above.
    pub item_size: u64,
    /// `tp_flags`.
    pub flags: u64,
    /// Bytes of an object's block before its address.
    pub preheader_bytes: u64,
    /// `tp_dictoffset` and `tp_weaklistoffset`; 0 where there is none.
    pub dict_offset: i64,
    /// See the field above.
    pub weak_list_offset: i64,
    /// `tp_base`, where that is a type in the list.
    pub base: Option<TypeIndex>,
    /// `tp_members` of it and its bases that are references: `__slots__` and fields of C types.
    pub members: Vec<Member>,
    /// How its objects are laid out: that of the nearest base that is known.
    pub shape: Shape,
}

/// A field that has a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// As Python shows it.
    pub name: String,
    /// Bytes from the object's address.
    pub offset: u64,
}

/// Layouts that are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Nothing is known but its fields: a class, or a C type.
    #[default]
    Other,
    #[allow(missing_docs)]
    Type,
    #[allow(missing_docs)]
    Dict,
    #[allow(missing_docs)]
    List,
    #[allow(missing_docs)]
    Tuple,
    /// `set` and `frozenset`.
    Set,
    #[allow(missing_docs)]
    Deque,
    #[allow(missing_docs)]
    Text,
    #[allow(missing_docs)]
    Bytes,
    #[allow(missing_docs)]
    ByteArray,
    #[allow(missing_docs)]
    Int,
    #[allow(missing_docs)]
    Module,
    #[allow(missing_docs)]
    Function,
    #[allow(missing_docs)]
    Method,
    #[allow(missing_docs)]
    Code,
    #[allow(missing_docs)]
    Cell,
    #[allow(missing_docs)]
    Frame,
    #[allow(missing_docs)]
    Traceback,
    /// Generators, coroutines and asynchronous generators.
    Generator,
    /// `weakref` and its proxies.
    WeakRef,
    /// Exceptions.
    Exception,
    /// `functools._lru_cache_wrapper`.
    LruCache,
    /// `_asyncio.Task` and `_asyncio.Future`.
    Future,
    /// `numpy.ndarray`.
    NdArray,
}
