//! Brings the object and its maps into the kernel, in the sizes and with the configuration that
//! were decided before.

use super::{
    error::ProbeError, kernel_layout, mapped::MappedArray, object, settings::Settings,
    unwind_tables::TableSizes,
};
use aya::{Ebpf, EbpfLoader, maps::MapError};
use tracer_common::config::Config;

/// The configuration as a global.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct ConfigGlobal(Config);
// SAFETY: plain integers without padding.
unsafe impl aya::Pod for ConfigGlobal {}

/// The object in the kernel, with its maps in the sizes that are wanted; no program is loaded yet.
///
/// # Errors
/// When the object does not fit, or the kernel refuses a map.
pub fn load_object(settings: &Settings, sizes: TableSizes) -> Result<Ebpf, ProbeError> {
    let object = object::embedded()?;
    let config = ConfigGlobal(Config {
        follow: u32::from(settings.follow),
        verbose: u32::from(settings.verbose),
        max_slots: settings.limits.all_slots(),
        pid_namespace: settings.pid_namespace,
        kernel: kernel_layout::read().map_err(ProbeError::KernelLayout)?,
    });
    EbpfLoader::new()
        .override_global("CONFIG", &config, true)
        .map_max_entries("OUTLIVE_LIVE", settings.limits.max_live)
        .map_max_entries("OUTLIVE_STACKS", settings.limits.max_stacks)
        .map_max_entries("OUTLIVE_SLOTS", settings.limits.all_slots())
        .map_max_entries("OUTLIVE_THREADS", settings.limits.max_threads)
        .map_max_entries("OUTLIVE_ROWS", sizes.rows / 2)
        .map_max_entries("OUTLIVE_PAGES", sizes.pages / 2)
        .map_max_entries("OUTLIVE_EVENTS", settings.limits.ring_bytes)
        .load(object)
        .map_err(ProbeError::object)
}

/// The map `name`, mapped into our memory.
///
/// # Errors
/// When there is none, or it cannot be mapped.
pub fn mapped<T: Copy>(
    ebpf: &mut Ebpf,
    name: &str,
    length: usize,
) -> Result<MappedArray<T>, ProbeError> {
    let map = ebpf.take_map(name).ok_or_else(|| no_map(name))?;
    MappedArray::new(map, length).map_err(|error| ProbeError::Map(format!("{name}: {error}")))
}

/// The map `name`.
///
/// # Errors
/// When there is none of that kind.
pub fn taken<T: TryFrom<aya::maps::Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &str,
) -> Result<T, ProbeError> {
    let map = ebpf.take_map(name).ok_or_else(|| no_map(name))?;
    T::try_from(map).map_err(ProbeError::map)
}

/// The object lacks a map.
pub fn no_map(name: &str) -> ProbeError {
    ProbeError::Map(format!("no map {name}"))
}
