//! The TCP sockets that a process listens on, by /proc: its network namespace lists sockets by
//! inode, its descriptors name inodes, and the epoll instances among them name descriptors.

use crate::target::status::read_bounded;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// Most of a table of sockets that is read, in bytes; those that listen come first.
const MAX_TABLE_BYTES: u64 = 16 << 20;
/// Most descriptors of a process that are looked at.
const MAX_DESCRIPTORS: usize = 1 << 20;
/// Most threads of a process that are looked at.
const MAX_THREADS: usize = 4096;
/// Most of what an epoll instance says of itself that is read, in bytes.
const MAX_EPOLL_BYTES: u64 = 4 << 20;
/// `TCP_LISTEN` of the kernel's include/net/tcp_states.h.
const LISTENS: &str = "0A";

/// Where process `tgid` listens itself, sorted.
pub fn listening(tgid: u32) -> Vec<SocketAddr> {
    let mut found: Vec<SocketAddr> = own_sockets(tgid).into_values().collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether anybody in the network namespace of process `tgid` listens on a port.
pub fn is_taken(tgid: u32, port: u16) -> bool {
    in_namespace(tgid).values().any(|address| address.port() == port)
}

/// A socket that a thread waits for beside the main one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apart {
    /// Where it listens.
    pub address: SocketAddr,
    /// Name of the thread.
    pub thread: String,
}

/// Sockets that process `tgid` listens on and that wait in the loop of another thread than its
/// first: Node's inspector has a thread and a loop of its own, while what the program listens on is
/// polled by the main thread (or a worker). Only threads that wait at this moment are seen.
pub fn polled_apart(tgid: u32) -> Vec<Apart> {
    let own = own_sockets(tgid);
    if own.is_empty() {
        return Vec::new();
    }
    let Ok(threads) = fs::read_dir(format!("/proc/{tgid}/task")) else { return Vec::new() };
    let mut found = Vec::new();
    for thread in threads.flatten().take(MAX_THREADS) {
        let Some(tid) = thread.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let read = |name: &str| {
            let text = read_bounded(&format!("/proc/{tgid}/task/{tid}/{name}"), 4096);
            String::from_utf8_lossy(&text.unwrap_or_default()).trim().to_owned()
        };
        if tid == tgid {
            continue;
        }
        let Some(instance) = instance_in(&read("syscall")) else { continue };
        let polled = polled_by(tgid, instance);
        let thread = read("comm");
        let waiting = own.iter().filter(|(descriptor, _)| polled.contains(descriptor));
        found.extend(
            waiting.map(|(_, address)| Apart { address: *address, thread: thread.clone() }),
        );
    }
    found
}

/// The epoll instance that a thread waits for, by the system call that it is in.
fn instance_in(system_call: &str) -> Option<u32> {
    let mut words = system_call.split_whitespace();
    let number: i64 = words.next()?.parse().ok()?;
    let waits = [libc::SYS_epoll_wait, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2];
    if !waits.contains(&number) {
        return None;
    }
    u32::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()
}

fn polled_by(tgid: u32, instance: u32) -> HashSet<u32> {
    let text = read_bounded(&format!("/proc/{tgid}/fdinfo/{instance}"), MAX_EPOLL_BYTES);
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    let polled = text.lines().filter_map(|line| line.strip_prefix("tfd:"));
    polled.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

/// Listening sockets of process `tgid`, by descriptor.
fn own_sockets(tgid: u32) -> BTreeMap<u32, SocketAddr> {
    let all = in_namespace(tgid);
    if all.is_empty() {
        return BTreeMap::new();
    }
    let inode = |what: &str| what.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok();
    descriptors(tgid)
        .into_iter()
        .filter_map(|(descriptor, what)| Some((descriptor, *all.get(&inode(&what)?)?)))
        .collect()
}

/// Descriptors of process `tgid`, with what each refers to.
fn descriptors(tgid: u32) -> Vec<(u32, String)> {
    let Ok(entries) = fs::read_dir(format!("/proc/{tgid}/fd")) else { return Vec::new() };
    entries
        .flatten()
        .take(MAX_DESCRIPTORS)
        .filter_map(|entry| {
            let descriptor = entry.file_name().to_str()?.parse().ok()?;
            Some((descriptor, fs::read_link(entry.path()).ok()?.to_str()?.to_owned()))
        })
        .collect()
}

/// Listening sockets of the network namespace of process `tgid`, by inode.
fn in_namespace(tgid: u32) -> HashMap<u64, SocketAddr> {
    ["tcp", "tcp6"]
        .into_iter()
        .flat_map(|table| {
            let text = read_bounded(&format!("/proc/{tgid}/net/{table}"), MAX_TABLE_BYTES);
            let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
            text.lines().filter_map(parse).collect::<Vec<_>>()
        })
        .collect()
}

/// A line of the kernel's table, where it is one of a listening socket: inode and address.
fn parse(line: &str) -> Option<(u64, SocketAddr)> {
    let fields: Vec<&str> = line.split_whitespace().take(10).collect();
    if *fields.get(3)? != LISTENS {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Words of four bytes, each in this machine's order.
    let words = (0..address.len() / 8).map(|index| {
        let word = address.get(index * 8..index * 8 + 8)?;
        Some(u32::from_str_radix(word, 16).ok()?.to_ne_bytes())
    });
    let bytes: Vec<u8> = words.collect::<Option<Vec<_>>>()?.concat();
    let ip = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => return None,
    };
    Some((fields.get(9)?.parse().ok()?, SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn this_process_listens_where_it_says() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                eprintln!("skipped: nothing can listen on {address}");
                continue;
            };
            let address = listener.local_addr().unwrap();
            assert!(listening(std::process::id()).contains(&address));
            assert!(is_taken(std::process::id(), address.port()));
            drop(listener);
            assert!(!listening(std::process::id()).contains(&address));
        }
    }

    #[test]
    fn a_thread_that_waits_for_events_names_its_instance() {
        assert_eq!(instance_in("281 0x15 0x7f 0x400 0xffffffff 0x0 0x8 0x7f 0x7f"), Some(21));
        assert_eq!(instance_in("232 0x3 0x7f"), Some(3));
        for other in ["running", "202 0x15 0x7f", "-1 0x7f 0x7f", "281", "281 15", ""] {
            assert_eq!(instance_in(other), None, "{other}");
        }
    }

    #[test]
    fn lines_of_the_kernel_are_read_and_garbage_is_not() {
        let line = "   3: 0100007F:240D 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0";
        assert_eq!(parse(line), Some((4711, "127.0.0.1:9229".parse().unwrap())));
        let six = line.replace("0100007F", "00000000000000000000000001000000");
        assert_eq!(parse(&six), Some((4711, "[::1]:9229".parse().unwrap())));
        for end in 0..70 {
            assert_eq!(parse(&line[..end]), None, "{end}");
        }
        assert_eq!(parse(&line.replace(" 0A ", " 01 ")), None);
        assert_eq!(parse(&line.replace("0100007F", "\u{e4}\u{e4}\u{e4}\u{e4}")), None);
    }
}
