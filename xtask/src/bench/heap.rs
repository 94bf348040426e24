//! What a look at a heap costs, and what a server under load notices of it: heaps of 100 MB,
//! 500 MB and 1 GB, seen live and in a stop, and outlive killed in the middle.

use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::section::{Demand, Section};
use super::spread::median;
use crate::child::{Guarded, bound_command};
use crate::{debian, workspace};

/// Sizes of the heaps, in MiB, each with the longest stop that is accepted, in milliseconds.
const HEAPS: [(u64, Option<f64>); 3] = [(100, None), (500, Some(100.0)), (1024, Some(250.0))];

/// What the server is asked for each second. Its loop then has time to notice that it is late.
const REQUESTS_PER_SECOND: u32 = 200;

/// How often each heap is looked at in each way.
const LOOKS: usize = 3;

/// How often outlive is killed in the middle of a look at the smallest heap.
const KILLS: u32 = 40;

/// signal(7)
const SIGKILL: i32 = 9;

/// Least bytes of heap that a core has to look through in a second.
const MIN_MB_PER_CORE_SECOND: f64 = 300.0;

/// Most memory that outlive may take, of the heap's size.
const MAX_MEMORY_RATIO: f64 = 1.5;

/// What the longest pause of the server may differ from the stop that is printed, milliseconds,
/// beside what it pauses during looks that do not stop it: both share the machine's CPUs.
const MAX_PAUSE_ERROR_MS: f64 = 10.0;

/// Longest wait for a heap to be there, or for a look at one.
const PATIENCE: Duration = Duration::from_secs(180);

/// How long a look may take to leave no process stopped behind when it is killed.
const RESUMED_WITHIN: Duration = Duration::from_secs(2);

/// One look at a heap.
struct Look {
    /// Wall time of it, milliseconds.
    took_ms: f64,
    /// Time of outlive on a CPU, in its own code and in the kernel, seconds.
    user_s: f64,
    /// See the field above.
    system_s: f64,
    /// The most memory that outlive had resident, bytes.
    peak_bytes: f64,
    /// Bytes that were copied.
    copied_bytes: f64,
    /// The stop as outlive printed it; `None` where there was none.
    stopped_ms: Option<f64>,
    /// The longest time that the server's loop did not run, milliseconds.
    pause_ms: f64,
    /// The longest that an answer took, counted from when it was due, milliseconds.
    latency_ms: f64,
    /// Requests that were sent, and those that nobody answered.
    requests: u64,
    lost: u64,
}

/// All looks at one heap.
struct Heap {
    megabytes: u64,
    max_stop_ms: Option<f64>,
    resident_bytes: f64,
    /// The longest pause while nobody looked, milliseconds.
    idle_pause_ms: f64,
    live: Vec<Look>,
    stopped: Vec<Look>,
    /// Times that outlive was killed at work, and those of them after which the server did not run.
    kills: u32,
    left_stopped: u32,
}

/// A server with a heap, and its load.
struct Service {
    server: Guarded,
    load: Guarded,
    resident_bytes: f64,
}

impl Service {
    fn start(megabytes: u64) -> Result<Self> {
        let target = |script: &str, arguments: &[String]| -> Command {
            let mut command = bound_command("/usr/bin/python3", "KILL");
            command.arg(workspace::root().join("tests/targets/bench").join(script)).args(arguments);
            command
        };
        let mut command = target("heap_server.py", &[megabytes.to_string()]);
        let mut server = Guarded::start("the server with a heap", &mut command)?;
        let ready = answer(&mut server)?;
        let port = ready["port"].as_u64().context("the server tells no port")?;
        let arguments = [port.to_string(), REQUESTS_PER_SECOND.to_string()];
        let mut load = Guarded::start("its load", &mut target("heap_load.py", &arguments))?;
        answer(&mut load)?;
        Ok(Self { server, load, resident_bytes: number(&ready, "resident_bytes")? })
    }

    /// What load and server noticed since they were last asked.
    fn noticed(&mut self) -> Result<(Value, Value)> {
        self.load.send("what was there")?;
        let load = answer(&mut self.load)?;
        self.server.send("what was there")?;
        Ok((load, answer(&mut self.server)?))
    }

