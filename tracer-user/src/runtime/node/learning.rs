//! How long the naming of one frame takes because something about it is new: functions, scripts,
//! code and source maps are the target's, and may be as many and as large as it likes.

use crate::work_time::work_time;
use std::time::{Duration, Instant};

/// Longest that new things about one frame are begun, in time of a processor: that others keep it
/// busy makes no frame larger.
const MAX_AT_ONCE: Duration = Duration::from_millis(250);

/// The time of one frame.
#[derive(Debug)]
pub(super) struct Learning {
    has_time: bool,
    /// When the first new thing was begun, and what the thread had worked by then.
    since: Option<(Instant, Duration)>,
    took: Duration,
    fell_short: bool,
}

impl Default for Learning {
    fn default() -> Self {
        Self { has_time: true, since: None, took: Duration::ZERO, fell_short: false }
    }
}

impl Learning {
    /// Whether there is time at all, for the frames from now on.
    pub(super) fn set_has_time(&mut self, has_time: bool) {
        self.has_time = has_time;
    }

    /// A frame begins.
    pub(super) fn begin(&mut self) {
        *self = Self { has_time: self.has_time, ..Self::default() };
    }

    /// Whether something new may be read now; where it may not, the frame is not known.
    pub(super) fn may_go_on(&mut self) -> bool {
        let may = self.has_time && {
            let now = work_time();
            let (_, before) = *self.since.get_or_insert_with(|| (Instant::now(), now));
            now.saturating_sub(before) < MAX_AT_ONCE
        };
        self.fell_short |= !may;
        may
    }

    /// Whether something was left out of the frame.
    pub(super) fn fell_short(&self) -> bool {
        self.fell_short
    }

    /// The frame ends.
    pub(super) fn end(&mut self) {
        self.took = self.since.map_or(Duration::ZERO, |(since, _)| since.elapsed());
    }

    /// What the last frame took from the first new thing on.
    pub(super) fn took(&self) -> Duration {
        self.took
    }
}
