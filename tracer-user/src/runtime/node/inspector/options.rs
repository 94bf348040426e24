//! What Node was told about its inspector: on its command line, and in NODE_OPTIONS.

use crate::target::status::{command_line, read_bounded};

/// The port when nobody says otherwise.
const DEFAULT_PORT: u16 = 9229;
/// Longest environment that is read, in bytes.
const MAX_ENVIRONMENT_BYTES: u64 = 1 << 20;
/// Options of Node whose value may be the next argument; a script's name is not one of those.
const WITH_VALUE: [&str; 12] = [
    "-r",
    "--require",
    "--import",
    "--loader",
    "--experimental-loader",
    "-C",
    "--conditions",
    "--env-file",
    "--title",
    "--icu-data-dir",
    "--inspect-port",
    "--debug-port",
];

/// What Node was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Port that its inspector gets when it opens; 0 for any that is free.
    pub port: u16,
    /// Whether it was told to open it at once.
    pub opens_at_start: bool,
    /// Whether it was told to ignore SIGUSR1.
    pub disables_sigusr1: bool,
}

impl Options {
    /// Of process `tgid`. What cannot be read counts as not said.
    pub fn of(tgid: u32) -> Self {
        let environment = read_bounded(&format!("/proc/{tgid}/environ"), MAX_ENVIRONMENT_BYTES);
        let environment = environment.unwrap_or_default();
        let node_options = environment
            .split(|byte| *byte == 0)
            .find_map(|entry| entry.strip_prefix(b"NODE_OPTIONS="))
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .unwrap_or_default();
        Self::parse(&node_options, &command_line(tgid))
    }

    /// The command line comes after NODE_OPTIONS, and the later one counts.
    fn parse(node_options: &str, command_line: &[String]) -> Self {
        let mut options =
            Self { port: DEFAULT_PORT, opens_at_start: false, disables_sigusr1: false };
        let from_environment: Vec<String> =
            node_options.split_whitespace().map(|word| word.trim_matches('"').to_owned()).collect();
        options.take(&from_environment);
        options.take(command_line.get(1..).unwrap_or_default());
        options
    }

    /// Node's own options end at the script.
    fn take(&mut self, arguments: &[String]) {
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            if !argument.starts_with('-') || argument == "-" || argument == "--" {
                return;
            }
            let argument = argument.replace('_', "-");
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let value = match value {
                None if WITH_VALUE.contains(&name) => arguments.next().cloned(),
                value => value,
            };
            match name {
                "--disable-sigusr1" => self.disables_sigusr1 = true,
                "--no-disable-sigusr1" => self.disables_sigusr1 = false,
                "--inspect" | "--inspect-brk" | "--inspect-wait" | "--inspect-port"
                | "--debug-port" => {
                    self.opens_at_start |=
                        name.starts_with("--inspect") && name != "--inspect-port";
                    if let Some(port) = value.as_deref().and_then(port_in) {
                        self.port = port;
                    }
                }
                _ => {}
            }
        }
    }
}

/// The port of `port`, `host:port` or `[host]:port`; a host alone has none.
fn port_in(value: &str) -> Option<u16> {
    value.rsplit(':').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_where_node_looks_for_them() {
        for (environment, arguments, port) in [
            ("", "node app.js", 9229),
            ("", "node --inspect-port=9300 app.js", 9300),
            ("", "node --inspect-port 9300 app.js", 9300),
            ("", "node --inspect=0.0.0.0:9301 app.js", 9301),
            ("", "node --inspect=[::1]:9302 app.js", 9302),
            ("", "node --inspect_port=9303 app.js", 9303),
            ("", "node --inspect=localhost app.js", 9229),
            ("", "node app.js --inspect-port=9304", 9229),
            ("", "node -r ./x.js --inspect-port=9305 app.js", 9305),
            ("--inspect-port=9306", "node app.js", 9306),
            ("--max-old-space-size=99 --inspect-port=9306", "node --inspect-port=9307 a.js", 9307),
            ("--inspect-port=", "node", 9229),
            ("--inspect-port=99999", "node", 9229),
        ] {
            let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
            let options = Options::parse(environment, &arguments);
            assert_eq!(options.port, port, "{arguments:?}");
            let opens = ["--inspect=0.0.0.0:9301", "--inspect=[::1]:9302", "--inspect=localhost"];
            assert_eq!(
                options.opens_at_start,
                opens.contains(&arguments[1..].join(" ").split(' ').next().unwrap_or(""))
            );
        }
    }

    #[test]
    fn a_signal_that_is_switched_off_is_seen() {
        let arguments = ["node", "--disable-sigusr1", "a.js"].map(str::to_owned);
        assert!(Options::parse("", &arguments).disables_sigusr1);
        assert!(Options::parse("--disable-sigusr1", &arguments[..1]).disables_sigusr1);
        assert!(!Options::parse("", &arguments[..1]).disables_sigusr1);
    }
}
