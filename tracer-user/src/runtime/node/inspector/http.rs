//! Asks a listening socket whether it is an inspector's, as a debugger does: GET /json/list.

use super::error::InspectorError;
use serde_json::Value;
use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// Longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// Longest path that is believed.
const MAX_PATH_BYTES: usize = 256;

/// Where an inspector takes requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its socket.
    pub address: SocketAddr,
    /// What the main thread is called there: `/0f2c936f-...`.
    pub path: String,
}

/// The inspector at `address`.
///
/// # Errors
/// When nobody answers in time, or not as an inspector does.
pub fn ask(address: SocketAddr, within: Duration) -> Result<Endpoint, InspectorError> {
    let address = reachable(address);
    let deadline = Instant::now() + within;
    let mut stream = TcpStream::connect_timeout(&address, within)?;
    stream.set_write_timeout(Some(within))?;
    let request =
        format!("GET /json/list HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while answer.len() < MAX_ANSWER_BYTES {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece)? {
            0 => break,
            count => answer.extend_from_slice(&piece[..count]),
        }
        if let Some(path) = path_in(&answer) {
            return Ok(Endpoint { address, path });
        }
    }
    Err(InspectorError::NotAnInspector(address))
}

/// An address by which a socket that listens everywhere can be reached.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}

/// The path of the main thread's session in an answer that is whole.
fn path_in(answer: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    if !head.starts_with("HTTP/1.") || head.split_whitespace().nth(1) != Some("200") {
        return None;
    }
    let targets: Value = serde_json::from_str(body.trim()).ok()?;
    let target = targets.as_array()?.iter().find(|target| target["type"] == "node")?;
    let url = target["webSocketDebuggerUrl"].as_str()?.strip_prefix("ws://")?;
    let path = &url[url.find('/')?..];
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
    (path.len() <= MAX_PATH_BYTES && path.bytes().all(plain)).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"[ { "description": "node.js instance", "type": "node", "url": "file:///x.js",
        "webSocketDebuggerUrl": "ws://127.0.0.1:9229/0f2c936f-b1cd-4ac9-aab3-f63b0f33d55e" } ]"#;

    #[test]
    fn a_whole_answer_names_the_path_and_no_part_of_one_does() {
        let answer = format!("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{BODY}\n\n");
        let path = Some("/0f2c936f-b1cd-4ac9-aab3-f63b0f33d55e".to_owned());
        assert_eq!(path_in(answer.as_bytes()), path);
        for end in 0..answer.len() - 3 {
            assert_eq!(path_in(&answer.as_bytes()[..end]), None, "{end}");
        }
    }

    #[test]
    fn other_servers_are_none() {
        for answer in [
            "HTTP/1.1 404 Not Found\r\n\r\n[]".to_owned(),
            "HTTP/1.1 200 OK\r\n\r\n{\"a\":1}".to_owned(),
            format!("HTTP/1.1 200 OK\r\n\r\n{}", BODY.replace("node\"", "page\"")),
            format!("HTTP/1.1 200 OK\r\n\r\n{}", BODY.replace("/0f2c", "/\\r\\nX: y")),
            "\u{e4}\u{f6}".to_owned(),
        ] {
            assert_eq!(path_in(answer.as_bytes()), None, "{answer}");
        }
    }
}
