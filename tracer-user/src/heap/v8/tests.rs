//! Snapshots that are made up: what is said of them is known.

use super::{made_up::MadeUp, *};
use crate::capture::Held;

const ROOM: u64 = 1 << 20;

fn read(text: &str) -> Result<Snapshot, SnapshotError> {
    let mut reader = Reader::new(ROOM);
    reader.feed(text)?;
    reader.finish()
}

fn found(made: &MadeUp) -> Findings {
    find(&read(&made.text()).expect("a snapshot"), &Asked::default())
}

fn count(findings: &Findings, name: &str) -> (u64, u64) {
    let found = findings.constructors.iter().find(|count| count.name == name);
    found.map_or((0, 0), |count| (count.count, count.bytes))
}

fn held<'a>(findings: &'a Findings, name: &str) -> &'a Held {
    let is = |held: &&Held| held.subject.type_name.as_deref() == Some(name);
    findings.held.iter().find(is).unwrap_or_else(|| panic!("nothing holds {name}: {findings:#?}"))
}

fn chains(findings: &Findings, name: &str) -> Vec<(u64, String)> {
    let chains = held(findings, name).chains.iter();
    chains.map(|chain| (chain.objects, chain.steps.join(" -> "))).collect()
}

/// A Map of sessions that a variable of a function holds, as V8 lays it out.
fn sessions(made: &mut MadeUp, sessions: usize) -> usize {
    let handler = made.node("closure", "handler", 64);
    made.edge(1, "property", "onrequest", handler);
    let scope = made.node("object", "system / Context", 40);
    made.edge(handler, "internal", "context", scope);
    let outer = made.node("object", "system / Context", 40);
    made.edge(scope, "internal", "previous", outer);
    let map = made.node("object", "Map", 32);
    made.edge(outer, "context", "sessions", map);
    let table = made.node("array", "", 8000);
    made.edge(map, "internal", "table", table);
    for session in 0..sessions {
        let node = made.node("object", "Session", 56);
        made.edge(table, "internal", &session.to_string(), node);
        let skills = made.object(node, "skills", "Array", 16);
        let text = made.node("string", "the same forty kilobytes", 40_000);
        made.edge(skills, "element", "0", text);
    }
    map
}

#[test]
fn a_map_that_keeps_sessions_is_named_with_who_holds_it() {
    let mut made = MadeUp::new();
    sessions(&mut made, 100);
    let findings = found(&made);
    assert_eq!(count(&findings, "Session"), (100, 5600));
    // Its table is its own.
    assert_eq!(count(&findings, "Map"), (1, 8032));
    assert_eq!(count(&findings, "Function").0, 1);
    let way = "(global).onrequest -> handler() variable sessions -> Map[*]";
    assert_eq!(chains(&findings, "Session"), [(100, format!("{way} -> Session"))]);
    let strings = format!("{way} -> Session.skills -> Array[*] -> (string)");
    assert_eq!(chains(&findings, "(string)"), [(100, strings)]);
    let chain = &held(&findings, "Session").chains[0];
    assert_eq!((chain.root.as_str(), chain.bytes), ("v8-global", 5600));
    let container = &findings.containers[0];
    assert_eq!(container.type_name, "Map");
    assert_eq!(
        container.chain.steps.join(" -> "),
        "(global).onrequest -> handler() variable sessions -> Map"
    );
    let contents = &container.contents[0];
    assert_eq!((contents.name.as_str(), contents.count), ("Session", 100));
    assert_eq!(container.held_bytes, 8032 + 100 * (56 + 16 + 40_000));
}

#[test]
fn strings_of_one_content_are_counted_and_never_told() {
    let mut made = MadeUp::new();
    sessions(&mut made, 100);
    let findings = found(&made);
    let note = findings.notes.iter().find(|note| note.contains("are copies")).expect("a note");
    assert!(note.contains("3.8 MiB of 3.8 MiB"), "{note}");
    assert!(note.contains("99 of 100 strings") && note.contains("100 times"), "{note}");
    assert!(note.contains("first 1,024 characters"), "{note}");
    assert!(!format!("{findings:?}").contains("forty kilobytes"), "a content was told");
    // Equal beginnings of different lengths are different strings.
    let mut made = MadeUp::new();
    for size in 0..100 {
        let text = made.node("string", "alike", 40_000 + size * 8);
        made.edge(1, "property", &format!("p{size}"), text);
    }
    assert_eq!(found(&made).notes, Vec::<String>::new());
}

