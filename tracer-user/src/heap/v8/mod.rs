//! The heap of a V8, from a snapshot that it makes of itself: constructors, who holds their
//! objects, and strings that are there many times. The text of a snapshot is taken in piece by
//! piece and never kept; of its strings only names are, cut short: the contents of the program's
//! own strings go by unread. Pure: whoever has a snapshot made brings its text.

mod chain;
mod columns;
mod duplicates;
mod findings;
mod graph;
mod header;
mod label;
mod names;
mod numbers;
mod reader;
mod sampled;
mod strings;

pub use columns::Snapshot;
pub use findings::{Asked, Findings, find};
pub use reader::{Reader, SnapshotError};
pub use sampled::{Sampled, objects_of_sample};

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod made_up;
#[cfg(test)]
mod tests;
