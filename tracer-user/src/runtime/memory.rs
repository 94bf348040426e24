//! Reading the target's memory from outside, without stopping it. What is read may be garbage,
//! half written or gone: callers bound and check everything.

/// Fills `buffer` from address `avma` of process `tgid`; `None` unless every byte could be read.
///
/// # Cost
/// One system call, about a microsecond for small reads.
pub fn read_exact(tgid: u32, avma: u64, buffer: &mut [u8]) -> Option<()> {
    if buffer.is_empty() {
        return Some(());
    }
    avma.checked_add(buffer.len() as u64)?;
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let remote = libc::iovec { iov_base: avma as *mut libc::c_void, iov_len: buffer.len() };
    // SAFETY: `local` describes `buffer`, which is borrowed exclusively for the call and is what
    // the kernel writes to; `remote` is an address in another process that the kernel checks.
    let count = unsafe {
        libc::process_vm_readv(libc::pid_t::try_from(tgid).ok()?, &local, 1, &remote, 1, 0)
    };
    (count == buffer.len() as isize).then_some(())
}

/// `length_bytes` bytes at `avma`; the caller bounds the length.
pub fn read_vec(tgid: u32, avma: u64, length_bytes: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length_bytes];
    read_exact(tgid, avma, &mut bytes)?;
    Some(bytes)
}

/// A little-endian word in `bytes`.
pub fn u64_in(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// A little-endian half word in `bytes`.
pub fn u32_in(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_is_read_and_nonsense_is_refused() {
        let secret = *b"outlive reads";
        let tgid = std::process::id();
        assert_eq!(
            read_vec(tgid, secret.as_ptr() as u64, secret.len()).as_deref(),
            Some(&secret[..])
        );
        assert_eq!(read_vec(tgid, 8, 16), None);
        assert_eq!(read_vec(tgid, u64::MAX - 4, 16), None);
        assert_eq!(read_vec(u32::MAX, 8, 16), None);
    }
}
