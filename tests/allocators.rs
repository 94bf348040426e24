//! Exact bytes and blocks on every allocator: mapped as a library, preloaded, behind a prefix,
//! or linked into the program; in C, C++ and Rust; and two of them in one process.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::truth::{Place, assert_equal};
use support::{Outlive, Target, compile, compile_with, may_trace, tests_dir};

/// Debian's names for the libraries that are preloaded.
const JEMALLOC: &str = "libjemalloc.so.2";
const MIMALLOC: &str = "libmimalloc.so.2";
const TCMALLOC: &str = "libtcmalloc_minimal.so.4";

/// Functions of jemalloc's that get a prefix, for a program that keeps libc's malloc beside it.
const JEMALLOC_PUBLIC: [&str; 16] = [
    "malloc",
    "calloc",
    "realloc",
    "free",
    "mallocx",
    "rallocx",
    "xallocx",
    "dallocx",
    "sdallocx",
    "nallocx",
    "sallocx",
    "posix_memalign",
    "aligned_alloc",
    "memalign",
    "valloc",
    "malloc_usable_size",
];

/// How a target is run, and what is expected of its plan.
struct Case<'a> {
    program: PathBuf,
    arguments: &'a [&'a str],
    /// Library to preload.
    preload: Option<&'a str>,
    place: Place,
    /// Each stands for a probe: the name of a function, and a part of the name of its file.
    probed: &'a [(&'a str, &'a str)],
}

impl<'a> Case<'a> {
    fn new(program: PathBuf) -> Self {
        Self { program, arguments: &[], preload: None, place: Place::Leaf, probed: &[] }
    }

    fn preload(self, library: &'a str) -> Self {
        Self { preload: Some(library), ..self }
    }

    fn probed(self, probed: &'a [(&'a str, &'a str)]) -> Self {
        Self { probed, ..self }
    }

    /// Attaches while the target waits, and compares what it then does.
    fn check(self) -> Option<(support::Report, Value)> {
        if !may_trace() {
            return None;
        }
        let name = self.program.file_name().expect("a name").to_string_lossy().into_owned();
        let mut command = Command::new(&self.program);
        command.args(self.arguments);
        if let Some(library) = self.preload {
            command.env("LD_PRELOAD", library);
        }
        let mut target = Target::from_command(command);
        wait_until_it_reads(target.pid());
        let (report, truth, _) = Outlive::attach(target.pid()).watch(&mut target);
        report.assert_no_losses();
        for (function, file) in self.probed {
            let probes = report.0["settings"]["probes"].as_array().expect("a list of probes");
            let is_it = |probe: &Value| {
                let (names, module) =
                    probe.as_str().unwrap_or("").split_once(" in ").unwrap_or_default();
                names.split(", ").any(|own| own == *function) && module.contains(file)
            };
            assert!(probes.iter().any(is_it), "{function} in {file} is not among {probes:#?}");
        }
        assert_equal(&report, &truth, &name, self.place);
        assert!(target.finish().success(), "{name} was harmed");
        Some((report, truth))
    }
}

/// A target reads its line with read(0, ...), system call 0: by then its libraries are mapped.
fn wait_until_it_reads(pid: u32) {
    support::eventually("the target waits for its line", || {
        let text = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
        text.starts_with("0 0x0 ")
    });
}

fn c(name: &str) -> PathBuf {
    tests_dir().join("targets/c").join(name)
}

fn allocator(name: &str, extra: &[&str]) -> PathBuf {
    compile(&c("allocator.c"), name, extra)
}

#[test]
fn glibc_is_exact_dynamic_and_static() {
    Case::new(allocator("allocator", &[])).probed(&[("malloc", "libc.so")]).check();
    let program = allocator("allocator-static", &["-static"]);
    Case::new(program).probed(&[("malloc", "allocator-static")]).check();
}

#[test]
fn musl_is_exact_dynamic_and_static() {
    let program = compile_with("musl-gcc", &c("allocator.c"), "allocator-musl", &[]);
    Case::new(program).probed(&[("malloc", "musl")]).check();
    let program =
        compile_with("musl-gcc", &c("allocator.c"), "allocator-musl-static", &["-static"]);
    Case::new(program).probed(&[("malloc", "allocator-musl-static")]).check();
}

#[test]
fn preloaded_allocators_are_exact_in_c() {
    for library in [JEMALLOC, MIMALLOC, TCMALLOC] {
        let file = library.split(".so").next().expect("a name");
        let expected = [("malloc", file), ("malloc", "libc.so")];
        Case::new(allocator("allocator", &[])).preload(library).probed(&expected).check();
    }
}

