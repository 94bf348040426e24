//! What every Rust target shares: the books it keeps about itself, the same work for all
//! allocators, and the protocol of `tests/targets/c/truth.h`.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::hint::black_box;
use std::io::{BufRead as _, Write};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// A function that allocates.
pub struct Site {
    function: &'static str,
    allocated_bytes: AtomicI64,
    allocated_blocks: AtomicI64,
    freed_bytes: AtomicI64,
    freed_blocks: AtomicI64,
}

impl Site {
    pub const fn new(function: &'static str) -> Self {
        Self {
            function,
            allocated_bytes: AtomicI64::new(0),
            allocated_blocks: AtomicI64::new(0),
            freed_bytes: AtomicI64::new(0),
            freed_blocks: AtomicI64::new(0),
        }
    }

    pub fn born(&self, bytes: usize) {
        self.allocated_bytes.fetch_add(bytes as i64, Relaxed);
        self.allocated_blocks.fetch_add(1, Relaxed);
    }

    pub fn died(&self, bytes: usize) {
        self.freed_bytes.fetch_add(bytes as i64, Relaxed);
        self.freed_blocks.fetch_add(1, Relaxed);
    }

    /// Allocates nothing, as nothing does that tells the truth.
    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let value = |counter: &AtomicI64| counter.load(Relaxed);
        write!(
            out,
            "{{\"function\":\"{0}\",\"alias\":\"{0}\",\"live_bytes\":{1},\"live_blocks\":{2},\
             \"allocated_bytes\":{3},\"allocated_blocks\":{4},\"freed_bytes\":{5},\"freed_blocks\":{6}}}",
            self.function,
            value(&self.allocated_bytes) - value(&self.freed_bytes),
            value(&self.allocated_blocks) - value(&self.freed_blocks),
            value(&self.allocated_bytes),
            value(&self.allocated_blocks),
            value(&self.freed_bytes),
            value(&self.freed_blocks),
        )
    }
}

static VEC: Site = Site::new("by_vec");
static ZEROED: Site = Site::new("by_zeroed");
static GROWN: Site = Site::new("by_growing");
static ALIGNED: Site = Site::new("by_aligned");
static ALIGNED_ZEROED: Site = Site::new("by_aligned_zeroed");

#[inline(never)]
fn by_vec(bytes: usize) -> Vec<u8> {
    VEC.born(bytes);
    black_box(Vec::with_capacity(bytes))
}

#[inline(never)]
fn by_zeroed(bytes: usize) -> Vec<u8> {
    ZEROED.born(bytes);
    black_box(vec![0; bytes])
}

#[inline(never)]
fn by_growing(mut vec: Vec<u8>, bytes: usize) -> Vec<u8> {
    VEC.died(vec.capacity());
    vec.reserve_exact(bytes);
    GROWN.born(vec.capacity());
    black_box(vec)
}

#[inline(never)]
fn by_aligned(layout: Layout) -> *mut u8 {
    ALIGNED.born(layout.size());
    // SAFETY: the layout is not empty.
    black_box(unsafe { alloc(layout) })
}

#[inline(never)]
fn by_aligned_zeroed(layout: Layout) -> *mut u8 {
    ALIGNED_ZEROED.born(layout.size());
    // SAFETY: the layout is not empty.
    black_box(unsafe { alloc_zeroed(layout) })
}

/// Keeps one in `out_of`, drops the others.
fn keep_or_drop(site: &Site, vec: Vec<u8>, round: usize, out_of: usize) {
    if round.is_multiple_of(out_of) {
        std::mem::forget(vec);
    } else {
        site.died(vec.capacity());
        drop(vec);
    }
}

/// The same for every allocator.
#[inline(never)]
pub fn work() {
    let mut seed = 2_463_534_242_u32;
    for round in 0..4000 {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        let bytes = 1 + seed as usize % 4000;
        keep_or_drop(&VEC, by_vec(bytes), round, 8);
        keep_or_drop(&ZEROED, by_zeroed(bytes), round, 9);
        keep_or_drop(&GROWN, by_growing(by_vec(bytes), 3 * bytes), round, 10);
        let align = 64 << (round % 5);
        let layout = Layout::from_size_align(bytes, align).expect("a layout");
        let blocks = [(&ALIGNED, by_aligned(layout)), (&ALIGNED_ZEROED, by_aligned_zeroed(layout))];
        for (site, block) in blocks {
            if round % 7 != 0 {
                site.died(bytes);
                // SAFETY: just allocated with this layout.
                unsafe { dealloc(block, layout) };
            }
        }
    }
}

/// Waits for a line, works, prints the truth, waits for the end of stdin.
pub fn run(program: &str, work: impl FnOnce(), more: &[&Site]) {
    let mut line = String::with_capacity(64);
    let mut stdin = std::io::stdin().lock();
    let mut stdout = std::io::stdout().lock();
    if stdin.read_line(&mut line).expect("stdin") == 0 {
        return;
    }
    work();
    print(&mut stdout, program, more).expect("stdout");
    let _ = stdin.read_line(&mut line);
}

fn print(out: &mut impl Write, program: &str, more: &[&Site]) -> std::io::Result<()> {
    write!(out, "{{\"program\":\"{program}\",\"sites\":[")?;
    let own = [&VEC, &ZEROED, &GROWN, &ALIGNED, &ALIGNED_ZEROED];
    for (index, site) in own.into_iter().chain(more.iter().copied()).enumerate() {
        if index > 0 {
            write!(out, ",")?;
        }
        site.print(out)?;
    }
    writeln!(out, "]}}")?;
    out.flush()
}
