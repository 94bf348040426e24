//! The JavaScript heap behind an inspector: the sampling profiler of the main thread and of each
//! worker, what V8 says of its heap, and the inspector's end.

use super::{
    client::Client,
    error::InspectorError,
    profile::Profile,
    workers::{self, Change, MAX_WORKERS, Worker},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How long an answer may take that costs the program nothing.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long an inspector may take to close itself, of a program that is not busy.
pub const CLOSES_WITHIN: Duration = Duration::from_secs(5);
/// How long a profile may take: a garbage collection of the largest heaps, and more.
const PROFILE_WITHIN: Duration = Duration::from_secs(60);
/// Frames of a stack that V8 records; versions before Node 22 take no other number.
const STACK_DEPTH: u32 = 128;

/// Evaluated in the program: what V8 says of its heap.
const STATISTICS: &str = "(() => { const v8 = typeof require === 'function' ? require('v8') : process.getBuiltinModule('v8'); \
    return JSON.stringify({ spaces: v8.getHeapSpaceStatistics().map((s) => ({ name: s.space_name, used_bytes: s.space_used_size, size_bytes: s.space_size })), \
    external_bytes: process.memoryUsage().external, v8_version: process.versions.v8 }); })()";

/// A part of V8's heap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Space {
    /// As V8 calls it.
    pub name: String,
    /// Taken by objects; bytes.
    pub used_bytes: u64,
    /// Taken from the system; bytes.
    pub size_bytes: u64,
}

/// What V8 says of the main thread's heap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Statistics {
    /// Its parts.
    pub spaces: Vec<Space>,
    /// Memory outside that its objects keep alive; bytes.
    pub external_bytes: u64,
    /// Version of V8.
    pub v8_version: String,
}

/// A profile of one thread's heap.
#[derive(Clone, Debug)]
pub struct HeapProfile {
    /// The thread: 0 for the main one, workers in the order in which they came.
    pub isolate: u32,
    /// What is alive there.
    pub profile: Profile,
    /// How long the thread was kept waiting, at most.
    pub pause: Duration,
}

/// All heaps of a process, being sampled.
pub struct Heap {
    client: Client,
    interval_bytes: u64,
    workers: BTreeMap<u32, Worker>,
    isolates_seen: u32,
    requests: u64,
}

impl Heap {
    /// Begins sampling, `interval_bytes` between two samples.
    ///
    /// # Errors
    /// When the inspector refuses, or does not answer in time.
    pub fn begin(mut client: Client, interval_bytes: u64) -> Result<Self, InspectorError> {
        client.ask("HeapProfiler.enable", &json!({}), ANSWER_WITHIN)?;
        // V8 has one sampler, and would take ours for whose it is already: the profiles would be
        // theirs, and theirs would end with ours. It refuses where nobody samples.
        match client.ask("HeapProfiler.getSamplingProfile", &json!({}), ANSWER_WITHIN) {
            Err(InspectorError::Refused { .. }) => {}
            Ok(_) => return Err(InspectorError::SampledAlready),
            Err(error) => return Err(error),
        }
        client.ask("HeapProfiler.startSampling", &sampling(interval_bytes), ANSWER_WITHIN)?;
        let mut heap = Self {
            client,
            interval_bytes,
            workers: BTreeMap::new(),
            isolates_seen: 1,
            requests: 0,
        };
        // A Node that has no workers is no reason to stop.
        match workers::enable(&mut heap.client, ANSWER_WITHIN) {
            Ok(()) | Err(InspectorError::Refused { .. }) => Ok(heap),
            Err(error) => Err(error),
        }
    }

    /// Heaps that are sampled now.
    pub fn isolates(&self) -> u32 {
        1 + self.workers.len() as u32
    }

    /// As [`used_bytes`].
    ///
    /// # Errors
    /// When it is not answered in time.
    pub fn used_bytes(&mut self) -> Result<u64, InspectorError> {
        used_bytes(&mut self.client)
    }

