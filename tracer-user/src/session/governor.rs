//! Does what the governor decides: begins regimes, lets probes in again, forgets what a pause leaves
//! unknown, and says every step.

use super::{
    Config,
    cost_watch::{CostWatch, Told},
    watch::Session,
};
use crate::{
    capture::{EndReason, GovernorMeta, GovernorStep},
    governor::{Budget, Decision, Order, Rung, Step, rungs},
    probe::Probes,
    units,
};
use anyhow::Result;
use std::time::Instant;
use tracer_common::{regime::Regime, sampling::MAX_MEAN_BYTES};

/// Blocks below this are left out at [`Step::Floor`]; bytes.
const FLOOR_BYTES: u64 = 256;
/// Mean distances between samples at [`Step::Sampled`] and [`Step::Coarse`]; bytes.
const SAMPLED_BYTES: u64 = 64 << 10;
const COARSE_BYTES: u64 = 512 << 10;
/// Frames of a stack at [`Step::Coarse`].
const SHORT_STACK: u32 = 16;

/// What a session knows of its governor.
pub struct Governed {
    watch: Option<CostWatch>,
    rungs: Vec<Rung>,
    asked: Regime,
    budget: Budget,
    /// Since when the allocator's probes are out.
    paused_since: Option<Instant>,
    /// To be put in as soon as what was followed before is forgotten.
    waiting: Option<usize>,
}

impl Governed {
    /// Begins to watch what the probes cost, before the first goes in; `None` where no budget is to
    /// be held.
    pub fn begin(config: &Config, asked: Regime, probes: &mut Probes) -> Option<Self> {
        let budget = Budget { share: config.max_overhead? };
        let rungs = rungs(asked.min_size_bytes >= FLOOR_BYTES, asked.sample_mean_bytes > 0);
        let watch = CostWatch::begin(budget, rungs.clone(), config.follow, probes.handles()?);
        Some(Self { watch: Some(watch), rungs, asked, budget, paused_since: None, waiting: None })
    }

    /// What the recording says of it.
    pub fn meta(&self) -> GovernorMeta {
        GovernorMeta { budget_share: self.budget.share, ..GovernorMeta::default() }
    }

    /// How blocks are followed at a rung.
    fn regime(&self, rung: usize) -> Regime {
        let asked = self.asked;
        match self.rungs.get(rung).map(|rung| rung.step) {
            Some(Step::Floor) => Regime { min_size_bytes: FLOOR_BYTES, ..asked },
            Some(Step::Sampled) => Regime { sample_mean_bytes: SAMPLED_BYTES, ..asked },
            Some(Step::Coarse) => Regime {
                sample_mean_bytes: COARSE_BYTES
                    .max(asked.sample_mean_bytes.saturating_mul(8))
                    .min(MAX_MEAN_BYTES),
                max_frames: SHORT_STACK,
                ..asked
            },
            _ => asked,
        }
    }
}

/// What is next of the governor; never without one.
pub async fn told(governed: &mut Option<Governed>) -> Told {
    match governed {
        Some(governed) => super::cost_watch::told(&mut governed.watch).await,
        None => std::future::pending().await,
    }
}

impl Session {
    /// Carries out what was decided; a reason when that is the end.
    pub(super) fn governed(&mut self, told: Told) -> Result<Option<EndReason>> {
        match told {
            Told::Decided(decision) => self.decided(decision),
            Told::Out => {
                self.forget_followed();
                self.is_blind = self.has_used_up_regimes;
                Ok(None)
            }
        }
    }

    fn decided(&mut self, decision: Decision) -> Result<Option<EndReason>> {
        let Some(governed) = &self.governed else { return Ok(None) };
        let why = why(&decision, governed.budget);
        match decision.order {
            Order::Regime(rung) => {
                let regime = governed.regime(rung);
                // Differences are taken within regimes.
                self.read_now()?;
                self.step(&decision, &why);
                self.enter_regime(regime, &why)?;
            }
            Order::TakeOut(step) => {
                self.step(&decision, &why);
                let paused = Regime { is_paused: 1, ..self.regime };
                self.enter_regime(paused, &why)?;
                self.pause_begins();
                self.is_blind = true;
                if step == Step::Detached {
                    self.is_left_alone = true;
                    return Ok(Some(EndReason::TooDear));
                }
            }
            Order::PutIn(rung) => {
                self.step(&decision, &why);
                if let Some(governed) = &mut self.governed {
                    governed.waiting = Some(rung);
                }
                self.put_probes_in()?;
            }
        }
        Ok(None)
    }

