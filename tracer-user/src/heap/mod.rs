//! The heap of a process, read from outside: what lies in it, what grew, and who holds it. Nothing
//! is injected or written; the process is stopped only by [`stop`], and never for long.
//!
//! Memory that is read is hostile: every read is of an [`Image`], which knows its bounds.

mod budget;
mod buffer;
pub mod copy;
mod copy_error;
pub mod duplicates;
pub mod image;
pub mod native;
mod page_index;
mod plan;
pub mod python;
mod region;
mod stacks;
mod stop;
mod transfer;
mod urgent;
pub mod v8;

pub use copy::Copied;
pub use copy_error::CopyError;
pub use image::{Image, Region, RegionKind};
pub use plan::{Plan, plan, plan_of};
pub use stop::{StopError, ThreadRegisters};
