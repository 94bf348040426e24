//! A server of the corpus while it runs, and its load.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::built::Built;
use super::program::Case;
use crate::child::Guarded;

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
        let port = server.wait_for("ready line", PATIENCE, |line| {
            let ready: Value = serde_json::from_str(line).ok()?;
            u16::try_from(ready["port"].as_u64()?).ok()
        })?;
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
        let body = get(self.port, "/truth").context("asking the server for its truth")?;
        serde_json::from_str(&body).context("the server's truth is not JSON")
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

/// Body of an HTTP GET from loopback. HTTP/1.0, so the answer ends where the connection does.
fn get(port: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200 ") {
        bail!("answered `{status}`");
    }
    Ok(body.to_owned())
}

/// A port of loopback that was free a moment ago.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("looking for a free port")?;
    Ok(listener.local_addr().context("its address")?.port())
}
