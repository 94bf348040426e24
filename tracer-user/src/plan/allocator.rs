//! The allocator in one file: its functions by name and address, and the probe of each. Knows
//! nothing of processes.

use super::entry;
use super::exits::{self, Code};
use super::function::{GLIBC_MARK, GLIBC_STATIC_MARK, Known, LIBC_MARK, THROWING, known};
use super::jump::{Destination, Jumps};
use super::{Function, ProbePoint};
use crate::target::MappedFile;
use crate::target::elf::{Symbol, Table};
use crate::target::function_table::FunctionTable;
use crate::warning::Warning;
use object::elf::{STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE};
use std::collections::BTreeMap;

/// Bytes of a function whose symbol has no length.
const UNKNOWN_LENGTH_BYTES: u64 = 64;

/// A function of an allocator.
#[derive(Clone, Debug)]
struct Found {
    known: Known,
    symbols: Vec<String>,
    length_bytes: u64,
}

/// The functions of a file by address (its own numbering).
#[derive(Debug, Default)]
struct Names {
    functions: BTreeMap<u64, Found>,
    indirect: Vec<String>,
    is_libc: bool,
    has_glibc_mark: bool,
    has_glibc_static_mark: bool,
    is_python: bool,
}

/// A symbol by which a CPython is known. From 3.13 on it brings a mimalloc of its own, which
/// serves nothing but Python's objects, and those through functions of CPython
/// (`--python-objects`); the rest of its interface is never called.
const PYTHON_MARK: &str = "_PyRuntime";
/// How the functions of that interface begin.
const MIMALLOC_PREFIX: &str = "mi_";

/// The probes of one file; none when it defines no allocator.
pub fn points_of(
    file: &MappedFile,
    mappings: bool,
    warnings: &mut Vec<Warning>,
) -> Vec<ProbePoint> {
    if is_dynamic_loader(&file.name()) || super::lane::is_library(file) {
        return Vec::new();
    }
    let mut names = read_names(file);
    if !names.is_allocator() {
        return Vec::new();
    }
    for name in &names.indirect {
        warnings.push(Warning::new(
            "indirect-function",
            format!(
                "{name} in {} is chosen at load time (IFUNC); calls of it are not seen.",
                file.display_path.display()
            ),
            "",
        ));
    }
    let is_libc = names.is_libc;
    let is_glibc = names.has_glibc_mark || names.has_glibc_static_mark;
    names.functions.retain(|_, found| !found.known.function.is_mapping() || (mappings && is_libc));
    let jumps = Jumps::of(&file.elf);
    names.resolve_stubs(&jumps);
    let exits = names.exits_of_operators(file, &jumps, warnings);
    names
        .functions
        .into_iter()
        .filter_map(|(svma, found)| {
            let own_exits = if found.known.function.is_throwing() {
                exits.get(&svma)?.clone()
            } else {
                Vec::new()
            };
            // What an allocator linked beside it goes by is not its own.
            let is_plain = found.known.plain;
            let point = point(file, svma, found, own_exits)?;
            Some(ProbePoint { is_glibc: is_glibc && is_plain, ..point })
        })
        .collect()
}

/// Probes of where exceptions are raised in a file.
pub fn throw_points_of(file: &MappedFile) -> Vec<ProbePoint> {
    let mut found: BTreeMap<u64, Found> = BTreeMap::new();
    let known = Known { function: Function::Throw, rank: 0, plain: false, operator: false };
    for (name, symbol) in THROWING.iter().zip(file.elf.find_symbols(&THROWING)) {
        let Some(symbol) = symbol.filter(|symbol| symbol.kind == STT_FUNC.0) else { continue };
        let entry = found.entry(symbol.svma).or_insert_with(|| Found {
            known,
            symbols: Vec::new(),
            length_bytes: symbol.length_bytes,
        });
        entry.symbols.push((*name).to_owned());
    }
    let points = found.into_iter();
    points.filter_map(|(svma, found)| point(file, svma, found, Vec::new())).collect()
}

/// The probe of a function for which there is no symbol, or whose symbol does not matter.
pub fn point_at(
    file: &MappedFile,
    svma: u64,
    function: Function,
    symbol: String,
) -> Option<ProbePoint> {
    let known = Known { function, rank: 0, plain: false, operator: false };
    let found = Found { known, symbols: vec![symbol], length_bytes: 0 };
    point(file, svma, found, Vec::new())
}

