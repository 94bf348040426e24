//! Source maps: from a place in code that runs to the one that people wrote. Maps are the target's
//! files, or part of them; whatever is wrong with one, the place stays as it was. The names in maps
//! are left alone: they are those of what is called at a place, not of the function around it.

use super::heap::Heap;
use super::known_maps::KnownMaps;
use super::path::display_path;
use super::script::{Place, Script};
use super::source_file::{read_bounded, resolve};
use super::source_mappings::{Mappings, data_of};
use super::text::{tail, text};
use std::path::{Path, PathBuf};

/// Largest map that is read, in bytes.
pub(super) const MAX_MAP_BYTES: u64 = 64 << 20;
/// Longest address of a map, in characters: it may be the map itself, in base64.
const MAX_ADDRESS_CHARACTERS: usize = (MAX_MAP_BYTES as usize / 3 + 1) * 4 + 128;
/// Characters at the end of a source that are searched for the address first.
const TAIL_CHARACTERS: usize = 4096;
/// What stands before the address in its comment.
const MARK: &str = "sourceMappingURL=";
/// `Script.source`, in bytes.
const SOURCE: u64 = 8;

/// Where the original of a place is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// Its file.
    pub file: String,
    /// 1-based.
    pub line: u32,
}

/// A map, and the folder from which its files are found.
#[derive(Debug)]
pub(super) struct Map {
    map: Mappings,
    folder: PathBuf,
}

/// The source maps of one process, by the address and number of their scripts.
#[derive(Debug)]
pub(super) struct SourceMaps {
    tgid: u32,
    known: KnownMaps<(u64, i32)>,
}

impl SourceMaps {
    pub(super) fn new(tgid: u32) -> Self {
        Self { tgid, known: KnownMaps::default() }
    }

    /// Whether the map of the script that is known as `key` was looked for.
    pub(super) fn is_known(&self, key: (u64, i32)) -> bool {
        self.known.is_known(&key)
    }

    /// The original of `place` in the script that is known as `key`.
    ///
    /// # Cost
    /// Reads and decodes the map the first time: a second for 64 MiB.
    pub(super) fn original(
        &mut self,
        heap: &Heap,
        key: (u64, i32),
        script: &Script,
        place: Place,
    ) -> Option<Original> {
        self.known.original(&key, place, || read_map(self.tgid, heap, key.0, script))
    }
}

fn read_map(tgid: u32, heap: &Heap, script_avma: u64, script: &Script) -> Option<Map> {
    let name = script.name.as_ref().filter(|name| !name.starts_with("node:"))?;
    let address = text(heap, script.map_word, MAX_ADDRESS_CHARACTERS).or_else(|| {
        // V8 looks for it in scripts and modules, but before version 12 not in functions that
        // it compiles by themselves, which is what a CommonJS module is to it.
        let source = heap.word(script_avma.checked_add(SOURCE)?)?;
        address_at_end(heap, source)
    })?;
    Map::read(tgid, Path::new(&display_path(name)), &address)
}

/// The address in the comment at the end of a source: `//# sourceMappingURL=app.js.map`.
pub(super) fn address_in(source: &str) -> Option<&str> {
    let (before, rest) = source.rsplit_once(MARK)?;
    let is_comment =
        ["//#", "//@", "/*#", "/*@"].iter().any(|mark| before.trim_end().ends_with(mark));
    let (address, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let is_last = matches!(rest.trim(), "" | "*/");
    (is_comment && is_last && !address.is_empty()).then(|| address.trim_end_matches("*/"))
}

/// The address in the comment at the end of the source that `word` points to. The end alone is read,
/// unless that may be the rest of a map written there.
fn address_at_end(heap: &Heap, word: u64) -> Option<String> {
    let mut characters = TAIL_CHARACTERS;
    loop {
        let (end, is_whole) = tail(heap, word, characters)?;
        if end.contains(MARK) {
            return address_in(&end).map(str::to_owned);
        }
        let is_rest = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=;:,%._-".contains(&byte);
        if is_whole || characters > MAX_ADDRESS_CHARACTERS || !bare(&end).bytes().all(is_rest) {
            return None;
        }
        characters *= 4;
    }
}

/// Without the end of a comment.
fn bare(text: &str) -> &str {
    let text = text.trim_end();
    text.strip_suffix("*/").unwrap_or(text).trim_end()
}

impl Map {
    /// The map of `script` at `address`: a file beside it, or the map itself.
    pub(super) fn read(tgid: u32, script: &Path, address: &str) -> Option<Self> {
        let folder = script.parent().filter(|folder| folder.is_absolute())?;
        let (bytes, folder) = match address.starts_with("data:") {
            true => (data_of(address)?, folder.to_owned()),
            false => {
                let path = resolve(folder, address)?;
                (read_bounded(tgid, &path, MAX_MAP_BYTES)?, path.parent()?.to_owned())
            }
        };
        Some(Self { map: Mappings::decode(&bytes)?, folder })
    }

    /// Bytes that it takes.
    pub(super) fn held_bytes(&self) -> u64 {
        self.map.held_bytes() + self.folder.as_os_str().len() as u64
    }

    pub(super) fn original(&self, place: Place) -> Option<Original> {
        let (source, line) = self.map.source_of(place.line.checked_sub(1)?, place.column)?;
        let file = match resolve(&self.folder, &source) {
            Some(path) => path.to_string_lossy().into_owned(),
            None => source,
        };
        Some(Original { file, line: line.checked_add(1)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_map_is_in_the_last_comment() {
        for (source, expected) in [
            ("f();\n//# sourceMappingURL=a.js.map\n", Some("a.js.map")),
            ("f();\n/*# sourceMappingURL=a.js.map */", Some("a.js.map")),
            ("f();\n/*# sourceMappingURL=a.js.map*/", Some("a.js.map")),
            ("//# sourceMappingURL=a.map\n//# sourceMappingURL=b.map", Some("b.map")),
            ("s = '//# sourceMappingURL=' + name;", None),
            ("//# sourceMappingURL=a.map\nf();", None),
            ("sourceMappingURL=a.map", None),
            ("//# sourceMappingURL=", None),
            ("", None),
        ] {
            assert_eq!(address_in(source), expected, "{source}");
        }
    }
}