    fn look(&mut self, way: &str) -> Result<Look> {
        self.noticed()?;
        let mut command = bound_command("/usr/bin/python3", "KILL");
        command
            .arg(workspace::root().join("tests/targets/bench/measured.py"))
            .arg(workspace::outlive_binary())
            .args(["heap", &self.server.pid().to_string(), "--json"])
            .args(way.split_whitespace());
        let mut measured = Guarded::start("outlive heap", &mut command)?;
        let done = answer(&mut measured)?;
        measured.wait(PATIENCE)?;
        // What was due during a stop is answered behind it.
        thread::sleep(Duration::from_millis(300));
        let (load, server) = self.noticed()?;
        if done["code"] != 0 {
            bail!("outlive heap {way} failed: {}", done["complained"]);
        }
        let said = done["said"].as_str().unwrap_or_default();
        let said: Value = serde_json::from_str(said).context("outlive heap printed no JSON")?;
        let reading =
            said["readings"].as_array().and_then(|all| all.last()).context("no reading")?;
        Ok(Look {
            took_ms: 1e3 * number(&done, "took_s")?,
            user_s: number(&done, "user_s")?,
            system_s: number(&done, "system_s")?,
            peak_bytes: number(&done, "peak_bytes")?,
            copied_bytes: number(reading, "copied_bytes")?,
            stopped_ms: reading["stopped_ns"].as_f64().map(|ns| ns / 1e6),
            pause_ms: number(&server, "longest_pause_ms")?,
            latency_ms: number(&load, "longest_ms")?,
            requests: load["requests"].as_u64().context("no number of requests")?,
            lost: load["lost"].as_u64().context("no number of lost requests")?,
        })
    }

    /// Kills outlive after ever another time since its start: whether that was in the middle, and
    /// whether the server runs then.
    fn kill(&mut self, round: u32, look_ms: f64) -> Result<(bool, bool)> {
        let mut command = Command::new(workspace::outlive_binary());
        command.args(["heap", &self.server.pid().to_string(), "--json"]);
        let mut outlive = Guarded::start("outlive heap", &mut command)?;
        let share = f64::from(round) / f64::from(KILLS);
        thread::sleep(Duration::from_secs_f64(look_ms / 1e3 * share));
        let was_killed = outlive.end("KILL")?.signal() == Some(SIGKILL);
        let deadline = std::time::Instant::now() + RESUMED_WITHIN;
        while std::time::Instant::now() < deadline {
            if !is_stopped(self.server.pid())? {
                return Ok((was_killed, true));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok((was_killed, false))
    }
}

/// Whether any thread of a process is stopped, by a signal or by a tracer.
fn is_stopped(pid: u32) -> Result<bool> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).context("listing threads")?;
    let stopped = threads.flatten().any(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        matches!(state, Some('T' | 't'))
    });
    Ok(stopped)
}

fn answer(child: &mut Guarded) -> Result<Value> {
    child.wait_for("line of JSON", PATIENCE, |line| serde_json::from_str(line).ok())
}

fn number(value: &Value, field: &str) -> Result<f64> {
    value[field].as_f64().with_context(|| format!("`{field}` is missing in {value}"))
}

/// Measures every heap; of the smallest alone when it is to be quick.
pub(super) fn measure(quick: bool) -> Result<Section> {
    debian::ensure(&["python3"], "the bench")?;
    if !Path::new("/usr/bin/python3").exists() {
        bail!("the bench of the heap needs /usr/bin/python3");
    }
    let wanted = if quick { &HEAPS[..1] } else { &HEAPS[..] };
    let heaps = wanted.iter().map(|(megabytes, max_stop_ms)| of(*megabytes, *max_stop_ms));
    let heaps: Vec<Heap> = heaps.collect::<Result<_>>()?;
    Ok(Section {
        key: "heap",
        text: heaps.iter().map(Heap::text).collect(),
        json: json!({ "heaps": heaps.iter().map(Heap::json).collect::<Vec<_>>() }),
        demands: heaps.iter().flat_map(Heap::demands).collect(),
        failures: Vec::new(),
    })
}

fn of(megabytes: u64, max_stop_ms: Option<f64>) -> Result<Heap> {
    let mut service = Service::start(megabytes)?;
    service.noticed()?;
    thread::sleep(Duration::from_secs(3));
    let (_, server) = service.noticed()?;
    let mut heap = Heap {
        megabytes,
        max_stop_ms,
        resident_bytes: service.resident_bytes,
        idle_pause_ms: number(&server, "longest_pause_ms")?,
        live: Vec::new(),
        stopped: Vec::new(),
        kills: 0,
        left_stopped: 0,
    };
    for round in 1..=LOOKS {
        heap.live.push(service.look("--no-stop")?);
        heap.stopped.push(service.look("--max-stop 1s")?);
        eprintln!("xtask: heap of {megabytes} MiB: look {round} of {LOOKS}");
    }
    if megabytes == HEAPS[0].0 {
        let look_ms = heap.median(&heap.stopped, |look| look.took_ms);
        for round in 0..KILLS {
            let (was_killed, runs) = service.kill(round, look_ms)?;
            heap.left_stopped += u32::from(!runs);
            heap.kills += u32::from(was_killed);
        }
    }
    service.load.close()?;
    service.server.close()?;
    Ok(heap)
}

impl Heap {
    fn median(&self, looks: &[Look], of: impl Fn(&Look) -> f64) -> f64 {
        median(&looks.iter().map(of).collect::<Vec<_>>())
    }

    fn bytes_per_core_second(&self, looks: &[Look]) -> f64 {
        self.median(looks, |look| look.copied_bytes / look.cpu_s())
    }

    fn memory_ratio(&self) -> f64 {
        let peaks = self.live.iter().chain(&self.stopped).map(|look| look.peak_bytes);
        peaks.fold(0.0, f64::max) / self.resident_bytes
    }

