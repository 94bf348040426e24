//! Where things are: the workspace's own folders and the cache for tools built outside it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The workspace's root folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Where cargo builds the host crates: `CARGO_TARGET_DIR` or `<root>/target`.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |dir| root().join(PathBuf::from(dir)))
}

/// The finished kernel-side object. `tracer-user/build.rs` looks for it at this very place.
pub fn bpf_object() -> PathBuf {
    root().join("target/bpf/outlive.bpf.o")
}

/// The release binary of outlive.
pub fn outlive_binary() -> PathBuf {
    target_dir().join("release/outlive")
}

/// Where the integration tests put the C targets that they compile.
pub fn c_targets_dir() -> PathBuf {
    target_dir().join("tmp/c")
}

/// Tools that outlast `cargo clean`.
///
/// # Errors
/// When neither `XDG_CACHE_HOME` nor `HOME` is set.
pub fn tools_dir() -> Result<PathBuf> {
    Ok(cache_dir()?.join("tools"))
}

/// Interpreters that the tests trace and that the system does not have, for the same reason.
///
/// # Errors
/// When neither `XDG_CACHE_HOME` nor `HOME` is set.
pub fn interpreters_dir() -> Result<PathBuf> {
    Ok(cache_dir()?.join("interpreters"))
}

/// What outlasts `cargo clean`: `$XDG_CACHE_HOME` or `~/.cache`, then `outlive`.
///
/// # Errors
/// When neither `XDG_CACHE_HOME` nor `HOME` is set.
pub fn cache_dir() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .context(
            "neither XDG_CACHE_HOME nor HOME is set: no place for what is fetched and built once",
        )?;
    Ok(cache.join("outlive"))
}