    /// Takes notice of workers that come and go, until `deadline`; hands back those that went.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn watch_workers(&mut self, deadline: Instant) -> Result<Vec<u32>, InspectorError> {
        let mut gone = Vec::new();
        // At least what has come already.
        while let Some(event) = self.client.event(deadline)? {
            match workers::change(&event) {
                Some(Change::Came(worker)) if self.workers.len() < MAX_WORKERS => {
                    let isolate = self.isolates_seen;
                    self.isolates_seen += 1;
                    self.workers.insert(isolate, worker);
                    match self.begin_worker(isolate) {
                        Ok(()) | Err(InspectorError::Closed) => {}
                        // One that answers nobody is not waited for again.
                        Err(InspectorError::Timeout { .. } | InspectorError::Refused { .. }) => {
                            self.workers.remove(&isolate);
                        }
                        Err(error) => return Err(error),
                    }
                }
                Some(Change::Went(worker)) => {
                    let found = self.workers.iter().find(|(_, known)| **known == worker);
                    if let Some(isolate) = found.map(|(isolate, _)| *isolate) {
                        self.workers.remove(&isolate);
                        gone.push(isolate);
                    }
                }
                _ => {}
            }
        }
        Ok(gone)
    }

    fn begin_worker(&mut self, isolate: u32) -> Result<(), InspectorError> {
        self.ask_worker(isolate, "HeapProfiler.enable", &json!({}), ANSWER_WITHIN)?;
        let params = sampling(self.interval_bytes);
        self.ask_worker(isolate, "HeapProfiler.startSampling", &params, ANSWER_WITHIN)?;
        Ok(())
    }

    fn ask_worker(
        &mut self,
        isolate: u32,
        method: &'static str,
        params: &Value,
        within: Duration,
    ) -> Result<String, InspectorError> {
        let worker = self.workers.get(&isolate).cloned().ok_or(InspectorError::Closed)?;
        self.requests += 1;
        workers::ask(&mut self.client, &worker, self.requests, method, params, within)
    }

    /// The live objects of the main thread, then of each worker.
    ///
    /// # Errors
    /// When the main thread does not answer in time. A worker that does not is left out.
    ///
    /// # Cost
    /// A full garbage collection of each heap, for which its thread stands still: some
    /// milliseconds for each ten megabytes that are alive.
    pub fn profiles(&mut self) -> Result<Vec<HeapProfile>, InspectorError> {
        const METHOD: &str = "HeapProfiler.getSamplingProfile";
        let mut profiles = vec![self.profile()?];
        for isolate in self.workers.keys().copied().collect::<Vec<_>>() {
            let began = Instant::now();
            match self.ask_worker(isolate, METHOD, &json!({}), ANSWER_WITHIN) {
                Ok(answer) => {
                    let pause = began.elapsed();
                    let profile =
                        Profile::parse(&answer).ok_or(InspectorError::Nonsense(METHOD))?;
                    profiles.push(HeapProfile { isolate, profile, pause });
                }
                Err(error @ InspectorError::Interrupted) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(profiles)
    }

    /// Has V8 collect all garbage of all threads.
    ///
    /// # Errors
    /// When the main thread does not answer in time.
    pub fn collect_garbage(&mut self) -> Result<(), InspectorError> {
        const METHOD: &str = "HeapProfiler.collectGarbage";
        self.client.ask(METHOD, &json!({}), PROFILE_WITHIN)?;
        for isolate in self.workers.keys().copied().collect::<Vec<_>>() {
            let asked = self.ask_worker(isolate, METHOD, &json!({}), ANSWER_WITHIN);
            if let Err(error @ InspectorError::Interrupted) = asked {
                return Err(error);
            }
        }
        Ok(())
    }

    /// What V8 says of the main thread's heap.
    ///
    /// # Errors
    /// When it is not answered in time, or the program has replaced what is asked.
    pub fn statistics(&mut self) -> Result<Statistics, InspectorError> {
        let text = evaluate(&mut self.client, STATISTICS)?;
        serde_json::from_str(&text).map_err(|_| InspectorError::Nonsense("Runtime.evaluate"))
    }

    /// Puts NODE_OPTIONS of the program back to what it was, so that its children get no inspector.
    ///
    /// # Errors
    /// When it is not answered in time.
    pub fn restore_node_options(&mut self, value: Option<&str>) -> Result<(), InspectorError> {
        let expression = match value {
            Some(value) => format!("process.env.NODE_OPTIONS = {}; ''", Value::from(value)),
            None => "delete process.env.NODE_OPTIONS; ''".to_owned(),
        };
        evaluate(&mut self.client, &expression).map(drop)
    }

    /// The connection, while the sampler is at work.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The live objects of the main thread.
    ///
    /// # Errors
    /// When they are not told in time.
    ///
    /// # Cost
    /// As [`Heap::profiles`].
    pub fn profile(&mut self) -> Result<HeapProfile, InspectorError> {
        const METHOD: &str = "HeapProfiler.getSamplingProfile";
        let began = Instant::now();
        let answer = self.client.ask(METHOD, &json!({}), PROFILE_WITHIN)?;
        let pause = began.elapsed();
        let profile = Profile::parse(&answer).ok_or(InspectorError::Nonsense(METHOD))?;
        Ok(HeapProfile { isolate: 0, profile, pause })
    }

    /// Ends the sampling, and gives the connection back.
    pub fn end(mut self) -> Client {
        // What ends it without another garbage collection; with the connection it ends anyway, that
        // of workers too.
        let _ = self.client.ask("HeapProfiler.disable", &json!({}), GOODBYE_WITHIN);
        self.client
    }
}

/// Bytes that the main heap's objects take, garbage included; costs the program next to nothing.
///
/// # Errors
/// When it is not answered in time.
pub fn used_bytes(client: &mut Client) -> Result<u64, InspectorError> {
    let answer = client.ask("Runtime.getHeapUsage", &json!({}), ANSWER_WITHIN)?;
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    Ok(answer["usedSize"].as_f64().unwrap_or(0.0) as u64)
}

/// How long a farewell may take.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);

fn sampling(interval_bytes: u64) -> Value {
    json!({ "samplingInterval": interval_bytes, "stackDepth": STACK_DEPTH })
}

/// The string that an expression yields in the program.
fn evaluate(client: &mut Client, expression: &str) -> Result<String, InspectorError> {
    const METHOD: &str = "Runtime.evaluate";
    let params = json!({
        "expression": expression, "includeCommandLineAPI": true, "silent": true,
        "returnByValue": true,
    });
    let answer = client.ask(METHOD, &params, ANSWER_WITHIN)?;
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    let value = answer["result"]["value"].as_str().map(str::to_owned);
    value.ok_or(InspectorError::Nonsense(METHOD))
}

/// Has the program close its inspector, this connection included.
///
/// # Errors
/// When the request cannot be sent, or nothing happens in time.
pub fn close(client: &mut Client, within: Duration) -> Result<(), InspectorError> {
    const METHOD: &str = "Runtime.evaluate";
    let params = json!({ "expression": "process._debugEnd()", "silent": true });
    // It closes the connection before it answers.
    match client.ask(METHOD, &params, within) {
        Ok(_) | Err(InspectorError::Closed) => Ok(()),
        Err(error) => Err(error),
    }
}