    /// The longest stop that was printed, milliseconds; not a number where there was none.
    fn longest_stop_ms(&self) -> f64 {
        self.stopped.iter().filter_map(|look| look.stopped_ms).fold(f64::NAN, f64::max)
    }

    fn lost(&self) -> u64 {
        self.live.iter().chain(&self.stopped).map(|look| look.lost).sum()
    }

    fn requests(&self) -> u64 {
        self.live.iter().chain(&self.stopped).map(|look| look.requests).sum()
    }

    /// How far the longest pause is from the stop that was printed, milliseconds.
    fn pause_error_ms(&self) -> f64 {
        self.median(&self.stopped, |look| {
            look.stopped_ms.map_or(f64::INFINITY, |stop| (look.pause_ms - stop).abs())
        })
    }

    /// The longest pause in a look that stops nobody, milliseconds.
    fn noise_ms(&self) -> f64 {
        self.median(&self.live, |look| look.pause_ms)
    }

    fn demands(&self) -> Vec<Demand> {
        let of = |what: &str| format!("heap of {} MiB, {what}", self.megabytes);
        let speed = self.bytes_per_core_second(&self.stopped) / 1e6;
        let pause = of("longest pause and printed stop differ by (noise allowed)");
        let mut demands = vec![
            Demand::at_least(
                of("looked through by a core"),
                speed,
                MIN_MB_PER_CORE_SECOND,
                " MB/s",
            ),
            Demand::at_most(
                of("outlive's memory over the heap"),
                self.memory_ratio(),
                MAX_MEMORY_RATIO,
                "",
            ),
            Demand::at_most(of("requests lost"), self.lost() as f64, 0.0, ""),
            Demand::at_most(
                pause,
                self.pause_error_ms(),
                (MAX_PAUSE_ERROR_MS + self.noise_ms()).round(),
                " ms",
            ),
        ];
        if let Some(max_ms) = self.max_stop_ms {
            demands.push(Demand::at_most(of("stopped for"), self.longest_stop_ms(), max_ms, " ms"));
        }
        if self.kills > 0 {
            let what = of(&format!("left stopped by {} kills", self.kills));
            demands.push(Demand::at_most(what, f64::from(self.left_stopped), 0.0, ""));
        }
        demands
    }

    fn json(&self) -> Value {
        let looks = |looks: &[Look]| -> Vec<Value> { looks.iter().map(Look::json).collect() };
        json!({
            "megabytes": self.megabytes, "resident_bytes": self.resident_bytes,
            "live": looks(&self.live), "stopped": looks(&self.stopped),
            "bytes_per_core_second": self.bytes_per_core_second(&self.stopped),
            "live_bytes_per_core_second": self.bytes_per_core_second(&self.live),
            "peak_ratio": self.memory_ratio(),
            "longest_stop_ms": self.longest_stop_ms(),
            "idle_pause_ms": self.idle_pause_ms, "pause_without_stop_ms": self.noise_ms(),
            "pause_error_ms": self.pause_error_ms(),
            "requests": self.requests(), "lost": self.lost(),
            "kills": self.kills, "left_stopped": self.left_stopped,
        })
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "a heap of {} MiB under {REQUESTS_PER_SECOND} requests a second (medians of {LOOKS}; \
             longest pause of the server while nobody looks {:.1} ms)",
            self.megabytes, self.idle_pause_ms,
        );
        for (label, looks) in [("live", &self.live), ("stopped", &self.stopped)] {
            let median = |of: fn(&Look) -> f64| self.median(looks, of);
            let _ = writeln!(
                text,
                "{label:<10}{:>7.0} ms, {:.2} s of CPU ({:.2} in the kernel), {:.0} MB/s and core, \
                 {:.0} MB copied; stop {}, longest pause {:.1} ms, slowest answer {:.1} ms",
                median(|look| look.took_ms),
                median(Look::cpu_s),
                median(|look| look.system_s),
                self.bytes_per_core_second(looks) / 1e6,
                median(|look| look.copied_bytes) / 1e6,
                match looks.iter().any(|look| look.stopped_ms.is_some()) {
                    true => format!("{:.1} ms", median(|look| look.stopped_ms.unwrap_or(f64::NAN))),
                    false => "none".to_owned(),
                },
                median(|look| look.pause_ms),
                median(|look| look.latency_ms),
            );
        }
        text
    }
}

impl Look {
    fn cpu_s(&self) -> f64 {
        self.user_s + self.system_s
    }

    fn json(&self) -> Value {
        json!({
            "took_ms": self.took_ms, "cpu_s": self.cpu_s(), "user_s": self.user_s,
            "system_s": self.system_s, "peak_bytes": self.peak_bytes,
            "copied_bytes": self.copied_bytes, "stopped_ms": self.stopped_ms,
            "longest_pause_ms": self.pause_ms, "slowest_answer_ms": self.latency_ms,
            "requests": self.requests, "lost": self.lost,
        })
    }
}
