//! Worker threads: their inspectors are reached through the main thread's, each message wrapped in
//! one to `NodeWorker`.

use super::{
    client::{Client, Event},
    error::InspectorError,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Most worker threads that are followed at once.
pub const MAX_WORKERS: usize = 256;

/// A worker thread, by the name of its session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Worker(pub String);

/// What has happened to workers.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// One is there.
    Came(Worker),
    /// One has ended.
    Went(Worker),
}

/// Has workers announced, those that run included.
///
/// # Errors
/// When the inspector does not know them.
pub fn enable(client: &mut Client, within: Duration) -> Result<(), InspectorError> {
    client.ask("NodeWorker.enable", &json!({ "waitForDebuggerOnStart": false }), within)?;
    Ok(())
}

/// What an event says of workers; `None` where it is about something else.
pub fn change(event: &Event) -> Option<Change> {
    let worker = || Some(Worker(event.params["sessionId"].as_str()?.to_owned()));
    match event.method.as_str() {
        "NodeWorker.attachedToWorker" => Some(Change::Came(worker()?)),
        "NodeWorker.detachedFromWorker" => Some(Change::Went(worker()?)),
        _ => None,
    }
}

/// Asks a worker, and waits for the answer: the text of `result`.
///
/// # Errors
/// As [`Client::ask`]; [`InspectorError::Closed`] when the worker ends meanwhile.
pub fn ask(
    client: &mut Client,
    worker: &Worker,
    id: u64,
    method: &'static str,
    params: &Value,
    within: Duration,
) -> Result<String, InspectorError> {
    let deadline = Instant::now() + within;
    let message = json!({ "id": id, "method": method, "params": params }).to_string();
    let wrapped = json!({ "sessionId": worker.0, "message": message });
    client.send("NodeWorker.sendMessageToWorker", &wrapped)?;
    let mut others = Vec::new();
    let answer = loop {
        let event = match client.event(deadline) {
            Ok(Some(event)) => event,
            Ok(None) => break Err(InspectorError::Timeout { method, after: within }),
            Err(error) => break Err(error),
        };
        let is_ours = event.params["sessionId"] == worker.0.as_str();
        match event.method.as_str() {
            "NodeWorker.receivedMessageFromWorker" => {
                let message = event.params["message"].as_str().unwrap_or_default();
                if is_ours && let Some(answer) = answer_in(message, id, method) {
                    break answer;
                }
            }
            "NodeWorker.detachedFromWorker" if is_ours => {
                others.push(event);
                break Err(InspectorError::Closed);
            }
            _ => others.push(event),
        }
    };
    others.into_iter().for_each(|event| client.keep(event));
    answer
}

/// The answer to request `id` in a message of a worker; `None` where it is another message.
fn answer_in(
    message: &str,
    id: u64,
    method: &'static str,
) -> Option<Result<String, InspectorError>> {
    let envelope: super::client::Envelope<'_> = serde_json::from_str(message).ok()?;
    (envelope.id == Some(id)).then(|| envelope.answer(method))
}
