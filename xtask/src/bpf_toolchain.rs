//! Finds what compiles the kernel side: a compiler with the sources of `core` that match it,
//! and a bpf-linker whose LLVM can read what that compiler writes. On Debian, as root,
//! installs what is missing; elsewhere names it. Does not build anything of outlive.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{command, debian, workspace};

/// Version of the linker that the kernel-side crates were tried with.
const BPF_LINKER_VERSION: &str = "0.13.0";

/// LLVM versions that [`BPF_LINKER_VERSION`] can be built for (its `llvm-N` features).
const BPF_LINKER_LLVMS: std::ops::RangeInclusive<u32> = 21..=23;

/// What to type where nothing can be installed for the user.
const HOW_TO_INSTALL: &str = "the kernel side needs a nightly compiler with the sources of core, \
     and bpf-linker; install them with:\n    \
     rustup toolchain install nightly --component rust-src\n    \
     cargo install bpf-linker --version 0.13.0   (see its BUILDING.md for the LLVM it needs)\n\
     On Debian, `sudo cargo xtask build` installs Debian's own compiler instead.";

/// A compiler, its sources of core, and the linker that goes with them.
#[derive(Debug)]
pub struct BpfToolchain {
    /// Program and first arguments that start cargo.
    cargo: Vec<OsString>,
    /// The compiler cargo is to use, where it is not cargo's own.
    rustc: Option<PathBuf>,
    /// Folder that has `bpf-linker`; `None` when it is in PATH already.
    linker_dir: Option<PathBuf>,
}

impl BpfToolchain {
    /// `cargo VERB` for the eBPF target.
    pub fn cargo(&self, verb: &str) -> Command {
        let mut cargo = Command::new(&self.cargo[0]);
        cargo.args(&self.cargo[1..]).arg(verb);
        self.dress(cargo)
    }

    /// `cargo clippy` for the eBPF target; Debian packages it apart from the compiler.
    ///
    /// # Errors
    /// When the package is missing and cannot be installed.
    pub fn clippy(&self) -> Result<Command> {
        if self.rustc.is_none() {
            return Ok(self.cargo("clippy"));
        }
        debian::ensure(&["rust-web-clippy"], "linting the kernel side")?;
        let driver = debian::files_of("rust-web-clippy")
            .into_iter()
            .find(|path| path.ends_with("/bin/cargo-clippy"))
            .context("the package rust-web-clippy is installed but brings no bin/cargo-clippy")?;
        let mut clippy = Command::new(driver);
        clippy.arg("clippy");
        Ok(self.dress(clippy))
    }

    fn dress(&self, mut command: Command) -> Command {
        // `cargo xtask` runs under the host's toolchain: nothing of it may reach this build.
        for name in [
            "CARGO",
            "LD_LIBRARY_PATH",
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUSTUP_TOOLCHAIN",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
        ] {
            command.env_remove(name);
        }
        if let Some(rustc) = &self.rustc {
            command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
        }
        if let Some(dir) = &self.linker_dir {
            command.env("PATH", path_with_first(dir));
        }
        command.current_dir(workspace::root().join("tracer-ebpf"));
        command
    }
}

/// Finds the toolchain, installing what is missing where that is possible.
///
/// # Errors
/// Names the missing prerequisite and how to install it, or what failed while installing.
pub fn ensure() -> Result<BpfToolchain> {
    if let Some(toolchain) = rustup_nightly()? {
        return Ok(toolchain);
    }
    if !debian::is_debian() {
        bail!("{HOW_TO_INSTALL}");
    }
    debian::ensure(
        &["rustc-web", "rust-web-src", "gcc", "libc6-dev"],
        "compiling the kernel side",
    )?;
    let rustc = debian_rustc()?;
    let llvm = llvm_major(&rustc)?;
    Ok(BpfToolchain {
        cargo: vec!["cargo".into()],
        linker_dir: Some(debian_linker(llvm)?),
        rustc: Some(rustc),
    })
}

/// A rustup nightly that has rust-src, with a linker; `None` when there is none.
fn rustup_nightly() -> Result<Option<BpfToolchain>> {
    let Some(sysroot) = command::probe(
        Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]),
    ) else {
        return Ok(None);
    };
    let sources = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core");
    if !sources.is_dir() {
        return Ok(None);
    }
    let tools = workspace::tools_dir()?.join("bin");
    let linker_dir = match command::which("bpf-linker") {
        Some(_) => None,
        None if tools.join("bpf-linker").is_file() => Some(tools),
        None => bail!(
            "a nightly compiler with rust-src is here, bpf-linker is not; install it with:\n    \
             cargo install bpf-linker --version {BPF_LINKER_VERSION}   \
             (see its BUILDING.md for the LLVM it needs)"
        ),
    };
    Ok(Some(BpfToolchain {
        cargo: ["rustup", "run", "nightly", "cargo"].map(OsString::from).to_vec(),
        rustc: None,
        linker_dir,
    }))
}

