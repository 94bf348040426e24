//! Requests to an inspector, over a WebSocket: one at a time, each with its number and its time
//! limit. What comes unasked is kept for whoever wants it.

use super::{error::InspectorError, http::Endpoint};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use std::{
    collections::VecDeque,
    io,
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tungstenite::{Error, HandshakeError, Message, WebSocket, protocol::WebSocketConfig};

/// Longest message that is taken, in bytes. A profile has some 150 for a sample.
const MAX_MESSAGE_BYTES: usize = 512 << 20;
/// How long the connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How often a wait looks whether it is still wanted.
const GLANCE: Duration = Duration::from_millis(100);
/// Messages that came unasked and are kept at most; the oldest go.
const MAX_EVENTS: usize = 4096;

/// A message, as far as every one has this form.
#[derive(Deserialize)]
pub(super) struct Envelope<'a> {
    pub(super) id: Option<u64>,
    method: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<Refusal>,
}

impl Envelope<'_> {
    /// The text of `result`.
    pub(super) fn answer(self, method: &'static str) -> Result<String, InspectorError> {
        match (self.error, self.result) {
            (Some(refusal), _) => Err(InspectorError::Refused { method, reason: refusal.message }),
            (None, Some(result)) => Ok(result.get().to_owned()),
            (None, None) => Err(InspectorError::Nonsense(method)),
        }
    }
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    message: String,
}

/// A message that came unasked.
#[derive(Debug)]
pub struct Event {
    /// Its name.
    pub method: String,
    /// What it says.
    pub params: Value,
}

/// The event that says that the program has come to its end, and waits for its debuggers to go.
const PROGRAM_ENDS: &str = "NodeRuntime.waitingForDisconnect";

/// A connection to an inspector.
pub struct Client {
    socket: WebSocket<TcpStream>,
    next_id: u64,
    events: VecDeque<Event>,
    /// Set when whoever waits wants the wait to end.
    interrupted: Arc<AtomicBool>,
}

impl Client {
    /// Connects. `interrupted` ends every wait early while it is set.
    ///
    /// # Errors
    /// When nobody answers in time.
    pub fn connect(
        endpoint: &Endpoint,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Self, InspectorError> {
        let stream = TcpStream::connect_timeout(&endpoint.address, CONNECT_WITHIN)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(CONNECT_WITHIN))?;
        stream.set_write_timeout(Some(CONNECT_WITHIN))?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let url = format!("ws://{}{}", endpoint.address, endpoint.path);
        let (socket, _) = tungstenite::client::client_with_config(url, stream, Some(config))
            .map_err(|error| match error {
                HandshakeError::Failure(error) => failure(error),
                HandshakeError::Interrupted(_) => {
                    InspectorError::Timeout { method: "the handshake", after: CONNECT_WITHIN }
                }
            })?;
        Ok(Self { socket, next_id: 1, events: VecDeque::new(), interrupted })
    }

    /// From now on this flag ends waits, and no longer the one that it was connected with.
    pub fn heed(&mut self, interrupted: Arc<AtomicBool>) {
        self.interrupted = interrupted;
    }

    /// Goes by itself when the program has come to its end, which waits for that. A Node without
    /// that request is left when the session ends.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn go_when_the_program_ends(&mut self) -> Result<(), InspectorError> {
        const METHOD: &str = "NodeRuntime.notifyWhenWaitingForDisconnect";
        self.send(METHOD, &json!({ "enabled": true })).map(drop)
    }

    /// Asks, and waits for the answer: the text of `result`.
    ///
    /// # Errors
    /// When it is refused, or does not come in time.
    pub fn ask(
        &mut self,
        method: &'static str,
        params: &Value,
        within: Duration,
    ) -> Result<String, InspectorError> {
        let id = self.send(method, params)?;
        let deadline = Instant::now() + within;
        loop {
            let Some(text) = self.receive(deadline)? else {
                return Err(InspectorError::Timeout { method, after: within });
            };
            let Some(answer) = self.sort(&text, method)? else { continue };
            if answer.id == Some(id) {
                return answer.answer(method);
            }
        }
    }

    /// Asks, and hands on what the events of one name say as they come, until the answer comes.
    /// `take` may end it.
    ///
    /// # Errors
    /// As [`Client::ask`], and what `take` says.
    pub(super) fn ask_for_events(
        &mut self,
        method: &'static str,
        params: &Value,
        within: Duration,
        name: &str,
        mut take: impl FnMut(&str) -> Result<(), InspectorError>,
    ) -> Result<(), InspectorError> {
        let id = self.send(method, params)?;
        let deadline = Instant::now() + within;
        loop {
            let Some(text) = self.receive(deadline)? else {
                return Err(InspectorError::Timeout { method, after: within });
            };
            let envelope: Envelope<'_> =
                serde_json::from_str(&text).map_err(|_| InspectorError::Nonsense(method))?;
            if envelope.method.as_deref() == Some(name) {
                take(envelope.params.map_or("", RawValue::get))?;
            } else if let Some(answer) = self.sort(&text, method)?
                && answer.id == Some(id)
            {
                return answer.answer(method).map(drop);
            }
        }
    }

    /// Asks, and does not wait.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn send(&mut self, method: &str, params: &Value) -> Result<u64, InspectorError> {
        let id = self.next_id;
        self.next_id += 1;
        let text = json!({ "id": id, "method": method, "params": params }).to_string();
        self.socket.send(Message::text(text)).map_err(failure)?;
        Ok(id)
    }

    /// What came unasked, the oldest first; waits for it until `deadline` where there is nothing.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn event(&mut self, deadline: Instant) -> Result<Option<Event>, InspectorError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            let Some(text) = self.receive(deadline)? else { return Ok(None) };
            self.sort(&text, "a message")?;
        }
    }

    /// Puts back what [`Self::event`] gave and nobody wanted.
    pub fn keep(&mut self, event: Event) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Keeps an event, hands back anything else.
    fn sort<'a>(
        &mut self,
        text: &'a str,
        what: &'static str,
    ) -> Result<Option<Envelope<'a>>, InspectorError> {
        let envelope: Envelope<'a> =
            serde_json::from_str(text).map_err(|_| InspectorError::Nonsense(what))?;
        let Some(method) = envelope.method.clone() else { return Ok(Some(envelope)) };
        if method == PROGRAM_ENDS {
            // It waits for nobody else.
            let _ = self.socket.get_ref().shutdown(std::net::Shutdown::Both);
            return Err(InspectorError::Closed);
        }
        let params = envelope.params.and_then(|params| serde_json::from_str(params.get()).ok());
        self.keep(Event { method, params: params.unwrap_or_default() });
        Ok(None)
    }

    /// The next message; `None` when there is none until `deadline`.
    fn receive(&mut self, deadline: Instant) -> Result<Option<String>, InspectorError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(InspectorError::Interrupted);
            }
            self.socket.get_ref().set_read_timeout(Some(left.min(GLANCE)))?;
            match self.socket.read() {
                Ok(Message::Text(text)) => return Ok(Some(text.as_str().to_owned())),
                Ok(Message::Close(_)) => return Err(InspectorError::Closed),
                Ok(_) => {}
                Err(Error::Io(error)) if is_no_data(&error) => {}
                Err(error) => return Err(failure(error)),
            }
        }
    }
}

fn is_no_data(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

fn failure(error: Error) -> InspectorError {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => InspectorError::Closed,
        Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            InspectorError::Closed
        }
        Error::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => InspectorError::Closed,
            _ => InspectorError::Io(error),
        },
        error => InspectorError::WebSocket(error.to_string()),
    }
}
