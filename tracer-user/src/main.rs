//! The binary: hands the arguments to `cli` and its answer to the shell.

fn main() -> std::process::ExitCode {
    outlive::cli::run()
}
