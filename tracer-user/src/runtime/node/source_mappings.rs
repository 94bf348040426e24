//! The contents of a source map, as the specification of source maps (ECMA-426) has them: which
//! line of which source a place comes from. Maps are the target's: what is made of one takes no
//! more than a small multiple of what is kept, whatever it says. Names, columns and the sources'
//! texts are left out.

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::Arc;

/// Most places in one map: the largest seen (of a compiler in one file) has a million.
const MAX_PLACES: usize = 4 << 20;
/// Most sources of one map.
const MAX_SOURCES: usize = 1 << 16;
/// Most maps in one.
const MAX_SECTIONS: usize = 1 << 12;
/// Longest path of a source, and longest of what stands before it, in bytes: others are not told.
const MAX_TEXT_BYTES: usize = 4096;

/// From here on the code comes from this line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Start {
    /// 0-based, as the column; in the code that runs.
    line: u32,
    column: u32,
    /// Index, and 0-based line in it; `None` for code that has no source.
    source: Option<(Index, u32)>,
}

/// Of a source, and one more: so that there is a number for none.
type Index = std::num::NonZeroU32;

/// A source, with what stands before its path.
#[derive(Clone, Debug)]
struct Source {
    root: Arc<str>,
    path: Box<str>,
}

/// A map.
#[derive(Debug, Default)]
pub(super) struct Mappings {
    /// Sorted.
    starts: Vec<Start>,
    sources: Vec<Source>,
}

/// As it is written.
#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow, default)]
    mappings: Option<Text<'a>>,
    #[serde(borrow, default)]
    sources: Option<Bounded<Option<Text<'a>>, MAX_SOURCES>>,
    #[serde(borrow, default, rename = "sourceRoot")]
    source_root: Option<Text<'a>>,
    #[serde(borrow, default)]
    sections: Option<Bounded<Section<'a>, MAX_SECTIONS>>,
}

#[derive(Deserialize)]
struct Section<'a> {
    offset: Offset,
    /// Read by itself, so that only one map at a time is unpacked.
    #[serde(borrow)]
    map: &'a RawValue,
}

#[derive(Clone, Copy, Deserialize)]
struct Offset {
    line: u32,
    column: u32,
}

/// Text that borrows where it can, also in an option.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A list of at most so many; a longer one is an error.
struct Bounded<T, const MAX: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Bounded<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Items<T, MAX> {
            type Value = Bounded<T, MAX>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "a list of at most {MAX}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    if items.len() >= MAX {
                        return Err(A::Error::custom("too long"));
                    }
                    items.push(item);
                }
                Ok(Bounded(items))
            }
        }
        deserializer.deserialize_seq(Items(PhantomData))
    }
}

