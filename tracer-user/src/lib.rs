//! outlive: which stacks of a running process hold its memory, and which keep growing.
//!
//! See ARCHITECTURE.md for the data flow and for who may import whom.

pub mod aggregate;
pub mod capture;
pub mod check;
pub mod cli;
#[cfg(test)]
mod fuzz;
pub mod governor;
pub mod growth;
pub mod health;
pub mod heap;
pub mod ledger;
pub mod plan;
pub mod printable;
pub mod probe;
pub mod report;
pub mod runtime;
pub mod same;
pub mod session;
pub mod stack;
pub mod stderr;
pub mod symbol;
pub mod target;
pub mod tick;
pub mod units;
pub mod unwind;
pub mod warning;
mod work_time;
