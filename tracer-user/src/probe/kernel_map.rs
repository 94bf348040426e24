//! A map by its descriptor alone, so that any thread may read it: element by element, by system
//! call.

use super::bpf_call;
use aya::{maps::Map, util::nr_cpus};
use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

/// Commands of bpf(2).
const LOOKUP_ELEMENT: libc::c_long = 1;
const DELETE_ELEMENT: libc::c_long = 3;
const NEXT_KEY: libc::c_long = 4;

/// `union bpf_attr`, as commands on elements read it.
#[repr(C)]
#[derive(Default)]
struct ElementAttributes {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// A map whose keys are `u32`.
pub struct KernelMap {
    map: OwnedFd,
    /// As long as the kernel writes.
    value: Vec<u64>,
}

impl KernelMap {
    /// Of a map.
    ///
    /// # Errors
    /// When it is of another kind, or there are no descriptors left.
    pub fn new(map: &Map) -> io::Result<Self> {
        let (data, copies) = match map {
            Map::HashMap(data) => (data, 1),
            Map::PerCpuArray(data) => (data, nr_cpus().map_err(|(_, error)| error)?),
            _ => return Err(io::Error::other("a map of another kind")),
        };
        let info = data.info().map_err(io::Error::other)?;
        let words = (info.value_size() as usize).div_ceil(8) * copies;
        Ok(Self { map: data.fd().as_fd().try_clone_to_owned()?, value: vec![0; words] })
    }

    /// The words of an element.
    pub fn get(&mut self, key: u32) -> Option<&[u64]> {
        let value = self.value.as_mut_ptr() as u64;
        self.command(LOOKUP_ELEMENT, &key, value).ok()?;
        Some(&self.value)
    }

    /// Sum over the CPUs of an element of one word.
    pub fn per_cpu_sum(&mut self, key: u32) -> u64 {
        self.get(key).map_or(0, |values| values.iter().sum())
    }

    /// Removes an element, if it is there.
    pub fn remove(&self, key: u32) {
        let _ = self.command(DELETE_ELEMENT, &key, 0);
    }

    /// All keys; one that comes or goes meanwhile may be missing.
    pub fn keys(&self) -> Vec<u32> {
        let mut keys = Vec::new();
        let mut next = 0_u32;
        let place = &raw mut next as u64;
        let mut found = self.command_at(NEXT_KEY, 0, place);
        // A walk begins anew when the key it stands at goes; the bound ends one that never ends.
        while found.is_ok() && keys.len() < 1 << 20 {
            keys.push(next);
            let key = next;
            found = self.command_at(NEXT_KEY, &raw const key as u64, place);
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn command(&self, command: libc::c_long, key: &u32, value: u64) -> io::Result<()> {
        self.command_at(command, std::ptr::from_ref(key) as u64, value)
    }

    fn command_at(&self, command: libc::c_long, key: u64, value: u64) -> io::Result<()> {
        let attributes = ElementAttributes {
            map_fd: self.map.as_raw_fd() as u32,
            key,
            value,
            ..ElementAttributes::default()
        };
        // SAFETY: the key is a u32 or absent, and the value's
        // place as long as an element, which the kernel has said.
        unsafe { bpf_call::command(command, &attributes) }.map(drop)
    }
}