impl Mappings {
    /// Decodes a map; `None` for what is none, or has more in it than is taken.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let written: Written<'_> = serde_json::from_slice(without_guard(bytes)).ok()?;
        let mut mappings = Self::default();
        match &written.sections {
            None => mappings.add(&written, Offset { line: 0, column: 0 })?,
            Some(Bounded(sections)) => {
                for section in sections {
                    let inner: Written<'_> = serde_json::from_str(section.map.get()).ok()?;
                    // Sections in sections are not allowed.
                    inner.sections.is_none().then_some(())?;
                    mappings.add(&inner, section.offset)?;
                }
            }
        }
        let Self { starts, sources } = &mut mappings;
        if !starts.is_sorted_by_key(|start| (start.line, start.column)) {
            starts.sort_by_key(|start| (start.line, start.column));
        }
        // Only lines are told.
        starts.dedup_by_key(|start| (start.line, start.source));
        starts.shrink_to_fit();
        sources.shrink_to_fit();
        Some(mappings)
    }

    /// The source of a place and the line in it, both 0-based: what stands before the source's
    /// path, and the path.
    pub(super) fn source_of(&self, line: u32, column: u32) -> Option<(String, u32)> {
        let behind =
            self.starts.partition_point(|start| (start.line, start.column) <= (line, column));
        // Maps say nothing about the rest of a line by what is on lines before.
        let start = self.starts[..behind].last().filter(|start| start.line == line)?;
        let (index, source_line) = start.source?;
        let source = self.sources.get(index.get() as usize - 1)?;
        Some((source.full_path()?, source_line))
    }

    /// Bytes that it takes.
    pub(super) fn held_bytes(&self) -> u64 {
        let sources = self.sources.iter().map(|source| {
            size_of::<Source>()
                + source.path.len()
                + source.root.len() / Arc::strong_count(&source.root)
        });
        (self.starts.len() * size_of::<Start>() + sources.sum::<usize>()) as u64
    }

    fn add(&mut self, written: &Written<'_>, offset: Offset) -> Option<()> {
        let first = self.sources.len();
        if let Some(Bounded(sources)) = &written.sources {
            (first + sources.len() <= MAX_SOURCES).then_some(())?;
            let root = written.source_root.as_ref().map_or("", |root| &root.0);
            // One that is too long leaves all paths untold.
            let is_told = root.len() <= MAX_TEXT_BYTES;
            let root: Arc<str> = if is_told { root.into() } else { "".into() };
            self.sources.extend(sources.iter().map(|source| {
                let path = source
                    .as_ref()
                    .map(|text| &*text.0)
                    .filter(|path| is_told && path.len() <= MAX_TEXT_BYTES);
                Source { root: Arc::clone(&root), path: path.unwrap_or_default().into() }
            }));
        }
        let count = self.sources.len() - first;
        let text = written.mappings.as_ref().map_or("", |text| &text.0);
        let mut line = i64::from(offset.line);
        let mut column = i64::from(offset.column);
        // Running numbers: of the source, and of its line. Its column runs too, unread.
        let (mut source, mut source_line) = (0_i64, 0_i64);
        let mut fields = Fields { rest: text.as_bytes() };
        loop {
            let mut values = [0_i64; 5];
            let length = fields.segment(&mut values)?;
            column = column.checked_add(values[0])?;
            if length >= 4 {
                source = source.checked_add(values[1])?;
                source_line = source_line.checked_add(values[2])?;
            }
            let own = match length {
                0 => None,
                1 => Some(None),
                4 | 5 => {
                    let index = usize::try_from(source).ok().filter(|index| *index < count)?;
                    let index = Index::new(u32::try_from(first + index).ok()? + 1)?;
                    Some(u32::try_from(source_line).ok().map(|line| (index, line)))
                }
                _ => return None,
            };
            if let Some(source) = own {
                (self.starts.len() < MAX_PLACES).then_some(())?;
                let (line, column) = (u32::try_from(line).ok()?, u32::try_from(column).ok()?);
                self.starts.push(Start { line, column, source });
            }
            match fields.separator()? {
                None => return Some(()),
                Some(b';') => {
                    line += 1;
                    // The section's column is where its first line begins.
                    column = 0;
                }
                Some(_) => {}
            }
        }
    }
}

impl Source {
    fn full_path(&self) -> Option<String> {
        if self.path.is_empty() {
            return None;
        }
        let is_whole = ["/", "http:", "https:"].iter().any(|start| self.path.starts_with(start));
        Some(match is_whole || self.root.is_empty() {
            true => self.path.to_string(),
            false => format!("{}/{}", self.root.strip_suffix('/').unwrap_or(&self.root), self.path),
        })
    }
}

/// The text of the mappings that is still to be read.
struct Fields<'a> {
    rest: &'a [u8],
}

impl Fields<'_> {
    /// The numbers of the next segment, and how many there are; `None` when it is none.
    fn segment(&mut self, values: &mut [i64; 5]) -> Option<usize> {
        let mut length = 0;
        while !matches!(self.rest.first(), None | Some(b',' | b';')) {
            *values.get_mut(length)? = self.number()?;
            length += 1;
        }
        Some(length)
    }

    /// The next number: six bits a digit, the highest of which says that there are more, the
    /// lowest of the number its sign.
    fn number(&mut self) -> Option<i64> {
        let (mut number, mut shift) = (0_u64, 0);
        loop {
            let (first, rest) = self.rest.split_first()?;
            self.rest = rest;
            let digit = digit(*first)?;
            // 32 bits and the sign are allowed.
            (shift <= 30).then_some(())?;
            number |= u64::from(digit & 31) << shift;
            shift += 5;
            if digit & 32 == 0 {
                break;
            }
        }
        let value = (number >> 1) as i64;
        Some(if number & 1 == 1 { -value } else { value })
    }

    /// What ends the segment; nothing at the end of the text.
    fn separator(&mut self) -> Option<Option<u8>> {
        match self.rest.split_first() {
            None => Some(None),
            Some((separator, rest)) => {
                self.rest = rest;
                matches!(separator, b',' | b';').then_some(Some(*separator))
            }
        }
    }
}

/// The value of a digit in base 64.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Without the line that keeps a map from being run as a program.
fn without_guard(bytes: &[u8]) -> &[u8] {
    if !bytes.starts_with(b")]}") {
        return bytes;
    }
    let end = bytes.iter().position(|byte| *byte == b'\n');
    end.map_or(&[], |end| &bytes[end..])
}

