//! Puts the kernel-side object where `include_bytes!` finds it. Without one it leaves an empty
//! stub, so that check and clippy run where no BPF toolchain is; the stub refuses to load.

use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context, Result};

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
    fs::write(&out, object).with_context(|| format!("writing {}", out.display()))
}
