//! Verb `interpreters`: every CPython that the tests trace. Finds it or installs it, says in a
//! sentence why where neither is possible, and writes the list for the tests. Where each kind
//! comes from is the business of the files beside this one.

mod debian_suite;
mod free_threaded;
mod private_apt;
mod pyenv;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::{command, debian, workspace};
use private_apt::PrivateApt;

/// Where `tests/python_matrix.rs` looks for the list, under the target folder.
const LIST: &str = "interpreters.json";

/// What an interpreter is asked for its version: the number, and `t` where it has no GIL.
const VERSION_SCRIPT: &str = "import platform, sysconfig; print(platform.python_version() + \
     ('t' if sysconfig.get_config_var('Py_GIL_DISABLED') else ''))";

/// An interpreter that the tests want: CPython 3.`minor`.
struct Wanted {
    /// Its name in the tests' output.
    name: &'static str,
    minor: u32,
    source: Source,
}

/// Where an interpreter comes from.
enum Source {
    /// pyenv's: libpython as a library, no LTO. The Debian suite that has the version too is
    /// for machines without pyenv.
    Pyenv { otherwise: Option<&'static str> },
    /// The system's own, where it has this version; a suite's otherwise.
    System { suite: &'static str },
    /// A Debian suite's, unpacked beside the system and run by its own loader.
    Suite { suite: &'static str },
    /// Built from a suite's source package, without the GIL.
    FreeThreaded { suite: &'static str },
}

const WANTED: [Wanted; 11] = [
    Wanted { name: "pyenv-3.8", minor: 8, source: Source::Pyenv { otherwise: None } },
    Wanted { name: "pyenv-3.9", minor: 9, source: Source::Pyenv { otherwise: Some("bullseye") } },
    Wanted { name: "pyenv-3.10", minor: 10, source: Source::Pyenv { otherwise: None } },
    Wanted { name: "pyenv-3.11", minor: 11, source: Source::Pyenv { otherwise: None } },
    Wanted { name: "pyenv-3.12", minor: 12, source: Source::Pyenv { otherwise: None } },
    Wanted { name: "pyenv-3.13", minor: 13, source: Source::Pyenv { otherwise: None } },
    Wanted { name: "debian-3.11", minor: 11, source: Source::System { suite: "bookworm" } },
    Wanted { name: "debian-3.13", minor: 13, source: Source::Suite { suite: "trixie" } },
    Wanted { name: "debian-3.14", minor: 14, source: Source::Suite { suite: "sid" } },
    Wanted { name: "debian-3.15", minor: 15, source: Source::Suite { suite: "sid" } },
    Wanted { name: "built-3.13t", minor: 13, source: Source::FreeThreaded { suite: "trixie" } },
];

/// What became of a wanted interpreter.
pub struct Interpreter {
    name: &'static str,
    /// The program to start and its version, or why there is none.
    found: Result<(PathBuf, String)>,
}

/// Runs the verb.
///
/// # Errors
/// When an interpreter cannot be had (all are listed by then), or the list cannot be written.
pub fn run() -> Result<()> {
    let interpreters = ensure()?;
    let mut missing_count = 0;
    for Interpreter { name, found } in &interpreters {
        match found {
            Ok((python, version)) => println!("{name:12} {version:10} {}", python.display()),
            Err(error) => {
                missing_count += 1;
                println!("{name:12} {:10} {error:#}", "missing");
            }
        }
    }
    if missing_count > 0 {
        bail!("{missing_count} of {} interpreters cannot be had here", interpreters.len());
    }
    Ok(())
}

/// Finds or installs every interpreter and writes the list for the tests. One that cannot be
/// had is in the list with the reason: the test fails its lines then.
///
/// # Cost
/// A second when all are there; some minutes the first time, most of them for the one that is
/// compiled.
///
/// # Errors
/// When there is no place to install to, or the list cannot be written.
pub fn ensure() -> Result<Vec<Interpreter>> {
    let cache = workspace::interpreters_dir()?;
    fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
    let interpreters: Vec<Interpreter> = WANTED
        .iter()
        .map(|wanted| Interpreter { name: wanted.name, found: provide(wanted, &cache) })
        .collect();
    write_list(&interpreters)?;
    Ok(interpreters)
}

fn provide(wanted: &Wanted, cache: &Path) -> Result<(PathBuf, String)> {
    let minor = wanted.minor;
    let python = match wanted.source {
        Source::Pyenv { otherwise } => match (pyenv::ensure(minor, cache), otherwise) {
            (Err(_), Some(suite)) if debian::is_debian() => {
                debian_suite::ensure(minor, suite, cache)?
            }
            (python, _) => python?,
        },
        Source::System { suite } => {
            system(minor).map_or_else(|| debian_suite::ensure(minor, suite, cache), Ok)?
        }
        Source::Suite { suite } => debian_suite::ensure(minor, suite, cache)?,
        Source::FreeThreaded { suite } => free_threaded::ensure(minor, suite, cache)?,
    };
    let version = version_of(&python)
        .with_context(|| format!("{} is there and does not run", python.display()))?;
    let is_free_threaded = matches!(wanted.source, Source::FreeThreaded { .. });
    if !version.starts_with(&format!("3.{minor}.")) || version.ends_with('t') != is_free_threaded {
        bail!("{} is Python {version}, not {}", python.display(), wanted.name);
    }
    Ok((python, version))
}

/// The system's Python 3.`minor`, installed where this release of Debian has it.
fn system(minor: u32) -> Option<PathBuf> {
    let path = PathBuf::from(format!("/usr/bin/python3.{minor}"));
    if !path.exists() && debian::is_debian() && debian::is_root() {
        // A release without this package: the caller asks another suite next.
        let _ = debian::ensure(&[&format!("python3.{minor}")], "the tests");
    }
    path.exists().then_some(path)
}

/// The version that `python` reports; `None` when it does not run.
fn version_of(python: &Path) -> Option<String> {
    command::probe(Command::new(python).args(["-I", "-c", VERSION_SCRIPT]))
        .map(|version| version.trim().to_owned())
}

fn write_list(interpreters: &[Interpreter]) -> Result<()> {
    let list: Vec<_> = interpreters
        .iter()
        .map(|Interpreter { name, found }| match found {
            Ok((python, version)) => json!({"name": name, "python": python, "version": version}),
            Err(error) => json!({"name": name, "missing": format!("{error:#}")}),
        })
        .collect();
    let path = workspace::target_dir().join(LIST);
    let beside = path.with_extension("json.new");
    fs::create_dir_all(workspace::target_dir())
        .and_then(|()| fs::write(&beside, format!("{:#}\n", json!(list))))
        .and_then(|()| fs::rename(&beside, &path))
        .with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::WANTED;

    #[test]
    fn every_version_of_the_matrix_is_wanted_and_no_name_twice() {
        for minor in 8..=15 {
            assert!(WANTED.iter().any(|wanted| wanted.minor == minor), "3.{minor}");
        }
        let mut names: Vec<_> = WANTED.iter().map(|wanted| wanted.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), WANTED.len());
    }
}
