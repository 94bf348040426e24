//! Files of this machine that the guest needs too: programs with the libraries they are linked
//! to, folders, and Python's standard library. Each keeps its path, since tests know theirs.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::archive::Archive;
use crate::command;

/// Folders that are links on a machine with a merged /usr.
const MERGED: [&str; 4] = ["/bin", "/sbin", "/lib", "/lib64"];

/// Parts of Python's standard library that no target imports, and that are large.
const UNUSED_PYTHON: [&str; 8] = [
    "__pycache__",
    "test",
    "idlelib",
    "lib2to3",
    "ensurepip",
    "pydoc_data",
    "site-packages",
    "dist-packages",
];

/// An archive, with what was put in so far.
pub struct Files {
    archive: Archive,
    libraries: BTreeSet<PathBuf>,
}

impl Files {
    /// Begins with the links that this machine has between its folders.
    ///
    /// # Errors
    /// When the archive cannot be written.
    pub fn new(mut archive: Archive) -> Result<Self> {
        for folder in MERGED.map(Path::new) {
            if let Ok(to) = fs::read_link(folder) {
                archive.link(folder, &to)?;
            }
        }
        Ok(Self { archive, libraries: BTreeSet::new() })
    }

    /// The archive, to add what this machine does not have.
    pub fn archive(&mut self) -> &mut Archive {
        &mut self.archive
    }

    /// Adds one file, and what it is linked to.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn program(&mut self, path: &Path) -> Result<()> {
        self.file(path)?;
        for library in linked_to(path) {
            if self.libraries.insert(library.clone()) {
                self.file(&library)?;
            }
        }
        Ok(())
    }

    /// Adds a folder with everything below it, but for entries of these names.
    ///
    /// # Errors
    /// When something in it cannot be read.
    pub fn tree(&mut self, folder: &Path, left_out: &[&str]) -> Result<()> {
        let reading = || format!("reading {}", folder.display());
        self.archive.folder(&place_of(folder)?)?;
        for entry in fs::read_dir(folder).with_context(reading)? {
            let path = entry.with_context(reading)?.path();
            if path.file_name().is_some_and(|name| left_out.iter().any(|out| name == *out)) {
                continue;
            }
            if path.is_dir() {
                self.tree(&path, left_out)?;
            } else if path.extension() == Some(OsStr::new("so")) {
                self.program(&path)?;
            } else if path.is_file() {
                self.file(&path)?;
            }
        }
        Ok(())
    }

    /// Adds a Python interpreter, with the standard library that it names itself.
    ///
    /// # Errors
    /// When it does not run, or its library cannot be read.
    pub fn python(&mut self, python: &Path) -> Result<()> {
        self.program(python)?;
        let ask = "import sysconfig; print(sysconfig.get_path('stdlib'))";
        let library = command::output(Command::new(python).args(["-I", "-c", ask]))?;
        self.tree(Path::new(library.trim()), &UNUSED_PYTHON)
    }

    /// Ends the archive and returns its length in bytes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> Result<u64> {
        self.archive.finish()
    }

    fn file(&mut self, path: &Path) -> Result<()> {
        self.archive.copy(&place_of(path)?, path)
    }
}

/// Where a file is once the links among the folders above it are followed; a link at the end of
/// the path stands for the file.
fn place_of(path: &Path) -> Result<PathBuf> {
    let (folder, name) = path.parent().zip(path.file_name()).context("a path without a name")?;
    let folder =
        folder.canonicalize().with_context(|| format!("looking for {}", folder.display()))?;
    Ok(folder.join(name))
}

/// The libraries of a dynamic program, the loader included; empty for anything else.
fn linked_to(path: &Path) -> Vec<PathBuf> {
    command::probe(Command::new("ldd").arg(path)).map_or_else(Vec::new, |text| parse_ldd(&text))
}

fn parse_ldd(text: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let words = line.split_whitespace();
        words.into_iter().find(|word| word.starts_with('/')).map(PathBuf::from)
    };
    text.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::parse_ldd;

    #[test]
    fn ldd_is_understood() {
        let text = "\tlinux-vdso.so.1 (0x00007fff)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f2)\n\
                    \tlibgone.so => not found\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(parse_ldd(text), expected.map(std::path::PathBuf::from));
        assert!(parse_ldd("\tnot a dynamic executable\n").is_empty());
    }
}
