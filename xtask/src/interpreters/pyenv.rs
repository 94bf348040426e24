//! CPython as pyenv builds it: libpython as a library, no LTO, symbols kept. Uses what pyenv has;
//! lets pyenv's python-build make what it has not, in our own cache, never in pyenv's folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;

/// CPython 3.`minor` with a shared libpython.
///
/// # Errors
/// When pyenv is not here, or has none and can build none.
pub(super) fn ensure(minor: u32, cache: &Path) -> Result<PathBuf> {
    let built = cache.join(format!("pyenv-3.{minor}"));
    if is_shared(&built, minor) {
        return Ok(python(&built, minor));
    }
    let root = root().with_context(|| {
        format!("Python 3.{minor} comes from pyenv, which is not here (PYENV_ROOT, ~/.pyenv)")
    })?;
    if let Some(found) = newest(&root, minor) {
        return Ok(python(&found, minor));
    }
    build(&root, minor, &built, cache).with_context(|| {
        format!("pyenv has no Python 3.{minor} with libpython and could not build one")
    })?;
    Ok(python(&built, minor))
}

fn root() -> Option<PathBuf> {
    std::env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv")))
        .filter(|root| root.is_dir())
}

/// The latest patch version of 3.`minor` that pyenv has installed with a libpython.
fn newest(root: &Path, minor: u32) -> Option<PathBuf> {
    let patch_of = |path: &Path| patch(path.file_name()?.to_str()?, minor);
    std::fs::read_dir(root.join("versions"))
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_shared(path, minor) && patch_of(path).is_some())
        .max_by_key(|path| patch_of(path))
}

/// The patch number of `name` where it is a release of 3.`minor`: no `-dev`, no virtualenv.
fn patch(name: &str, minor: u32) -> Option<u32> {
    name.strip_prefix(&format!("3.{minor}."))?.parse().ok()
}

fn is_shared(prefix: &Path, minor: u32) -> bool {
    prefix.join(format!("lib/libpython3.{minor}.so.1.0")).exists() && python(prefix, minor).exists()
}

fn python(prefix: &Path, minor: u32) -> PathBuf {
    prefix.join(format!("bin/python3.{minor}"))
}

fn build(root: &Path, minor: u32, prefix: &Path, cache: &Path) -> Result<()> {
    let builder = root.join("plugins/python-build/bin/python-build");
    let definitions = command::output(Command::new(&builder).arg("--definitions"))?;
    let Some(patch) = definitions.lines().filter_map(|name| patch(name.trim(), minor)).max() else {
        bail!("{} knows no release of 3.{minor}", builder.display());
    };
    // python-build leaves its log behind when it fails.
    let scratch = tempfile::tempdir_in(cache).context("making a folder to build in")?;
    command::heading(&format!("building Python 3.{minor}.{patch} (once; some minutes)"));
    command::run(
        Command::new("nice")
            .arg(&builder)
            .arg(format!("3.{minor}.{patch}"))
            .arg(prefix)
            .env("TMPDIR", scratch.path())
            .env("PYTHON_CONFIGURE_OPTS", "--enable-shared"),
    )
}

#[cfg(test)]
mod tests {
    use super::patch;

    #[test]
    fn only_releases_have_a_patch_number() {
        assert_eq!(patch("3.8.18", 8), Some(18));
        assert_eq!(patch("3.8-dev", 8), None);
        assert_eq!(patch("3.80.1", 8), None);
        assert_eq!(patch("my-env", 8), None);
    }
}
