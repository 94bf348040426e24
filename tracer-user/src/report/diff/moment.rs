//! A moment of a recording, and what can be told of it: a recording has ticks, and between two of
//! them nothing is known.

use crate::aggregate::Aggregate;
use crate::capture::{Recording, Window};
use crate::stack::StackId;
use crate::units;
use std::time::Duration;

/// A moment of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Its beginning, when nothing had been allocated under our eyes.
    Start,
    /// So long after its beginning.
    After(Duration),
    /// Its end.
    End,
}

/// Why nothing is known of a moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    /// It lies behind the end.
    #[error(
        "{capture} was watched for {}, so there is nothing to tell of {} after its start; name an earlier moment, or @end",
        units::duration(*.window_ns),
        units::duration(*.asked_ns)
    )]
    BeyondEnd {
        /// As it was named.
        capture: String,
        /// How long the window is.
        window_ns: u64,
        /// What was asked for, since its beginning.
        asked_ns: u64,
    },
}

/// A tick comes a little late: one that is late by less than this part of the interval was meant
/// for the moment, and answers for it.
const LATE: u64 = 10;

/// What a moment is answered from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Place of a tick among those that were retained; `None` before the first.
    pub(super) tick: Option<usize>,
    /// Its time, nanoseconds since the session began; 0 before the first.
    pub(super) at_ns: u64,
    /// Processes that have ended by then are gone, nanoseconds since the session began.
    pub(super) gone_by_ns: u64,
}

impl Moment {
    /// The last time at which a tick belongs to it, nanoseconds since the session began; `None` for
    /// the end, to which all belong. A tick may be a little late: up to a tenth of the interval.
    ///
    /// # Errors
    /// When it lies behind the end of `recording`, which is called `capture`.
    pub fn until_ns(
        self,
        capture: &str,
        recording: &Recording,
    ) -> Result<Option<u64>, MomentError> {
        let duration = match self {
            Moment::End => return Ok(None),
            Moment::Start => Duration::ZERO,
            Moment::After(duration) => duration,
        };
        let asked_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let window_ns = length(&recording.meta.window, &ticks(&recording.aggregate));
        if asked_ns > window_ns {
            let capture = capture.to_owned();
            return Err(MomentError::BeyondEnd { capture, window_ns, asked_ns });
        }
        Ok(Some(asked_ns.saturating_add(recording.meta.window.interval_ns / LATE)))
    }

    /// The last retained tick at or before it, or as good as at it.
    pub(super) fn answer(
        self,
        capture: &str,
        recording: &Recording,
    ) -> Result<Answer, MomentError> {
        let ticks: Vec<u64> = ticks(&recording.aggregate);
        let count = match (self, self.until_ns(capture, recording)?) {
            (Moment::Start, _) => 0,
            (_, None) => ticks.len(),
            (_, Some(until_ns)) => ticks.partition_point(|at_ns| *at_ns <= until_ns),
        };
        let tick = count.checked_sub(1);
        let at_ns = tick.map_or(0, |index| ticks[index]);
        // One may have ended between the last tick and the end.
        let gone_by_ns = if self == Moment::End { u64::MAX } else { at_ns };
        Ok(Answer { tick, at_ns, gone_by_ns })
    }
}

/// Every stack has a sample for every retained tick, one that was never seen too.
fn ticks(aggregate: &Aggregate) -> Vec<u64> {
    aggregate.series(StackId(0)).samples.iter().map(|sample| sample.at_ns).collect()
}

/// The last tick may come a moment after the window's end.
fn length(window: &Window, ticks: &[u64]) -> u64 {
    window.duration_ns.max(ticks.last().copied().unwrap_or(0))
}
