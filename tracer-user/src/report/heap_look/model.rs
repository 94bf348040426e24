//! The document of `outlive heap`.

use crate::capture::{Census, GrownContainer, HeapMeta, HeapReading, Held, TypeCount};
use serde::Serialize;

/// Version of the document; raised when a field changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;

/// What was seen of a heap.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct HeapReport {
    pub schema_version: u32,
    pub outlive_version: &'static str,
    pub pid: u32,
    /// `CPython 3.11.2`, `V8 12.4.254`.
    pub runtime: String,
    /// Between the two moments, nanoseconds; `null` where there was one.
    pub window_ns: Option<u64>,
    pub readings: Vec<HeapReading>,
    pub census: Option<Census>,
    /// Containers that grew, most bytes first.
    pub containers: Vec<GrownContainer>,
    pub held: Vec<Held>,
    /// Of a V8 heap.
    pub constructors: Vec<TypeCount>,
    /// What could not be done or seen.
    pub notes: Vec<String>,
}

/// From what was read.
pub fn build(heap: &HeapMeta, window_ns: Option<u64>) -> HeapReport {
    HeapReport {
        schema_version: SCHEMA_VERSION,
        outlive_version: env!("CARGO_PKG_VERSION"),
        pid: heap.pid,
        runtime: heap.runtime.clone(),
        window_ns,
        readings: heap.readings.clone(),
        census: heap.census.clone(),
        containers: heap.containers.clone(),
        held: heap.held.clone(),
        constructors: heap.constructors.clone(),
        notes: heap.notes.clone(),
    }
}
