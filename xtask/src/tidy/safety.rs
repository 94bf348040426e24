//! Rule: every unsafe block and impl of the kernel side says why it is sound. Clippy says the
//! same of the host crates; this text check also holds where no clippy fits the kernel side's
//! compiler.

use super::{Finding, Source, code_lines};

/// How many lines above the keyword the comment may stand: a statement may begin before its
/// unsafe block, a comment may have several lines.
const REACH_LINES: usize = 8;

pub(super) fn check(source: &Source<'_>) -> Vec<Finding> {
    if !source.path.starts_with("tracer-ebpf/") || !source.path.ends_with(".rs") {
        return Vec::new();
    }
    let lines: Vec<&str> = source.text.lines().collect();
    code_lines(source.text)
        .filter(|(_, line)| opens_unsafe(line))
        .filter(|(index, _)| !is_explained(&lines, *index))
        .map(|(index, _)| Finding::at(index, "`unsafe` without a `// SAFETY:` comment above it"))
        .collect()
}

fn opens_unsafe(line: &str) -> bool {
    line.contains("unsafe {") || line.trim_start().starts_with("unsafe impl")
}

/// Whether a SAFETY comment stands on the line or above it, with no blank line, end of block or
/// other unsafe in between.
fn is_explained(lines: &[&str], index: usize) -> bool {
    if lines[index].contains("SAFETY:") {
        return true;
    }
    lines[..index]
        .iter()
        .rev()
        .take(REACH_LINES)
        .map(|line| line.trim())
        .take_while(|line| !line.is_empty() && *line != "}" && !opens_unsafe(line))
        .any(|line| line.starts_with("//") && line.contains("SAFETY:"))
}

#[cfg(test)]
mod tests {
    use super::{Source, check};

    fn count(text: &str) -> usize {
        check(&Source { path: "tracer-ebpf/src/main.rs", text }).len()
    }

    #[test]
    fn an_explained_block_passes() {
        assert_eq!(count("// SAFETY: the pointer is the map's.\nunsafe { *p }\n"), 0);
        assert_eq!(
            count("// SAFETY: it is ours,\n// and aligned.\nlet x =\n    unsafe { *p };\n"),
            0
        );
        assert_eq!(count("// SAFETY: no interior.\nunsafe impl Sync for A {}\n"), 0);
    }

    #[test]
    fn an_unexplained_block_is_found() {
        assert_eq!(count("unsafe { *p }\n"), 1);
        assert_eq!(count("// SAFETY: far away\n\nunsafe { *p }\n"), 1);
        assert_eq!(count("// SAFETY: one\nunsafe { *p };\nunsafe { *q };\n"), 1);
    }

    #[test]
    fn the_host_side_is_left_to_clippy() {
        let source = Source { path: "tracer-user/src/probe/mod.rs", text: "unsafe { *p }" };
        assert!(check(&source).is_empty());
    }
}