#[test]
fn linked_allocators_are_exact_in_c() {
    for (name, link) in
        [("jemalloc", "-ljemalloc"), ("mimalloc", "-lmimalloc"), ("tcmalloc", "-ltcmalloc_minimal")]
    {
        let program = allocator(&format!("allocator-{name}"), &["-Wl,--no-as-needed", link]);
        Case::new(program).probed(&[("malloc", name)]).check();
    }
    // Linked into the program itself.
    let archive = ["-l:libjemalloc.a", "-lstdc++", "-lm"];
    let program = allocator("allocator-in-program", &archive);
    Case::new(program).probed(&[("malloc", "allocator-in-program")]).check();
}

#[test]
fn jemallocs_own_interface_is_exact() {
    let program = compile(&c("jemalloc.c"), "jemalloc", &["-ljemalloc"]);
    Case::new(program).probed(&[("xallocx", "libjemalloc"), ("sdallocx", "libjemalloc")]).check();
}

#[test]
fn an_allocator_behind_a_prefix_and_libcs_are_told_apart() {
    let archive = prefixed_jemalloc();
    let archive = archive.to_str().expect("a path in UTF-8");
    let libraries = ["-DPREFIXED", archive, "-lstdc++", "-lm"];
    let program = compile(&c("jemalloc.c"), "jemalloc-prefixed", &libraries);
    let expected = [
        ("je_malloc", "jemalloc-prefixed"),
        ("je_mallocx", "jemalloc-prefixed"),
        ("malloc", "libc.so"),
    ];
    Case::new(program).probed(&expected).check();
}

#[test]
fn mimallocs_own_interface_is_exact() {
    let program = compile(&c("mimalloc.c"), "mimalloc", &["-lmimalloc"]);
    Case::new(program)
        .probed(&[("mi_heap_malloc", "libmimalloc"), ("mi_new", "libmimalloc")])
        .check();
}

#[test]
fn operator_new_is_exact_and_may_throw() {
    let source = tests_dir().join("targets/cpp/operators.cc");
    let program = compile_with("g++", &source, "operators", &["-std=c++20"]);
    for library in [JEMALLOC, TCMALLOC] {
        let file = library.split(".so").next().expect("a name");
        let expected = [("_Znwm", file), ("_Unwind_RaiseException", "libgcc_s")];
        let case = Case { arguments: &["throw"], ..Case::new(program.clone()) };
        if let Some((report, truth)) = case.preload(library).probed(&expected).check() {
            assert_eq!(
                report.0["traffic"]["failed_allocations"], truth["failed_allocations"],
                "{library}"
            );
        }
    }
    // Built as C, mimalloc aborts where it should throw, traced or not.
    Case::new(program).preload(MIMALLOC).probed(&[("mi_new", "libmimalloc")]).check();
}

#[test]
fn rust_programs_are_exact() {
    for (name, probed) in [
        ("system", &[("malloc", "libc.so")][..]),
        ("jemalloc", &[("_rjem_malloc", "jemalloc"), ("malloc", "libc.so")]),
        ("mimalloc", &[("mi_malloc_aligned", "mimalloc"), ("malloc", "libc.so")]),
        ("two", &[("_rjem_mallocx", "two"), ("malloc", "libc.so")]),
    ] {
        let Some(program) = rust_target(name) else { return };
        Case { place: Place::Inside, ..Case::new(program) }.probed(probed).check();
    }
}

/// A program of `tests/targets/rust`, built into the scratch folder.
fn rust_target(name: &str) -> Option<PathBuf> {
    if !may_trace() {
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rust");
    let status = Command::new("cargo")
        .args(["build", "--release", "--locked", "--quiet", "--target-dir"])
        .arg(&folder)
        .current_dir(tests_dir().join("targets/rust"))
        // Cargo hands these to the programs that it runs; they are not meant for this build.
        .env_remove("CARGO_TARGET_DIR")
        .env("RUSTFLAGS", "-C force-frame-pointers=yes")
        .status()
        .expect("run cargo");
    assert!(status.success(), "building the Rust targets failed");
    Some(folder.join("release").join(name))
}

/// Debian's static jemalloc with every public name behind `je_`.
fn prefixed_jemalloc() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c");
    std::fs::create_dir_all(&folder).expect("make the folder of compiled targets");
    let output = Command::new("gcc").arg("-print-file-name=libjemalloc.a").output();
    let archive = String::from_utf8(output.expect("run gcc").stdout).expect("a path");
    let mut command = Command::new("objcopy");
    for name in JEMALLOC_PUBLIC {
        command.arg(format!("--redefine-sym={name}=je_{name}"));
    }
    let prefixed = folder.join("libjemalloc-prefixed.a");
    let status = command.arg(archive.trim()).arg(&prefixed).status().expect("run objcopy");
    assert!(status.success(), "objcopy failed");
    prefixed
}
