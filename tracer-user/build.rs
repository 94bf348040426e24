//! Puts the kernel-side object where `include_bytes!` finds it. Without one it leaves an empty
//! stub, so that check and clippy run where no BPF toolchain is; the stub refuses to load. Beside it
//! the library that `run` preloads, which takes nothing but the compiler that is at work anyway.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

/// Names another object than the one `cargo xtask build` made.
const OBJECT_VARIABLE: &str = "OUTLIVE_BPF_OBJECT";

fn main() -> Result<()> {
    let manifest_dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let built = manifest_dir.join("../target/bpf/outlive.bpf.o");
    println!("cargo:rerun-if-env-changed={OBJECT_VARIABLE}");
    // A path that does not exist counts as changed, so the stub is replaced once it appears.
    println!("cargo:rerun-if-changed={}", built.display());
    println!("cargo:rerun-if-changed=build.rs");

    let named = env::var_os(OBJECT_VARIABLE).map(PathBuf::from);
    let object = match named {
        Some(path) => {
            println!("cargo:rerun-if-changed={}", path.display());
            fs::read(&path)
                .with_context(|| format!("reading {OBJECT_VARIABLE}={}", path.display()))?
        }
        None if built.is_file() => {
            fs::read(&built).with_context(|| format!("reading {}", built.display()))?
        }
        None => Vec::new(),
    };
    let out = PathBuf::from(env::var("OUT_DIR")?).join("outlive.bpf.o");
    fs::write(&out, object).with_context(|| format!("writing {}", out.display()))?;
    preload(&manifest_dir)
}

/// Builds the preloaded library from the files of `preload/`. Not by cargo, which knows no way to
/// embed one crate's library into another: it is one crate without dependencies.
fn preload(manifest_dir: &Path) -> Result<()> {
    let library = PathBuf::from(env::var("OUT_DIR")?).join("outlive-lane.so");
    let sources = manifest_dir.join("preload/src");
    println!("cargo:rerun-if-changed={}", sources.display());
    let shared = manifest_dir.join("../tracer-common/src/lane.rs");
    println!("cargo:rerun-if-changed={}", shared.display());
    if env::var("CARGO_CFG_TARGET_ARCH")? != "x86_64" {
        return fs::write(&library, []).context("writing an empty library");
    }
    let mut rustc = Command::new(env::var_os("RUSTC").context("cargo names no compiler")?);
    rustc.args(["--edition", "2024", "--crate-type", "cdylib", "--crate-name", "outlive_lane"]);
    rustc.args(["--target", &env::var("TARGET")?, "--cfg", "lane_library"]);
    // No unwinding: there is nobody below it whom an exception of its own would concern.
    for option in [
        "opt-level=3",
        "panic=abort",
        "codegen-units=1",
        "force-unwind-tables=yes",
        "strip=debuginfo",
    ] {
        rustc.args(["-C", option]);
    }
    // It needs no library, not even libc: what it finds of that is already there.
    for argument in ["-nostdlib", "-nostartfiles", "-Wl,-z,now", "-Wl,-soname,outlive-lane"] {
        rustc.args(["-C", &format!("link-arg={argument}")]);
    }
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut option = std::ffi::OsString::from("linker=");
        option.push(linker);
        rustc.arg("-C").arg(option);
    }
    let status = rustc
        .arg(sources.join("lib.rs"))
        .arg("-o")
        .arg(&library)
        .status()
        .context("starting the compiler for the preloaded library")?;
    ensure!(status.success(), "the preloaded library (tracer-user/preload) does not compile");
    Ok(())
}
