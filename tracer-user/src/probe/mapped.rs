//! A BPF array mapped into our memory: read and steered without system calls.

use aya::maps::{Map, MapData};
use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    ptr::NonNull,
};

/// A piece of an array map that was made with `BPF_F_MMAPABLE`, in our memory.
pub struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    /// Maps `bytes` from `offset` on, which is a multiple of the size of a page.
    ///
    /// # Errors
    /// When mmap fails.
    pub fn new(map: BorrowedFd<'_>, offset: usize, bytes: usize) -> io::Result<Self> {
        let bytes = bytes.next_multiple_of(4096);
        // SAFETY: a fresh shared mapping; the result is checked.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { base, bytes })
    }

    /// Its first byte, at the start of a page.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: unmaps exactly what `new` mapped; nothing borrowed from it can be left.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// A memory-mapped BPF array of `T`, whose fields the kernel side changes under us: every access
/// is a volatile copy.
pub struct MappedArray<T> {
    base: NonNull<T>,
    length: usize,
    _mapping: Mapping,
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
        let mapping = Mapping::new(data.fd().as_fd(), 0, length * size_of::<T>())?;
        let base = mapping.base().cast();
        Ok(Self { base, length, _mapping: mapping, _map: data, _element: PhantomData })
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
