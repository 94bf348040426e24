//! Verb `tidy`: walks the workspace and applies the rules that no compiler knows. The rules
//! themselves are in `import`, `shape` and `safety`; each is a function from a file's path and
//! text to findings.

mod import;
mod safety;
mod shape;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// Folders that hold no source of ours.
const SKIPPED_FOLDERS: [&str; 5] = [".git", "node_modules", "__pycache__", "venv", "outlive-demo"];

/// A file to check: its path from the root, with `/`, and its text.
struct Source<'a> {
    path: &'a str,
    text: &'a str,
}

/// A broken rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    /// 1-based; 0 when the finding is about the whole file.
    line: usize,
    message: String,
}

impl Finding {
    fn at(index: usize, message: impl Into<String>) -> Self {
        Self { line: index + 1, message: message.into() }
    }

    fn whole_file(message: impl Into<String>) -> Self {
        Self { line: 0, message: message.into() }
    }
}

/// Runs the verb.
///
/// # Errors
/// When a rule is broken (all findings are printed by then) or a folder cannot be read.
pub fn run() -> Result<()> {
    let root = workspace::root();
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();
    let (mut checked_count, mut finding_count) = (0, 0);
    for file in &files {
        let Ok(text) = fs::read_to_string(file) else { continue };
        let path = file.strip_prefix(&root).unwrap_or(file).to_string_lossy().replace('\\', "/");
        checked_count += 1;
        for finding in check(&Source { path: &path, text: &text }) {
            finding_count += 1;
            println!("{path}:{}: {}", finding.line, finding.message);
        }
    }
    for message in differing_lint_tables(&root)? {
        finding_count += 1;
        println!("{message}");
    }
    if finding_count > 0 {
        bail!("tidy: {finding_count} findings in {checked_count} files");
    }
    println!("tidy: {checked_count} files, nothing to complain about");
    Ok(())
}

/// Every rule, for one file.
fn check(source: &Source<'_>) -> Vec<Finding> {
    let mut findings = shape::check(source);
    findings.extend(import::check(source));
    findings.extend(safety::check(source));
    findings
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("reading {}", dir.display()))?;
        let (kind, name) = (entry.file_type()?, entry.file_name());
        let name = name.to_string_lossy();
        // Cargo's folder lies beside a manifest; a module of that name holds source.
        let is_built = name == "target" && dir.join("Cargo.toml").exists();
        let is_skipped = is_built || SKIPPED_FOLDERS.iter().any(|part| name.starts_with(part));
        if kind.is_dir() && !is_skipped {
            collect(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// The kernel side is a workspace of its own; its lint table repeats the top-level one.
fn differing_lint_tables(root: &Path) -> Result<Vec<String>> {
    let read =
        |path: &str| fs::read_to_string(root.join(path)).with_context(|| format!("reading {path}"));
    let (host, kernel_side) = (read("Cargo.toml")?, read("tracer-ebpf/Cargo.toml")?);
    Ok(["rust", "clippy"]
        .into_iter()
        .filter(|group| {
            table(&host, &format!("[workspace.lints.{group}]"))
                != table(&kernel_side, &format!("[lints.{group}]"))
        })
        .map(|group| {
            format!("tracer-ebpf/Cargo.toml:0: [lints.{group}] differs from the top-level table")
        })
        .collect())
}

/// Lines of the table under `header`, without comments and blanks.
fn table<'a>(manifest: &'a str, header: &str) -> Vec<&'a str> {
    manifest
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != header)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// Lines with their 0-based numbers, without those that are only comment.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[cfg(test)]
mod tests {
    use super::{collect, table};
    use std::fs;

    #[test]
    fn only_cargos_folder_is_no_source() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["src/target", "target"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        for file in ["Cargo.toml", "src/target/mod.rs", "target/built.rs"] {
            fs::write(root.path().join(file), "").unwrap();
        }
        let mut files = Vec::new();
        collect(root.path(), &mut files).unwrap();
        assert!(files.contains(&root.path().join("src/target/mod.rs")));
        assert!(!files.contains(&root.path().join("target/built.rs")));
    }

    #[test]
    fn a_table_ends_where_the_next_begins() {
        let manifest = "[a]\nx = 1\n\n# why\ny = 2\n[b]\nz = 3\n";
        assert_eq!(table(manifest, "[a]"), ["x = 1", "y = 2"]);
        assert_eq!(table(manifest, "[b]"), ["z = 3"]);
        assert!(table(manifest, "[c]").is_empty());
    }
}
