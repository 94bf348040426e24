//! The programs of the corpus: how each is started and loaded, which leak and which only look as
//! if. What they do is in tests/targets/README.md.

/// How a program is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Start {
    /// A script under tests/targets/corpus, in the corpus's environment.
    Python(&'static str),
    /// A source under tests/targets/corpus, without `.c`.
    C(&'static str),
    /// A release of Node.js and a script under tests/targets/node; a `.ts` project is compiled.
    Node(u32, &'static str),
}

/// One way of running a program, and what must come of it.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: &'static str,
    /// `fast`, `slow`, `off` (the leak's switch) or `innocent`.
    pub way: &'static str,
    pub start: Start,
    pub args: Vec<&'static str>,
    /// Variables of its environment.
    pub env: &'static [(&'static str, &'static str)],
    /// Turns per second of the load beside it; 0 where it loads itself.
    pub load: u32,
    /// Options of `outlive attach`.
    pub options: &'static [&'static str],
    pub leaks: bool,
    pub warm_s: u64,
    pub window_s: u64,
    /// Requests that make a cycle of `outlive check`; 0 where it is no server for that.
    pub cycle_turns: u32,
}

/// A server with a leak behind a switch.
struct Leaky {
    name: &'static str,
    start: Start,
    env: &'static [(&'static str, &'static str)],
    /// Of the load beside it, by rate of the leak.
    loads: [u32; 2],
    /// Options beyond `--leak`, by rate of the leak.
    args: [&'static [&'static str]; 2],
    options: &'static [&'static str],
    cycle_turns: u32,
}

/// What makes the leaks of Python and C fast or slow: 1 MB per second, and 60 MB an hour amid 20 MB
/// per second.
const RATES: [&[&str]; 2] = [
    &["--leak-bytes-per-second", "1000000"],
    &["--leak-bytes-per-second", "16700", "--churn-bytes-per-second", "20000000"],
];

/// V8's heap is looked into, and garbage is collected before the last reading.
const JS_HEAP: &[&str] = &["--js-heap", "--force-gc"];

const fn leaky(name: &'static str, start: Start, cycle_turns: u32) -> Leaky {
    Leaky { name, start, env: &[], loads: [0, 0], args: RATES, options: &[], cycle_turns }
}

const LEAKY: [Leaky; 9] = [
    leaky("stream_flush", Start::Python("stream_flush.py"), 40),
    leaky("tls_clients", Start::Python("tls_clients.py"), 40),
    Leaky {
        // So that objects of less than 512 bytes reach libc one by one, on any build.
        env: &[("PYTHONMALLOC", "malloc")],
        // Ten thousand small blocks a second stay.
        options: &["--max-live", "1500000"],
        ..leaky("session_list", Start::Python("session_list.py"), 20)
    },
    leaky("image_queue", Start::Python("image_queue.py"), 24),
    leaky("decref", Start::Python("decref.py"), 40),
    leaky("one_in_thousand", Start::C("one_in_thousand"), 40),
    Leaky {
        loads: [62, 40],
        args: [&[], &["--keep-every", "22", "--churn-bytes-per-turn", "500000"]],
        options: JS_HEAP,
        ..leaky("node_sessions", Start::Node(24, "sessions/gateway.ts"), 96)
    },
    Leaky {
        loads: [17, 18],
        args: [&[], &["--keep-every", "70", "--churn-bytes-per-turn", "1120000"]],
        options: JS_HEAP,
        ..leaky("node_cron", Start::Node(20, "cron/gateway.js"), 30)
    },
    Leaky {
        loads: [28, 28],
        // Each Buffer costs Node some 70 bytes beside its own: few large ones make that little.
        args: [
            &[],
            &["--delta-bytes", "330", "--keep-every", "10", "--churn-bytes-per-turn", "715000"],
        ],
        // The inspector is needed for a collection, not for what is followed.
        options: JS_HEAP,
        ..leaky("node_flush", Start::Node(22, "flush/gateway.js"), 40)
    },
];

/// A program that only looks as if it leaked, with options of its own.
struct Innocent {
    name: &'static str,
    start: Start,
    args: &'static [&'static str],
    /// The same in the short run.
    short_args: &'static [&'static str],
    load: u32,
    warm_s: u64,
}