fn read_names(file: &MappedFile) -> Names {
    let mut names = Names::default();
    file.elf.visit_symbols(Table::Dynamic, |name, symbol| names.take(name, symbol));
    // What the dynamic linker does not see: static programs, and allocators that are linked into
    // a program or library for its own use. There, plain names alone may be anybody's.
    let mut hidden = Names::default();
    file.elf.visit_symbols(Table::Full, |name, symbol| hidden.take(name, symbol));
    let takes_plain = !file.elf.has_interpreter && !file.elf.is_dynamic
        || [Function::Malloc, Function::Realloc, Function::Free]
            .into_iter()
            .all(|function| hidden.defines(|found| found.plain && found.function == function));
    let is_exported = names.is_allocator();
    for (svma, found) in hidden.functions {
        let wanted = !found.known.plain || (takes_plain && !is_exported);
        if wanted && !names.functions.contains_key(&svma) {
            names.functions.insert(svma, found);
        }
    }
    // A program that asks a shared glibc for its version defines neither.
    let is_shared_glibc = names.is_libc && names.has_glibc_mark;
    names.is_libc |= hidden.is_libc;
    names.has_glibc_mark = is_shared_glibc;
    names.has_glibc_static_mark = hidden.has_glibc_static_mark && names.is_libc;
    if names.is_python || hidden.is_python {
        let is_mimalloc = |symbol: &String| symbol.starts_with(MIMALLOC_PREFIX);
        names.functions.retain(|_, found| !found.symbols.iter().all(is_mimalloc));
    }
    names.indirect.append(&mut hidden.indirect);
    names.indirect.sort_unstable();
    names.indirect.dedup();
    names
}

impl Names {
    fn take(&mut self, name: &str, symbol: Symbol) {
        self.is_libc |= name == LIBC_MARK;
        self.has_glibc_mark |= name == GLIBC_MARK;
        self.has_glibc_static_mark |= name == GLIBC_STATIC_MARK;
        self.is_python |= name == PYTHON_MARK;
        let Some(known) = known(name) else { return };
        if symbol.kind == STT_GNU_IFUNC.0 {
            self.indirect.push(name.to_owned());
            return;
        }
        if (symbol.kind != STT_FUNC.0 && symbol.kind != STT_NOTYPE.0)
            || (known.function.is_mapping() && !symbol.global)
        {
            return;
        }
        let found = self.functions.entry(symbol.svma).or_insert_with(|| Found {
            known,
            symbols: Vec::new(),
            length_bytes: symbol.length_bytes,
        });
        found.add(name.to_owned(), known);
    }

    fn defines(&self, what: impl Fn(&Known) -> bool) -> bool {
        self.functions.values().any(|found| what(&found.known))
    }

    /// Whether they give and take blocks: operators alone are a library's, on top of a malloc.
    fn is_allocator(&self) -> bool {
        let gives = |known: &Known| {
            !known.operator
                && matches!(
                    known.function,
                    Function::Malloc | Function::Calloc | Function::Realloc | Function::HeapMalloc
                )
        };
        self.defines(gives)
            && self.defines(|known| !known.operator && known.function == Function::Free)
    }

    /// Functions that are nothing but a jump are probed where they lead, which inner callers
    /// reach as well (musl), or are left to the function that they lead to by name (mimalloc).
    fn resolve_stubs(&mut self, jumps: &Jumps<'_>) {
        let all: Vec<u64> = self.functions.keys().copied().collect();
        for svma in all {
            let target = match jumps.stub(svma) {
                Some(Destination::Code(target)) => Some(target),
                Some(Destination::Import(name)) => self.named(&name),
                _ => None,
            };
            let Some(target) = target.filter(|target| *target != svma) else { continue };
            let Some(stub) = self.functions.get(&svma).cloned() else { continue };
            if let Some(found) = self.functions.get_mut(&target) {
                // Two kinds of the same function read the same arguments, but for operator new
                // on top of malloc.
                let same = found.known.function == stub.known.function
                    || found.known.function == Function::Malloc
                        && stub.known.function == Function::New;
                if same {
                    for symbol in stub.symbols {
                        found.add(symbol, stub.known);
                    }
                    self.functions.remove(&svma);
                }
            } else if let Some(Destination::Code(_)) = jumps.stub(svma) {
                self.functions.remove(&svma);
                self.functions.insert(target, Found { length_bytes: 0, ..stub });
            }
        }
    }

