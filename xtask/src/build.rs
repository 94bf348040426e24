//! Verb `build`: the kernel-side object, then the `outlive` binary that embeds it.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{bpf_toolchain, command, workspace};

/// Arguments of `cargo xtask build`.
#[derive(Debug, clap::Args)]
pub struct BuildArgs {
    /// Build outlive optimised, to target/release/outlive (the kernel side always is)
    #[arg(long)]
    release: bool,
    /// Stop after the kernel-side object, target/bpf/outlive.bpf.o
    #[arg(long)]
    bpf_only: bool,
}

/// Runs the verb.
///
/// # Errors
/// When the toolchain is missing or a build fails.
pub fn run(args: &BuildArgs) -> Result<()> {
    bpf_object()?;
    if args.bpf_only {
        return Ok(());
    }
    outlive(args.release)
}

/// Builds `target/bpf/outlive.bpf.o`. The file is replaced only when its content changed, so
/// that nothing behind it is built again for nothing.
///
/// # Errors
/// When the toolchain is missing or the build fails.
pub fn bpf_object() -> Result<()> {
    let toolchain = bpf_toolchain::ensure()?;
    let crate_dir = workspace::root().join("tracer-ebpf");
    command::run(toolchain.cargo("build").arg("--release"))
        .context("building the kernel side (tracer-ebpf)")?;
    let built = crate_dir.join("target/bpfel-unknown-none/release/outlive");
    let bytes = fs::read(&built).with_context(|| format!("reading {}", built.display()))?;
    let object = workspace::bpf_object();
    if fs::read(&object).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(dir) = object.parent() {
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    }
    let beside = object.with_extension("o.new");
    fs::write(&beside, bytes)
        .and_then(|()| fs::rename(&beside, &object))
        .with_context(|| format!("writing {}", object.display()))
}

/// Builds the `outlive` binary around the object that is there.
///
/// # Errors
/// When cargo fails.
pub fn outlive(release: bool) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--package", "tracer-user"]).current_dir(workspace::root());
    if release {
        cargo.arg("--release");
    }
    command::run(&mut cargo)
}
