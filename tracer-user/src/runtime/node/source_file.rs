//! Where a script's text and its source map are: paths and addresses that lead to them, and their
//! bytes.

use super::path::{decoded_path, display_path};
use crate::target::plain_file;
use std::path::{Component, Path, PathBuf};

/// The bytes of a regular file of at most `max_bytes`, as process `tgid` sees it; see
/// [`plain_file::open`].
pub(super) fn read_bounded(tgid: u32, path: &Path, max_bytes: u64) -> Option<Vec<u8>> {
    plain_file::open(&plain_file::root_of(tgid)?, path)?.read(max_bytes)
}

/// The path that `reference`, found in a file of `folder`, leads to; `None` when that is elsewhere
/// (`https:`, `webpack:`).
pub(super) fn resolve(folder: &Path, reference: &str) -> Option<PathBuf> {
    let path = match has_scheme(reference) {
        true => display_path(reference),
        false => decoded_path(reference),
    };
    (!has_scheme(&path)).then(|| normalised(&folder.join(path)))
}

/// `webpack://app/src/a.ts`, but not `C:` or a name with a colon further back.
fn has_scheme(text: &str) -> bool {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| {
        scheme.len() > 1
            && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

/// Without `.` and `..`, by the names alone.
fn normalised(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved_from_their_folder() {
        let folder = Path::new("/srv/app/dist");
        for (reference, expected) in [
            ("app.js.map", Some("/srv/app/dist/app.js.map")),
            ("../src/./app.ts", Some("/srv/app/src/app.ts")),
            ("a%20b.map?v=1", Some("/srv/app/dist/a b.map")),
            ("../../../../x", Some("/x")),
            ("/abs/a.ts", Some("/abs/a.ts")),
            ("file:///abs/a%20b.ts", Some("/abs/a b.ts")),
            ("https://host/a.map", None),
            ("webpack:///./src/a.ts", None),
            ("c:d.ts", Some("/srv/app/dist/c:d.ts")),
            ("/odd%3A/a.ts", Some("/odd:/a.ts")),
        ] {
            assert_eq!(resolve(folder, reference), expected.map(PathBuf::from), "{reference}");
        }
    }
}
