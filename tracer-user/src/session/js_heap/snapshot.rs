//! A snapshot of a Node's heap without a session: nothing is probed.

use super::{
    asker,
    order::{Command, HideKeys, Order, Told},
    permission,
};
use crate::{
    capture::HeapMeta,
    plan,
    printable::printable,
    probe::{Probes, Settings},
    session::{JsHeapMode, Whom, console::Ending, insistence, runtime},
    stderr::say,
    target::{self, Target},
};
use anyhow::{Context as _, Result, anyhow};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Sender, channel},
    },
    thread,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Who holds what in the heap of V8 in `target`, of constructors in `holders` in any case; its
/// inspector is opened where that is needed and `mode` allows it, and closed again, also where a
/// signal asks for the end meanwhile. Says on stderr what that costs, before it does.
///
/// # Errors
/// When there is none, or it may not be looked at: a sentence that says why.
pub fn look(
    target: Target,
    mode: JsHeapMode,
    hide_keys: bool,
    holders: Vec<String>,
) -> Result<HeapMeta> {
    super::close_left_open();
    let tgid = target.tgid;
    let (mut plan, _) = plan::make(&target, false)?;
    // The kernel side is asked who handles a signal, and probes nothing.
    plan.points.clear();
    let settings = Settings {
        target_tgid: tgid,
        pid_namespace: target::pid_namespace::own()?,
        ..Settings::default()
    };
    let (mut probes, _) = Probes::load(settings, &plan, &[]).context("loading the kernel side")?;
    let permission = permission::judge(mode, &Whom::Process(tgid), &target, &mut probes)
        .ok_or_else(|| anyhow!("process {tgid} has no inspector that listens"))?;
    drop(probes);
    let interrupted = Arc::new(AtomicBool::new(false));
    let order = Order {
        target,
        permission,
        interval_bytes: None,
        samples: false,
        retainers: Some(HideKeys(hide_keys)),
        holders,
        duration: None,
        interrupted: interrupted.clone(),
    };
    let (commands, orders) = channel();
    let (tell, told) = unbounded_channel();
    let event_loop = runtime()?;
    // Before the inspector is asked for: who is killed from then on leaves it open.
    let ending = event_loop.block_on(async { Ending::listen() })?;
    let asked = thread::Builder::new()
        .name("outlive-js-heap".into())
        .stack_size(super::THREAD_STACK_BYTES)
        .spawn(move || asker::run(order, &orders, &tell))
        .context("starting a thread")?;
    let heard = event_loop.block_on(hear(told, ending, &interrupted, &commands));
    // It tells nothing by its end.
    let _ = asked.join();
    heard.heap(tgid, interrupted.load(Ordering::Relaxed))
}

/// What the thread told.
#[derive(Default)]
struct Heard {
    found: Option<HeapMeta>,
    /// The last thing that is less than it could be: the reason, where nothing was found.
    why: Option<String>,
    /// Whether the inspector is closed again, where it was opened.
    closed: Option<bool>,
}

/// Listens to the thread until its end. A signal hurries it, and leaves it the time to close what it
/// has opened; a second one ends this process.
async fn hear(
    mut told: UnboundedReceiver<Told>,
    mut ending: Ending,
    interrupted: &AtomicBool,
    commands: &Sender<Command>,
) -> Heard {
    let mut heard = Heard::default();
    loop {
        let next = tokio::select! {
            next = told.recv() => next,
            () = ending.wait(), if !interrupted.load(Ordering::Relaxed) => {
                interrupted.store(true, Ordering::Relaxed);
                // For the wait until an inspector listens; one that has ended needs no word.
                let _ = commands.send(Command::Finish { force_gc: false });
                insistence::listen();
                continue;
            }
        };
        match next {
            // The channel ends with the thread.
            None => return heard,
            Some(Told::Say(text)) => say(&printable(&text)),
            Some(Told::Less(warning)) => {
                // The last is told as the reason, where there is nothing else to tell.
                if let Some(before) = heard.why.replace(warning.to_string()) {
                    say(&format!("warning: {}", printable(&before)));
                }
            }
            Some(Told::Retainers(heap, ..)) => heard.found = Some(*heap),
            Some(Told::Ended { closed }) => heard.closed = closed,
            Some(_) => {}
        }
    }
}

impl Heard {
    fn heap(self, tgid: u32, was_interrupted: bool) -> Result<HeapMeta> {
        let Self { found, why, closed } = self;
        if let Some(heap) = found {
            if let Some(text) = why {
                say(&format!("warning: {}", printable(&text)));
            }
            return Ok(heap);
        }
        let why = why.unwrap_or_else(|| {
            match (was_interrupted, closed) {
                (true, Some(true)) => "interrupted; its inspector is closed again",
                (true, _) => "interrupted",
                (false, _) => "its inspector gave none",
            }
            .to_owned()
        });
        Err(anyhow!("there is no snapshot of the JavaScript heap of process {tgid}: {why}"))
    }
}
