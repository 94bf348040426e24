//! Source maps of scripts that are known by their files, not by what V8 keeps of them: for places
//! that V8 itself has told.

use super::known_maps::KnownMaps;
use super::path::display_path;
use super::script::Place;
use super::source_file::read_bounded;
use super::source_map::{MAX_MAP_BYTES, Map, Original, address_in};
use std::path::Path;

/// The source maps of one process, by the addresses (URLs) of their scripts.
#[derive(Debug)]
pub struct FileMaps {
    tgid: u32,
    known: KnownMaps<String>,
}

impl FileMaps {
    /// None yet; `tgid`: the process whose files they are.
    pub fn new(tgid: u32) -> Self {
        Self { tgid, known: KnownMaps::default() }
    }

    /// File and line (1-based) from which a place in the script at `url` was made, where a map says
    /// so. `line` and `column` count from 0, columns in UTF-16 units.
    ///
    /// # Cost
    /// Reads the script and decodes its map the first time: a second for 64 MiB.
    pub fn original(&mut self, url: &str, line: u32, column: u32) -> Option<Original> {
        let place = Place { line: line.checked_add(1)?, column };
        self.known.original(url, place, || read_map(self.tgid, url))
    }
}

fn read_map(tgid: u32, url: &str) -> Option<Map> {
    let script = display_path(url);
    let script = Path::new(&script);
    let source = read_bounded(tgid, script, MAX_MAP_BYTES)?;
    let source = String::from_utf8_lossy(&source);
    Map::read(tgid, script, address_in(&source)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_leads_to_its_source_and_one_without_a_map_to_nothing() {
        let folder = tempfile::tempdir().expect("scratch folder");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("write");
            format!("file://{}", folder.path().join(name).display())
        };
        // Line 1, column 0 is line 7, column 0 of app.ts.
        let map = r#"{"version":3,"sources":["app.ts"],"names":[],"mappings":";AAMA"}"#;
        write("app.js.map", map);
        let mapped = write("app.js", "\nkeep();\n//# sourceMappingURL=app.js.map\n");
        let plain = write("plain.js", "\nkeep();\n");
        let mut maps = FileMaps::new(std::process::id());
        let file = folder.path().join("app.ts").display().to_string();
        assert_eq!(maps.original(&mapped, 1, 4), Some(Original { file, line: 7 }));
        assert_eq!(maps.original(&mapped, 0, 0), None);
        for url in [plain.as_str(), "node:events", "", "https://a/b.js"] {
            assert_eq!(maps.original(url, 1, 0), None, "{url}");
        }
    }
}
