//! By how much numbers of sampled sides may be wrong, at 95 %.

use super::matching::{Holding, Pair};
use super::moment::Answer;
use crate::capture::Recording;
use crate::growth::Drawn;
use crate::report::regimes;
use crate::stack::Domain;

/// How the blocks of a side were drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draws {
    /// `None` where every block was followed.
    drawn: Option<Drawn>,
    /// Before the first tick nothing was live, and no draw has told so.
    is_known_empty: bool,
}

impl Draws {
    /// Of a side at its moment.
    pub(super) fn of(recording: &Recording, answer: Answer) -> Self {
        Self { drawn: regimes::drawn(recording), is_known_empty: answer.tick.is_none() }
    }

    /// Mean distance between two draws, bytes; 0 where every block was followed.
    pub(super) fn mean_bytes(self) -> u64 {
        self.drawn.map_or(0, |drawn| drawn.mean_bytes)
    }

    /// Of the sum of what the side held in these places; `None` where it is exact. Bytes.
    pub(super) fn error_of<'a>(
        self,
        holdings: impl IntoIterator<Item = &'a Holding>,
    ) -> Option<f64> {
        let drawn = self.drawn?;
        if self.is_known_empty {
            return Some(0.0);
        }
        let (bytes, variance) = holdings.into_iter().fold((0_u64, 0_u64), |sum, one| {
            (sum.0.saturating_add(one.live_bytes), sum.1.saturating_add(one.live_variance))
        });
        Some(drawn.error_bytes(bytes, variance))
    }
}

/// Of the change of a place; `None` where it is exact. Blocks that both moments of one capture have
/// in common are drawn alike, so that the error of a difference is smaller there than this says.
pub(super) fn of_change(pair: &Pair, before: Draws, after: Draws) -> Option<u64> {
    let domain = pair.after.as_ref().or(pair.before.as_ref())?.domain;
    // Mappings are followed one and all; V8's own samples say their error in reports.
    if !matches!(domain, Domain::Malloc | Domain::Python) {
        return None;
    }
    of_difference(before.error_of(&pair.before), after.error_of(&pair.after))
}

/// Of a difference of two numbers with errors of their own, which know nothing of each other.
pub(super) fn of_difference(before: Option<f64>, after: Option<f64>) -> Option<u64> {
    (before.is_some() || after.is_some())
        .then(|| before.unwrap_or(0.0).hypot(after.unwrap_or(0.0)).round() as u64)
}
