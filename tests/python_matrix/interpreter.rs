//! The interpreters to trace: those that `cargo xtask interpreters` found or installed, or
//! those that the environment names.

use serde_json::Value;
use std::path::{Path, PathBuf};

/// Overrides the list: words `name=path`.
const VARIABLE: &str = "OUTLIVE_INTERPRETERS";

/// One column of the matrix.
pub struct Interpreter {
    pub name: String,
    /// The program to start, or why there is none.
    pub python: Result<PathBuf, String>,
}

/// All of them; panics where there is no list, since then nothing would be tested.
pub fn all() -> Vec<Interpreter> {
    match std::env::var(VARIABLE) {
        Ok(words) => words.split_whitespace().map(named).collect(),
        Err(_) => listed(),
    }
}

fn named(word: &str) -> Interpreter {
    let (name, path) =
        word.split_once('=').unwrap_or_else(|| panic!("{VARIABLE}: {word:?} is no name=path"));
    Interpreter { name: name.to_owned(), python: Ok(path.into()) }
}

fn listed() -> Vec<Interpreter> {
    // xtask writes it into the target folder, beside the scratch folder of tests.
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("interpreters.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; run `cargo xtask interpreters` first", path.display())
    });
    let list: Vec<Value> = serde_json::from_str(&text).expect("interpreters.json is a list");
    list.iter()
        .map(|entry| {
            let text = |field: &str| entry[field].as_str().map(str::to_owned);
            let missing = || text("missing").unwrap_or_else(|| "no reason was given".to_owned());
            Interpreter {
                name: text("name").expect("an interpreter has a name"),
                python: text("python").map(PathBuf::from).ok_or_else(missing),
            }
        })
        .collect()
}
