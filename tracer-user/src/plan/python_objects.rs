//! Probes on CPython's own allocator, where they would see every object.

use super::{Function, ProbePlan, allocator::point_at};
use crate::runtime::python::small_objects::{ObjectFunction, Role};
use crate::target::Target;
use crate::target::elf::Table;
use std::collections::HashMap;

impl ProbePlan {
    /// Adds probes on the functions that serve small objects; those of the interpreter's calls to
    /// libc that they make are nested from then on.
    pub fn add_python_objects(&mut self, target: &Target, functions: &[ObjectFunction]) {
        let Some(runtime) = &self.python else { return };
        let Some(file) = target.files.values().find(|file| file.display_path == runtime.module)
        else {
            return;
        };
        let mut names = HashMap::new();
        file.elf.visit_symbols(Table::Full, |name, symbol| {
            if functions.iter().any(|function| function.svma == symbol.svma) {
                names.insert(symbol.svma, name.to_owned());
            }
        });
        self.points.extend(functions.iter().filter_map(|found| {
            let (function, role) = match found.role {
                Role::Malloc => (Function::PyMalloc, "object malloc"),
                Role::Calloc => (Function::PyCalloc, "object calloc"),
                Role::Realloc => (Function::PyRealloc, "object realloc"),
                Role::Free => (Function::PyFree, "object free"),
            };
            let name = names.get(&found.svma).cloned().unwrap_or_else(|| role.to_owned());
            point_at(file, found.svma, function, name)
        }));
    }
}
