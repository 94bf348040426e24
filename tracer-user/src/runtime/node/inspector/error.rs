//! Why an inspector could not be asked.

use std::{io, net::SocketAddr, time::Duration};

/// Why an inspector could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum InspectorError {
    /// The connection failed.
    #[error("the connection failed ({0})")]
    Io(#[from] io::Error),
    /// The socket is somebody else's.
    #[error("{0} does not answer as an inspector does")]
    NotAnInspector(SocketAddr),
    /// The WebSocket failed.
    #[error("the connection failed ({0})")]
    WebSocket(String),
    /// The other side closed the connection.
    #[error("the inspector closed the connection")]
    Closed,
    /// No answer in time: the program's thread is busy in native code, or stopped.
    #[error("{method} was not answered within {} s", .after.as_secs())]
    Timeout {
        /// What was asked.
        method: &'static str,
        /// For how long it was waited.
        after: Duration,
    },
    /// The inspector refused.
    #[error("{method} was refused ({reason})")]
    Refused {
        /// What was asked.
        method: &'static str,
        /// As the inspector says it.
        reason: String,
    },
    /// The program, or another tool, samples this heap already.
    #[error(
        "somebody samples this heap already (a profiler in the program, or developer tools), and V8 has one sampler only"
    )]
    SampledAlready,
    /// What came makes no sense.
    #[error("the answer to {0} makes no sense")]
    Nonsense(&'static str),
    /// More came than can be.
    #[error("{0} was answered with more than it can be")]
    TooMuch(&'static str),
    /// Whoever took in what came could not go on; they know why.
    #[error("what came could not be taken in")]
    NotTaken,
    /// Whoever waits for this wants it to end.
    #[error("the session ended first")]
    Interrupted,
}
