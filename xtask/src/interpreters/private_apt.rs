//! apt for another suite than the system's, in a folder of its own: own lists, own cache, an
//! empty package database. Reads the system's apt configuration, changes nothing of it and runs
//! none of its hooks.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::{command, debian};

/// Debian's own keys, where its package is installed; apt's default keys otherwise.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A suite of the Debian mirror that this system is configured with.
pub(super) struct PrivateApt {
    suite: &'static str,
    folder: TempDir,
}

impl PrivateApt {
    /// Fetches the suite's lists. Everything is gone when the value is.
    ///
    /// # Errors
    /// When this is not Debian, no mirror is configured, or it has no such suite.
    pub(super) fn open(suite: &'static str, cache: &Path) -> Result<Self> {
        if !debian::is_debian() {
            bail!("it comes from Debian's suite {suite}, and this system is not Debian");
        }
        let mirror = mirror()?;
        let folder = tempfile::Builder::new()
            .prefix("apt-")
            .tempdir_in(cache)
            .context("making a folder for apt")?;
        let apt = Self { suite, folder };
        apt.configure(&mirror).context("writing a configuration for apt")?;
        command::heading(&format!("asking the Debian mirror for {suite}"));
        command::run(apt.command("apt-get").args(["-qq", "update"]))?;
        Ok(apt)
    }

    /// Downloads `packages` and all they depend on.
    ///
    /// # Errors
    /// When apt cannot find or fetch one.
    pub(super) fn download(&self, packages: &[String]) -> Result<Vec<PathBuf>> {
        let archives = self.folder.path().join("cache/archives");
        for old in files_with_extension(&archives, "deb")? {
            fs::remove_file(&old).with_context(|| format!("removing {}", old.display()))?;
        }
        command::run(
            self.command("apt-get")
                .args(["-qq", "install", "--download-only", "--yes", "--no-install-recommends"])
                .args(packages),
        )?;
        files_with_extension(&archives, "deb")
    }

    /// Downloads the upstream part of a source package.
    ///
    /// # Errors
    /// When apt cannot find or fetch it.
    pub(super) fn download_source(&self, package: &str) -> Result<PathBuf> {
        let folder = self.folder.path().join("source");
        fs::create_dir_all(&folder).context("making a folder for the source package")?;
        command::run(
            self.command("apt-get")
                .args(["-qq", "source", "--download-only", package])
                .current_dir(&folder),
        )?;
        files_with_extension(&folder, "xz")?
            .into_iter()
            .find(|path| path.to_string_lossy().contains(".orig.tar."))
            .with_context(|| format!("the source package {package} has no .orig.tar.xz"))
    }

    /// Room beside the lists that goes away with them.
    pub(super) fn scratch(&self) -> PathBuf {
        self.folder.path().join("scratch")
    }

    fn command(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        apt.env("APT_CONFIG", self.folder.path().join("apt.conf"));
        apt
    }

    fn configure(&self, mirror: &str) -> Result<()> {
        let root = self.folder.path();
        for folder in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(root.join(folder))?;
        }
        fs::write(root.join("status"), "")?;
        fs::write(root.join("apt.sources"), sources(self.suite, mirror))?;
        let dump = command::output(Command::new("apt-config").arg("dump"))?;
        fs::write(root.join("apt.conf"), configuration(root, &dump))?;
        Ok(())
    }
}

fn sources(suite: &str, mirror: &str) -> String {
    let signed =
        if Path::new(KEYRING).exists() { format!("Signed-By: {KEYRING}\n") } else { String::new() };
    format!("Types: deb deb-src\nURIs: {mirror}\nSuites: {suite}\nComponents: main\n{signed}")
}

