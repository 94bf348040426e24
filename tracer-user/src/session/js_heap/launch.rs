//! The environment by which a command's Node opens its inspector at once, without any signal.

use super::super::{Config, JsHeapMode, Whom};
use crate::stderr::say;
use std::ffi::OsString;

/// Environment variable that Node takes options from.
const NODE_OPTIONS: &str = "NODE_OPTIONS";
/// On the loopback device, at any port that is free: several processes may inherit it.
const OPTION: &str = "--inspect=127.0.0.1:0";

/// What NODE_OPTIONS is without ours.
pub fn node_options() -> Option<String> {
    std::env::var(NODE_OPTIONS).ok()
}

/// What `--js-heap` adds to the environment of a command.
pub fn environment(config: &Config) -> Option<(OsString, OsString)> {
    let asked = matches!(config.js_heap, JsHeapMode::Asked | JsHeapMode::Force);
    if !asked || !matches!(config.whom, Whom::Command(_)) {
        return None;
    }
    let mut value = std::env::var_os(NODE_OPTIONS).unwrap_or_default();
    if !value.is_empty() {
        value.push(" ");
    }
    value.push(OPTION);
    say(&format!(
        "starts the command with {NODE_OPTIONS}=\"{}\" ({OPTION} is added), so that Node opens its inspector; it is closed again at the end",
        crate::printable::printable(&value.to_string_lossy())
    ));
    Some((NODE_OPTIONS.into(), value))
}