const fn innocent(name: &'static str, start: Start) -> Innocent {
    Innocent { name, start, args: &[], short_args: &[], load: 0, warm_s: WARM_S }
}

const INNOCENT: [Innocent; 9] = [
    Innocent {
        warm_s: 2,
        // Full in the first half of the window.
        short_args: &["--capacity", "700"],
        ..innocent("lru_filling", Start::Python("lru.py"))
    },
    Innocent {
        args: &["--prefill", "1"],
        short_args: &["--prefill", "1"],
        ..innocent("lru_full", Start::Python("lru.py"))
    },
    innocent("sawtooth", Start::Python("sawtooth.py")),
    Innocent {
        warm_s: 2,
        // The window is to see their end, as that of the long run does.
        short_args: &["--import-seconds", "20"],
        ..innocent("lazy_imports", Start::Python("lazy_imports.py"))
    },
    innocent("retention", Start::C("retention")),
    innocent("burst", Start::Python("burst.py")),
    innocent("pool", Start::Python("pool.py")),
    Innocent {
        // Two generations have to be seen, in a window that is less than one of the long run's.
        short_args: &["--period-seconds", "18"],
        ..innocent("generations", Start::Python("generations.py"))
    },
    Innocent { load: 10, ..innocent("node_no_gc", Start::Node(22, "flush/gateway.js")) },
];

/// Seconds that a server has been serving when outlive comes; its start-up is not what an operator
/// looks at.
const WARM_S: u64 = 8;
const FAST_S: u64 = 30;
const SLOW_S: u64 = 120;
/// Innocents of the short run.
const SHORT_S: u64 = 45;
/// Switched off, one of each kind does in the short run.
const SHORT_OFF: [&str; 4] = ["stream_flush", "tls_clients", "one_in_thousand", "node_sessions"];

/// What is run: all of it, or what the short run has.
pub fn cases(short: bool) -> Vec<Case> {
    let fast = LEAKY.iter().map(|one| one.case("fast", short));
    let slow = LEAKY.iter().filter(|_| !short).map(|one| one.case("slow", short));
    let off = LEAKY.iter().filter(|one| !short || SHORT_OFF.contains(&one.name));
    let off = off.map(|one| one.case("off", short));
    let innocent = INNOCENT.iter().map(|one| one.case(short));
    // The longest first, so that none is left to run alone at the end.
    slow.chain(innocent).chain(off).chain(fast).collect()
}

impl Leaky {
    fn case(&self, way: &'static str, short: bool) -> Case {
        // Switched off it has the traffic of the slow one.
        let index = usize::from(way != "fast");
        let leaks = way != "off";
        let mut args = self.args[index].to_vec();
        args.extend(leaks.then_some("--leak"));
        Case {
            name: self.name,
            way,
            start: self.start,
            args,
            env: self.env,
            load: self.loads[index],
            options: self.options,
            leaks,
            warm_s: WARM_S,
            window_s: match (way, short) {
                // Of V8's heap there is a profile every few seconds only.
                ("fast", true) if self.options == JS_HEAP => SHORT_S,
                ("fast", _) => FAST_S,
                (_, false) => SLOW_S,
                (_, true) => SHORT_S,
            },
            cycle_turns: self.cycle_turns,
        }
    }
}

impl Innocent {
    fn case(&self, short: bool) -> Case {
        Case {
            name: self.name,
            way: "innocent",
            start: self.start,
            args: if short { self.short_args } else { self.args }.to_vec(),
            env: &[],
            load: self.load,
            options: &[],
            leaks: false,
            warm_s: self.warm_s,
            window_s: if short { SHORT_S } else { SLOW_S },
            cycle_turns: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::cases;

    #[test]
    fn the_short_run_has_every_program_and_each_leak_once() {
        let (long, short) = (cases(false), cases(true));
        for case in &long {
            assert!(short.iter().any(|other| other.name == case.name), "{}", case.name);
        }
        let leaking = short.iter().filter(|case| case.leaks).count();
        assert_eq!((leaking, long.iter().filter(|case| case.leaks).count()), (9, 18));
    }
}
