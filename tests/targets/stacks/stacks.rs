//! Allocations by Rust, with libgcc's word on each; the protocol of stack_truth.h.
use std::ffi::c_void;
use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{BufRead as _, Write as _};

unsafe extern "C" {
    fn backtrace(into: *mut *mut c_void, room: i32) -> i32;
}

type Sites = Vec<(&'static str, Vec<usize>)>;

#[inline(always)]
fn trace() -> Vec<usize> {
    let mut frames = [std::ptr::null_mut(); 160];
    // SAFETY: the array has room for 160 addresses.
    let count = unsafe { backtrace(frames.as_mut_ptr(), 160) };
    frames[..count as usize].iter().map(|frame| *frame as usize).collect()
}

#[inline(never)]
fn by_vector(sites: &mut Sites) {
    let frames = trace();
    black_box(Vec::<u8>::with_capacity(black_box(1300)));
    sites.push(("vector", frames));
}

#[inline(never)]
fn by_box(sites: &mut Sites, levels: u32) {
    if levels > 0 {
        by_box(sites, levels - 1);
        black_box(());
        return;
    }
    let frames = trace();
    black_box(Box::new(black_box([1u64; 170])));
    sites.push(("box", frames));
}

#[inline(never)]
fn by_closure(sites: &mut Sites) {
    let call: Box<dyn FnMut(&mut Sites, usize)> = Box::new(|sites, bytes| {
        let frames = trace();
        black_box(String::with_capacity(bytes));
        sites.push(("closure", frames));
    });
    black_box(call)(sites, black_box(1500));
}

fn work(sites: &mut Sites) {
    by_vector(sites);
    by_box(sites, 20);
    by_closure(sites);
    let found = std::thread::spawn(|| {
        let mut sites = Sites::new();
        by_vector(&mut sites);
        sites
    });
    sites.extend(found.join().expect("thread"));
}

fn main() {
    black_box(trace());
    println!("{{}}");
    for _ in std::io::stdin().lock().lines() {
        let mut sites = Sites::new();
        work(&mut sites);
        let mut line = String::from("{\"sites\":[");
        for (index, (name, frames)) in sites.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let _ = write!(line, "{comma}{{\"name\":\"{name}\",\"signal\":false,\"frames\":{frames:?}}}");
        }
        println!("{line}]}}");
        let _ = std::io::stdout().flush();
    }
}
