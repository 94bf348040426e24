//! What the corpus is built into: environments, compiled servers, and the command of each case.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::program::{Case, Start};
use crate::child::bound_command;
use crate::{command, debian, node, venv, workspace};

/// All that is needed to start any of the cases it was made for.
pub struct Built {
    python: PathBuf,
    /// Executables and the extension module.
    folder: PathBuf,
    nodes: BTreeMap<u32, PathBuf>,
    packages: PathBuf,
}

impl Built {
    /// Installs and compiles what `cases` need.
    ///
    /// # Errors
    /// When something cannot be installed, or does not compile.
    pub fn new(cases: &[Case]) -> Result<Self> {
        if debian::is_debian() {
            debian::ensure(&["gcc", "libc6-dev", "python3-dev"], "the corpus")?;
        }
        let python = venv::ensure(&venv::CORPUS)?;
        let folder = workspace::target_dir().join("corpus");
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let mut built = Self { python, folder, nodes: BTreeMap::new(), packages: PathBuf::new() };
        let mut starts: Vec<Start> = cases.iter().map(|case| case.start).collect();
        starts.sort_unstable();
        starts.dedup();
        for start in starts {
            match start {
                Start::Python("decref.py") => built.compile_extension()?,
                Start::Python(_) => {}
                Start::C(name) => built.compile(&["-pthread"], name, name)?,
                Start::Node(major, script) => built.prepare_node(major, script)?,
            }
        }
        Ok(built)
    }

    fn compile(&self, flags: &[&str], source: &str, out: &str) -> Result<()> {
        let mut gcc = Command::new("gcc");
        gcc.args(["-O2", "-g", "-Wall", "-Wextra", "-fno-optimize-sibling-calls"]).args(flags);
        gcc.arg("-o").arg(self.folder.join(out)).arg(corpus_dir().join(format!("{source}.c")));
        command::run(&mut gcc)
    }

    fn compile_extension(&self) -> Result<()> {
        let ask = "import sysconfig; print(sysconfig.get_paths()['include'])";
        let include = command::output(Command::new(&self.python).args(["-c", ask]))?;
        let include = format!("-I{}", include.trim());
        self.compile(&["-shared", "-fPIC", &include], "codec", "codec.so")
            .context("compiling an extension of Python (python3-dev has its headers on Debian)")
    }

    fn prepare_node(&mut self, major: u32, script: &str) -> Result<()> {
        let node = node::release(major)?;
        self.nodes.insert(major, node.clone());
        self.packages = node::packages()?;
        let Some(project) = script.strip_suffix("/gateway.ts") else { return Ok(()) };
        let mut compile = Command::new(node);
        compile.arg(self.packages.join("typescript/bin/tsc")).arg("-p");
        compile.arg(node_dir().join(project)).arg("--outDir").arg(self.folder.join(project));
        compile.arg("--typeRoots").arg(self.packages.join("@types"));
        command::run(&mut compile)
    }

    /// Program and arguments of a case, without its environment.
    pub fn words(&self, case: &Case) -> Vec<String> {
        let mut words: Vec<String> = match case.start {
            Start::Python(script) => vec![text(&self.python), text(&corpus_dir().join(script))],
            Start::C(name) => vec![text(&self.folder.join(name))],
            Start::Node(major, script) => {
                let script = match script.strip_suffix(".ts") {
                    Some(script) => self.folder.join(format!("{script}.js")),
                    None => node_dir().join(script),
                };
                vec![text(&self.nodes[&major]), text(&script)]
            }
        };
        words.extend(case.args.iter().map(|one| (*one).to_owned()));
        if case.start == Start::Python("decref.py") {
            words.extend(["--codec".to_owned(), text(&self.folder)]);
        }
        words
    }

    /// The server of a case; it dies with this process. Its inspector, where it has one, would listen
    /// at a port of its own: several run at a time, and only one of them can have Node's usual one.
    pub fn server(&self, case: &Case, inspector_port: u16) -> Command {
        let words = self.words(case);
        let mut server = bound_command(&words[0], "KILL");
        if matches!(case.start, Start::Node(..)) {
            server.arg(format!("--inspect-port={inspector_port}"));
        }
        server.args(&words[1..]);
        self.give_environment(&mut server, case);
        server
    }

    /// What the server of a case finds in its environment.
    pub fn give_environment(&self, command: &mut Command, case: &Case) {
        command.envs(case.env.iter().copied()).env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("NODE_PATH", &self.packages).env_remove("NODE_OPTIONS");
    }

    /// The load on a server of Node.js.
    pub fn load(&self, case: &Case, port: u16, seconds: u64) -> Option<Command> {
        let Start::Node(major, _) = case.start else { return None };
        let mut load = bound_command(&self.nodes[&major], "KILL");
        load.arg(node_dir().join("load.js")).args(["--url", &format!("http://127.0.0.1:{port}")]);
        load.args(["--rate", &case.load.to_string(), "--duration", &seconds.to_string()]);
        Some(load)
    }

    /// Words of a command that makes `turns` requests to the server at `port`.
    pub fn drive(&self, port: u16, turns: u32) -> String {
        let script = corpus_dir().join("drive.py");
        format!("{} {} {port} {turns}", text(&self.python), text(&script))
    }
}

fn corpus_dir() -> PathBuf {
    workspace::root().join("tests/targets/corpus")
}

fn node_dir() -> PathBuf {
    workspace::root().join("tests/targets/node")
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
