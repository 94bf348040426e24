//! What a session sees of Python's small objects: decided when it begins, looked at again while
//! it runs, since a command's interpreter starts under its eyes.

use super::{Config, Whom};
use crate::{
    capture::PythonObjects,
    plan::{Function, ProbePlan},
    runtime::python::{
        PythonRuntime, arenas,
        small_objects::{self, SmallObjects},
    },
    target::Target,
};
use std::{
    ffi::OsStr,
    time::{Duration, Instant},
};

/// Environment variable, and its value, by which CPython takes every object from libc.
pub const TAKE_ALL_FROM_LIBC: (&str, &str) = ("PYTHONMALLOC", "malloc");
/// Time between two looks at the arenas.
const PERIOD: Duration = Duration::from_secs(5);

/// Adds the probes that `--python-objects` asks for to the plan of a running target, where they
/// would see everything; says why not elsewhere.
pub fn plan(config: &Config, target: &Target, plan: &mut ProbePlan) -> Option<&'static str> {
    if !config.python_objects || !matches!(config.whom, Whom::Process(_)) {
        return None;
    }
    let runtime = plan.python.as_ref()?;
    match small_objects::find(target, runtime) {
        SmallObjects::Probed(functions) => {
            plan.add_python_objects(target, &functions);
            None
        }
        SmallObjects::Inlined => {
            Some("this build of Python was optimised by profile, and no probe can see them")
        }
        SmallObjects::MallocLibc => None,
        SmallObjects::Unknown(reason) => Some(reason),
    }
}

/// Looks at the small objects of one target.
pub struct Observer {
    target: Target,
    runtime: PythonRuntime,
    is_probed: bool,
    /// Why there are no probes though they were asked for.
    refusal: Option<&'static str>,
    takes_all_from_libc: bool,
    arena_bytes: Option<u64>,
    next: Instant,
}

impl Observer {
    /// `None` where the target runs no Python.
    pub fn new(
        config: &Config,
        target: &Target,
        plan: &ProbePlan,
        refusal: Option<&'static str>,
    ) -> Option<Self> {
        Some(Self {
            target: target.clone(),
            runtime: plan.python.clone()?,
            is_probed: plan.points.iter().any(|point| point.function == Function::PyMalloc),
            refusal,
            // What a command was told holds until its interpreter shows otherwise.
            takes_all_from_libc: config.python_objects && matches!(config.whom, Whom::Command(_)),
            arena_bytes: None,
            next: Instant::now(),
        })
    }

    /// Looks again, when it is time or at the end. What was seen last stands when the target has
    /// ended meanwhile.
    pub fn look(&mut self, is_last: bool) {
        if !is_last && Instant::now() < self.next || self.is_probed {
            return;
        }
        if self.target.refresh().is_err() {
            return;
        }
        let Some(is_libc) = small_objects::is_libc(&self.target, &self.runtime) else { return };
        let arena_bytes =
            if is_libc { None } else { arenas::held_bytes(&self.target, &self.runtime) };
        // An interpreter that starts has not heard yet what it was told, but has no arenas either.
        if self.takes_all_from_libc && !is_libc && arena_bytes.unwrap_or(0) == 0 {
            return;
        }
        self.next = Instant::now() + PERIOD;
        self.takes_all_from_libc = is_libc;
        self.arena_bytes = arena_bytes.or(self.arena_bytes);
    }

    /// What there is to say.
    pub fn answer(&self) -> PythonObjects {
        let (way, covers) = if self.is_probed {
            (
                "probed",
                "every object allocated while outlive watched, by probes on Python's own allocator"
                    .to_owned(),
            )
        } else if self.takes_all_from_libc {
            (
                "malloc",
                "every object: with PYTHONMALLOC=malloc each is a block of libc's".to_owned(),
            )
        } else {
            let mut covers = "objects of more than 512 bytes; smaller ones share arenas, which are attributed to nobody".to_owned();
            if let Some(reason) = self.refusal {
                covers.push_str(" (");
                covers.push_str(reason);
                covers.push(')');
            }
            (PythonObjects::ARENAS, covers)
        };
        let unattributed_bytes = if way == PythonObjects::ARENAS { self.arena_bytes } else { None };
        PythonObjects { way: way.to_owned(), covers, unattributed_bytes }
    }
}

/// The environment that `--python-objects` gives to a command.
pub fn environment(config: &Config) -> Option<(&'static OsStr, &'static OsStr)> {
    let (name, value) = TAKE_ALL_FROM_LIBC;
    config.python_objects.then(|| (OsStr::new(name), OsStr::new(value)))
}
