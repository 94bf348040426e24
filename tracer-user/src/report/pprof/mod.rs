//! The report as a profile that `go tool pprof` and what reads its format open (profile.proto,
//! compressed by gzip). The only user of prost and flate2.

mod message;
mod places;
mod tables;
#[cfg(test)]
mod tests;

use super::build::{frame_report, total};
use super::model::{Report, Site};
use crate::capture::Recording;
use crate::stack::{Frame, FrameKind};
use flate2::{Compression, write::GzEncoder};
use message::{Label, Profile, Sample, ValueType};
use places::Places;
use prost::Message as _;
use std::io::{self, Write as _};
use tables::Tables;

/// Types of a sample's numbers and their units, in the order in which they stand.
const TYPES: [(&str, &str); 4] = [
    ("inuse_space", "bytes"),
    ("inuse_objects", "count"),
    ("alloc_space", "bytes"),
    ("alloc_objects", "count"),
];

/// The report of `recording` as a profile. In use is what was live at the end and had not gone
/// with its process: `live_bytes` less `ended_live_bytes` of the report's totals. What was
/// allocated are the totals' `allocated_bytes`.
///
/// # Errors
/// What the compressor says; none is known for one that writes to memory.
pub fn render(report: &Report, recording: &Recording) -> io::Result<Vec<u8>> {
    let mut compressed = GzEncoder::new(Vec::new(), Compression::default());
    compressed.write_all(&profile(report, recording).encode_to_vec())?;
    compressed.finish()
}

fn profile(report: &Report, recording: &Recording) -> Profile {
    let places = Places::of(recording);
    let mut tables = Tables::new();
    if let Some(program) = places.program() {
        tables.mapping(program);
    }
    let sample_type = TYPES.map(|(name, unit)| value_type(&mut tables, name, unit)).to_vec();
    let mut room = [i64::MAX; TYPES.len()];
    let mut samples = Vec::with_capacity(report.sites.len());
    for site in &report.sites {
        let value = values(site, &mut room);
        if value.iter().any(|value| *value > 0) {
            let mut location_id = places.locations(&mut tables, site);
            if location_id.is_empty() {
                location_id.push(nowhere(&mut tables));
            }
            samples.push(Sample { location_id, value, label: labels(&mut tables, site) });
        }
    }
    let comment = comments(report).iter().map(|comment| tables.text(comment)).collect();
    Profile {
        sample_type,
        sample: samples,
        time_nanos: bounded(report.window.start_unix_ns),
        duration_nanos: bounded(report.window.duration_ns),
        // Numbers are of all that there is: what is sampled (V8's heap) was scaled up before.
        period_type: Some(value_type(&mut tables, "space", "bytes")),
        period: 1,
        comment,
        default_sample_type: tables.text(TYPES[0].0),
        mapping: tables.mappings,
        location: tables.locations,
        function: tables.functions,
        string_table: tables.strings,
    }
}

fn value_type(tables: &mut Tables, name: &str, unit: &str) -> ValueType {
    ValueType { r#type: tables.text(name), unit: tables.text(unit) }
}

/// Numbers of a site; `room` is what readers can still add up without overflow.
fn values(site: &Site, room: &mut [i64; TYPES.len()]) -> Vec<i64> {
    let live = if site.process_ended { (0, 0) } else { (site.live_bytes, site.live_blocks) };
    let numbers = [live.0, live.1, site.allocated_bytes, site.allocated_blocks];
    let value = |(number, room): (u64, &mut i64)| {
        let value = bounded(number).min(*room);
        *room -= value;
        value
    };
    numbers.into_iter().zip(room).map(value).collect()
}

fn labels(tables: &mut Tables, site: &Site) -> Vec<Label> {
    let mut labels = vec![("domain", site.domain.to_owned())];
    labels.extend(site.pid.map(|pid| ("pid", pid.to_string())));
    labels.push(("verdict", site.verdict.to_owned()));
    if site.process_ended {
        labels.push(("process", "ended".to_owned()));
    }
    labels.extend(site.truncated.map(|reason| ("truncated", reason.to_owned())));
    let label =
        |(key, value): (&str, String)| Label { key: tables.text(key), str: tables.text(&value) };
    labels.into_iter().map(label).collect()
}

/// The place of what has no frames.
fn nowhere(tables: &mut Tables) -> u64 {
    let frame = frame_report(&Frame::bare(FrameKind::Native, "[no frames]"));
    let line = tables.line(&frame);
    tables.location(0, 0, vec![line])
}

/// What a profile has no field for: the answer, who was watched, and what is missing.
fn comments(report: &Report) -> Vec<String> {
    let target = &report.target;
    let mut comments = vec![
        format!("outlive {}", report.outlive_version),
        report.verdict.sentence.clone(),
        format!(
            "PID {}: {}",
            target.pid,
            if target.cmdline.is_empty() { &target.exe } else { &target.cmdline }
        ),
    ];
    let ended = report.sites.iter().filter(|site| site.process_ended);
    let ended_bytes = total(ended, |site| site.live_bytes);
    if ended_bytes > 0 {
        comments.push(format!(
            "{ended_bytes} bytes went with processes that ended; they are not in use"
        ));
    }
    if report.settings.min_size_bytes > 0 {
        comments.push(format!(
            "blocks below {} bytes were not followed",
            report.settings.min_size_bytes
        ));
    }
    let lost = report.lossy.iter();
    comments.extend(lost.map(|name| {
        format!("incomplete: {name} {}", report.losses.get(name).copied().unwrap_or(0))
    }));
    comments
}

fn bounded(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