#[test]
fn what_is_weakly_held_holds_nothing() {
    let mut made = MadeUp::new();
    let cache = made.object(1, "cache", "WeakMap", 32);
    let table = made.node("array", "", 64);
    made.edge(cache, "internal", "table", table);
    let name = "1 / part of key (Key @5) -> value (Value @7) pair in WeakMap (table @3)";
    let key = made.object(1, "key", "Key", 24);
    let value = made.node("object", "Value", 48);
    made.edge(table, "weak", "1", key);
    made.edge(table, "internal", name, value);
    made.edge(key, "internal", name, value);
    let lost = made.node("object", "Lost", 80);
    made.edge(2, "weak", "1", lost);
    // One whose key is gone as well.
    let lonely = made.node("object", "Lonely", 48);
    made.edge(table, "internal", name, lonely);
    let findings = found(&made);
    let way = "(global).key -> Key, key of a WeakMap -> Value".to_owned();
    assert_eq!(chains(&findings, "Value"), [(1, way)]);
    for name in ["Lost", "Lonely"] {
        assert_eq!((held(&findings, name).chains.len(), held(&findings, name).unknown), (0, 1));
    }
}

#[test]
fn a_list_of_any_length_and_the_keys_of_a_large_object_are_one_way() {
    let mut made = MadeUp::new();
    let mut last = made.object(1, "head", "Link", 24);
    for _ in 0..5000 {
        last = made.object(last, "next", "Link", 24);
    }
    let by_name = made.object(1, "byName", "Object", 24);
    for at in 0..100 {
        made.object(by_name, &format!("user-{at}"), "User", 24);
    }
    let settings = made.object(1, "settings", "Object", 24);
    made.object(settings, "secret key of a customer, and long", "Setting", 24);
    let findings = found(&made);
    let links = chains(&findings, "Link");
    assert_eq!(links.len(), 3, "{links:?}");
    assert_eq!(links[0], (4999, "(global).head -> Link.next (repeatedly) -> Link".to_owned()));
    assert_eq!(chains(&findings, "User"), [(100, "(global).byName -> Object[*] -> User".into())]);
    let way = chains(&findings, "Setting")[0].1.clone();
    assert_eq!(way, "(global).settings -> Object['secret key of a customer...'] -> Setting");
    let hidden = find(
        &read(&made.text()).expect("a snapshot"),
        &Asked { hide_keys: true, ..Asked::default() },
    );
    assert_eq!(chains(&hidden, "Setting")[0].1, "(global).settings -> Object[*] -> Setting");
}

#[test]
fn keys_that_read_like_names_are_hidden_and_names_of_the_program_are_not() {
    let mut made = MadeUp::new();
    let store = made.object(1, "store", "Store", 24);
    for (key, class) in [("alice", "Alice"), ("feedbeefcafe", "Hexadecimal")] {
        let users = made.object(store, "users", "Object", 24);
        made.object(users, key, class, 24);
    }
    // An instance of a class that is used as a dictionary.
    made.object(store, "s8f2k1", "Token", 24);
    made.object(store, "a_name_that_is_longer_than_most", "Long", 24);
    for _ in 0..8 {
        let session = made.object(store, "session", "Object", 24);
        made.object(session, "history", "History", 24);
    }
    let snapshot = read(&made.text()).expect("a snapshot");
    let way = |hide_keys, class: &str| {
        let found = find(&snapshot, &Asked { hide_keys, ..Asked::default() });
        chains(&found, class)[0].1.clone()
    };
    let check = |class: &str, open: &str, hidden: &str| {
        assert_eq!(way(false, class), format!("(global).store -> Store{open} -> {class}"));
        assert_eq!(way(true, class), format!("(global).store -> Store{hidden} -> {class}"));
    };
    check("Alice", ".users -> Object.alice", ".users -> Object[*]");
    check("Hexadecimal", ".users -> Object.feedbeefcafe", ".users -> Object[*]");
    check("Token", ".s8f2k1", "[*]");
    check("Long", ".a_name_that_is_longer_th...", "[*]");
    check("History", ".session -> Object.history", ".session -> Object.history");
}

