//! The loop of a session: events as they come, a tick an interval, an end for a reason.

use super::{
    Config, Outcome,
    address_space::AddressSpace,
    console::{Console, Ending},
    epoch::Epochs,
    held::Held,
    late_python::LatePython,
    measure,
    output::Folder,
    python_objects::Observer,
    setup::{self, Started},
};
use crate::{
    capture::{
        DEFAULT_MAX_BYTES, EndReason, Host, MappedFile, Meta, RecordedWarning, Recording,
        Settings as RecordedSettings, TargetMeta, TracerMemory, Window, Writer,
    },
    plan,
    probe::{Event, Probes, kernel_memory_bytes},
    runtime::python,
    symbol::Resolver,
    target,
    warning::Warning,
};
use anyhow::{Context as _, Result};
use std::{
    collections::HashMap,
    os::fd::{FromRawFd as _, OwnedFd, RawFd},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::io::{Interest, unix::AsyncFd};
use tracer_common::slot::UNATTRIBUTED_STACK;

/// How long our programs are timed at a stretch, and how often.
const OVERHEAD_WINDOW: Duration = Duration::from_millis(200);
const OVERHEAD_PERIOD: Duration = Duration::from_secs(5);

/// Watches until the end, then detaches and hands back what was seen.
pub async fn watch(
    config: Config,
    started: Started,
    probes: Probes,
    folder: Option<Folder>,
) -> Result<Outcome> {
    let mut ending = Ending::listen()?;
    let mut session = Session::begin(&config, started, probes, folder)?;
    let reason = session.run(&config, &mut ending).await?;
    session.finish(reason)
}

/// A session under way.
struct Session {
    probes: Probes,
    /// The command, where we started it. Behind the probes, since they stop it.
    held: Option<Held>,
    /// One resolver an image generation: the target may replace its program.
    resolvers: Vec<Resolver>,
    /// Which of them knows a stack.
    stack_images: HashMap<u64, usize>,
    recording: Recording,
    writer: Option<Writer>,
    folder: Option<Folder>,
    console: Console,
    epochs: Epochs,
    began: Instant,
    tgid: u32,
    address_space: AddressSpace,
    child: Option<std::process::Child>,
    overhead_next: Instant,
    overhead_until: Option<Instant>,
    kernel_peak_bytes: u64,
    late_python: LatePython,
    python_objects: Option<Observer>,
}

impl Session {
    fn begin(
        config: &Config,
        mut started: Started,
        probes: Probes,
        mut folder: Option<Folder>,
    ) -> Result<Self> {
        let console = Console::new(config.progress, config.duration);
        let writer = folder
            .as_ref()
            .map(|folder| Writer::create(&folder.capture(), DEFAULT_MAX_BYTES))
            .transpose()
            .context("making the capture in --out")?;
        if let Some(folder) = &mut folder {
            folder.keep();
        }
        let tgid = started.target.tgid;
        let recording = Recording::new(describe(config, &started));
        let now = Instant::now();
        let python_objects =
            Observer::new(config, &started.target, &started.plan, started.python_refusal);
        let python = started.plan.python.take();
        let late_python = LatePython::new(python.as_ref(), started.child.is_some());
        let mut session = Self {
            probes,
            held: started.child.is_some().then(|| Held::new(tgid)),
            resolvers: vec![Resolver::new(tgid, &started.target, python)],
            stack_images: HashMap::new(),
            recording,
            writer,
            folder,
            console,
            epochs: Epochs::default(),
            began: now,
            tgid,
            address_space: AddressSpace::new(tgid),
            child: started.child.take(),
            overhead_next: now,
            overhead_until: None,
            kernel_peak_bytes: 0,
            late_python,
            python_objects,
        };
        for warning in std::mem::take(&mut started.warnings) {
            session.warn(&warning)?;
        }
        session.console.say(&format!("attached to PID {tgid}"));
        Ok(session)
    }

    async fn run(&mut self, config: &Config, ending: &mut Ending) -> Result<EndReason> {
        let events =
            self.probes.events_fd().try_clone_to_owned().context("sharing the ring buffer")?;
        let events = readable(events).context("watching the ring buffer")?;
        let Some(exit) = pidfd(self.tgid)? else { return Ok(EndReason::TargetExited) };
        let exit = readable(exit).context("watching for the target's end")?;
        let mut log = config.kernel_log.then(|| self.probes.kernel_log()).flatten();
        let mut ticks = tokio::time::interval(config.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let end =
            config.duration.map(|duration| tokio::time::Instant::from_std(self.began + duration));
        loop {
            let overhead = self.overhead_until.map(tokio::time::Instant::from_std);
            tokio::select! {
                biased;
                () = ending.wait() => return Ok(EndReason::Interrupted),
                () = sleep_until(end) => return Ok(EndReason::Duration),
                _ = exit.readable() => return Ok(EndReason::TargetExited),
                () = sleep_until(overhead) => {
                    self.probes.close_overhead_window();
                    self.overhead_until = None;
                }
                _ = ticks.tick() => {
                    self.tick()?;
                    if let Some(log) = &mut log {
                        log.flush();
                    }
                }
                ready = events.readable() => {
                    self.take_events()?;
                    ready.context("watching the ring buffer")?.clear_ready();
                }
            }
        }
    }

    fn tick(&mut self) -> Result<()> {
        self.take_events()?;
        if self.late_python.is_due() {
            self.look_for_python()?;
        }
        if self.address_space.may_have_changed() {
            self.look_at_mappings()?;
        }
        let now = self.began.elapsed();
        let mut tick = self.probes.tick(now.as_nanos() as u64)?;
        tick.memory = measure::target_memory(self.tgid);
        self.kernel_peak_bytes = self.kernel_peak_bytes.max(kernel_memory_bytes());
        self.recording.aggregate.apply(&tick);
        if let Some(writer) = &mut self.writer {
            writer.tick(&tick).context("writing the capture")?;
        }
        if let Some(epoch) = self.epochs.advance(now) {
            self.probes.set_epoch(epoch);
        }
        if self.overhead_until.is_none() && Instant::now() >= self.overhead_next {
            self.probes.open_overhead_window();
            self.overhead_until = Some(Instant::now() + OVERHEAD_WINDOW);
            self.overhead_next = Instant::now() + OVERHEAD_PERIOD;
        }
        if let Some(observer) = &mut self.python_objects {
            observer.look(false);
        }
        self.console.progress(now, &self.recording.aggregate);
        Ok(())
    }

    /// New stacks are looked at at once: the code objects that they name may not live long.
    fn take_events(&mut self) -> Result<()> {
        let mut mappings_changed = false;
        let events = self.probes.drain();
        if let Some(resolver) = self.resolvers.last_mut() {
            resolver.read_ahead(events.iter().filter_map(|event| match event {
                Event::NewStack(raw, _) => Some(raw),
                _ => None,
            }));
        }
        for event in events {
            match event {
                Event::NewStack(raw, _) => {
                    let image = self.resolvers.len() - 1;
                    let observed = self.resolvers[image].observe(&raw);
                    mappings_changed |= observed.mappings_changed;
                    for warning in &observed.warnings {
                        self.warn(warning)?;
                    }
                    if let Some(writer) = &mut self.writer {
                        writer.stack(&raw).context("writing the capture")?;
                    }
                    self.stack_images.insert(raw.id.0, image);
                    self.recording.raw_stacks.insert(raw.id, raw);
                }
                Event::Libraries { .. } => {
                    self.look_at_mappings()?;
                    if let Some(held) = &self.held {
                        held.go_on();
                    }
                }
                Event::Exec { .. } => self.new_image()?,
                Event::Mapping(_) | Event::Fork { .. } => {}
            }
        }
        if mappings_changed {
            self.refresh_code_ranges()?;
        }
        Ok(())
    }

    /// Code that was mapped since is walked and named from now on.
    fn look_at_mappings(&mut self) -> Result<()> {
        let Some(resolver) = self.resolvers.last_mut() else { return Ok(()) };
        let observed = self.address_space.reading(|| resolver.look_again());
        for warning in &observed.warnings {
            self.warn(warning)?;
        }
        if observed.mappings_changed { self.refresh_code_ranges() } else { Ok(()) }
    }

    fn refresh_code_ranges(&mut self) -> Result<()> {
        let Some(resolver) = self.resolvers.last() else { return Ok(()) };
        for warning in setup::set_code_ranges(&mut self.probes, resolver.target()) {
            self.warn(&warning)?;
        }
        self.look_for_python()
    }

    fn look_for_python(&mut self) -> Result<()> {
        let Some(resolver) = self.resolvers.last_mut() else { return Ok(()) };
        let warnings = self.late_python.look(self.tgid, &mut self.probes, resolver);
        warnings.iter().try_for_each(|warning| self.warn(warning))
    }

    /// The target has replaced its program: other files, other code.
    fn new_image(&mut self) -> Result<()> {
        self.warn(&Warning::new(
            "target-exec",
            "The target replaced its program (exec); blocks of the old one are counted as gone, and the new one is followed only where it uses the same allocator file, without Python frames.",
            "Attach to the new program for whole stacks.",
        ))?;
        if let Ok((target, _)) = target::discover(self.tgid) {
            let (python, _) = python::detect(&target);
            self.resolvers.push(Resolver::new(self.tgid, &target, python));
            self.refresh_code_ranges()?;
            if let Some(hook) = plan::loader::hook(&target) {
                self.probes.move_loader_state(hook.state_avma);
            }
        }
        Ok(())
    }

    /// Tells a warning once, now and in the report.
    fn warn(&mut self, warning: &Warning) -> Result<()> {
        let recorded = RecordedWarning::from(warning);
        if self.recording.warnings.contains(&recorded) {
            return Ok(());
        }
        self.console.warn(warning);
        if let Some(writer) = &mut self.writer {
            writer.warning(&recorded).context("writing the capture")?;
        }
        self.recording.warnings.push(recorded);
        Ok(())
    }

    fn finish(mut self, reason: EndReason) -> Result<Outcome> {
        self.probes.close_overhead_window();
        self.probes.let_loads_pass();
        // The last reading is the window's end: it comes before detaching, while all probes act.
        self.tick()?;
        let doubts: Vec<_> = self.resolvers.iter().filter_map(Resolver::doubts).collect();
        doubts.iter().try_for_each(|warning| self.warn(warning))?;
        if let Some(observer) = &mut self.python_objects {
            observer.look(true);
        }
        if let Some(held) = &mut self.held {
            held.end();
        }
        self.console.finish();
        let duration = self.began.elapsed();
        drop(self.probes);
        if let Some(child) = &mut self.child {
            match child.try_wait().ok().flatten() {
                Some(status) => eprintln!("outlive: the command ended with {status}"),
                None => eprintln!("outlive: the command runs on, as PID {}", child.id()),
            }
        }
        let raw_stacks: Vec<_> = self.recording.raw_stacks.values().cloned().collect();
        for raw in raw_stacks {
            let image = self.stack_images.get(&raw.id.0).copied().unwrap_or(0);
            let stack = self.resolvers[image].resolve(&raw);
            if let Some(writer) = &mut self.writer {
                writer.resolved(&stack).context("writing the capture")?;
            }
            self.recording.stacks.insert(stack.id, stack);
        }
        self.recording.mappings = self.resolvers.iter().flat_map(mapped_files).collect();
        let meta = &mut self.recording.meta;
        meta.end = reason;
        meta.python_objects = self.python_objects.as_ref().map(Observer::answer);
        meta.window.duration_ns = duration.as_nanos() as u64;
        meta.tracer = Some(TracerMemory {
            resident_bytes: measure::own_peak_bytes(),
            kernel_map_bytes: self.kernel_peak_bytes,
        });
        if let Some(mut writer) = self.writer.take() {
            let written = writer
                .mappings(&self.recording.mappings)
                .and_then(|()| writer.meta(&self.recording.meta));
            let refused = writer.refused_bytes();
            if refused > 0 {
                self.recording.aggregate.note_loss("capture_bytes_refused", refused);
            }
            written.and_then(|()| writer.finish()).context("writing the capture")?;
        }
        debug_assert!(!self.recording.raw_stacks.keys().any(|id| id.0 == UNATTRIBUTED_STACK));
        let folder = self.folder.as_ref().map(|folder| folder.path().to_owned());
        Ok(Outcome { recording: self.recording, folder })
    }
}

fn mapped_files(resolver: &Resolver) -> Vec<MappedFile> {
    let captured = resolver.mappings_for_capture().into_iter();
    captured
        .map(|mapping| MappedFile {
            start_avma: mapping.start_avma,
            end_avma: mapping.end_avma,
            file_offset: mapping.file_offset,
            path: mapping.path.display().to_string(),
            build_id: mapping.build_id,
        })
        .collect()
}

/// What is known about the session when it begins.
fn describe(config: &Config, started: &Started) -> Meta {
    let target = &started.target;
    let (runtime, runtime_version) = setup::runtime_of(started);
    let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let release = target::kernel::Release::running().map(|(_, text)| text).unwrap_or_default();
    Meta {
        outlive_version: env!("CARGO_PKG_VERSION").into(),
        target: TargetMeta {
            pid: target.tgid,
            exe: target.exe.display().to_string(),
            cmdline: target.cmdline.join(" "),
            runtime,
            runtime_version,
            container: target.container.clone(),
        },
        host: Host { kernel_release: release, machine: std::env::consts::ARCH.into() },
        window: Window {
            start_unix_ns: start.as_nanos() as u64,
            duration_ns: 0,
            interval_ns: config.interval.as_nanos() as u64,
        },
        settings: RecordedSettings {
            min_size_bytes: config.min_size_bytes,
            probes: started
                .plan
                .points
                .iter()
                .map(|point| {
                    let names = point.symbols.join(", ");
                    format!("{names} in {}", point.display_path.display())
                })
                .collect(),
        },
        end: EndReason::Unknown,
        tracer: None,
        python_objects: None,
    }
}

/// Sleeps until then, or for ever.
async fn sleep_until(then: Option<tokio::time::Instant>) {
    match then {
        Some(then) => tokio::time::sleep_until(then).await,
        None => std::future::pending().await,
    }
}

/// Registers a descriptor with the event loop.
fn readable(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by what is returned, so it is open as long as registered.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(Into::into)
}

/// Becomes readable when the process ends (pidfd_open(2), Linux 5.3); `None` when it has ended.
fn pidfd(tgid: u32) -> Result<Option<OwnedFd>> {
    // SAFETY: takes two numbers; returns a descriptor or an error.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, tgid, 0) };
    if fd >= 0 {
        // SAFETY: a descriptor that was just opened and that nobody else owns.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }));
    }
    let error = std::io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ESRCH) {
        return Ok(None);
    }
    Err(error).with_context(|| format!("watching for the end of process {tgid}"))
}
