//! The end of a session: the last reading, detaching, and the names of what was seen.

use super::{
    Outcome,
    describe::mapped_files,
    insistence, js_names, measure,
    python_objects::Observer,
    source_lines::SourceRoots,
    watch::{AT_A_STRETCH, Session},
};
use crate::{
    capture::{EndReason, TracerMemory},
    stack::{Domain, RawStack},
    stderr::say,
    symbol::Resolver,
    warning::Warning,
};
use anyhow::Result;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tracer_common::{counter::Counter, slot::UNATTRIBUTED_STACK};

/// How long stacks that wait are looked at when the session ends. The target goes on making new
/// ones meanwhile, perhaps faster than they can be looked at.
const AT_THE_END: Duration = Duration::from_secs(10);
/// Probes whose removal is worth a word, since it takes the kernel some 80 ms each.
const MANY_PROBES: usize = 40;

impl Session {
    /// Detaches, and hands back what was seen.
    pub(super) fn finish(mut self, reason: EndReason) -> Result<Outcome> {
        self.end_governor()?;
        self.probes.close_overhead_window();
        self.probes.let_loads_pass();
        insistence::listen();
        self.take_events_until(Instant::now() + AT_THE_END)?;
        self.look_around()?;
        for tgid in self.processes.behind() {
            self.look_at_mappings(Some(tgid))?;
        }
        self.take_events()?;
        self.keep_unobserved()?;
        self.finish_js_heap()?;
        self.take_events_until(Instant::now() + AT_A_STRETCH)?;
        // The last reading is the window's end: it comes before detaching, while all probes act.
        self.read(true)?;
        let doubts: Vec<Warning> =
            self.processes.images.resolvers().filter_map(Resolver::doubts).collect();
        doubts.iter().try_for_each(|warning| self.recorder.warn(warning))?;
        if let Some(observer) = &mut self.python_objects {
            observer.look(true);
        }
        if let Some(held) = &mut self.held {
            held.end();
        }
        self.recorder.console.finish();
        let duration = self.began.elapsed();
        let copies = self.copy_heaps();
        self.processes.hang_up();
        let placed = self.probes.detach();
        if placed > MANY_PROBES {
            self.recorder.console.say(&format!(
                "taking out {placed} probes, for which the kernel needs about {:.0} s",
                placed as f64 * 0.08
            ));
        }
        self.finish_js_retainers()?;
        // A command of `check` goes at once, and with it what the copies do not hold.
        let heaps = self.evaluated_heaps(copies);
        let story = self.end_cycles(reason);
        if let Some(child) = self.child.as_mut().filter(|_| story.is_none()) {
            match child.try_wait().ok().flatten() {
                Some(status) => say(&format!("the command ended with {status}")),
                None => say(&format!("the command runs on, as PID {}", child.id())),
            }
        }
        self.tell_of_the_unfollowed()?;
        let unnamed = js_names::tell(&self.processes.images, &mut self.recorder.recording.meta);
        unnamed.iter().try_for_each(|warning| self.recorder.warn(warning))?;
        let sources = SourceRoots::of(&self.processes.images);
        self.name_stacks()?;
        let recording = &mut self.recorder.recording;
        let meta = &mut recording.meta;
        meta.end = reason;
        meta.python_objects = self.python_objects.as_ref().map(Observer::answer);
        if let Some(js_heap) = &self.js_heap {
            js_heap.describe(meta);
        }
        meta.window.duration_ns = duration.as_nanos() as u64;
        meta.tracer = Some(TracerMemory {
            resident_bytes: measure::own_peak_bytes(),
            kernel_map_bytes: self.kernel_peak_bytes,
        });
        self.residencies.describe(meta);
        meta.heaps.splice(0..0, heaps);
        self.processes.describe(meta);
        recording.meta.source_lines = sources.lines(recording);
        debug_assert!(!recording.raw_stacks.keys().any(|id| id.0 == UNATTRIBUTED_STACK));
        let (recording, folder) = self.recorder.finish()?;
        // Waits for the last probe.
        drop(self.probes);
        Ok(Outcome { recording, folder, story })
    }

    /// Keeps the stacks that nobody had the time to look at. They are named as far as that can be
    /// done when code objects and files may be gone.
    fn keep_unobserved(&mut self) -> Result<()> {
        self.not_looked_at = self.unobserved.len() as u64;
        for raw in std::mem::take(&mut self.unobserved) {
            self.recorder.stack(raw)?;
        }
        Ok(())
    }

    /// Names all stacks, image by image: what is known of one is let go before the next.
    fn name_stacks(&mut self) -> Result<()> {
        let raw_stacks = std::mem::take(&mut self.recorder.recording.raw_stacks);
        let mut of_image: HashMap<u32, Vec<&RawStack>> = HashMap::new();
        // Those of V8's heap came with their names.
        for raw in raw_stacks.values().filter(|raw| raw.domain != Domain::V8) {
            of_image.entry(raw.image).or_default().push(raw);
        }
        for (image, mut resolver) in self.processes.images.take() {
            for raw in of_image.remove(&image).unwrap_or_default() {
                self.recorder.resolved(resolver.resolve(raw))?;
            }
            self.recorder.recording.mappings.extend(mapped_files(image, &resolver));
        }
        self.recorder.recording.raw_stacks = raw_stacks;
        Ok(())
    }

    /// Without `--follow`, says what is missing.
    fn tell_of_the_unfollowed(&mut self) -> Result<()> {
        let born =
            self.recorder.recording.aggregate.counters().get(Counter::ChildrenNotFollowed) as usize;
        let missed = born + self.early_children;
        if missed == 0 {
            return Ok(());
        }
        self.recorder.warn(&Warning::new(
            "children-not-followed",
            format!(
                "Process {} has had {missed} {} that outlive did not follow; what they hold is not in these numbers.",
                self.tgid,
                if missed == 1 { "child" } else { "children" },
            ),
            "Give --follow to trace them too.",
        ))
    }
}
