//! Flamegraphs by inferno.

use super::View;
use super::focus::{base_name, printable};
use super::folded;
use super::model::Report;
use super::regimes;
use crate::stack::{Domain, FrameKind};
use crate::units;
use inferno::flamegraph::color::{BackgroundColor, Color, PaletteMap};
use inferno::flamegraph::{Options, from_lines};
use std::io;

/// The report as an interactive flamegraph. Where nothing weighs anything, a picture that says so.
///
/// # Errors
/// What inferno says; none is known for what a report can hold.
pub fn render(report: &Report, view: View) -> io::Result<Vec<u8>> {
    let (title, subtitle) = (title(view), subtitle(report));
    // A capture may hold any numbers, and inferno adds them up unchecked.
    let mut room = u64::MAX;
    let mut lines: Vec<String> = folded::weights(report, view)
        .into_iter()
        .map(|(stack, weight)| {
            let weight = weight.min(room);
            room -= weight;
            format!("{stack} {weight}")
        })
        .collect();
    if lines.is_empty() {
        return Ok(empty(title, &subtitle, nothing(view)).into_bytes());
    }
    let mut palette = palette(report);
    let mut options = Options::default();
    options.title = title.into();
    options.subtitle = Some(subtitle);
    options.count_name = "bytes".into();
    options.name_type = "Frame:".into();
    options.bgcolors = Some(BackgroundColor::Flat(BACKGROUND));
    options.palette_map = Some(&mut palette);
    lines.sort_unstable();
    let mut svg = Vec::new();
    from_lines(&mut options, lines.iter().map(String::as_str), &mut svg)?;
    Ok(svg)
}

const BACKGROUND: Color = Color { r: 250, g: 250, b: 250 };

fn title(view: View) -> &'static str {
    match view {
        View::Live => "outlive: live bytes by allocation stack",
        View::Growth => "outlive: growth over the window by allocation stack",
        View::Allocated => "outlive: bytes allocated in the window by allocation stack",
    }
}

fn nothing(view: View) -> &'static str {
    match view {
        View::Live => "Nothing that was allocated in this window was live at its end.",
        View::Growth => "No stack kept growing in this window.",
        View::Allocated => "Nothing was allocated in this window.",
    }
}

fn subtitle(report: &Report) -> String {
    printable(&format!(
        "{} (PID {}), watched for {}; width = bytes; {}",
        base_name(&report.target.exe),
        report.target.pid,
        units::duration(report.window.duration_ns),
        legend(report) + &regimes::clause(report),
    ))
}

/// The colours that there are: of languages, and of what asked for memory that is no block of
/// malloc's.
fn legend(report: &Report) -> String {
    let frames = || report.sites.iter().flat_map(|site| &site.frames);
    let speaks = |kind: FrameKind| frames().any(|frame| frame.kind == kind);
    let asks = |domain: Domain| report.sites.iter().any(|site| site.domain == domain.name());
    let mut colors = Vec::new();
    for (kind, color) in [
        (FrameKind::Python, "Python green"),
        (FrameKind::Js, "JavaScript yellow"),
        (FrameKind::Native, "native blue"),
        (FrameKind::Kernel, "kernel orange"),
    ] {
        colors.extend(speaks(kind).then_some(color));
    }
    for (domain, color) in [
        (Domain::Mmap, "mmap purple"),
        (Domain::Python, "Python's objects teal"),
        (Domain::V8, "V8's heap red"),
    ] {
        colors.extend(asks(domain).then_some(color));
    }
    colors.join(", ")
}

fn palette(report: &Report) -> PaletteMap {
    let mut palette = PaletteMap::default();
    // The root, which inferno would give a colour at random.
    palette.insert("", Color { r: 200, g: 200, b: 200 });
    for frame in report.sites.iter().flat_map(|site| &site.frames) {
        let name = folded::name(frame);
        let color = color(frame.kind, &name);
        palette.insert(name, color);
    }
    // A function that stands innermost in one kind of memory and further out in another has the
    // colour of the former.
    for site in &report.sites {
        let Some(hue) = domain_hue(site.domain) else { continue };
        palette.insert(folded::root(site.domain), shaded(hue, 0));
        if let Some(leaf) = site.frames.first() {
            let name = folded::name(leaf);
            let shade = shade(&name);
            palette.insert(name, shaded(hue, shade));
        }
    }
    palette.insert(folded::root(Domain::Malloc.name()), shaded(hue(FrameKind::Native), 0));
    palette
}

type Hue = (u8, u8, u8);

/// A hue per language, a shade per name, so that neighbours differ.
fn color(kind: FrameKind, name: &str) -> Color {
    shaded(hue(kind), shade(name))
}

const fn hue(kind: FrameKind) -> Hue {
    match kind {
        FrameKind::Python => (90, 175, 95),
        FrameKind::Js => (215, 190, 60),
        FrameKind::Native => (110, 160, 215),
        FrameKind::Kernel => (215, 120, 70),
    }
}

/// The hue of a kind of memory, for what asked for it; blocks of malloc have the language's.
fn domain_hue(domain: &str) -> Option<Hue> {
    [(Domain::Mmap, (165, 130, 205)), (Domain::Python, (70, 165, 160)), (Domain::V8, (205, 95, 95))]
        .into_iter()
        .find_map(|(named, hue)| (named.name() == domain).then_some(hue))
}

fn shade(name: &str) -> u8 {
    (crc32fast::hash(name.as_bytes()) % 40) as u8
}

fn shaded((r, g, b): Hue, shade: u8) -> Color {
    Color { r: r + shade, g: g + shade, b: b + shade }
}

pub(super) fn empty(title: &str, subtitle: &str, message: &str) -> String {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let (title, subtitle, message) = (escape(title), escape(subtitle), escape(message));
    format!(
        "<?xml version=\"1.0\" standalone=\"no\"?>\n\
         <svg version=\"1.1\" width=\"1200\" height=\"140\" viewBox=\"0 0 1200 140\" xmlns=\"http://www.w3.org/2000/svg\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"rgb(250,250,250)\"/>\n\
         <g font-family=\"monospace\" text-anchor=\"middle\" fill=\"rgb(0,0,0)\">\n\
         <text x=\"600\" y=\"28\" font-size=\"17\">{title}</text>\n\
         <text x=\"600\" y=\"52\" font-size=\"12\" fill=\"rgb(110,110,110)\">{subtitle}</text>\n\
         <text x=\"600\" y=\"100\" font-size=\"15\">{message}</text>\n\
         </g>\n</svg>\n"
    )
}
