//! Once, before the program's own code: leaves no trace of how the library came in. The variable
//! LD_PRELOAD is as it was, so that what the program starts is not preloaded, and the descriptor
//! that the library was read from is closed.

use core::arch::asm;
use core::ffi::{c_char, c_int};

/// How outlive names the library: the first of what is preloaded, by a descriptor.
const VARIABLE: &[u8] = b"LD_PRELOAD=";
const DESCRIPTOR: &[u8] = b"/proc/self/fd/";
/// Strings of an environment that are looked at.
const MOST_VARIABLES: usize = 1 << 20;

#[cfg(lane_library)]
#[unsafe(link_section = ".init_array")]
#[used]
static START: extern "C" fn(c_int, *const *const c_char, *mut *mut c_char) = start;

unsafe extern "C" {
    #[link_name = "outlive_lane_environ"]
    static ENVIRON: *const *mut *mut c_char;
}

core::arch::global_asm!(
    ".section .data.rel.ro.outlive_lane_environ,\"aw\",@progbits",
    ".balign 8",
    ".weak __environ",
    ".globl outlive_lane_environ",
    ".hidden outlive_lane_environ",
    "outlive_lane_environ: .quad __environ",
    ".text",
);

/// glibc calls constructors with what `main` is called with.
#[cfg_attr(not(lane_library), allow(dead_code))]
extern "C" fn start(
    _count: c_int,
    _arguments: *const *const c_char,
    environment: *mut *mut c_char,
) {
    // SAFETY: the address of glibc's variable, or null.
    let present = unsafe { if ENVIRON.is_null() { environment } else { *ENVIRON } };
    // SAFETY: the environment that the kernel has laid out, which ends with a null.
    let descriptor = unsafe { clean(environment) };
    if present != environment {
        // Whoever started before this has moved the list; the strings are the same, and clean.
        // SAFETY: as above.
        unsafe { clean(present) };
    }
    if let Some(descriptor) = descriptor {
        close(descriptor);
    }
}

/// Takes the library out of an environment; the descriptor that it was read from.
///
/// # Safety
/// `environment` is null, or a list of strings that ends with a null; nobody else changes it.
unsafe fn clean(environment: *mut *mut c_char) -> Option<u32> {
    if environment.is_null() {
        return None;
    }
    for index in 0..MOST_VARIABLES {
        // SAFETY: the list has not ended.
        let place = unsafe { environment.add(index) };
        // SAFETY: as above.
        let text = unsafe { *place }.cast::<u8>();
        if text.is_null() {
            return None;
        }
        // SAFETY: a string that ends with a 0, which no prefix has.
        let Some(value) = (unsafe { behind(text, VARIABLE) }) else { continue };
        // SAFETY: as above.
        let descriptor = unsafe { behind(value, DESCRIPTOR) };
        // SAFETY: as above.
        let rest = descriptor.map(|digits| unsafe { number(digits) });
        match rest {
            Some((number, end)) => {
                // SAFETY: the rest of the same string.
                unsafe { take_out(place, value, end) };
                return Some(number);
            }
            // It has been taken out of the string before, and nothing is left of it.
            // SAFETY: as above.
            None if unsafe { *value } == 0 => {
                // SAFETY: as above.
                unsafe { remove(place) };
                return None;
            }
            None => return None,
        }
    }
    None
}

/// What stands behind a prefix.
///
/// # Safety
/// `text` ends with a 0.
unsafe fn behind(text: *mut u8, prefix: &[u8]) -> Option<*mut u8> {
    for (index, byte) in prefix.iter().enumerate() {
        // SAFETY: no byte before this one was the 0.
        if unsafe { *text.add(index) } != *byte {
            return None;
        }
    }
    // SAFETY: as above.
    Some(unsafe { text.add(prefix.len()) })
}

