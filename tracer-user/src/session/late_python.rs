//! An interpreter that comes later than outlive: a library that the program loads while it is
//! watched, or one that the dynamic linker has not finished with when it is looked at first.

use crate::{
    probe::Probes,
    runtime::python::{self, PythonRuntime},
    symbol::Resolver,
    warning::Warning,
};

/// Ticks at which an interpreter that does not say all yet is looked at again.
const MAX_LOOKS: u32 = 10;

/// How often the interpreter is looked at again.
#[derive(Clone, Copy, Debug)]
pub struct LatePython {
    looks_left: u32,
}

impl LatePython {
    /// After a first look that found `python`. A command that outlive itself started is looked at
    /// before its libraries are linked.
    pub fn new(python: Option<&PythonRuntime>, is_own_command: bool) -> Self {
        let is_settled = python.is_none_or(PythonRuntime::is_settled) && !is_own_command;
        Self { looks_left: if is_settled { 0 } else { MAX_LOOKS } }
    }

    /// Whether the next tick should look again.
    pub fn is_due(self) -> bool {
        self.looks_left > 0
    }

    /// Looks, unless all that can be known is, and has both sides use what was found.
    pub fn look(
        &mut self,
        tgid: u32,
        probes: &mut Probes,
        resolver: &mut Resolver,
    ) -> Vec<Warning> {
        if resolver.python().is_some() && !self.is_due() {
            return Vec::new();
        }
        self.looks_left = self.looks_left.saturating_sub(1);
        let (found, warnings) = python::detect(resolver.target());
        let Some(found) = found else { return Vec::new() };
        if found.is_settled() {
            self.looks_left = 0;
        }
        if resolver.python() != Some(&found) {
            probes.set_python(tgid, found.layout);
            resolver.set_python(tgid, Some(found));
        }
        warnings
    }
}
