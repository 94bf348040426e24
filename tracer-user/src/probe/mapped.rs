//! A BPF array mapped into our memory: read and steered without system calls.

use aya::maps::{Map, MapData};
use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd as _, AsRawFd as _},
    ptr::NonNull,
};

/// A memory-mapped BPF array of `T`, whose fields the kernel side changes under us: every access
/// is a volatile copy.
pub struct MappedArray<T> {
    base: NonNull<T>,
    length: usize,
    mapped_bytes: usize,
    /// Keeps the map itself open.
    _map: MapData,
    _element: PhantomData<T>,
}

impl<T: Copy> MappedArray<T> {
    /// Maps all `length` elements of an array map made with `BPF_F_MMAPABLE`.
    ///
    /// # Errors
    /// When `map` is no array, or mmap fails.
    pub fn new(map: Map, length: usize) -> io::Result<Self> {
        let Map::Array(data) = map else {
            return Err(io::Error::other("not an array map"));
        };
        // The kernel lays elements out at multiples of 8 bytes.
        assert_eq!(size_of::<T>() % 8, 0, "elements must have the kernel's stride");
        let mapped_bytes = (length * size_of::<T>()).next_multiple_of(4096);
        // SAFETY: a fresh shared mapping of a map that we own; the result is checked.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapped_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                data.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { base, length, mapped_bytes, _map: data, _element: PhantomData })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.length
    }

    /// A copy of element `index`; `None` outside.
    pub fn get(&self, index: usize) -> Option<T> {
        (index < self.length)
            // SAFETY: inside the mapping, aligned by the kernel's stride, and `T` is plain data.
            .then(|| unsafe { self.base.add(index).read_volatile() })
    }

    /// Lets `change` write fields of element `index` through a raw pointer.
    pub fn update(&self, index: usize, change: impl FnOnce(*mut T)) {
        if index < self.length {
            // SAFETY: inside the mapping.
            change(unsafe { self.base.add(index).as_ptr() });
        }
    }
}

// SAFETY: memory that the kernel side changes under us anyway: nobody is given a reference to it,
// reads are volatile copies, and what is written by `update` says itself how it is synchronised.
unsafe impl<T: Send> Send for MappedArray<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for MappedArray<T> {}

impl<T> Drop for MappedArray<T> {
    fn drop(&mut self) {
        // SAFETY: unmaps exactly what `new` mapped; nothing borrowed from it can be left.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.mapped_bytes) };
    }
}
