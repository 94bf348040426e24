//! Watches what the probes cost, in a thread of its own: the session may be busy for seconds with a
//! heap or a library, and the budget holds over ten. The thread reads, asks the governor, and takes
//! probes out by itself. All else the session does, when it hears of it.

use crate::{
    governor::{Budget, Decision, Governor, Order, Reading, Rung, Step, Traps},
    probe::{Meter, Reach},
};
use std::{
    collections::BTreeMap,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Between two readings, with probes in and with the hot ones out.
const POLL: Duration = Duration::from_millis(50);
const POLL_OUT: Duration = Duration::from_millis(200);
/// How long our programs are timed at a stretch, and how often.
const TIMED: Duration = Duration::from_millis(100);
const TIMED_EVERY: Duration = Duration::from_secs(1);

/// What the session hears.
#[derive(Clone, Copy, Debug)]
pub enum Told {
    /// This is to be done. Taking out has begun already.
    Decided(Decision),
    /// The hot probes are out.
    Out,
}

/// What the thread hears.
enum Command {
    /// The probes are in.
    In,
    /// The end.
    Stop,
}

/// The thread; dropping it ends it.
pub struct CostWatch {
    told: UnboundedReceiver<Told>,
    commands: Sender<Command>,
    thread: Option<JoinHandle<()>>,
}

impl CostWatch {
    /// Begins to watch. Before the first probe goes in: that costs too. `follows`: children are
    /// followed.
    pub fn begin(
        budget: Budget,
        rungs: Vec<Rung>,
        follows: bool,
        handles: (Meter, Reach, Traps),
    ) -> Self {
        let (meter, reach, traps) = handles;
        let (tell, told) = unbounded_channel();
        let (commands, heard) = channel();
        let work = Work {
            governor: Governor::new(budget, traps, rungs),
            meter,
            reach,
            tell,
            heard,
            began: Instant::now(),
            cpu: CpuTime::default(),
            follows,
            timed_since: None,
            timed_next: Instant::now(),
            is_out: false,
        };
        let thread = std::thread::spawn(move || work.go_on());
        Self { told, commands, thread: Some(thread) }
    }

    /// The probes that were asked for are in.
    pub fn went_in(&self) {
        let _ = self.commands.send(Command::In);
    }

    /// Watches no more: from now on all probes go for good. What it has said that nobody has heard.
    pub fn end(&mut self) -> Vec<Told> {
        let _ = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        std::iter::from_fn(|| self.told.try_recv().ok()).collect()
    }
}

impl Drop for CostWatch {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the thread says next; never without one.
pub async fn told(watch: &mut Option<CostWatch>) -> Told {
    if let Some(watch) = watch
        && let Some(told) = watch.told.recv().await
    {
        return told;
    }
    std::future::pending().await
}

struct Work {
    governor: Governor,
    meter: Meter,
    reach: Reach,
    tell: UnboundedSender<Told>,
    heard: Receiver<Command>,
    began: Instant,
    cpu: CpuTime,
    follows: bool,
    /// Since when our programs are timed, and when they will be again.
    timed_since: Option<Instant>,
    timed_next: Instant,
    is_out: bool,
}

impl Work {
    fn go_on(mut self) {
        loop {
            match self.heard.recv_timeout(if self.is_out { POLL_OUT } else { POLL }) {
                Ok(Command::In) => {
                    self.is_out = false;
                    self.timed_next = Instant::now();
                    self.governor.went_in(self.now_ns());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
            let reading = self.read();
            let Some(decision) = self.governor.observe(&reading) else { continue };
            let leaving = match decision.order {
                Order::TakeOut(step) => Some(step == Step::Detached),
                Order::Regime(_) | Order::PutIn(_) => None,
            };
            if let Some(is_end) = leaving {
                self.reach.close(is_end);
            }
            let _ = self.tell.send(Told::Decided(decision));
            if let Some(is_end) = leaving {
                self.reach.take_out(&mut self.meter, is_end);
                let _ = self.meter.close_window();
                self.timed_since = None;
                self.is_out = true;
                self.governor.went_out(self.now_ns());
                let _ = self.tell.send(Told::Out);
            }
        }
    }

    fn now_ns(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    fn read(&mut self) -> Reading {
        let now = Instant::now();
        let mut programs = None;
        match self.timed_since {
            Some(since) if now.duration_since(since) >= TIMED => {
                programs = self.meter.close_window();
                self.timed_since = None;
                self.timed_next = now + TIMED_EVERY;
            }
            None if !self.is_out && now >= self.timed_next => {
                self.meter.open_window();
                self.timed_since = Some(now);
            }
            _ => {}
        }
        Reading {
            cpu_ns: self.cpu.of(&self.reach.tgids()),
            is_cpu_partial: self.follows,
            at_ns: self.now_ns(),
            hits: self.meter.hits(),
            programs,
        }
    }
}

/// CPU time of processes that come and go.
#[derive(Default)]
struct CpuTime {
    last_ns: BTreeMap<u32, u64>,
    sum_ns: u64,
}

impl CpuTime {
    /// Of these processes, as long as they were among them; nanoseconds.
    fn of(&mut self, tgids: &[u32]) -> u64 {
        self.last_ns.retain(|tgid, _| tgids.contains(tgid));
        for tgid in tgids {
            let Some(now_ns) = cpu_time_ns(*tgid) else { continue };
            let before_ns = self.last_ns.insert(*tgid, now_ns).unwrap_or(now_ns);
            self.sum_ns += now_ns.saturating_sub(before_ns);
        }
        self.sum_ns
    }
}

/// CPU time of all threads of a process, those that have ended included; nanoseconds.
fn cpu_time_ns(tgid: u32) -> Option<u64> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both write to places of ours.
    let is_told = unsafe {
        libc::clock_getcpuclockid(tgid as libc::pid_t, &raw mut clock) == 0
            && libc::clock_gettime(clock, &raw mut time) == 0
    };
    is_told.then_some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}
