//! Which servers are measured, and beside whom: a peer stands where it makes sense.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::bench::program;
use crate::node;

/// A server.
pub(super) struct Server {
    pub(super) key: &'static str,
    pub(super) label: &'static str,
    pub(super) kind: Kind,
    /// Asked for in turn.
    pub(super) paths: &'static [&'static str],
    /// Of the load, at once. More than any server has threads to serve with.
    pub(super) connections: usize,
    pub(super) followers: &'static [Who],
}

/// What a server is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    C,
    Python,
    Node,
}

/// Who follows a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Untraced,
    Exact,
    /// By a sample, without a budget: nothing is taken out.
    Sampled,
    /// As `attach` does by itself: within 5 %.
    Budgeted,
    Lane,
    Bpftrace,
    MemrayAttach,
    MemrayRun,
    Heaptrack,
    Tracemalloc1,
    Tracemalloc25,
    HeapProf,
}

pub(super) static SERVERS: [Server; 3] = [
    Server {
        key: "c",
        label: "C, 8 threads",
        kind: Kind::C,
        paths: &["/"],
        connections: 16,
        followers: &[
            Who::Untraced,
            Who::Exact,
            Who::Sampled,
            Who::Budgeted,
            Who::Lane,
            Who::Bpftrace,
            Who::Heaptrack,
        ],
    },
    Server {
        key: "aiohttp",
        label: "aiohttp, JSON and streaming in turn",
        kind: Kind::Python,
        paths: &["/json", "/stream"],
        connections: 16,
        followers: &[
            Who::Untraced,
            Who::Exact,
            Who::Sampled,
            Who::Budgeted,
            Who::Lane,
            Who::Bpftrace,
            Who::MemrayAttach,
            Who::MemrayRun,
            Who::Heaptrack,
            Who::Tracemalloc1,
            Who::Tracemalloc25,
        ],
    },
    Server {
        key: "node",
        label: "Node http, Buffers",
        kind: Kind::Node,
        paths: &["/"],
        connections: 16,
        followers: &[
            Who::Untraced,
            Who::Exact,
            Who::Sampled,
            Who::Budgeted,
            Who::Lane,
            Who::Bpftrace,
            Who::HeapProf,
        ],
    },
];

impl Who {
    pub(super) fn key(self) -> &'static str {
        match self {
            Who::Untraced => "untraced",
            Who::Exact => "outlive_exact",
            Who::Sampled => "outlive_sampled",
            Who::Budgeted => "outlive_budgeted",
            Who::Lane => "outlive_lane",
            Who::Bpftrace => "bpftrace",
            Who::MemrayAttach => "memray_attach",
            Who::MemrayRun => "memray_run",
            Who::Heaptrack => "heaptrack",
            Who::Tracemalloc1 => "tracemalloc_1",
            Who::Tracemalloc25 => "tracemalloc_25",
            Who::HeapProf => "heap_prof",
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Who::Untraced => "untraced",
            Who::Exact => "outlive, exact",
            Who::Sampled => "outlive --sample 64KiB",
            Who::Budgeted => "outlive within 5 %",
            Who::Lane => "outlive run, fast lane",
            Who::Bpftrace => "bpftrace (memleak)",
            Who::MemrayAttach => "memray attach",
            Who::MemrayRun => "memray run",
            Who::Heaptrack => "heaptrack (preloaded)",
            Who::Tracemalloc1 => "tracemalloc, 1 frame",
            Who::Tracemalloc25 => "tracemalloc, 25 frames",
            Who::HeapProf => "node --heap-prof",
        }
    }

    /// Whether it comes and goes around each measurement; others stay in a process of their own.
    pub(super) fn comes_and_goes(self) -> bool {
        matches!(self, Who::Untraced | Who::Exact | Who::Sampled | Who::Budgeted | Who::Bpftrace)
    }

    /// A peer that attaches to a process that runs already.
    pub(super) fn is_attaching_peer(self) -> bool {
        matches!(self, Who::Bpftrace | Who::MemrayAttach)
    }

    /// Whether the bench has failed without it.
    pub(super) fn must_be_there(self) -> bool {
        matches!(self, Who::Untraced | Who::Exact)
    }
}

/// How servers of one kind are started.
pub(super) struct Programs {
    script_or_binary: PathBuf,
    interpreter: Option<PathBuf>,
    /// Why there is no memray.
    pub(super) no_memray: Option<String>,
}

impl Programs {
    /// Finds or makes what a kind of server needs.
    ///
    /// # Errors
    /// When it cannot be had.
    pub(super) fn of(kind: Kind) -> Result<Self> {
        let script = |name: &str| program::folder().join(name);
        let (script_or_binary, interpreter, no_memray) = match kind {
            Kind::C => (program::compile("server")?, None, None),
            Kind::Python => {
                let (python, no_memray) = program::aiohttp_python()?;
                (script("server.py"), Some(python), no_memray)
            }
            Kind::Node => (script("server.js"), Some(node::ensure()?), None),
        };
        Ok(Self { script_or_binary, interpreter, no_memray })
    }

    /// The command, with options of the interpreter.
    ///
    /// # Errors
    /// When a path is not UTF-8.
    pub(super) fn command(&self, options: &[String]) -> Result<Vec<String>> {
        let mut command = Vec::new();
        if let Some(interpreter) = &self.interpreter {
            command.push(text(interpreter)?);
            command.extend_from_slice(options);
        }
        command.push(text(&self.script_or_binary)?);
        Ok(command)
    }

    /// The Python that has memray.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn memray(&self) -> Result<&Path> {
        if let Some(why) = &self.no_memray {
            bail!("memray cannot be had: {why}");
        }
        self.interpreter.as_deref().context("memray is for Python")
    }

    /// The script.
    ///
    /// # Errors
    /// When its path is not UTF-8.
    pub(super) fn script(&self) -> Result<String> {
        text(&self.script_or_binary)
    }
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).context("a path that is not UTF-8")
}
