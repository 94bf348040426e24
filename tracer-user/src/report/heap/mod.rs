//! What heaps that were looked at from outside answer: which containers grow, who holds what a
//! finding is about, and whether anybody does.

mod about;
mod alike;
mod containers;
mod grown_types;
mod in_words;
mod join;
mod name;
#[cfg(test)]
mod tests;
mod wanted;

pub(super) use about::is_counted;
pub(super) use alike::{Alike, together};
pub(super) use containers::judge;
pub use in_words::{filled_by_these, grown_containers, held_by, held_by_of};
pub(super) use join::{ByStack, answer, join};
pub use wanted::{WantedStack, wanted_stacks};