/// The map in a `data:` address: in base64, as everybody writes it.
pub(super) fn data_of(address: &str) -> Option<Vec<u8>> {
    let (head, data) = address.strip_prefix("data:")?.split_once(',')?;
    let mut parts = head.split(';');
    let is_json = matches!(parts.next(), Some("application/json" | "text/json"));
    (is_json && parts.next_back() == Some("base64")).then_some(())?;
    let mut bytes = Vec::with_capacity(data.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in data.trim_end_matches('=').bytes() {
        bits = bits << 6 | u32::from(digit(byte)?);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::fuzz;

    fn map(sources: &str, mappings: &str) -> String {
        format!(r#"{{"version":3,"sources":{sources},"names":["n"],"mappings":"{mappings}"}}"#)
    }

    fn sections() -> Vec<u8> {
        let (first, second) = (map(r#"["a.ts"]"#, "AAAA;AACA"), map(r#"["b.ts"]"#, "AAGA,EACA;A"));
        format!(
            r#"{{"version":3,"sections":[{{"offset":{{"line":0,"column":0}},"map":{first}}},
            {{"offset":{{"line":7,"column":5}},"map":{second}}}]}}"#
        )
        .into_bytes()
    }

    #[test]
    fn sections_count_from_where_they_begin() {
        let map = Mappings::decode(&sections()).unwrap();
        let foreign =
            sourcemap::SourceMapIndex::from_slice(&sections()).unwrap().flatten().unwrap();
        for line in 0..10 {
            for column in 0..12 {
                let token = foreign.lookup_token(line, column);
                let token =
                    token.filter(|token| token.get_dst_line() == line && token.has_source());
                let expected = token
                    .map(|token| (token.get_source().unwrap().to_owned(), token.get_src_line()));
                assert_eq!(map.source_of(line, column), expected, "{line}:{column}");
            }
        }
        assert_eq!(map.source_of(7, 6), Some(("b.ts".into(), 3)));
        assert_eq!(map.source_of(7, 4), None);
        assert_eq!(map.source_of(7, 9), Some(("b.ts".into(), 4)));
    }

    #[test]
    fn a_small_map_takes_little() {
        let root = "r".repeat(MAX_TEXT_BYTES);
        let sources = format!("[{}\"\"]", "\"a\",".repeat(MAX_SOURCES - 1));
        let with_root = |root: &str, sources: &str| {
            let map = map(sources, "AAAA");
            let text = map.replacen("\"version\":3", &format!("\"sourceRoot\":\"{root}\""), 1);
            Mappings::decode(text.as_bytes())
        };
        let found = with_root(&root, &sources).unwrap();
        assert_eq!(found.source_of(0, 0), Some((format!("{root}/a"), 0)));
        assert!(found.held_bytes() < 4 << 20, "{}", found.held_bytes());
        let longer = with_root(&format!("{root}r"), &sources).unwrap();
        assert_eq!(longer.source_of(0, 0), None);
        assert!(with_root("", &sources.replacen('[', "[null,", 1)).is_none());
        let places = "A,".repeat(MAX_PLACES);
        let most = Mappings::decode(map("[]", &places).as_bytes()).unwrap();
        assert!(most.held_bytes() < 100, "{}", most.held_bytes());
        assert!(Mappings::decode(map("[]", &format!("{places}A")).as_bytes()).is_none());
    }

    #[test]
    fn garbage_is_no_map() {
        for text in ["", "{", "[7]", "7", ")]}'", "{\"mappings\":7}"] {
            assert!(Mappings::decode(text.as_bytes()).is_none(), "{text}");
        }
        for mappings in ["AAAA,!", "ACAA", "ADAA", "AA", "AAAAAA", "gggggggggA", "D"] {
            let map = map(r#"["a"]"#, mappings);
            assert!(Mappings::decode(map.as_bytes()).is_none(), "{mappings}");
        }
        assert!(Mappings::decode(format!(")]}}'\n{}", map("[]", "A")).as_bytes()).is_some());
        assert_eq!(data_of("data:application/json;base64,e30=").as_deref(), Some(&b"{}"[..]));
        assert_eq!(data_of("data:application/json,{}"), None);
        let inputs = [sections(), map(r#"["a.ts",null]"#, "AAAA,CACA;;gBCmCA").into_bytes()];
        fuzz("source maps", &inputs, |bytes| {
            let found = Mappings::decode(bytes);
            let _ = found.map(|map| map.source_of(7, 6));
        });
    }
}