    /// What was followed so far has an end that nobody sees: its frees pass unseen.
    fn forget_followed(&mut self) {
        let forgotten = self.probes.forget_followed();
        if let Some(meta) = &mut self.recorder.recording.meta.governor {
            meta.forgotten_blocks += forgotten.blocks;
            meta.forgotten_bytes += forgotten.bytes;
        }
    }

    /// Puts probes in that wait for that, once nothing is left of what was followed before.
    pub(super) fn put_probes_in(&mut self) -> Result<()> {
        let Some(rung) = self.governed.as_ref().and_then(|governed| governed.waiting) else {
            return Ok(());
        };
        if !self.probes.has_forgotten() {
            return Ok(());
        }
        let Some(governed) = &mut self.governed else { return Ok(()) };
        governed.waiting = None;
        let regime = governed.regime(rung);
        self.read_now()?;
        self.enter_regime(regime, "the pause is over")?;
        self.pause_is_over();
        self.probes.let_in();
        for (tgid, followed) in &self.processes.followed {
            // One that is ending has no room for probes any more, and is told of elsewhere.
            if let Err(error) = self.probes.place(*tgid, &followed.plan) {
                log::info!("putting the probes of {tgid} in again: {error}");
            }
        }
        if let Some(watch) = self.governed.as_ref().and_then(|governed| governed.watch.as_ref()) {
            watch.went_in();
        }
        Ok(())
    }

    fn pause_begins(&mut self) {
        let Some(governed) = self.governed.as_mut().filter(|known| known.paused_since.is_none())
        else {
            return;
        };
        governed.paused_since = Some(Instant::now());
        if let Some(meta) = &mut self.recorder.recording.meta.governor {
            meta.pauses += 1;
        }
    }

    fn pause_is_over(&mut self) {
        let since = self.governed.as_mut().and_then(|governed| governed.paused_since.take());
        if let Some((since, meta)) = since.zip(self.recorder.recording.meta.governor.as_mut()) {
            meta.paused_ns += since.elapsed().as_nanos() as u64;
        }
    }

    /// Another step is told and recorded. Windows come and go without a word.
    fn step(&mut self, decision: &Decision, why: &str) {
        let recording = &mut self.recorder.recording;
        let Some(meta) = recording.meta.governor.as_mut().filter(|_| decision.is_new_step) else {
            return;
        };
        let step = GovernorStep {
            at_ns: self.began.elapsed().as_nanos() as u64,
            step: name(decision.step).to_owned(),
            cost_share: decision.cost_share,
        };
        self.recorder.console.say(&format!("{}: {why}", step.words()));
        meta.steps.push(step);
    }

    /// Holds the budget no more: all probes go. What was decided last is carried out: blocks that
    /// were freed while probes went out are not known to live.
    pub(super) fn end_governor(&mut self) -> Result<()> {
        if let Some(mut watch) = self.governed.as_mut().and_then(|governed| governed.watch.take()) {
            for told in watch.end() {
                // What the thread does by itself has been done; the rest is too late.
                let is_done = match told {
                    Told::Decided(one) => matches!(one.order, Order::TakeOut(_)),
                    Told::Out => true,
                };
                if is_done {
                    self.governed(told)?;
                }
            }
        }
        self.pause_is_over();
        Ok(())
    }
}

/// Name of a step in captures and reports.
const fn name(step: Step) -> &'static str {
    match step {
        Step::Asked => "as-asked",
        Step::Floor => "size-floor",
        Step::Sampled => "sampled",
        Step::Coarse => "sampled-short-stacks",
        Step::Windows => "windows",
        Step::MappingsOnly => "mappings-only",
        Step::Detached => "detached",
    }
}

fn why(decision: &Decision, budget: Budget) -> String {
    format!(
        "the probes were taking {} of the target's CPU time (--max-overhead {})",
        units::percent(decision.cost_share),
        units::percent(budget.share),
    )
}
