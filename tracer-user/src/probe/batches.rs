//! Reads and removes entries of a hash map in batches: a walk from key to key takes a system call
//! an entry, and begins anew whenever the target frees the block it stands at.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

/// `BPF_MAP_LOOKUP_BATCH` and `BPF_MAP_DELETE_BATCH` of bpf(2) (Linux 5.6).
const LOOKUP_BATCH: libc::c_long = 24;
const DELETE_BATCH: libc::c_long = 27;
/// Entries in a batch; no bucket of the map holds as many.
const BATCH: usize = 4096;

/// `union bpf_attr`, as the batch commands read it.
#[repr(C)]
#[derive(Default)]
struct BatchAttributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    element_flags: u64,
    flags: u64,
}

/// A hash map of words to `V`.
pub struct Batches<V> {
    map: OwnedFd,
    keys: Vec<u64>,
    values: Vec<V>,
    position: [u32; 2],
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    UnderWay,
    Done,
}

impl<V: Copy + Default> Batches<V> {
    /// Of a map whose values are as long as `V` is.
    pub fn new(map: OwnedFd) -> Self {
        Self {
            map,
            keys: vec![0; BATCH],
            values: vec![V::default(); BATCH],
            position: [0; 2],
            state: State::New,
        }
    }

    /// The next entries; `None` behind the last ones, and then it begins anew. Each entry that is
    /// there all the while comes once.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn next(&mut self) -> io::Result<Option<(&[u64], &[V])>> {
        if self.state == State::Done {
            self.state = State::New;
            return Ok(None);
        }
        let place = self.position.as_mut_ptr() as u64;
        let mut attributes = BatchAttributes {
            in_batch: if self.state == State::New { 0 } else { place },
            out_batch: place,
            keys: self.keys.as_mut_ptr() as u64,
            values: self.values.as_mut_ptr() as u64,
            count: BATCH as u32,
            map_fd: self.map.as_raw_fd() as u32,
            ..BatchAttributes::default()
        };
        self.state = match command(LOOKUP_BATCH, &mut attributes) {
            Ok(()) => State::UnderWay,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => State::Done,
            Err(error) => return Err(error),
        };
        let found = (attributes.count as usize).min(BATCH);
        Ok(Some((&self.keys[..found], &self.values[..found])))
    }

    /// Removes entries; those that are gone already are passed over.
    pub fn remove(&self, mut keys: &[u64]) {
        while !keys.is_empty() {
            let mut attributes = BatchAttributes {
                keys: keys.as_ptr() as u64,
                count: keys.len() as u32,
                map_fd: self.map.as_raw_fd() as u32,
                ..BatchAttributes::default()
            };
            let outcome = command(DELETE_BATCH, &mut attributes);
            // It stops at a key that is gone already.
            let removed = if outcome.is_ok() { keys.len() } else { attributes.count as usize + 1 };
            keys = keys.get(removed..).unwrap_or_default();
        }
    }
}

fn command(command: libc::c_long, attributes: &mut BatchAttributes) -> io::Result<()> {
    // SAFETY: the attributes are as long as said, and point to arrays of `count` elements of the
    // map's own sizes, which the callers keep alive.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<BatchAttributes>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
