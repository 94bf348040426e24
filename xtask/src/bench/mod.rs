//! Verb `bench`: what outlive costs, beside nothing, beside the floor of what probes cost, and
//! beside other tools; and what is demanded of it. A part is a file or a folder here, and hands
//! back a `Section`. docs/bench.md says how each figure is taken.

mod attach;
mod heap;
mod load;
mod machine;
mod own;
mod pairs;
mod peer;
mod program;
mod section;
mod servers;
mod spread;
mod tracer;
mod usage;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{build, command, debian};
use machine::Machine;
use section::Section;

/// Of the JSON; raised when a field changes its meaning or goes. docs/bench.md describes it.
const SCHEMA_VERSION: u32 = 1;

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Measure this alone
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Fewer and shorter rounds, and nothing that takes minutes: to see whether all works
    #[arg(long)]
    quick: bool,
    /// Measure target/release/outlive as it is, without building it first
    #[arg(long)]
    no_build: bool,
    /// Write bench.txt and bench.json into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the JSON instead of the text
    #[arg(long)]
    json: bool,
}

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Pairs of malloc and free, by stack and by who follows them
    #[value(alias = "probes")]
    Pairs,
    /// Servers under load, by who follows them
    Servers,
    /// How long attaching and detaching take, and how long the target stands still
    Attach,
    /// outlive's own CPU and memory, that in the kernel included
    Own,
    /// Looks at heaps
    Heap,
}

const PARTS: [Part; 5] = [Part::Pairs, Part::Servers, Part::Attach, Part::Own, Part::Heap];

impl Part {
    fn key(self) -> &'static str {
        match self {
            Part::Pairs => "pairs",
            Part::Servers => "servers",
            Part::Attach => "attach",
            Part::Own => "own",
            Part::Heap => "heap",
        }
    }

    fn measure(self, quick: bool) -> Result<Section> {
        match self {
            Part::Pairs => pairs::measure(quick),
            Part::Servers => servers::measure(quick),
            Part::Attach => attach::measure(quick),
            Part::Own => own::measure(quick),
            Part::Heap => heap::measure(quick),
        }
    }
}

/// Runs the verb. What is demanded and missed is no error: figures of one machine, taken beside
/// whatever else it does, are for people to judge. That outlive could not be measured is one.
///
/// # Errors
/// When it is not root, a build fails, or a figure of outlive's own is missing.
pub fn run(args: &BenchArgs) -> Result<()> {
    if !debian::is_root() {
        bail!("attaching probes to another process needs root; run as root");
    }
    if !args.no_build {
        build::bpf_object()?;
        build::outlive(true)?;
    }
    let machine = Machine::here();
    let began = Instant::now();
    let parts = PARTS.into_iter().filter(|part| args.only.is_none_or(|only| only == *part));
    let mut sections = Vec::new();
    for part in parts {
        command::heading(&format!("bench: {} ({:.0?} so far)", part.key(), began.elapsed()));
        let section = part.measure(args.quick);
        sections.push(section.unwrap_or_else(|error| Section::failed(part.key(), &error)));
    }
    let text = text(&machine, &sections, args.quick);
    let json = json(&machine, &sections, args.quick);
    if let Some(folder) = &args.out {
        write(folder, &text, &json)?;
    }
    if args.json {
        println!("{json:#}")
    } else {
        print!("{text}")
    }
    let failures: Vec<&String> = sections.iter().flat_map(|section| &section.failures).collect();
    if let Some(first) = failures.first() {
        bail!("{} figures of outlive's own are missing; the first: {first}", failures.len());
    }
    Ok(())
}

fn text(machine: &Machine, sections: &[Section], quick: bool) -> String {
    let mut text = format!("{}\n", machine.text());
    if quick {
        text.push_str("quick: too few rounds to judge by\n");
    }
    sections.iter().for_each(|section| text.push_str(&section.to_string()));
    text
}

fn json(machine: &Machine, sections: &[Section], quick: bool) -> Value {
    let mut json = json!({
        "schema_version": SCHEMA_VERSION, "outlive_version": env!("CARGO_PKG_VERSION"),
        "machine": machine.json(), "quick": quick,
    });
    sections.iter().for_each(|section| json[section.key] = section.json());
    json
}

fn write(folder: &Path, text: &str, json: &Value) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    for (name, content) in [("bench.txt", text.to_owned()), ("bench.json", format!("{json:#}\n"))] {
        let path = folder.join(name);
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
