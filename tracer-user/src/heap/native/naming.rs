//! How places in memory that hold pointers are called.

use crate::{
    printable::printable,
    target::{Target, elf::Table},
};
use std::{cell::RefCell, collections::HashMap};

/// `STT_OBJECT` of ELF: a variable.
const OBJECT: u8 = 1;
/// Variables of one module whose names are kept.
const MAX_VARIABLES: usize = 500_000;
/// Longest name that is kept, in characters.
const MAX_NAME_CHARACTERS: usize = 200;

/// Names for them.
#[derive(Default)]
pub struct Naming<'a> {
    target: Option<&'a Target>,
    memory: Option<&'a dyn Fn(u64) -> Option<String>>,
    modules: RefCell<HashMap<String, Vec<Variable>>>,
}

/// A variable of a module.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Variable {
    start_avma: u64,
    end_avma: u64,
    name: String,
}

impl<'a> Naming<'a> {
    /// By the symbols of a target's files.
    pub fn of(target: &'a Target) -> Self {
        Self { target: Some(target), ..Self::default() }
    }

    /// What lies at an address that belongs to no known block is told by `memory` (`a Python
    /// dict`), where that knows.
    pub fn with_memory(self, memory: &'a dyn Fn(u64) -> Option<String>) -> Self {
        Self { memory: Some(memory), ..self }
    }

    /// A place in the variables of a module.
    pub(super) fn of_static(&self, module: &str, avma: u64) -> String {
        let file = printable(module.rsplit('/').next().unwrap_or_default());
        let mut modules = self.modules.borrow_mut();
        if !modules.contains_key(module) {
            modules.insert(module.to_owned(), self.variables_of(module));
        }
        let variables = modules.get(module).map_or(&[][..], Vec::as_slice);
        let behind = variables.partition_point(|variable| variable.start_avma <= avma);
        let last = behind.checked_sub(1).and_then(|last| variables.get(last));
        match last.filter(|variable| avma < variable.end_avma) {
            Some(variable) => format!("static {} in {file}", variable.name),
            None => format!("static data of {file}"),
        }
    }

    /// A place in memory that belongs to no known block.
    pub(super) fn of_memory(&self, avma: u64) -> String {
        let named = self.memory.and_then(|memory| memory(avma));
        named.unwrap_or_else(|| "memory of no known block".into())
    }

    fn variables_of(&self, module: &str) -> Vec<Variable> {
        let mut found = Vec::new();
        let file = self.target.and_then(|target| {
            let mut files = target.files.values();
            let file = files.find(|file| file.display_path.to_string_lossy() == module)?;
            Some((file, target.bias_of(file)?))
        });
        let Some((file, bias)) = file else { return found };
        for table in [Table::Full, Table::Dynamic] {
            file.elf.visit_symbols(table, |name, symbol| {
                let start_avma = symbol.svma.wrapping_add(bias);
                if symbol.kind == OBJECT && symbol.length_bytes > 0 && found.len() < MAX_VARIABLES {
                    found.push(Variable {
                        start_avma,
                        end_avma: start_avma.saturating_add(symbol.length_bytes),
                        name: name_of(name),
                    });
                }
            });
            if !found.is_empty() {
                break;
            }
        }
        found.sort_unstable();
        found
    }
}

/// As its author wrote it, without what a compiler appended to tell it from others.
fn name_of(symbol: &str) -> String {
    let plain = symbol.split_once('.').map_or(symbol, |(plain, _)| plain);
    let name = if plain.is_empty() { symbol } else { plain };
    printable(&name.chars().take(MAX_NAME_CHARACTERS).collect::<String>())
}
