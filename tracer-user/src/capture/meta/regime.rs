//! How births were followed, and from when.

use crate::units::bytes;
use serde::{Deserialize, Serialize};

/// A regime of a recording; its number is its place in the list. Numbers of different regimes are
/// not compared: a stack may be cut elsewhere, and small blocks be seen or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Regime {
    /// When it began, nanoseconds since the session did.
    pub began_ns: u64,
    /// Epoch of the first births in it; those of later epochs belong to it until another begins.
    pub first_epoch: u32,
    /// Mean distance between two samples, bytes; 0 where every block was followed.
    pub sample_mean_bytes: u64,
    /// Blocks smaller than this were not followed; bytes.
    pub min_size_bytes: u64,
    /// Frames of a stack that were walked at most, native and interpreted ones each.
    pub max_frames: u32,
    /// Whether no births were followed.
    pub paused: bool,
    /// Why it began.
    pub reason: String,
}

impl Regime {
    /// What is followed, in words: `1 in 64 KiB, blocks from 1 KiB, 16 frames`.
    pub fn words(&self) -> String {
        if self.paused {
            return "no births".to_owned();
        }
        let mut words = match self.sample_mean_bytes {
            0 => "every block".to_owned(),
            mean => format!("a sample of blocks, one in {} on average", bytes(mean)),
        };
        if self.min_size_bytes > 0 {
            words += &format!(", from {} on", bytes(self.min_size_bytes));
        }
        words
    }
}
