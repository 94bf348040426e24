//! Moves memory of a process into buffers of ours, in batches, by several threads, and looks at
//! the clock between two batches.

use super::urgent::Urgent;
use std::sync::Mutex;
use std::time::Instant;

/// Bytes of a batch: about a millisecond, after which the clock is looked at.
const BATCH_BYTES: usize = 4 << 20;
/// Pieces of a batch; the kernel takes 1024.
const BATCH_PIECES: usize = 512;
/// Threads that read. More do not help: memory is what is waited for.
const MAX_THREADS: usize = 4;
/// Less than this is read by one thread.
const SMALL_BYTES: usize = 16 << 20;
/// Bytes of a page.
const PAGE_BYTES: u64 = 4096;

/// A stretch of memory, and the place for it.
#[derive(Debug)]
pub struct Piece<'a> {
    /// Where it is in the process.
    pub avma: u64,
    /// Where it goes; as long as it is.
    pub place: &'a mut [u8],
}

/// What came of a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Bytes that were read.
    pub read_bytes: u64,
    /// Bytes that could not be; their places are zero.
    pub unread_bytes: u64,
    /// Bytes that there was no time for; what their places hold is old or zero.
    pub late_bytes: u64,
    /// The process is gone, or may not be read.
    pub error: Option<i32>,
}

impl Moved {
    fn add(&mut self, other: Self) {
        self.read_bytes += other.read_bytes;
        self.unread_bytes += other.unread_bytes;
        self.late_bytes += other.late_bytes;
        self.error = self.error.or(other.error);
    }
}

/// Reads all pieces, until `deadline`. Where there is one the process waits for it, and the threads
/// that read go before others.
///
/// # Cost
/// 1.3 to 1.6 GB a second and thread into memory that is new, twice to three times that into memory
/// that has been written to.
pub fn transfer(tgid: u32, pieces: Vec<Piece<'_>>, deadline: Option<Instant>) -> Moved {
    by_threads(pieces, deadline.is_some(), |batch, moved| {
        let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if is_late || moved.error.is_some() {
            moved.late_bytes += batch.iter().map(|piece| piece.place.len() as u64).sum::<u64>();
        } else {
            moved.add(read(tgid, batch));
        }
    })
}

/// Has the kernel put memory behind places that were never written to; makes zero a byte of each
/// page.
pub fn warm(pieces: Vec<Piece<'_>>) {
    by_threads(pieces, false, |batch, _| {
        for page in batch.iter_mut().flat_map(|piece| piece.place.chunks_mut(PAGE_BYTES as usize)) {
            // It is zero already, which must not be a reason to leave this out.
            std::hint::black_box(page)[0] = 0;
        }
    });
}

/// Does something with all pieces, by the batch, in several threads; sums up what came of it.
fn by_threads(
    pieces: Vec<Piece<'_>>,
    is_urgent: bool,
    work: impl Fn(&mut [Piece<'_>], &mut Moved) + Sync,
) -> Moved {
    let length: usize = pieces.iter().map(|piece| piece.place.len()).sum();
    let threads = match length {
        0..SMALL_BYTES => 1,
        _ => std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS),
    };
    let batches = Mutex::new(Batches { pieces: pieces.into_iter(), rest: None });
    let part = || {
        let _urgent = is_urgent.then(Urgent::begin);
        let mut moved = Moved::default();
        loop {
            let batch = batches.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
            let Some(mut batch) = batch else { return moved };
            work(&mut batch, &mut moved);
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(part)).collect();
        let mut moved = part();
        for other in others {
            // A thread of ours does not panic; were it to, its bytes would be missing.
            moved.add(other.join().unwrap_or_default());
        }
        moved
    })
}

/// Pieces, cut into batches.
struct Batches<'a> {
    pieces: std::vec::IntoIter<Piece<'a>>,
    rest: Option<Piece<'a>>,
}

impl<'a> Iterator for Batches<'a> {
    type Item = Vec<Piece<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut batch = Vec::new();
        let mut room = BATCH_BYTES;
        while room > 0 && batch.len() < BATCH_PIECES {
            let Some(piece) = self.rest.take().or_else(|| self.pieces.next()) else { break };
            let (now, later) = piece.place.split_at_mut(piece.place.len().min(room));
            if !later.is_empty() {
                self.rest = Some(Piece { avma: piece.avma + now.len() as u64, place: later });
            }
            room -= now.len();
            if !now.is_empty() {
                batch.push(Piece { avma: piece.avma, place: now });
            }
        }
        (!batch.is_empty()).then_some(batch)
    }
}

