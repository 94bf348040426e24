//! The kernel-side object that is embedded in this binary, and whether it fits.

use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use tracer_common::ABI_VERSION;

/// The object, at an address that an ELF reader can use.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/outlive.bpf.o"));

/// Why the embedded object cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ObjectError {
    /// Built without the BPF toolchain.
    #[error(
        "this outlive was built without its kernel side; build it with `cargo xtask build --release`, which also installs or names what that needs"
    )]
    Missing,
    /// Not readable as ELF, or without its version.
    #[error(
        "the kernel side inside this outlive is damaged ({0}); build it anew with `cargo xtask build --release`"
    )]
    Damaged(String),
    /// Built from other sources than the user side.
    #[error(
        "the kernel side inside this outlive speaks version {found} and the user side version {ABI_VERSION}; build both anew with `cargo xtask build --release`"
    )]
    Version {
        /// Version in the object.
        found: u32,
    },
}

/// The embedded object, checked.
pub fn embedded() -> Result<&'static [u8], ObjectError> {
    check(OBJECT)?;
    Ok(OBJECT)
}

fn check(object: &[u8]) -> Result<(), ObjectError> {
    if object.is_empty() {
        return Err(ObjectError::Missing);
    }
    let found = abi_version(object).map_err(ObjectError::Damaged)?;
    if found == ABI_VERSION { Ok(()) } else { Err(ObjectError::Version { found }) }
}

/// The `ABI` global of an object.
fn abi_version(object: &[u8]) -> Result<u32, String> {
    let file = object::File::parse(object).map_err(|error| error.to_string())?;
    let symbol = file
        .symbols()
        .find(|symbol| symbol.name() == Ok("ABI"))
        .ok_or_else(|| "it does not say its version".to_owned())?;
    let section = symbol.section_index().ok_or_else(|| "its version has no place".to_owned())?;
    let data = file
        .section_by_index(section)
        .and_then(|section| section.data())
        .map_err(|error| error.to_string())?;
    let start = symbol.address() as usize;
    let bytes = data.get(start..start.saturating_add(4)).ok_or("its version lies outside")?;
    Ok(u32::from_le_bytes(bytes.try_into().map_err(|_| "its version is short".to_owned())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_says_how_to_build_it() {
        assert_eq!(check(&[]), Err(ObjectError::Missing));
    }

    #[test]
    fn garbage_is_refused() {
        assert!(matches!(check(b"\x7fELF garbage"), Err(ObjectError::Damaged(_))));
    }
}
