//! The demo's three processes: the model stub, the gateway and the load. They end with the
//! demo, however it ends: by request, by `Drop`, or by the death of this process.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::WARM_UP;
use crate::child::{Guarded, bound_command};
use crate::loopback::{get_json, ready_port};
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
        let model_port = ready_port(&mut model, PATIENCE)?;

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
        let gateway_port = ready_port(&mut gateway, PATIENCE)?;

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
        get_json(self.gateway_port, "/truth", PATIENCE).context("asking the gateway for its truth")
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
