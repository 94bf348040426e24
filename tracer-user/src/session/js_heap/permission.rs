//! Whether the inspector of a process may be opened, and if not, why: a signal that Node does not
//! take for itself would do something else to the program.

use super::{JsHeapMode, Whom};
use crate::{
    probe::Probes,
    runtime::node::{
        inspector::{Options, is_taken},
        sigusr1::{self, Sigusr1},
    },
    target::Target,
    warning::Warning,
};

/// By which way an inspector may be had that does not listen yet.
#[derive(Clone, Debug)]
pub enum Permission {
    /// By none: it was not asked for.
    NotAsked,
    /// By none, for this reason.
    Refused(Warning),
    /// By a signal.
    Signal,
    /// The command was started with one; what NODE_OPTIONS was without it.
    Launched(Option<String>),
}

/// What to do instead.
const INSTEAD: &str =
    "Start Node with --inspect=127.0.0.1:0 to have an inspector that needs no signal.";

/// Judges for a target; `None` where nobody needs to look.
pub fn judge(
    mode: JsHeapMode,
    whom: &Whom,
    target: &Target,
    probes: &mut Probes,
) -> Option<Permission> {
    match (mode, whom) {
        (JsHeapMode::Never, _) => None,
        (JsHeapMode::IfListening, _) => {
            let listens = !crate::runtime::node::inspector::listening(target.tgid).is_empty();
            (listens && sigusr1::is_node(target)).then_some(Permission::NotAsked)
        }
        (_, Whom::Command(_)) => Some(Permission::Launched(super::launch::node_options())),
        (_, Whom::Process(_)) if !sigusr1::is_node(target) => {
            Some(Permission::Refused(Warning::new(
                "js-heap-not-node",
                format!(
                    "Process {} does not run Node, so it has no JavaScript heap to look into.",
                    target.tgid
                ),
                "Leave --js-heap away.",
            )))
        }
        (mode, Whom::Process(_)) => Some(by_signal(mode == JsHeapMode::Force, target, probes)),
    }
}

fn by_signal(is_forced: bool, target: &Target, probes: &mut Probes) -> Permission {
    let tgid = target.tgid;
    let refused = |code, message: String, advice: &str| {
        Permission::Refused(Warning::new(code, message, advice))
    };
    let options = Options::of(tgid);
    let (would, why) = match probes.signal_handlers(tgid) {
        Ok(Some(handlers)) => (sigusr1::judge(target, &handlers), String::new()),
        Ok(None) => (Sigusr1::Unknown, String::new()),
        Err(error) => (Sigusr1::Unknown, format!(": {error}")),
    };
    let or_force = format!("{INSTEAD} --js-heap=force sends the signal nevertheless.");
    match would {
        Sigusr1::Kills => {
            let why_not = match options.disables_sigusr1 {
                true => "--disable-sigusr1",
                false => "Node is starting still, or the program took its own handler away again",
            };
            return refused(
                "js-heap-signal-kills",
                format!(
                    "SIGUSR1, which opens Node's inspector, would end process {tgid}: nothing handles it there ({why_not}). It was not sent."
                ),
                INSTEAD,
            );
        }
        _ if is_forced => {}
        Sigusr1::OpensInspector if !options.disables_sigusr1 => {}
        Sigusr1::OpensInspector | Sigusr1::Ignored => {
            return refused(
                "js-heap-signal-ignored",
                format!(
                    "Process {tgid} ignores SIGUSR1, which would open Node's inspector (--disable-sigusr1). It was not sent."
                ),
                INSTEAD,
            );
        }
        Sigusr1::ProgramsOwn => {
            return refused(
                "js-heap-signal-handled",
                format!(
                    "Process {tgid} handles SIGUSR1 itself (process.on('SIGUSR1')): instead of opening Node's inspector the signal would do what the program does upon it, a restart perhaps. It was not sent."
                ),
                &or_force,
            );
        }
        Sigusr1::Unknown => {
            return refused(
                "js-heap-signal-unknown",
                format!(
                    "It cannot be told what process {tgid} does upon SIGUSR1, which would open Node's inspector{why}. It was not sent."
                ),
                &or_force,
            );
        }
    }
    if options.port != 0 && is_taken(tgid, options.port) {
        let own = crate::runtime::node::inspector::listening(tgid);
        if own.iter().all(|address| address.port() != options.port) {
            return refused(
                "js-heap-port-taken",
                format!(
                    "Port {}, where the inspector of process {tgid} would listen, is taken by another process; the signal that opens it was not sent.",
                    options.port
                ),
                "Free the port, or start Node with --inspect-port=0.",
            );
        }
    }
    Permission::Signal
}
