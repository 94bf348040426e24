//! What a recording says about the session: target, host, window, settings, mapped files.

use super::{
    Config,
    governor::Governed,
    regime,
    setup::{self, Started},
};
use crate::{
    capture::{EndReason, Host, MappedFile, Meta, Settings, TargetMeta, Window},
    symbol::Resolver,
    target,
};
use std::time::{SystemTime, UNIX_EPOCH};

/// The code files of an image.
pub fn mapped_files(image: u32, resolver: &Resolver) -> Vec<MappedFile> {
    let captured = resolver.mappings_for_capture().into_iter();
    captured
        .map(|mapping| MappedFile {
            image,
            start_avma: mapping.start_avma,
            end_avma: mapping.end_avma,
            file_offset: mapping.file_offset,
            path: mapping.path.display().to_string(),
            build_id: mapping.build_id,
        })
        .collect()
}

/// What is known about the session when it begins.
pub fn describe(config: &Config, started: &Started) -> Meta {
    let target = &started.target;
    let (runtime, runtime_version) = setup::runtime_of(started);
    let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let release = target::kernel::Release::running().map(|(_, text)| text).unwrap_or_default();
    Meta {
        outlive_version: env!("CARGO_PKG_VERSION").into(),
        target: TargetMeta {
            pid: target.tgid,
            exe: target.exe.display().to_string(),
            cmdline: target.cmdline.join(" "),
            runtime,
            runtime_version,
            container: target.container.clone(),
            cgroup: target.cgroup.clone(),
        },
        host: Host { kernel_release: release, machine: std::env::consts::ARCH.into() },
        window: Window {
            start_unix_ns: start.as_nanos() as u64,
            duration_ns: 0,
            interval_ns: config.interval.as_nanos() as u64,
        },
        settings: Settings {
            min_size_bytes: config.min_size_bytes,
            probes: started
                .plan
                .points
                .iter()
                .map(|point| {
                    let names = point.symbols.join(", ");
                    format!("{names} in {}", point.display_path.display())
                })
                .collect(),
        },
        lane: started.lane.recorded(),
        regimes: vec![regime::recorded(&regime::first(config), 0, 0, regime::AS_ASKED)],
        governor: started.governed.as_ref().map(Governed::meta),
        end: EndReason::Unknown,
        ..Meta::default()
    }
}
