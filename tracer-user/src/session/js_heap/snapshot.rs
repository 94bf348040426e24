//! A snapshot of a Node's heap without a session: nothing is probed.

use super::{
    asker,
    order::{HideKeys, Order, Told},
    permission,
};
use crate::{
    capture::HeapMeta,
    plan,
    printable::printable,
    probe::{Probes, Settings},
    session::{JsHeapMode, Whom},
    target::{self, Target},
};
use anyhow::{Context as _, Result, anyhow};
use std::{
    sync::{Arc, atomic::AtomicBool, mpsc::channel},
    thread,
};
use tokio::sync::mpsc::unbounded_channel;

/// Who holds what in the heap of V8 in `target`, of constructors in `holders` in any case; its inspector is opened where that is needed and
/// `mode` allows it, and closed again. Says on stderr what that costs, before it does.
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
    let order = Order {
        target,
        permission,
        interval_bytes: None,
        samples: false,
        retainers: Some(HideKeys(hide_keys)),
        holders,
        duration: None,
        interrupted: Arc::new(AtomicBool::new(false)),
    };
    let (_commands, orders) = channel();
    let (tell, mut told) = unbounded_channel();
    let asked = thread::Builder::new()
        .name("outlive-js-heap".into())
        .stack_size(super::THREAD_STACK_BYTES)
        .spawn(move || asker::run(order, &orders, &tell))
        .context("starting a thread")?;
    let (mut found, mut why) = (None, None);
    // The channel ends with the thread.
    while let Some(next) = told.blocking_recv() {
        match next {
            Told::Say(text) => eprintln!("outlive: {}", printable(&text)),
            Told::Less(warning) => {
                // The first is told as the reason, where there is nothing else to tell.
                let text = warning.to_string();
                if let Some(before) = why.replace(text) {
                    eprintln!("outlive: warning: {}", printable(&before));
                }
            }
            Told::Retainers(heap, ..) => found = Some(*heap),
            _ => {}
        }
    }
    // It tells nothing by its end.
    let _ = asked.join();
    if found.is_some()
        && let Some(text) = why.take()
    {
        eprintln!("outlive: warning: {}", printable(&text));
    }
    found.ok_or_else(|| {
        let why = why.unwrap_or_else(|| "its inspector gave none".to_owned());
        anyhow!("there is no snapshot of the JavaScript heap of process {tgid}: {why}")
    })
}