/// Reads one batch. What cannot be read is passed over by the page.
fn read(tgid: u32, batch: &mut [Piece<'_>]) -> Moved {
    let mut moved = Moved::default();
    let Ok(pid) = libc::pid_t::try_from(tgid) else {
        return Moved { error: Some(libc::ESRCH), ..moved };
    };
    let vector =
        |base: *mut libc::c_void, length: usize| libc::iovec { iov_base: base, iov_len: length };
    let mut local: Vec<libc::iovec> = batch
        .iter_mut()
        .map(|piece| vector(piece.place.as_mut_ptr().cast(), piece.place.len()))
        .collect();
    let mut remote: Vec<libc::iovec> =
        batch.iter().map(|piece| vector(piece.avma as *mut _, piece.place.len())).collect();
    let mut first = 0;
    while first < local.len() {
        let count = (local.len() - first) as libc::c_ulong;
        // SAFETY: `local` describes what is left of places that are borrowed exclusively, and is
        // what the kernel writes to; `remote` holds addresses of another process, which it checks.
        let read = unsafe {
            libc::process_vm_readv(
                pid,
                &raw const local[first],
                count,
                &raw const remote[first],
                count,
                0,
            )
        };
        if read < 0 {
            match std::io::Error::last_os_error().raw_os_error() {
                Some(libc::EINTR) => continue,
                Some(libc::EFAULT) | None => {}
                error => {
                    moved.late_bytes +=
                        local[first..].iter().map(|v| v.iov_len as u64).sum::<u64>();
                    return Moved { error, ..moved };
                }
            }
        }
        let mut left = usize::try_from(read).unwrap_or(0);
        moved.read_bytes += left as u64;
        while first < local.len() && left >= local[first].iov_len {
            left -= local[first].iov_len;
            first += 1;
        }
        if first == local.len() {
            break;
        }
        advance(&mut local[first], left);
        advance(&mut remote[first], left);
        // It stands at a page that cannot be read.
        let avma = remote[first].iov_base as u64;
        let skipped = ((PAGE_BYTES - avma % PAGE_BYTES) as usize).min(local[first].iov_len);
        // SAFETY: within the place that the vector describes, which is borrowed exclusively.
        unsafe { local[first].iov_base.cast::<u8>().write_bytes(0, skipped) };
        moved.unread_bytes += skipped as u64;
        advance(&mut local[first], skipped);
        advance(&mut remote[first], skipped);
        if local[first].iov_len == 0 {
            first += 1;
        }
    }
    moved
}

fn advance(vector: &mut libc::iovec, by: usize) {
    vector.iov_base = vector.iov_base.wrapping_byte_add(by);
    vector.iov_len -= by;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_can_be_read_is_read_around_what_cannot() {
        let page = PAGE_BYTES as usize;
        let length = 3000 * page;
        // SAFETY: new memory of its own; one page of it is made unreadable.
        let start = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let start = libc::mmap(std::ptr::null_mut(), length, protection, kind, -1, 0);
            assert_ne!(start, libc::MAP_FAILED);
            start.cast::<u8>().write_bytes(7, length);
            libc::mprotect(start.byte_add(1000 * page), page, libc::PROT_NONE);
            start as u64
        };
        let mut bytes = vec![9; length - 100];
        let (one, two) = bytes.split_at_mut(555);
        let pieces =
            vec![Piece { avma: start + 50, place: one }, Piece { avma: start + 605, place: two }];
        let moved = transfer(std::process::id(), pieces, None);
        assert_eq!((moved.unread_bytes, moved.late_bytes, moved.error), (PAGE_BYTES, 0, None));
        assert_eq!(moved.read_bytes, (length - 100 - page) as u64);
        let at = |avma: usize| bytes[avma - 50];
        assert!((50..1000 * page).chain(1001 * page..length - 50).all(|avma| at(avma) == 7));
        assert!((1000 * page..1001 * page).all(|avma| at(avma) == 0));
        let late = Some(Instant::now() - Duration::from_secs(1));
        let pieces = vec![Piece { avma: start, place: &mut bytes }];
        assert_eq!(transfer(std::process::id(), pieces, late).late_bytes, (length - 100) as u64);
        let pieces = vec![Piece { avma: start, place: &mut bytes }];
        assert_eq!(transfer(4_194_305, pieces, None).error, Some(libc::ESRCH));
        // SAFETY: what was mapped above, and is used no more.
        unsafe { libc::munmap(start as *mut _, length) };
    }
}