/// How to reach a mirror is taken from the system (`dump`); where things are kept is not, and
/// neither are its hooks, which would clean the system's cache after our update.
fn configuration(root: &Path, dump: &str) -> String {
    let mut text: String = dump
        .lines()
        .filter(|line| line.starts_with("Acquire::"))
        .filter(|line| !line.starts_with("Acquire::IndexTargets"))
        .fold(String::new(), |text, line| text + line + "\n");
    let root = root.display();
    for (name, value) in [
        ("Dir::State", format!("{root}")),
        ("Dir::State::lists", format!("{root}/lists")),
        ("Dir::State::status", format!("{root}/status")),
        ("Dir::Cache", format!("{root}/cache")),
        ("Dir::Log", format!("{root}")),
        ("Dir::Etc::sourcelist", format!("{root}/apt.sources")),
        ("Dir::Etc::sourceparts", "/dev/null".to_owned()),
        ("Dir::Etc::main", "/dev/null".to_owned()),
        ("Dir::Etc::parts", "/dev/null".to_owned()),
        ("Dir::Etc::preferences", "/dev/null".to_owned()),
        ("Dir::Etc::preferencesparts", "/dev/null".to_owned()),
        ("Acquire::Languages", "none".to_owned()),
        // The folder is the user's own; root's is closed to apt's own user.
        ("APT::Sandbox::User", "root".to_owned()),
        ("Debug::NoLocking", "true".to_owned()),
    ] {
        let _ = writeln!(text, "{name} \"{value}\";");
    }
    text
}

/// The Debian mirror that the system itself is installed from.
fn mirror() -> Result<String> {
    let codename = fs::read_to_string("/etc/os-release")
        .ok()
        .and_then(|text| field(&text, "VERSION_CODENAME"))
        .context("/etc/os-release names no VERSION_CODENAME")?;
    let targets = command::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(COMPONENT) $(REPO_URI) $(BASE_URI)",
        "Created-By: Packages",
    ]))?;
    mirror_among(&targets, &codename)
        .with_context(|| format!("apt's sources name no mirror of Debian {codename}, section main"))
}

/// Of lines `COMPONENT REPOSITORY FOLDER-OF-THE-SUITE`, the repository of `codename` proper:
/// its updates and security fixes are repositories without other suites.
fn mirror_among(targets: &str, codename: &str) -> Option<String> {
    targets.lines().find_map(|line| {
        let (component, rest) = line.split_once(' ')?;
        let (repository, base) = rest.split_once(' ')?;
        let is_release = base.trim_end_matches('/').ends_with(&format!("/dists/{codename}"));
        (component == "main" && is_release).then(|| repository.to_owned())
    })
}

fn field(os_release: &str, name: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches('"').to_owned())
}

fn files_with_extension(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::{configuration, field, mirror_among};
    use std::path::Path;

    #[test]
    fn the_mirror_is_that_of_the_release_itself() {
        let targets = "main http://m/debian-security/ http://m/debian-security/dists/b-security/\n\
                       main http://m/debian/ http://m/debian/dists/b-updates/\n\
                       stable http://other/ http://other/dists/b/\n\
                       main http://m/debian/ http://m/debian/dists/b/\n";
        assert_eq!(mirror_among(targets, "b").as_deref(), Some("http://m/debian/"));
        assert_eq!(mirror_among(targets, "c"), None);
    }

    #[test]
    fn the_systems_proxy_is_kept_and_its_hooks_and_folders_are_not() {
        let dump = "Acquire::http::Proxy \"http://p\";\n\
                    APT::Update::Post-Invoke:: \"rm -f cache\";\n\
                    Dir::State \"var/lib/apt\";\n";
        let text = configuration(Path::new("/own"), dump);
        assert!(text.contains("Acquire::http::Proxy \"http://p\";"));
        assert!(!text.contains("Post-Invoke"));
        assert!(text.contains("Dir::State \"/own\";") && !text.contains("var/lib/apt"));
    }

    #[test]
    fn os_release_may_quote_its_values() {
        assert_eq!(field("A=1\nB=\"two\"\n", "B").as_deref(), Some("two"));
        assert_eq!(field("AB=1\n", "A"), None);
    }
}
