//! Node's inspector, from outside: which socket it listens on, requests to it, and the sampling
//! heap profiler behind it. Blocks, with a bound on every wait: a session asks from a thread of its
//! own. Opens and closes nothing unless told to.

mod client;
mod error;
mod heap;
mod http;
mod namespace;
mod options;
mod profile;
mod snapshot;
mod sockets;
mod workers;

pub use client::Client;
pub use error::InspectorError;
pub use heap::{CLOSES_WITHIN, Heap, HeapProfile, Space, Statistics, close, used_bytes};
pub use http::Endpoint;
pub use namespace::enter as enter_network;
pub use options::Options;
pub use profile::{JsPlace, Profile, Sample};
pub use snapshot::{SnapshotTaken, take_snapshot};
pub use sockets::{is_taken, listening};

use std::{net::SocketAddr, time::Duration};

/// How long a socket has for its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How often, and how long apart, it is looked again where a socket is there that may be the
/// inspector's: its thread may be at work just now.
const LOOKS: u32 = 5;
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// What later versions of Node call the inspector's thread.
const THREAD: &str = "InspectorIo";

/// The inspector of process `tgid`, if it listens; to be called in its network namespace. `before`:
/// where it listened when it was told to open it, if it was.
///
/// Nobody but an inspector is asked, since a program may not bear requests that it does not expect:
/// only a socket that another thread than the first waits for, at the port that `options` tell, or
/// where any port would do the only one on the loopback device, if an inspector was asked for.
pub fn find(tgid: u32, options: &Options, before: Option<&[SocketAddr]>) -> Option<Endpoint> {
    let may_be = |address: &SocketAddr| {
        let is_new = before.is_none_or(|before| !before.contains(address));
        is_new
            && match options.port {
                0 => address.ip().is_loopback(),
                port => address.port() == port,
            }
    };
    let was_asked_for = options.port != 0 || options.opens_at_start || before.is_some();
    for _ in 0..LOOKS {
        if !listening(tgid).iter().any(may_be) {
            return None;
        }
        let mut apart = sockets::polled_apart(tgid);
        apart.retain(|socket| may_be(&socket.address));
        if !was_asked_for || apart.iter().any(|socket| socket.thread == THREAD) {
            apart.retain(|socket| socket.thread == THREAD);
        }
        match apart.as_slice() {
            [] => std::thread::sleep(LOOK_AGAIN),
            [socket] => return http::ask(socket.address, ANSWER_WITHIN).ok(),
            // One of several at a known port is as good as the other; among others is a worker's.
            [socket, ..] if options.port != 0 => {
                return http::ask(socket.address, ANSWER_WITHIN).ok();
            }
            _ => return None,
        }
    }
    None
}
