//! What a file with V8 says about itself: the symbols it exports for debuggers (`v8dbg_*`), and a
//! few others. Their values are read from the target's memory: those that are 0 lie in .bss and
//! have no bytes in the file.

use super::version;
use crate::runtime::memory::{read_exact, u32_in};
use crate::target::MappedFile;
use crate::target::elf::{Symbol, Table};
use std::collections::HashMap;

/// Most symbols that are kept: V8 has 500 for debuggers, and 2,300 built-in functions.
const MAX_SYMBOLS: usize = 16_384;
/// What the symbols for debuggers begin with.
const DEBUGGER: &str = "v8dbg_";
/// What the symbols of built-in functions begin with.
const BUILTIN: &str = "Builtins_";
/// Other symbols that are looked for.
const OTHERS: [&str; 4] = [BYTECODE_SIZES, BLOB_CODE, BLOB_CODE_DATA, BLOB_CODE_SIZE];

/// How long each bytecode is.
pub(super) const BYTECODE_SIZES: &str = "_ZN2v88internal11interpreter9Bytecodes14kBytecodeSizesE";
/// The built-in code; before V8 11 a pointer to it.
pub(super) const BLOB_CODE: &str = "v8_Default_embedded_blob_code_";
/// The built-in code, before V8 11.
pub(super) const BLOB_CODE_DATA: &str = "v8_Default_embedded_blob_code_data_";
/// How long that is, in a 32-bit word.
pub(super) const BLOB_CODE_SIZE: &str = "v8_Default_embedded_blob_code_size_";

/// The symbols of one file in one process.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    tgid: u32,
    bias: u64,
    symbols: HashMap<String, Symbol>,
}

impl Metadata {
    /// Reads them; `None` when `file` holds no V8. The full table is read only when the dynamic
    /// one shows one.
    pub(super) fn read(tgid: u32, file: &MappedFile, bias: u64) -> Option<Self> {
        let mut symbols = HashMap::new();
        for table in [Table::Dynamic, Table::Full] {
            file.elf.visit_symbols(table, |name, symbol| {
                let is_wanted = name.starts_with(DEBUGGER)
                    || name.starts_with(BUILTIN)
                    || version::SYMBOLS.contains(&name)
                    || OTHERS.contains(&name);
                if is_wanted && symbols.len() < MAX_SYMBOLS {
                    symbols.entry(name.to_owned()).or_insert(symbol);
                }
            });
            if !symbols.contains_key(version::SYMBOLS[0]) {
                return None;
            }
        }
        Some(Self { tgid, bias, symbols })
    }

    /// A symbol.
    pub(super) fn symbol(&self, name: &str) -> Option<Symbol> {
        self.symbols.get(name).copied()
    }

    /// The 32-bit number that a symbol stands for, in the target.
    pub(super) fn value(&self, name: &str) -> Option<i32> {
        let symbol = self.symbol(name)?;
        let mut bytes = [0; 4];
        read_exact(self.tgid, symbol.svma.wrapping_add(self.bias), &mut bytes)?;
        u32_in(&bytes, 0).map(|value| value as i32)
    }

    /// The number for debuggers under the first of `names` that there is, without their prefix.
    pub(super) fn debugger_value(&self, names: &[&str]) -> Option<i32> {
        names.iter().find_map(|name| self.value(&format!("{DEBUGGER}{name}")))
    }

    /// Built-in functions: address in the file's own numbering, and name.
    pub(super) fn builtins(&self) -> impl Iterator<Item = (u64, &str)> {
        self.symbols
            .iter()
            .filter_map(|(name, symbol)| Some((symbol.svma, name.strip_prefix(BUILTIN)?)))
    }
}
