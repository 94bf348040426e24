//! Servers on the loopback device: the port that one announces, and what it answers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::child::Guarded;

/// The port in the JSON line that a server prints when it is ready.
///
/// # Errors
/// When it does not come within `patience`.
pub fn ready_port(server: &mut Guarded, patience: Duration) -> Result<u16> {
    server.wait_for("ready line", patience, |line| {
        let ready: Value = serde_json::from_str(line).ok()?;
        u16::try_from(ready["port"].as_u64()?).ok()
    })
}

/// The JSON that a server at `port` answers to an HTTP GET. HTTP/1.0, so the answer ends where the
/// connection does.
///
/// # Errors
/// When it does not answer with some within `patience`.
pub fn get_json(port: u16, path: &str, patience: Duration) -> Result<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(patience))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200 ") {
        bail!("answered `{status}`");
    }
    serde_json::from_str(body).context("the answer is not JSON")
}

/// A port of loopback that was free a moment ago.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("looking for a free port")?;
    Ok(listener.local_addr().context("its address")?.port())
}
