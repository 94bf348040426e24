//! A load on an HTTP server of loopback: open loop, where requests are due at fixed times whatever
//! the server does, or closed loop, where each connection asks as soon as it is answered. One
//! thread, which waits for all connections at once.

mod answer;
mod connection;
mod pace;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use connection::Connection;
pub(super) use pace::Pace;

/// How long what was due within the load's time may still be answered behind it.
const DRAIN: Duration = Duration::from_secs(2);

/// A load.
pub(super) struct Load<'a> {
    pub(super) port: u16,
    /// Asked for in turn.
    pub(super) paths: &'a [&'a str],
    pub(super) connections: usize,
    pub(super) pace: Pace,
    pub(super) lasts: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Requests that were answered before its time was over.
    pub(super) answered: u64,
    /// Requests that were due within its time and nobody answered within that and `DRAIN`.
    pub(super) unanswered: u64,
    /// From when each request was due until its answer was whole, milliseconds; for those without
    /// an answer until nobody waited any more.
    pub(super) latencies_ms: Vec<f64>,
    /// How long it lasted.
    seconds: f64,
}

impl Outcome {
    pub(super) fn per_second(&self) -> f64 {
        self.answered as f64 / self.seconds
    }
}

impl Load<'_> {
    /// Runs the load.
    ///
    /// # Errors
    /// When the server refuses a connection, closes one, or answers with anything but 200.
    pub(super) fn run(&self) -> Result<Outcome> {
        let requests: Vec<String> = self.paths.iter().map(|path| request(path)).collect();
        let connections = (0..self.connections).map(|_| Connection::open(self.port));
        let mut connections = connections.collect::<Result<Vec<_>>>()?;
        let mut outcome = Outcome { seconds: self.lasts.as_secs_f64(), ..Outcome::default() };
        let (begin, mut sent) = (Instant::now(), 0_usize);
        let end = begin + self.lasts;
        loop {
            let now = Instant::now();
            for connection in connections.iter_mut().filter(|connection| connection.is_idle()) {
                let due = self.pace.due(begin, sent as u64, now);
                if due > now || due >= end {
                    break;
                }
                connection.send(&requests[sent % requests.len()], due)?;
                sent += 1;
            }
            let is_busy = connections.iter().any(|connection| !connection.is_idle());
            let next = self.pace.due(begin, sent as u64, now);
            if now >= end && (next >= end && !is_busy || now >= end + DRAIN) {
                break;
            }
            let idle = connections.iter().any(Connection::is_idle);
            let until = if idle && next < end { next } else { end.max(now) + DRAIN };
            for index in readable(&connections, until.min(limit(now, end)))? {
                if let Some(due) = connections[index].receive()? {
                    let at = Instant::now();
                    outcome.answered += u64::from(at <= end);
                    outcome.latencies_ms.push((at - due).as_secs_f64() * 1e3);
                }
            }
        }
        self.count_unanswered(&connections, begin, sent, &mut outcome);
        Ok(outcome)
    }

    /// Requests that are under way or were never sent, since no connection was free for them.
    fn count_unanswered(
        &self,
        connections: &[Connection],
        begin: Instant,
        sent: usize,
        outcome: &mut Outcome,
    ) {
        let (now, end) = (Instant::now(), begin + self.lasts);
        let under_way = connections.iter().filter_map(Connection::due);
        let unsent = (sent as u64..).map(|number| self.pace.due(begin, number, now));
        for due in under_way.chain(unsent.take_while(|due| *due < end)) {
            outcome.unanswered += 1;
            outcome.latencies_ms.push(now.saturating_duration_since(due).as_secs_f64() * 1e3);
        }
    }
}

/// The next moment at which the loop has to look up in any case.
fn limit(now: Instant, end: Instant) -> Instant {
    if now < end { end } else { end + DRAIN }
}

/// Connections on which something came, or none when it is `until`.
fn readable(connections: &[Connection], until: Instant) -> Result<Vec<usize>> {
    let mut polled: Vec<PollFd<'_>> = connections
        .iter()
        .map(|connection| PollFd::new(connection.stream(), PollFlags::IN))
        .collect();
    let left = until.saturating_duration_since(Instant::now());
    let left = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos().into() };
    match poll(&mut polled, Some(&left)) {
        Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
        polled => polled.context("waiting for answers")?,
    };
    let came = polled.iter().enumerate().filter(|(_, polled)| !polled.revents().is_empty());
    Ok(came.map(|(index, _)| index).collect())
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::time::Duration;

    use super::{Load, Outcome, Pace};

    /// A server of one connection that stands still once, for `pause`, behind its 10th answer.
    fn server(pause: Duration) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut room = [0; 4096];
            for number in 1.. {
                if client.read(&mut room).unwrap_or(0) == 0 {
                    return;
                }
                if number == 10 {
                    std::thread::sleep(pause);
                }
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                if client.write_all(answer).is_err() {
                    return;
                }
            }
        });
        port
    }

    fn load(pace: Pace, pause: Duration) -> Outcome {
        let port = server(pause);
        let lasts = Duration::from_millis(500);
        Load { port, paths: &["/"], connections: 1, pace, lasts }.run().unwrap()
    }

    #[test]
    fn an_open_loop_counts_what_a_pause_holds_up() {
        let pause = Duration::from_millis(200);
        let outcome = load(Pace::PerSecond(200.0), pause);
        assert_eq!(outcome.latencies_ms.len(), 100, "each request that was due");
        assert_eq!(outcome.unanswered, 0);
        // 40 requests fell due during the pause; half of them waited for more than half of it.
        let late = outcome.latencies_ms.iter().filter(|ms| **ms > 90.0).count();
        assert!(late >= 20, "{late} of {:?}", outcome.latencies_ms);
    }

    #[test]
    fn a_closed_loop_asks_again_when_it_is_answered() {
        let outcome = load(Pace::Closed, Duration::ZERO);
        assert!(outcome.answered > 100, "{} requests", outcome.answered);
        assert_eq!(outcome.unanswered, 0);
        assert!(outcome.per_second() > 200.0);
    }

    #[test]
    fn who_never_answers_is_counted_with_the_time_that_was_waited() {
        let outcome = load(Pace::PerSecond(100.0), Duration::from_secs(20));
        assert_eq!(outcome.latencies_ms.len(), 50);
        assert_eq!(outcome.unanswered, 41);
        assert!(outcome.latencies_ms.iter().fold(0.0, |a: f64, b| a.max(*b)) >= 2000.0);
    }
}
