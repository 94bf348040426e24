//! `outlive diff`.

use super::arguments::{Diff, DiffFormat};
use super::report::deliver;
use crate::capture::{self, Recording};
use crate::report::diff::{self, Moment, Side, compare};
use crate::units::parse_duration;
use anyhow::{Context as _, Result, bail};
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// Compares two captures, or two moments of one.
pub fn diff(verb: &Diff) -> Result<u8> {
    let (before, after) = (named(&verb.before)?, named(&verb.after)?);
    let is_same = is_same_file(&before.0, &after.0);
    if is_same && before.1 == after.1 {
        bail!(
            "{} would be compared with itself; name another capture, or another moment of it (FILE@30s, FILE@start, FILE@end)",
            before.0.display()
        );
    }
    let was = read(&before.0)?;
    let other = if is_same { None } else { Some(read(&after.0)?) };
    let is = other.as_ref().unwrap_or(&was);
    let (before_name, after_name) = (before.0.display().to_string(), after.0.display().to_string());
    let diff = compare(
        Side { capture: &before_name, recording: &was, moment: before.1 },
        Side { capture: &after_name, recording: is, moment: after.1 },
    )?;
    let color = verb.output.is_none() && std::io::stdout().is_terminal();
    let bytes = match verb.format {
        DiffFormat::Text => diff::text(&diff, color, verb.limit).into_bytes(),
        DiffFormat::Json => diff::json(&diff, verb.limit).into_bytes(),
        DiffFormat::Folded => diff::folded(&diff).into_bytes(),
        DiffFormat::Svg => diff::svg(&diff).context("drawing the flamegraph")?,
    };
    deliver(&bytes, verb.output.as_deref())?;
    Ok(diff::outcome(&diff, verb.fail_above))
}

fn read(path: &Path) -> Result<Recording> {
    capture::read(path).with_context(|| path.display().to_string())
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    a == b || std::fs::canonicalize(a).is_ok_and(|a| std::fs::canonicalize(b).is_ok_and(|b| a == b))
}

/// The file and the moment of `FILE@MOMENT`. A file may be called like that too, and its folder
/// may have an @ in its name.
fn named(argument: &OsStr) -> Result<(PathBuf, Moment)> {
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
