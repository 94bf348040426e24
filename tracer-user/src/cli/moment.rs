//! A capture and a moment of it, as they are typed: `FILE`, `FILE@90s`, `FILE@start`, `FILE@end`.

use crate::report::diff::Moment;
use crate::units::parse_duration;
use anyhow::{Result, bail};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// The file and the moment of `FILE@MOMENT`. A file may be called like that too, and its folder
/// may have an @ in its name.
pub(super) fn named(argument: &OsStr) -> Result<(PathBuf, Moment)> {
    let bytes = argument.as_bytes();
    let at = bytes.iter().rposition(|byte| *byte == b'@');
    let Some(at) = at.filter(|at| *at > 0 && !Path::new(argument).exists()) else {
        return Ok((argument.into(), Moment::End));
    };
    let said = String::from_utf8_lossy(&bytes[at + 1..]).into_owned();
    if said.contains('/') {
        return Ok((argument.into(), Moment::End));
    }
    let path = PathBuf::from(OsString::from_vec(bytes[..at].to_vec()));
    Ok((path, moment(&said)?))
}

fn moment(said: &str) -> Result<Moment> {
    match said {
        "start" => Ok(Moment::Start),
        "end" => Ok(Moment::End),
        time => match parse_duration(time) {
            Ok(duration) => Ok(Moment::After(duration)),
            Err(error) => {
                bail!("@{time} is no moment of a capture: {error}; or use @start or @end")
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_moment_stands_behind_the_last_at() {
        let seconds = |seconds| Moment::After(Duration::from_secs(seconds));
        for (argument, path, moment) in [
            ("a.outlive", "a.outlive", Moment::End),
            ("a.outlive@end", "a.outlive", Moment::End),
            ("a.outlive@start", "a.outlive", Moment::Start),
            ("a.outlive@1m30s", "a.outlive", seconds(90)),
            ("a.outlive@0s", "a.outlive", seconds(0)),
            ("me@host/a.outlive", "me@host/a.outlive", Moment::End),
            ("me@host/a.outlive@5s", "me@host/a.outlive", seconds(5)),
            ("@5s", "@5s", Moment::End),
        ] {
            let found = named(OsStr::new(argument)).expect(argument);
            assert_eq!(found, (path.into(), moment), "{argument}");
        }
        for argument in ["a.outlive@", "a.outlive@soon", "a.outlive@90", "a.outlive@-5s"] {
            let error = named(OsStr::new(argument)).expect_err(argument).to_string();
            assert!(error.contains("@start or @end"), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_called_like_a_moment_is_a_file() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a@5s");
        std::fs::write(&path, "").expect("write");
        assert_eq!(named(path.as_os_str()).expect("named"), (path, Moment::End));
    }
}
