//! Empty probes at the sites of a plan: what tracing costs before it does anything. For the
//! benchmark.

use super::{attach, error::ProbeError, object};
use crate::plan::ProbePlan;
use aya::{Ebpf, EbpfLoader};

/// Attached empty probes; dropping it detaches them.
pub struct Floor {
    _ebpf: Ebpf,
}

impl Floor {
    /// Places empty entry and return probes wherever the plan has probes.
    ///
    /// # Errors
    /// As for [`super::Probes::load`].
    pub fn attach(plan: &ProbePlan, tgid: u32) -> Result<Self, ProbeError> {
        let mut loader = EbpfLoader::new();
        for map in
            ["OUTLIVE_LIVE", "OUTLIVE_STACKS", "OUTLIVE_SLOTS", "OUTLIVE_THREADS", "OUTLIVE_MEMORY"]
        {
            loader.map_max_entries(map, 1);
        }
        let mut ebpf = loader.load(object::embedded()?).map_err(ProbeError::object)?;
        for point in &plan.points {
            place(&mut ebpf, "floor_enter", point.probe_offset, &point.file, tgid)?;
            for exit in &point.exits {
                place(&mut ebpf, "floor_enter", *exit, &point.file, tgid)?;
            }
            if point.function.has_return_probe() {
                place(&mut ebpf, "floor_return", point.return_offset(), &point.file, tgid)?;
            }
        }
        Ok(Self { _ebpf: ebpf })
    }
}

fn place(
    ebpf: &mut Ebpf,
    name: &'static str,
    offset: u64,
    file: &std::path::Path,
    tgid: u32,
) -> Result<(), ProbeError> {
    attach::loaded(ebpf, name)?
        .attach(offset, file, attach::scope(tgid))
        .map(drop)
        .map_err(|error| ProbeError::Calibration(error.to_string()))
}
