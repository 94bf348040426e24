//! What the session and the thread that talks to an inspector say to each other.

use super::{naming::Originals, permission::Permission};
use crate::{
    capture::HeapMeta,
    runtime::node::inspector::{HeapProfile, Statistics},
    target::Target,
    warning::Warning,
};
use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

/// How the inspector came to be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It was, before this session.
    Listening,
    /// By a signal of this session.
    Signal,
    /// The command was started with it.
    Launched,
}

impl Way {
    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Way::Listening => "listening",
            Way::Signal => "signal",
            Way::Launched => "launched",
        }
    }
}

/// What the session wants.
#[derive(Clone, Copy, Debug)]
pub enum Command {
    /// All garbage collected, and a profile, now.
    Collect,
    /// A last profile, then the end.
    Finish {
        /// Whether all garbage is to be collected before.
        force_gc: bool,
    },
    /// A snapshot, after the last profile and where the order has it.
    Retainers,
}

/// What the thread tells.
#[derive(Debug)]
pub enum Told {
    /// Sampling has begun.
    Began {
        /// How.
        way: Way,
        /// Where the inspector listens.
        port: u16,
        /// Mean distance between two samples; bytes.
        interval_bytes: u64,
    },
    /// What is alive, and where places come from that were in no profile before.
    Profiles(Vec<HeapProfile>, Originals),
    /// What [`Command::Collect`] asked for is done; its profile came before.
    Collected,
    /// The heaps of these workers are gone.
    Gone(Vec<u32>),
    /// Something is less than it could be.
    Less(Warning),
    /// Something that people should know.
    Say(String),
    /// The last profile was told, and a snapshot can be asked for.
    Settled,
    /// What a snapshot showed, the profile by whose nodes it numbers stacks, and how long ago its
    /// making began.
    Retainers(Box<HeapMeta>, Option<HeapProfile>, Duration),
    /// What V8 says at the end, and how many heaps there are.
    Statistics(Statistics, u32),
    /// The end; whether the inspector is closed again, where this session opened it.
    Ended {
        /// `None` where it was not opened.
        closed: Option<bool>,
    },
}

/// Whether names of properties that may be data are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HideKeys(pub bool);

/// All that the thread needs to know.
pub struct Order {
    /// The process.
    pub target: Target,
    /// How an inspector that does not listen may be had.
    pub permission: Permission,
    /// Mean distance between two samples, bytes; `None` for one that suits the program.
    pub interval_bytes: Option<u64>,
    /// Whether the heap is sampled; else a snapshot is all that is wanted.
    pub samples: bool,
    /// Whether a snapshot is wanted at the end, and if, whether keys are left out of it.
    pub retainers: Option<HideKeys>,
    /// Constructors whose holders are wanted whatever they take.
    pub holders: Vec<String>,
    /// How long the session lasts, where that is known.
    pub duration: Option<Duration>,
    /// Ends every wait while it is set.
    pub interrupted: Arc<AtomicBool>,
}
