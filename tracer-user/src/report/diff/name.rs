//! Names as they are compared: without what a compiler, a linker or another folder makes of them.

/// Marks that compilers put behind the name of a function of which they made a variant; a number
/// may follow each.
const VARIANTS: [&str; 6] = [".cold", ".part", ".isra", ".constprop", ".lto_priv", ".llvm"];

/// A function's name without marks of variants and the hash of a Rust build.
pub(in crate::report) fn function(name: &str) -> &str {
    let mut name = name.trim();
    while let Some(shorter) = without_clone(name).or_else(|| without_mark(name)) {
        name = shorter;
    }
    without_hash(name).unwrap_or(name)
}

/// Of `f [clone .cold]`, as C++ names have it.
fn without_clone(name: &str) -> Option<&str> {
    let (head, mark) = name.strip_suffix(']')?.rsplit_once(" [clone ")?;
    (!head.is_empty() && mark.starts_with('.')).then_some(head)
}

fn without_mark(name: &str) -> Option<&str> {
    let numberless = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let marked = match numberless.strip_suffix('.') {
        Some(head) if numberless.len() < name.len() => head,
        _ => name,
    };
    let head = VARIANTS.iter().find_map(|mark| marked.strip_suffix(mark))?;
    (!head.is_empty()).then_some(head)
}

fn without_hash(name: &str) -> Option<&str> {
    let (head, hash) = name.rsplit_once("::h")?;
    (hash.len() == 16 && hash.chars().all(|c| c.is_ascii_hexdigit())).then_some(head)
}

/// A name with its addresses and offsets left out (`libx.so+0x?`); `None` where it has none.
pub(in crate::report) fn without_addresses(name: &str) -> Option<String> {
    let (head, mut rest) = name.split_once("0x")?;
    let mut kept = head.to_owned();
    loop {
        kept.push_str("0x?");
        rest = rest.trim_start_matches(|c: char| c.is_ascii_hexdigit() || c == '?');
        match rest.split_once("0x") {
            Some((between, behind)) => {
                kept.push_str(between);
                rest = behind;
            }
            None => return Some(kept + rest),
        }
    }
}

/// A module without its folder and its version; the program itself is the same under any name.
pub(in crate::report) fn module<'a>(path: &'a str, exe: &str) -> &'a str {
    if path == exe {
        return "[program]";
    }
    let name = crate::report::focus::base_name(path);
    match name.find(".so.") {
        Some(end) => &name[..end + ".so".len()],
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_of_a_function_are_one() {
        for (name, expected) in [
            ("flush", "flush"),
            ("flush.cold", "flush"),
            ("flush.part.0", "flush"),
            ("flush.isra.12.constprop.0", "flush"),
            ("flush.constprop.0.isra.0.cold", "flush"),
            ("flush.lto_priv.3", "flush"),
            ("flush.llvm.1234567890", "flush"),
            ("Cache::put(int) [clone .part.0]", "Cache::put(int)"),
            ("Cache::put(int) [clone .isra.0] [clone .cold]", "Cache::put(int)"),
            ("app::flush::h0123456789abcdef", "app::flush"),
            ("app::flush::hello", "app::flush::hello"),
            ("Session.part", "Session"),
            ("Session.flush", "Session.flush"),
            ("flush.2", "flush.2"),
            (".cold", ".cold"),
            (".part.0", ".part.0"),
            ("", ""),
            ("größe.cold", "größe"),
        ] {
            assert_eq!(function(name), expected, "{name}");
        }
    }

    #[test]
    fn addresses_are_left_out() {
        for (name, expected) in [
            ("libx.so+0x12ab", Some("libx.so+0x?")),
            ("0x7fff00001234", Some("0x?")),
            ("[python code 0x7f12]", Some("[python code 0x?]")),
            ("0x1 0x2", Some("0x? 0x?")),
            ("0x", Some("0x?")),
            ("libx.so+0x?", Some("libx.so+0x?")),
            ("flush", None),
        ] {
            assert_eq!(without_addresses(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn modules_lose_folder_and_version() {
        let exe = "/srv/releases/7/server";
        for (path, expected) in [
            (exe, "[program]"),
            ("/usr/lib/libstdc++.so.6.0.30", "libstdc++.so"),
            ("/lib/libc.so.6", "libc.so"),
            ("/opt/ext.cpython-311-x86_64-linux-gnu.so", "ext.cpython-311-x86_64-linux-gnu.so"),
            ("server", "server"),
        ] {
            assert_eq!(module(path, exe), expected, "{path}");
        }
    }
}
