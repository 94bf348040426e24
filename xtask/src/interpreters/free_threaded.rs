//! CPython without the GIL, which no suite packages: compiled from a suite's source package, in
//! the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::PrivateApt;
use crate::{command, debian};

/// What the standard library's C extensions are compiled against.
const BUILD_PACKAGES: [&str; 9] = [
    "gcc",
    "libc6-dev",
    "make",
    "xz-utils",
    "zlib1g-dev",
    "libbz2-dev",
    "liblzma-dev",
    "libffi-dev",
    "libssl-dev",
];

/// CPython 3.`minor` built with `--disable-gil`.
///
/// # Cost
/// Two to five minutes on two cores, once.
///
/// # Errors
/// When this is not Debian, the mirror has no sources, or they do not compile.
pub(super) fn ensure(minor: u32, suite: &'static str, cache: &Path) -> Result<PathBuf> {
    let prefix = cache.join(format!("free-threaded-3.{minor}"));
    let python = prefix.join(format!("bin/python3.{minor}t"));
    // Written last: an interrupted installation is made again.
    let stamp = prefix.join("complete");
    if stamp.exists() {
        return Ok(python);
    }
    build(minor, suite, cache, &prefix)
        .and_then(|()| Ok(fs::write(&stamp, "")?))
        .with_context(|| format!("a free-threaded Python 3.{minor} cannot be built"))?;
    Ok(python)
}

fn build(minor: u32, suite: &'static str, cache: &Path, prefix: &Path) -> Result<()> {
    let apt = PrivateApt::open(suite, cache)?;
    debian::ensure(&BUILD_PACKAGES, "compiling a free-threaded Python")?;
    let archive = apt.download_source(&format!("python3.{minor}"))?;
    let sources = apt.scratch();
    fs::create_dir_all(&sources).with_context(|| format!("making {}", sources.display()))?;
    command::heading(&format!("compiling a free-threaded Python 3.{minor} (once; minutes)"));
    command::run(
        Command::new("tar")
            .arg("-xf")
            .arg(&archive)
            .args(["--strip-components=1", "-C"])
            .arg(&sources),
    )?;
    let here = |program: &str| {
        let mut command = Command::new("nice");
        command.arg(program).current_dir(&sources);
        command
    };
    let prefix = format!("--prefix={}", prefix.display());
    command::run(
        here("./configure").args(["-q", "--disable-gil", "--without-ensurepip"]).arg(prefix),
    )?;
    command::run(here("make").args(["-s", "-j2"]))?;
    command::run(here("make").args(["-s", "install"]))
}
