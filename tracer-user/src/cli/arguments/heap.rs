//! Arguments of `outlive heap`.

use super::{JsHeap, ReportFormat, positive_duration};
use crate::session::JsHeapMode;
use clap::Args;
use std::{path::PathBuf, time::Duration};

/// What `outlive heap --help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  sudo outlive heap 4242                                # what lies in it, who holds the most
  sudo outlive heap 4242 --for 60s                      # what grew, which container, who holds it
  sudo outlive heap 4242 --holders gateway.run.AIAgent --hide-keys
  sudo outlive heap 4242 --no-stop --json

The process' memory is read from outside; nothing is injected or written. Counts are read while it
runs. Who holds what needs one consistent read, for which it is stopped for a moment: never longer
than --max-stop, which is estimated before, and what it was is printed.

Exit codes: 0 done; 2 could not run; 3 inconclusive: it was not stopped though that was wanted, it
ended before the second moment, or memory of it could not be read.";

/// Look at the objects of a process.
#[derive(Debug, Args)]
pub struct Heap {
    /// The process.
    pub pid: u32,
    /// Look twice, so long apart (60s, 5m): what grew in between.
    #[arg(long = "for", value_name = "TIME", value_parser = positive_duration)]
    pub window: Option<Duration>,
    /// The longest that the process may be stopped for a consistent read.
    #[arg(long, value_name = "TIME", default_value = "250ms", value_parser = positive_duration)]
    pub max_stop: Duration,
    /// Never stop it: counts are good all the same, some chains of holders may be missing.
    #[arg(long, conflicts_with = "max_stop")]
    pub no_stop: bool,
    /// Leave keys of dictionaries out of chains; names of attributes and variables stay.
    #[arg(long)]
    pub hide_keys: bool,
    /// Types that are listed, those with the most bytes first.
    #[arg(long, visible_alias = "top", value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub types: u32,
    /// Say who holds objects of this type (gateway.run.AIAgent, or AIAgent); may be given several
    /// times. Without it: of what grew, or of the classes with the most bytes.
    #[arg(long, value_name = "TYPE")]
    pub holders: Vec<String>,
    /// Of a Node: have V8 make a snapshot of its heap, and say which objects are in it and who holds
    /// them. Without this option nothing is told of a JavaScript heap, since no cheaper way names
    /// its constructors. The program stands still meanwhile, for up to 50 seconds per 100 MB of heap
    /// on a busy machine, and needs up to 13 times the heap's size of memory more (with small
    /// objects; strings take little). Both are said before, and nothing is done where its memory
    /// limit would not allow it. Its inspector is opened as by attach --js-heap (`force`: as by
    /// --js-heap=force), and closed again.
    #[arg(long, value_name = "force", num_args = 0..=1, require_equals = true, default_missing_value = "asked", hide_possible_values = true)]
    pub js_retainers: Option<JsHeap>,
    /// Form of the answer on stdout.
    #[arg(long, value_enum, default_value_t = ReportFormat::Text, conflicts_with = "json")]
    pub format: ReportFormat,
    /// For scripts: the same as --format json.
    #[arg(long)]
    pub json: bool,
    /// Folder for heap.json and heap.txt.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

impl Heap {
    /// Whether, and by which way, V8 is asked for a snapshot.
    pub fn js_retainers(&self) -> Option<JsHeapMode> {
        self.js_retainers.map(|asked| match asked {
            JsHeap::Asked => JsHeapMode::Asked,
            JsHeap::Force => JsHeapMode::Force,
        })
    }

    /// The form that was asked for.
    pub fn format(&self) -> ReportFormat {
        if self.json { ReportFormat::Json } else { self.format }
    }
}
