//! The report: what a recording means, as a plain structure ([`Report`]) and its renderers. Reads
//! no clock and no files; the only module that knows inferno.

mod build;
pub mod diff;
mod evidence;
mod findings;
mod focus;
mod folded;
mod frames;
#[cfg(test)]
mod group_tests;
mod groups;
mod heap;
pub mod heap_look;
mod inlined;
mod javascript;
mod json;
mod ledger;
mod loss;
mod markdown;
mod model;
mod outcome;
mod places;
mod pprof;
#[cfg(test)]
mod process_tests;
mod processes;
mod profiles;
mod regimes;
mod resident;
mod source_lines;
mod summary;
mod svg;
mod telling;
#[cfg(test)]
mod telling_tests;
#[cfg(test)]
mod tests;
mod text;
mod v8;
#[cfg(test)]
mod v8_tests;

pub use build::build;
pub use folded::render as folded;
pub use heap::{
    WantedStack, filled_by_these, grown_containers, held_by, held_by_of, wanted_stacks,
};
pub use json::{render as json, write as write_json};
pub use markdown::render as markdown;
pub use model::*;
pub use outcome::outcome;
pub use places::{Place, comparable, label, named as place_name, places};
pub use pprof::render as pprof;
pub use source_lines::{WantedLine, wanted_lines};
pub use svg::render as svg;
pub use telling::Detail;
pub use text::render as text;
pub(crate) use text::write_stack;

/// What a flamegraph's widths mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Bytes that were live at the end.
    Live,
    /// Bytes that growing stacks gained over the window.
    Growth,
    /// Bytes born in the window.
    Allocated,
}

impl View {
    /// All views.
    pub const ALL: [View; 3] = [View::Live, View::Growth, View::Allocated];

    /// Name on the command line: `live`, `growth`, `allocated`.
    pub const fn name(self) -> &'static str {
        match self {
            View::Live => "live",
            View::Growth => "growth",
            View::Allocated => "allocated",
        }
    }
}
