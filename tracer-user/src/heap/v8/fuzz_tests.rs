//! Snapshots that are cut, garbled, or lie: they are refused, or read as something; nothing else.

use super::{made_up::MadeUp, *};

const ROOM: u64 = 1 << 20;

fn read(text: &str) -> Result<Snapshot, SnapshotError> {
    let mut reader = Reader::new(ROOM);
    reader.feed(text)?;
    reader.finish()
}

fn made() -> MadeUp {
    let mut made = MadeUp::new();
    let object = made.object(1, "table", "Map", 24);
    let table = made.node("array", "", 800);
    made.edge(object, "internal", "table", table);
    made.edge(table, "internal", "1", object);
    made.edge(object, "property", "self", object);
    made.edge(1, "property", "again", 0);
    for at in 0..40 {
        let text = made.node("string", "one content", 4000);
        made.edge(object, "element", &at.to_string(), text);
    }
    made
}

#[test]
fn a_snapshot_that_is_cut_is_refused_wherever_that_is() {
    let text = made().text();
    let text = text.trim_end();
    assert!(read(text).is_ok());
    for end in 0..text.len() {
        assert!(read(&text[..end]).is_err(), "{end}");
    }
    assert!(matches!(read(&format!("{text}x")), Err(SnapshotError::Nonsense(_))));
}

#[test]
fn garbage_is_refused_or_read_without_harm() {
    let text = made().text().into_bytes();
    let mut random = fastrand::Rng::with_seed(7);
    let mut read_anyway = 0;
    for _ in 0..20_000 {
        let mut garbled = text.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..garbled.len());
            match random.u8(..4) {
                0 => garbled[at] = b'0' + random.u8(..10),
                1 => garbled[at] = *random.choice(b"[]{}\",\\:9").expect("one"),
                2 => drop(garbled.remove(at)),
                _ => garbled.insert(at, random.u8(32..127)),
            }
        }
        let Ok(garbled) = String::from_utf8(garbled) else { continue };
        if let Ok(snapshot) = read(&garbled) {
            read_anyway += 1;
            find(&snapshot, &Asked { hide_keys: random.bool(), ..Asked::default() });
        }
    }
    assert!(read_anyway > 1000, "{read_anyway}: nothing was evaluated");
}

#[test]
fn counts_that_would_take_all_memory_are_refused_before_it_is_taken() {
    let text = made().text();
    for lie in ["\"node_count\":4000000000", "\"node_count\":18446744073709551615"] {
        let at = text.find("\"node_count\":").expect("there");
        let end = at + text[at..].find(',').expect("there");
        let lying = format!("{}{lie}{}", &text[..at], &text[end..]);
        assert!(matches!(read(&lying), Err(SnapshotError::TooLarge { .. })), "{lie}");
    }
}

#[test]
fn what_never_ends_is_refused() {
    let endless = |begin: &str, piece: &str| {
        let mut reader = Reader::new(ROOM);
        reader.feed(begin)?;
        for _ in 0..100_000 {
            reader.feed(piece)?;
        }
        reader.finish().map(drop)
    };
    let text = made().text();
    let until = |part: &str| &text[..text.find(part).expect("there") + part.len()];
    for (begin, piece) in [
        ("{\"snapshot\":{\"meta\":", "[[[[[[[["),
        (until("\"nodes\":["), "0,0,0,0,0,0,"),
        (until("\"nodes\":["), "1111"),
        (until("\"edges\":["), "1,1,6,"),
        (until("\"trace_tree\":["), "[[[["),
        (until("\"strings\":["), "\"\","),
    ] {
        assert!(matches!(endless(begin, piece), Err(SnapshotError::Nonsense(_))), "{piece}");
    }
    // One long string goes by.
    assert_eq!(
        endless(until("\"strings\":["), "x"),
        Err(SnapshotError::Nonsense("a list of strings"))
    );
    let inside = format!("{}\"", until("\"strings\":["));
    assert_eq!(endless(&inside, "xxxxxxxx"), Err(SnapshotError::Truncated));
}

#[test]
fn a_snapshot_without_anything_is_no_harm() {
    assert_eq!(read("").map(drop), Err(SnapshotError::Truncated));
    assert_eq!(find(&Snapshot::default(), &Asked::default()), Findings::default());
}
