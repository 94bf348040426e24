//! How births are followed, from one moment of a session to the next.

use super::{Config, watch::Session};
use crate::{capture, probe::ProbeError, warning::Warning};
use anyhow::Result;
use std::time::Duration;
use tracer_common::regime::Regime;

/// Why the first regime began.
pub const AS_ASKED: &str = "as asked for";

/// The regime that a session begins with.
pub fn first(config: &Config) -> Regime {
    Regime {
        sample_mean_bytes: config.sample_mean_bytes,
        min_size_bytes: config.min_size_bytes,
        ..Regime::EXACT
    }
}

/// A regime as a recording has it.
pub fn recorded(regime: &Regime, began_ns: u64, first_epoch: u32, why: &str) -> capture::Regime {
    capture::Regime {
        began_ns,
        first_epoch,
        sample_mean_bytes: regime.sample_mean_bytes,
        min_size_bytes: regime.min_size_bytes,
        max_frames: regime.max_frames,
        paused: regime.is_paused != 0,
        reason: why.to_owned(),
    }
}

impl Session {
    /// Begins what was asked for in advance and is due.
    pub(super) fn begin_due_regime(&mut self) -> Result<()> {
        let elapsed = self.began.elapsed();
        let Some(index) = self.config.later_means.iter().position(|(at, _)| *at <= elapsed) else {
            return Ok(());
        };
        let (_, sample_mean_bytes) = self.config.later_means.remove(index);
        self.begin_regime(Regime { sample_mean_bytes, ..self.regime }, AS_ASKED)
    }

    /// Follows births as `regime` says from now on, and records that with its time and `why`.
    ///
    /// Differences are taken within regimes only, so this belongs right behind a tick: what was
    /// gained between the last tick and the change is in no difference.
    ///
    /// # Errors
    /// When that cannot be recorded.
    pub(super) fn begin_regime(&mut self, regime: Regime, why: &str) -> Result<()> {
        if regime != self.regime {
            let words = recorded(&regime, 0, 0, why).words();
            self.recorder.console.say(&format!("from now on {words} is followed: {why}"));
        }
        self.enter_regime(regime, why)
    }

    /// As [`Self::begin_regime`], without a word on stderr.
    ///
    /// After too many of them no other can begin; the session ends then, with all that it has seen.
    ///
    /// # Errors
    /// As [`Self::begin_regime`].
    pub(super) fn enter_regime(&mut self, regime: Regime, why: &str) -> Result<()> {
        if regime == self.regime {
            return Ok(());
        }
        let now: Duration = self.began.elapsed();
        let epoch = self.epochs.begin_with_regime(now);
        match self.probes.begin_regime(&regime, epoch) {
            Err(ProbeError::RegimesUsedUp) => {
                self.has_used_up_regimes = true;
                return self.recorder.warn(&Warning::new(
                    "regimes-used-up",
                    "How blocks are followed has changed too often in this session to change again: it ends here.",
                    "Start another session. With a larger --max-overhead it changes less often.",
                ));
            }
            begun => begun?,
        }
        self.regime = regime;
        // Behind the kernel side: what is drawn meanwhile says by which regime.
        self.processes.order(self.probes.regime_number(), &regime);
        let recorded = recorded(&regime, now.as_nanos() as u64, epoch, why);
        self.recorder.recording.meta.regimes.push(recorded);
        Ok(())
    }
}
