//! Debian's cloud kernels: finds the newest package of a series that apt offers, fetches it once
//! and keeps its kernel image. Installs nothing.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use crate::{command, workspace};

/// Longest release in a package's name that is compared: 6.12.117+deb12 has four numbers.
const RELEASE_NUMBERS: usize = 8;

/// A series of kernels: 6.1, 6.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series {
    /// The 6 of 6.12.
    pub major: u32,
    /// The 12 of 6.12.
    pub minor: u32,
}

impl fmt::Display for Series {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("{}.{}", self.major, self.minor))
    }
}

impl FromStr for Series {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (major, minor) = text.split_once('.')?;
            Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
        };
        parse().ok_or_else(|| format!("`{text}` is no series of kernels such as 6.1"))
    }
}

/// A kernel image that can be booted.
#[derive(Debug)]
pub struct DebianKernel {
    /// Which series was asked for.
    pub series: Series,
    /// What its `uname -r` says: `6.1.0-56-cloud-amd64`.
    pub release: String,
    /// The compressed image.
    pub image: PathBuf,
}

/// Finds the newest cloud kernel of `series`, and fetches it where that was not done before.
///
/// # Errors
/// When apt offers none, even with fresh lists, or it cannot be fetched or unpacked.
pub fn ensure(series: Series) -> Result<DebianKernel> {
    let package = match newest(series)? {
        Some(package) => package,
        None => {
            command::run(Command::new("apt-get").args(["-q", "update"]))?;
            newest(series)?.with_context(|| {
                format!(
                    "apt offers no linux-image-{series}.*-cloud-amd64; add a suite that has one \
                     (6.1: bookworm; 6.12: bookworm-security, bookworm-backports or trixie)"
                )
            })?
        }
    };
    let release = release_of(&package).context("a kernel's package without a release")?.to_owned();
    let folder = workspace::cache_dir()?.join("kernels").join(version_of(&package)?);
    let image = folder.join(format!("vmlinuz-{release}"));
    if !image.is_file() {
        command::heading(&format!("fetching {package} (once)"));
        fetch(&package, &release, &image)?;
    }
    eprintln!("xtask: Linux {series}: {}", image.display());
    Ok(DebianKernel { series, release, image })
}

/// The package with the highest release, by apt's lists as they are.
fn newest(series: Series) -> Result<Option<String>> {
    let pattern = format!("^linux-image-{}\\.{}\\..*-cloud-amd64$", series.major, series.minor);
    let list = command::output(Command::new("apt-cache").args([
        "search",
        "--names-only",
        pattern.as_str(),
    ]))?;
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    Ok(names.max_by_key(|name| numbers(name)).map(str::to_owned))
}

fn release_of(package: &str) -> Option<&str> {
    package.strip_prefix("linux-image-")
}

/// The numbers in a package's name, for comparing two of one series.
fn numbers(name: &str) -> Vec<u64> {
    let parts = name.split(|character: char| !character.is_ascii_digit());
    parts.filter_map(|part| part.parse().ok()).take(RELEASE_NUMBERS).collect()
}

/// `PACKAGE_VERSION`: the same release may be built again.
fn version_of(package: &str) -> Result<String> {
    let show = Command::new("apt-cache")
        .args(["show", "--no-all-versions", package])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("running apt-cache")?;
    let text = String::from_utf8_lossy(&show.stdout);
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("Version: "))
        .with_context(|| format!("apt-cache names no version of {package}"))?;
    Ok(format!("{package}_{}", version.trim().replace([':', '/'], "_")))
}

/// Downloads `package`, and puts its image at `image`.
fn fetch(package: &str, release: &str, image: &Path) -> Result<()> {
    let folder = image.parent().context("an image without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let scratch = tempfile::tempdir_in(folder).context("making a folder for the download")?;
    // apt's own user may not write there; without this it warns on every run as root.
    let download = ["-q", "-o", "APT::Sandbox::User=root", "download", package];
    command::run(Command::new("apt-get").args(download).current_dir(scratch.path()))?;
    let Some(archive) = fs::read_dir(scratch.path())?.flatten().map(|entry| entry.path()).next()
    else {
        bail!("apt-get downloaded nothing for {package}");
    };
    let unpacked = scratch.path().join("unpacked");
    command::run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&unpacked))?;
    let found = unpacked.join(format!("boot/vmlinuz-{release}"));
    fs::rename(&found, image).with_context(|| format!("{package} has no {}", found.display()))
}

#[cfg(test)]
mod tests {
    use super::{Series, numbers};

    #[test]
    fn the_newest_is_told_by_numbers_and_not_by_letters() {
        let names =
            ["6.1.0-9", "6.1.0-56", "6.1.0-47"].map(|r| format!("linux-image-{r}-cloud-amd64"));
        assert_eq!(names.iter().max_by_key(|name| numbers(name)), names.get(1));
        let names =
            ["6.12.99+deb12", "6.12.117+deb12"].map(|r| format!("linux-image-{r}-cloud-amd64"));
        assert_eq!(names.iter().max_by_key(|name| numbers(name)), names.get(1));
    }

    #[test]
    fn a_series_is_two_numbers() {
        assert_eq!("6.12".parse(), Ok(Series { major: 6, minor: 12 }));
        for wrong in ["6", "6.", "six.one", "6.1.2", ""] {
            assert!(wrong.parse::<Series>().is_err(), "{wrong}");
        }
    }
}
