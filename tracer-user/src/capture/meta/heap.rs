//! What was seen of the heap of a process from outside: what lies in it, what of it grew, and who
//! holds that.

use serde::{Deserialize, Serialize};

/// The heap of one process, at some moments of a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeapMeta {
    /// Thread-group ID of the process, as outlive saw it.
    pub pid: u32,
    /// Whose objects these are: `CPython 3.11.2`, `V8 12.4.254`, or `native` where only blocks
    /// were looked at.
    pub runtime: String,
    /// The times that it was looked at, in the order of time.
    pub readings: Vec<HeapReading>,
    /// What lay in it at the last reading; `None` where no object was looked at.
    pub census: Option<Census>,
    /// Containers that grew, the one with the most bytes behind its growth first; a bounded number.
    pub containers: Vec<GrownContainer>,
    /// Who holds what: for types and containers that grew, and for blocks of findings.
    pub held: Vec<Held>,
    /// Blocks of findings: whether anything points at them, and how much is the same.
    pub blocks: Vec<BlocksOfStack>,
    /// Constructors of objects in a V8 heap, those with the most bytes first; a bounded number.
    pub constructors: Vec<TypeCount>,
    /// What could not be done or seen, a sentence each.
    pub notes: Vec<String>,
}

/// One look at a heap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeapReading {
    /// When it began, nanoseconds since the session began.
    pub at_ns: u64,
    /// Copying and evaluating; nanoseconds.
    pub took_ns: u64,
    /// Memory that was copied; bytes.
    pub copied_bytes: u64,
    /// Highest memory that outlive took for it, the copy included; bytes.
    pub tracer_bytes: u64,
    /// How long the process was stopped: from the first thread that stopped until the last one
    /// that ran again, nanoseconds; `None` where it was not.
    pub stopped_ns: Option<u64>,
    /// Whether that stop was not enough, and the memory was read afterwards, while it ran.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub was_read_after_stop: bool,
    /// Memory that was there and could not be read; bytes.
    pub unread_bytes: u64,
}

impl HeapReading {
    /// Whether all was read as it was at one moment.
    pub fn is_of_one_moment(&self) -> bool {
        self.stopped_ns.is_some() && !self.was_read_after_stop
    }
}

/// Objects of a heap by type, and what is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Census {
    /// Those with the most bytes first; a bounded number, with those that grew among them.
    pub types: Vec<TypeCount>,
    /// Distinct types that are not in `types`, and their objects and bytes.
    pub other_types: TypeCount,
    /// All objects, and the bytes that the allocator pays for them and their tables.
    pub objects: u64,
    /// See the field above.
    pub bytes: u64,
    /// Bytes of pools that are in use and neither an object nor the table of one.
    pub unattributed_bytes: u64,
    /// Pools of the small-object allocator, and those of them that contradict themselves.
    pub pools: u64,
    /// See the field above.
    pub inconsistent_pools: u64,
}

/// Objects of one type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TypeCount {
    /// Module and qualified name (`gateway.run.AIAgent`, `dict`); of V8, the constructor.
    pub name: String,
    /// Objects at the last reading.
    pub count: u64,
    /// What the allocator pays for them, tables that they own included; bytes.
    pub bytes: u64,
    /// Change since the first reading; zero where there was one only.
    pub count_change: i64,
    /// The same of bytes.
    pub bytes_change: i64,
}

/// A container that grew.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GrownContainer {
    /// Where it is, in the process.
    pub avma: u64,
    /// Its type (`dict`, `list`, `functools._lru_cache_wrapper`).
    pub type_name: String,
    /// How it is reached from a root; empty where that is not known.
    pub chain: Chain,
    /// It is the dict in which `functools.lru_cache` keeps what a function returned: its chain ends
    /// in `.cache` behind what the function is called.
    pub is_lru_cache: bool,
    /// Its entries over time: nanoseconds since the session began, and their number.
    pub lengths: Vec<(u64, u64)>,
    /// Bytes of what is first reached through it at the last reading, it and its table included.
    pub held_bytes: u64,
    /// What its entries are, most bytes first: types of what is first reached through it.
    pub contents: Vec<TypeCount>,
}

/// Who holds a kind of object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Held {
    /// What is held.
    pub subject: HeldSubject,
    /// Objects (or blocks) that were looked at, and their bytes.
    pub objects: u64,
    /// See the field above.
    pub bytes: u64,
    /// Those whose every reference was found: the number found is their reference count.
    pub explained: u64,
    /// Chains that hold them, most objects first; a bounded number.
    pub chains: Vec<Chain>,
    /// Objects of chains that are left out.
    pub other_objects: u64,
    /// Objects that only each other hold: garbage that the collector has yet to find.
    pub unreachable: u64,
    /// Objects to which no chain was found though something points at them.
    pub unknown: u64,
}

/// What is held; one of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeldSubject {
    /// All objects of a type, by its name.
    pub type_name: Option<String>,
    /// What blocks of a stack are, by the number of the stack.
    pub stack: Option<u64>,
}

/// One way to be held, and how many are held so. Steps are normalised: indexes and keys by which
/// they differ are `[*]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Chain {
    /// From the root to the object: `gateway.run.GW`, `Gateway._agent_cache['k']`, `AIAgent`.
    pub steps: Vec<String>,
    /// `module`, `class`, `frame`, `coroutine`, `c-static`, `c-stack`, `c-heap`, `v8-root`...
    pub root: String,
    /// Objects that are held so, and their bytes.
    pub objects: u64,
    /// See the field above.
    pub bytes: u64,
    /// For one of them: references found, and its reference count.
    pub references_found: u64,
    /// See the field above.
    pub references_counted: u64,
    /// Index in `steps` of the container whose growth this is, where one of them grew.
    pub grown_step: Option<usize>,
}

/// What becomes of the live blocks of one stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlocksOfStack {
    /// Number of the stack.
    pub stack: u64,
    /// Blocks that were looked at, and their bytes; the rest were too many, or gone by then.
    pub blocks: u64,
    /// See the field above.
    pub bytes: u64,
    /// Those that nothing points to any more, neither from memory nor from a register.
    pub lost_blocks: u64,
    /// See the field above.
    pub lost_bytes: u64,
    /// Those that only lost blocks point to.
    pub lost_indirectly_blocks: u64,
    /// See the field above.
    pub lost_indirectly_bytes: u64,
    /// From where the others are pointed to, most blocks first; a bounded number.
    pub from: Vec<PointedFrom>,
    /// Blocks whose content is that of another one which was counted, and their bytes.
    pub duplicate_blocks: u64,
    /// See the field above.
    pub duplicate_bytes: u64,
    /// Distinct contents that there are more than once.
    pub duplicated_contents: u64,
    /// Blocks that were compared, and their bytes.
    pub compared_blocks: u64,
    /// See the field above.
    pub compared_bytes: u64,
}

/// A place that points to blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PointedFrom {
    /// `static sessions in gateway.so`, `a block of the same stack`, `the stack of thread 4711`,
    /// `a Python dict`.
    pub what: String,
    /// The stack that allocated the block that points, where it is a block of one.
    pub stack: Option<u64>,
    /// Blocks that are pointed to from there.
    pub blocks: u64,
}
