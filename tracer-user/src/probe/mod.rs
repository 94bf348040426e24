//! The probes: loads the kernel side, attaches it by plan, reads it once a tick. The only user of
//! aya, and the home of nearly all `unsafe`.

mod attach;
mod batches;
mod calibrate;
mod detacher;
mod drain;
mod error;
mod events;
mod floor;
mod keeper;
mod kernel_layout;
mod kernel_log;
mod kernel_memory;
mod live_blocks;
mod load;
mod mapped;
mod mapping_account;
mod object;
mod overhead;
mod probes;
mod process_table;
mod processes;
mod settings;
mod signals;
mod slot_totals;
mod sweep;
mod trial;
mod unwind_tables;
mod urgency;

pub use calibrate::TrapCost;
pub use error::ProbeError;
pub use events::Event;
pub use floor::Floor;
pub use kernel_log::KernelLog;
pub use kernel_memory::of_open_maps as kernel_memory_bytes;
pub use live_blocks::{LiveBlocks, MAX_LIVE_BLOCKS};
pub use object::ObjectError;
pub use probes::Probes;
pub use processes::Traced;
pub use settings::{Limits, Settings};
pub use trial::{Accepted, load_every_program};