#[test]
fn what_programs_hold_comes_before_prototypes_and_native_code() {
    let mut made = MadeUp::new();
    let thing = made.object(1, "__proto__", "Thing", 24);
    let server = made.node("object", "Server", 100);
    made.edge(2, "element", "1", server);
    made.edge(server, "property", "thing", thing);
    let findings = found(&made);
    let way = "(native code) -> Server.thing -> Thing".to_owned();
    assert_eq!(chains(&findings, "Thing"), [(1, way)]);
    assert_eq!(held(&findings, "Thing").chains[0].root, "v8-handle");
}

#[test]
fn pieces_may_end_anywhere() {
    let mut made = MadeUp::new();
    sessions(&mut made, 3);
    made.object(1, "na\u{ef}ve \u{1F600} \"x\"\n\\", "Caf\u{e9}", 24);
    let text = made.text();
    // V8 writes what is no ASCII as escapes.
    let escaped: String = text
        .encode_utf16()
        .map(|unit| match char::from_u32(u32::from(unit)).filter(char::is_ascii) {
            Some(character) => character.to_string(),
            None => format!("\\u{unit:04X}"),
        })
        .collect();
    let whole = find(&read(&text).expect("a snapshot"), &Asked::default());
    assert!(chains(&whole, "Caf\u{e9}")[0].1.contains("\u{1F600}"), "{whole:#?}");
    for length in [1, 2, 3, 7, 64, 1000] {
        let mut reader = Reader::new(ROOM);
        for piece in escaped.as_bytes().chunks(length) {
            reader.feed(std::str::from_utf8(piece).expect("ASCII")).expect("a snapshot");
        }
        assert_eq!(find(&reader.finish().expect("whole"), &Asked::default()), whole, "{length}");
    }
}

#[test]
fn sampled_objects_are_found_by_what_they_stand_for_and_their_container_is_the_one_that_grows() {
    const DISTANCE: u64 = 16 << 10;
    let mut made = MadeUp::new();
    sessions(&mut made, 100);
    let index = made.object(1, "index", "Map", 32);
    let mut sampled = Sampled::new(DISTANCE);
    for at in 0..40 {
        let kept = made.object(index, &format!("k{at}"), "Kept", 400);
        made.edge(2, "weak", &at.to_string(), kept);
        sampled.add(400 * objects_of_sample(400, DISTANCE), 7, 1);
    }
    // Of a size that two functions allocate, which says nothing.
    let both = made.object(1, "both", "Both", 800);
    made.edge(2, "weak", "90", both);
    sampled.add(800 * objects_of_sample(800, DISTANCE), 8, 2);
    sampled.add(800 * objects_of_sample(800, DISTANCE), 9, 3);
    let asked = Asked { sampled: Some(&sampled), ..Asked::default() };
    let findings = find(&read(&made.text()).expect("a snapshot"), &asked);
    let held: Vec<&Held> =
        findings.held.iter().filter(|held| held.subject.stack.is_some()).collect();
    assert_eq!(held.len(), 1, "{held:#?}");
    assert_eq!(held[0].subject.stack, Some(7));
    assert_eq!(held[0].objects, 40 * objects_of_sample(400, DISTANCE));
    let all: u64 = held[0].chains.iter().map(|chain| chain.objects).sum();
    assert_eq!(all + held[0].other_objects, held[0].objects);
    let container = findings.containers.iter().find(|of| of.contents[0].name == "Kept");
    let container = container.expect("the container that grows is told, however little it holds");
    assert_eq!(container.chain.steps.join(" -> "), "(global).index -> Map");
    assert_eq!(container.lengths, [(0, 40)]);
}