/// The compiler of Debian's rustc-web, checked to have its sources beside it.
fn debian_rustc() -> Result<PathBuf> {
    let rustc = debian::files_of("rustc-web")
        .into_iter()
        .find(|path| path.ends_with("/bin/rustc"))
        .map(PathBuf::from)
        .context("the package rustc-web is installed but brings no bin/rustc")?;
    let sysroot = command::output(Command::new(&rustc).args(["--print", "sysroot"]))?;
    let sources = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core");
    if !sources.is_dir() {
        bail!(
            "{} has no sources of core at {}; reinstall them: apt-get install --reinstall rust-web-src",
            rustc.display(),
            sources.display()
        );
    }
    Ok(rustc)
}

/// LLVM's major version in `rustc -vV`.
fn llvm_major(rustc: &Path) -> Result<u32> {
    let text = command::output(Command::new(rustc).arg("-vV"))?;
    parse_llvm_major(&text)
        .with_context(|| format!("`{} -vV` names no LLVM version:\n{text}", rustc.display()))
}

fn parse_llvm_major(verbose_version: &str) -> Option<u32> {
    verbose_version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?
        .split('.')
        .next()?
        .parse()
        .ok()
}

/// Folder with a bpf-linker for `llvm`, built there when it is not yet.
fn debian_linker(llvm: u32) -> Result<PathBuf> {
    let tools = workspace::tools_dir()?;
    if has_linker(&tools, llvm) {
        return Ok(tools.join("bin"));
    }
    if !BPF_LINKER_LLVMS.contains(&llvm) {
        bail!(
            "Debian's compiler uses LLVM {llvm}, bpf-linker {BPF_LINKER_VERSION} supports {} to {}; \
             raise BPF_LINKER_VERSION in xtask/src/bpf_toolchain.rs",
            BPF_LINKER_LLVMS.start(),
            BPF_LINKER_LLVMS.end()
        );
    }
    let dev = format!("llvm-{llvm}-dev");
    debian::ensure(&[&dev, "g++", "zlib1g-dev", "libzstd-dev"], "building bpf-linker")?;
    let llvm_config = format!("llvm-config-{llvm}");
    let bindir = command::output(Command::new(llvm_config).arg("--bindir"))?;
    command::heading("building bpf-linker (once; about two minutes)");
    command::run(
        Command::new("cargo")
            .args(["install", "bpf-linker", "--version", BPF_LINKER_VERSION])
            .args(["--no-default-features", "--features", &format!("llvm-{llvm}")])
            .args(["--locked", "--force", "--root"])
            .arg(&tools)
            .env_remove("CARGO_TARGET_DIR")
            .env("PATH", path_with_first(Path::new(bindir.trim()))),
    )?;
    Ok(tools.join("bin"))
}

/// Whether `tools` has a bpf-linker that starts and that cargo built for `llvm`.
fn has_linker(tools: &Path, llvm: u32) -> bool {
    let built_for_llvm = std::fs::read_to_string(tools.join(".crates2.json"))
        .is_ok_and(|text| is_built_for(&text, llvm));
    built_for_llvm
        && command::probe(Command::new(tools.join("bin/bpf-linker")).arg("--version")).is_some()
}

/// Reads cargo's own record of what `cargo install` built, and how.
fn is_built_for(crates2_json: &str, llvm: u32) -> bool {
    let Ok(record) = serde_json::from_str::<serde_json::Value>(crates2_json) else {
        return false;
    };
    let name = format!("bpf-linker {BPF_LINKER_VERSION} ");
    let feature = format!("llvm-{llvm}");
    record["installs"].as_object().is_some_and(|installs| {
        installs.iter().any(|(package, how)| {
            package.starts_with(&name)
                && how["features"]
                    .as_array()
                    .is_some_and(|features| features.iter().any(|f| f == feature.as_str()))
        })
    })
}

fn path_with_first(dir: &Path) -> OsString {
    let mut path = dir.as_os_str().to_owned();
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::{is_built_for, parse_llvm_major};

    #[test]
    fn the_llvm_version_is_read_from_rustc_vv() {
        let text = "rustc 1.96.0\nbinary: rustc\nLLVM version: 22.1.8\n";
        assert_eq!(parse_llvm_major(text), Some(22));
        assert_eq!(parse_llvm_major("rustc 1.96.0\n"), None);
    }

    #[test]
    fn a_linker_for_another_llvm_or_version_is_not_ours() {
        let record = |version: &str| {
            format!(r#"{{"installs":{{"bpf-linker {version} (x)":{{"features":["llvm-22"]}}}}}}"#)
        };
        assert!(is_built_for(&record("0.13.0"), 22));
        assert!(!is_built_for(&record("0.13.0"), 23));
        assert!(!is_built_for(&record("0.12.0"), 22));
        assert!(!is_built_for("not json", 22));
    }
}
