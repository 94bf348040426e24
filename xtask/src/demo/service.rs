//! The demo's three processes: the model stub, the gateway and the load. They end with the
//! demo, however it ends: by request, by `Drop`, or by the death of this process.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::WARM_UP;
use crate::child::{Guarded, bound_command};
use crate::venv;

/// Longest wait for a server to say that it is ready, or for an answer from it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Load beyond warm-up and measurement: outlive's own start and end take time too.
const SLACK_S: u64 = 60;

/// The running processes.
pub struct Services {
    load: Guarded,
    gateway: Guarded,
    model: Guarded,
    gateway_port: u16,
}

impl Services {
    /// Starts all three; the load runs when this returns.
    ///
    /// # Errors
    /// When one does not start; those that did are ended.
    pub fn start(python: &Path, leak: bool, measured_s: u64) -> Result<Self> {
        let mut model_command = script(python, "model_stub.py");
        model_command.args(["--port", "0", "--exit-with-stdin"]);
        let mut model = Guarded::start("the model stub", &mut model_command)?;
        let model_port = ready_port(&mut model)?;

        let mut gateway_command = script(python, "gateway.py");
        gateway_command.args(["--model-url", &format!("http://127.0.0.1:{model_port}")]).args([
            "--port",
            "0",
            "--exit-with-stdin",
        ]);
        if leak {
            gateway_command.arg("--leak");
        }
        let mut gateway = Guarded::start("the gateway", &mut gateway_command)?;
        let gateway_port = ready_port(&mut gateway)?;

        let seconds = WARM_UP.as_secs() + measured_s + SLACK_S;
        let mut load_command = script(python, "load.py");
        load_command.args(["--gateway-url", &format!("http://127.0.0.1:{gateway_port}")]).args([
            "--duration",
            &seconds.to_string(),
            "--max-turns",
            "1000000",
        ]);
        let load = Guarded::start("the load", &mut load_command)?;
        Ok(Self { load, gateway, model, gateway_port })
    }

    /// The gateway's process id.
    pub fn gateway_pid(&self) -> u32 {
        self.gateway.pid()
    }

    /// What the gateway says it holds, now.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn truth(&self) -> Result<Value> {
        let body = get(self.gateway_port, "/truth").context("asking the gateway for its truth")?;
        serde_json::from_str(&body).context("the gateway's truth is not JSON")
    }

    /// Ends all three, the load first.
    ///
    /// # Errors
    /// When one had to be killed.
    pub fn end(&mut self) -> Result<()> {
        self.load.end("KILL")?;
        self.gateway.end("TERM")?;
        self.model.end("TERM").map(drop)
    }
}

fn script(python: &Path, name: &str) -> Command {
    let mut command = bound_command(python, "KILL");
    command.arg(venv::gateway_dir().join(name));
    command
}

/// The port in the JSON line that a server prints when it is ready.
fn ready_port(server: &mut Guarded) -> Result<u16> {
    server.wait_for("ready line", PATIENCE, |line| {
        let ready: Value = serde_json::from_str(line).ok()?;
        u16::try_from(ready["port"].as_u64()?).ok()
    })
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
