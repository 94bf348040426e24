//! The steps from following everything to following nothing.

/// What kind of step it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// As it was asked for.
    Asked,
    /// Smaller blocks are not followed.
    Floor,
    /// Blocks are sampled.
    Sampled,
    /// Few blocks are sampled, and their stacks are short.
    Coarse,
    /// The same, in windows: between them the allocator has no probes.
    Windows,
    /// Mapping calls only.
    MappingsOnly,
    /// Nothing.
    Detached,
}

/// A step at which the allocator has its probes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rung {
    /// Which.
    pub step: Step,
    /// Share of hits that belong to blocks that are followed, compared with the first rung: a guess,
    /// until it is measured.
    pub followed: f64,
}

/// The rungs of a session; `is_sampled` and `has_floor` say what was asked for already.
pub fn rungs(has_floor: bool, is_sampled: bool) -> Vec<Rung> {
    let mut rungs = vec![Rung { step: Step::Asked, followed: 1.0 }];
    if !has_floor && !is_sampled {
        rungs.push(Rung { step: Step::Floor, followed: 0.5 });
    }
    if !is_sampled {
        rungs.push(Rung { step: Step::Sampled, followed: 0.1 });
    }
    rungs.push(Rung { step: Step::Coarse, followed: 0.02 });
    rungs
}
