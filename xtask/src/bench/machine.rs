//! On what it was measured: figures without it say little.

use std::fs;

use serde_json::{Value, json};

/// The machine.
pub(super) struct Machine {
    cpu: String,
    cpu_count: usize,
    memory_bytes: u64,
    kernel: String,
}

impl Machine {
    pub(super) fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or("unknown CPU").to_owned(),
            cpu_count: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: field(&read("/proc/meminfo"), "MemTotal")
                .and_then(kibibytes)
                .unwrap_or(0),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }

    pub(super) fn text(&self) -> String {
        let Self { cpu, cpu_count, memory_bytes, kernel } = self;
        format!("{cpu} ({cpu_count} CPUs), {} MiB, Linux {kernel}", memory_bytes >> 20)
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "cpu": self.cpu, "cpus": self.cpu_count, "memory_bytes": self.memory_bytes,
            "kernel": self.kernel,
        })
    }
}

/// What stands behind `name` and a colon in a file of /proc.
pub(super) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// Bytes of `12 kB`, which means KiB in /proc.
pub(super) fn kibibytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::{field, kibibytes};

    #[test]
    fn fields_of_proc_are_found_by_their_whole_name() {
        let text = "VmRSSx:\t 1 kB\nVmRSS:\t  12 kB\nmodel name\t: A: B\n";
        assert_eq!(field(text, "VmRSS").and_then(kibibytes), Some(12 * 1024));
        assert_eq!(field(text, "model name"), Some("A: B"));
        assert_eq!(field(text, "RSS"), None);
        assert_eq!(kibibytes("12"), None);
    }
}