    fn named(&self, name: &str) -> Option<u64> {
        let mut functions = self.functions.iter();
        let found = functions.find(|(_, found)| found.symbols.iter().any(|own| own == name));
        found.map(|(svma, _)| *svma)
    }

    /// The exits of each operator new that can be probed, by its address.
    fn exits_of_operators(
        &self,
        file: &MappedFile,
        jumps: &Jumps<'_>,
        warnings: &mut Vec<Warning>,
    ) -> BTreeMap<u64, Vec<u64>> {
        let mut throwing = self
            .functions
            .iter()
            .filter(|(_, found)| found.known.function.is_throwing())
            .peekable();
        if throwing.peek().is_none() {
            return BTreeMap::new();
        }
        let mut defined = BTreeMap::new();
        file.elf.visit_symbols(Table::Dynamic, |name, symbol| {
            defined.insert(name.to_owned(), symbol.svma);
        });
        let functions = FunctionTable::read(&file.elf);
        let code = Code {
            elf: &file.elf,
            jumps,
            functions: &functions,
            defined: &|name| defined.get(name).copied(),
            settles: &|svma| {
                self.functions
                    .get(&svma)
                    .is_some_and(|found| found.known.function.has_return_probe())
            },
        };
        let (mut found_exits, mut unseen) = (BTreeMap::new(), Vec::new());
        for (svma, found) in throwing {
            match exits::find(&code, *svma, found.length_bytes) {
                // Seen through the function that it calls.
                Ok(exits) if exits.passes_on => {}
                Ok(exits) => {
                    found_exits.insert(*svma, exits.svmas);
                }
                Err(reason) => unseen.push(format!("{} ({reason})", found.symbols.join(", "))),
            }
        }
        if !unseen.is_empty() {
            warnings.push(Warning::new(
                "operator-new-unseen",
                format!(
                    "{} brings its own C++ operator new whose ends cannot be told: {}. What C++ code allocates through it may be missing.",
                    file.display_path.display(),
                    unseen.join("; ")
                ),
                "Compare with a run without that allocator (LD_PRELOAD).",
            ));
        }
        found_exits
    }
}

impl Found {
    /// One more name of the same address; the best-known says what it does.
    fn add(&mut self, symbol: String, known: Known) {
        if known.rank < self.known.rank {
            self.known = known;
        }
        if !self.symbols.contains(&symbol) {
            self.symbols.push(symbol);
        }
    }
}

fn point(file: &MappedFile, svma: u64, found: Found, exits: Vec<u64>) -> Option<ProbePoint> {
    let Found { known: Known { function, .. }, mut symbols, length_bytes } = found;
    let length_bytes = if length_bytes == 0 {
        UNKNOWN_LENGTH_BYTES
    } else {
        length_bytes.min(entry::MAX_FUNCTION_BYTES)
    };
    let code = file.elf.bytes_at_svma(svma, length_bytes)?;
    let place = entry::choose(&code, svma, function.argument_count());
    let function_offset = file.elf.file_offset_of(svma)?;
    // The best-known name first: `free, cfree`.
    symbols.sort_by_key(|symbol| known(symbol).map_or(usize::MAX, |known| known.rank));
    Some(ProbePoint {
        function,
        is_glibc: false,
        symbols,
        file: file.open_path.clone(),
        display_path: file.display_path.clone(),
        function_offset,
        probe_offset: function_offset + place.offset,
        exits: exits.iter().map(|exit| file.elf.file_offset_of(*exit)).collect::<Option<_>>()?,
        instruction: format!("{} ({})", place.instruction, place.reason),
        emulated: place.emulated,
    })
}

/// glibc's loader, whose own malloc serves start-up only. musl's (`ld-musl-*`) is its libc.
pub fn is_dynamic_loader(name: &str) -> bool {
    name.starts_with("ld-linux")
        || name
            .strip_prefix("ld-")
            .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}
