//! A server of the corpus while it runs, and its load.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::built::Built;
use super::program::Case;
use crate::child::Guarded;
use crate::loopback::{free_port, get_json, ready_port};

/// Longest wait for a server to be ready, or to answer: some calibrate themselves first, and the
/// machine may be busy with others.
const PATIENCE: Duration = Duration::from_secs(120);

/// Both end when this is dropped.
pub struct Service {
    load: Option<Guarded>,
    server: Guarded,
    port: u16,
}

impl Service {
    /// Starts a server, and a load of so many seconds where it needs one.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(built: &Built, case: &Case, load_s: u64) -> Result<Self> {
        let mut server = Guarded::start(case.name, &mut built.server(case, free_port()?))?;
        let port = ready_port(&mut server, PATIENCE)?;
        let load = (load_s > 0).then(|| built.load(case, port, load_s)).flatten();
        let load = load.map(|mut load| Guarded::start("the load", &mut load)).transpose()?;
        Ok(Self { load, server, port })
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// What it says of itself, now.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn truth(&self) -> Result<Value> {
        get_json(self.port, "/truth", PATIENCE).context("asking the server for its truth")
    }

    /// Ends both, the load first, by closing their stdin.
    ///
    /// # Errors
    /// When the server had been harmed: it ends with success otherwise.
    pub fn end(mut self) -> Result<()> {
        if let Some(load) = &mut self.load {
            load.end("KILL")?;
        }
        let status = self.server.close()?;
        if !status.success() {
            bail!("the server ended badly: {status}");
        }
        Ok(())
    }
}