/// A decimal number, and what stands behind it.
///
/// # Safety
/// As [`behind`].
unsafe fn number(mut digits: *mut u8) -> (u32, *mut u8) {
    let mut number = 0_u32;
    loop {
        // SAFETY: within the string, its end included.
        let digit = unsafe { *digits }.wrapping_sub(b'0');
        if digit > 9 {
            return (number, digits);
        }
        number = number.wrapping_mul(10).wrapping_add(u32::from(digit));
        // SAFETY: this was not the end.
        digits = unsafe { digits.add(1) };
    }
}

/// Lets the value be what stands behind `end`; without anything there the variable goes.
///
/// # Safety
/// `end` lies behind `value` in the string that `place` has.
unsafe fn take_out(place: *mut *mut c_char, value: *mut u8, end: *mut u8) {
    // SAFETY: within the string.
    let separator = unsafe { *end };
    if separator == 0 {
        // SAFETY: a place of the list; the string stays true for whoever has another list of it.
        unsafe {
            *value = 0;
            remove(place);
        }
        return;
    }
    let (mut to, mut from) = (value, end.wrapping_add(1));
    loop {
        // SAFETY: both within the string, its end included, and `from` behind `to`.
        let byte = unsafe { from.read_volatile() };
        // SAFETY: as above.
        unsafe { to.write_volatile(byte) };
        if byte == 0 {
            return;
        }
        to = to.wrapping_add(1);
        from = from.wrapping_add(1);
    }
}

/// Takes a place out of a list that ends with a null.
///
/// # Safety
/// `place` is one of it.
unsafe fn remove(mut place: *mut *mut c_char) {
    loop {
        // SAFETY: the list has not ended here, so it has a next place.
        let next = unsafe { place.add(1) };
        // SAFETY: as above.
        let text = unsafe { next.read_volatile() };
        // SAFETY: as above.
        unsafe { place.write_volatile(text) };
        if text.is_null() {
            return;
        }
        place = next;
    }
}

/// Closes a descriptor, without libc and its errno.
fn close(descriptor: u32) {
    const SYS_CLOSE: u64 = 3;
    // SAFETY: a system call that takes a number. The descriptor is the library's own: this very
    // program was started with it, and nothing else of it has run.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") SYS_CLOSE => _,
            in("rdi") u64::from(descriptor),
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::{CStr, CString};

    fn check(before: &[&str], after: &[&str], descriptor: Option<u32>) {
        let strings: Vec<CString> =
            before.iter().map(|text| CString::new(*text).unwrap()).collect();
        let owned: Vec<*mut c_char> = strings.into_iter().map(CString::into_raw).collect();
        let mut list = owned.clone();
        list.push(std::ptr::null_mut());
        let mut second = list.clone();
        // SAFETY: a list that ends with a null, of strings that are ours.
        let found = unsafe { clean(list.as_mut_ptr()) };
        assert_eq!(found, descriptor, "{before:?}");
        // SAFETY: as above.
        unsafe { clean(second.as_mut_ptr()) };
        for list in [&list, &second] {
            let left = list.iter().take_while(|text| !text.is_null());
            // SAFETY: strings of ours, which end with a 0.
            let left: Vec<_> = left.map(|text| unsafe { CStr::from_ptr(*text) }).collect();
            let left: Vec<_> = left.iter().map(|text| text.to_str().unwrap()).collect();
            assert_eq!(left, after, "{before:?}");
        }
        // What they held before, at most; CString would ask for their length anew.
        std::mem::forget(owned);
    }

    #[test]
    fn the_environment_is_as_it_was() {
        check(&["A=1", "LD_PRELOAD=/proc/self/fd/12", "B=2"], &["A=1", "B=2"], Some(12));
        check(&["LD_PRELOAD=/proc/self/fd/3"], &[], Some(3));
        check(
            &["LD_PRELOAD=/proc/self/fd/9:/lib/x.so /lib/y.so", "B=2"],
            &["LD_PRELOAD=/lib/x.so /lib/y.so", "B=2"],
            Some(9),
        );
        check(&["LD_PRELOAD=/lib/x.so"], &["LD_PRELOAD=/lib/x.so"], None);
        check(&["LD_PRELOADED=/proc/self/fd/3"], &["LD_PRELOADED=/proc/self/fd/3"], None);
        check(&[], &[], None);
    }
}
