//! Names of JavaScript frames, from outside: which function, which line, and what was inlined.

use super::NodeRuntime;
use super::name::{JsFailure, JsName};
use tracer_common::v8::JsFrame;

/// Reads the functions of one process, and remembers them.
#[derive(Debug)]
pub struct JsReader {
    tgid: u32,
}

impl JsReader {
    /// For process `tgid`, which runs `runtime`.
    pub fn new(tgid: u32, _runtime: &NodeRuntime) -> Self {
        Self { tgid }
    }

    /// What stood at `frame`, whose return address was `return_avma`: the function that was
    /// running, and behind it those it was inlined into.
    ///
    /// # Errors
    /// [`JsFailure`], for counting.
    pub fn read(&mut self, frame: &JsFrame, _return_avma: u64) -> Result<Vec<JsName>, JsFailure> {
        let _ = (self.tgid, frame);
        Err(JsFailure::Unreadable)
    }
}
