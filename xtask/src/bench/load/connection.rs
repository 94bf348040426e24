//! One connection to a server: a request under way on it, or none.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::answer::Answer;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;

pub(super) struct Connection {
    stream: TcpStream,
    /// When the request that is under way was due.
    due: Option<Instant>,
    answer: Answer,
    room: Box<[u8]>,
}

impl Connection {
    pub(super) fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).context("connecting to the server")?;
        stream.set_nodelay(true).context("TCP_NODELAY")?;
        stream.set_nonblocking(true).context("O_NONBLOCK")?;
        let room = vec![0; READ_BYTES].into_boxed_slice();
        Ok(Self { stream, due: None, answer: Answer::default(), room })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn is_idle(&self) -> bool {
        self.due.is_none()
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Sends a request; it is so small that it fits into an empty socket.
    pub(super) fn send(&mut self, request: &str, due: Instant) -> Result<()> {
        self.stream.write_all(request.as_bytes()).context("sending a request")?;
        self.due = Some(due);
        self.answer = Answer::default();
        Ok(())
    }

    /// Reads what is there. When the answer is whole by that, when its request was due.
    pub(super) fn receive(&mut self) -> Result<Option<Instant>> {
        loop {
            match self.stream.read(&mut self.room) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(count) if self.answer.take(&self.room[..count])? => return Ok(self.due.take()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("reading an answer"),
            }
        }
    }
}
