//! The governor: holds what probes cost the target within a budget, by stepping down from following
//! everything to following nothing, and up again. Pure: no clock, no probes; it is told what was
//! counted, and says what is to be done.
//!
//! Most of a hit's cost is the trap, and no sampling removes it: neither that of a free nor that of
//! an allocation. What helps against a target that is much too hot is to take the probes out. So
//! the upper steps (a size floor, sampling, short stacks) are for targets that are a little too
//! dear; all others are watched in windows, with pauses in between.
//!
//! Two limits are held over any ten seconds. The promise: `share` of the CPU time that the target
//! used, or of one core where it used less. And the aim, which steps are chosen by: `share` of the
//! CPU time that the target used, or of a fifth of a core. A jump cannot be foreseen, and taking
//! probes out takes the kernel a fifth of a second: that is what the room between both is for.

mod account;
mod cost;
mod decision;
mod ladder;
#[cfg(test)]
mod simulation;

pub use account::WINDOW_NS;
pub use cost::{Hits, ProgramTime, Traps};
pub use decision::{Budget, Decision, Order, Reading};
pub use ladder::{Rung, Step, rungs};

use account::Account;
use cost::Model;

/// Cores that an idle target is taken to use, for the aim: nobody minds a twentieth of nothing.
const LEAST_CORES: f64 = 0.2;
/// The same for the promise.
const PROMISED_CORES: f64 = 1.0;
/// A step is chosen when it is predicted to take this share of the aim at most when stepping down.
const FITS: f64 = 0.9;
/// The same when stepping up.
const FITS_WELL: f64 = 0.6;
/// Times the aim at which a step is left as soon as that is known.
const FAR_OFF: f64 = 2.0;
/// Over this time a rate is told, nanoseconds.
const RATE_NS: u64 = 1_000_000_000;
/// A step is kept at least for so long before a milder or a harsher one is tried, nanoseconds.
const SETTLE_NS: u64 = 2_000_000_000;
/// The wait before stepping up: at first, and at most; doubled each time that it was in vain.
const FIRST_WAIT_NS: u64 = 20_000_000_000;
const LONGEST_WAIT_NS: u64 = 600_000_000_000;
/// A step up that was kept for so long was a success.
const PROVEN_NS: u64 = 60_000_000_000;
/// Windows of tracing are not shorter, and not longer, than this.
const SHORTEST_WINDOW_NS: u64 = 100_000_000;
const LONGEST_WINDOW_NS: u64 = 5_000_000_000;
/// Windows are as rare as this share of the session's age asks for, so that their number stays
/// small: each is a regime of its own.
const RARER: u64 = 50;
/// What taking the hot probes out takes until it was seen, nanoseconds.
const EXIT_NS: u64 = 350_000_000;
/// What of the room is kept free for what was not foreseen.
const RESERVE: f64 = 0.1;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// The probes are in.
    In,
    /// They are being taken out.
    Leaving,
    /// They are out.
    Out,
    /// They are being put in.
    Entering,
}

/// Holds a budget.
#[derive(Clone, Debug)]
pub struct Governor {
    budget: Budget,
    rungs: Vec<Rung>,
    model: Model,
    account: Account,
    /// What of that mapping calls cost: their probes stay until the end.
    mappings: Account,
    before: Option<Reading>,
    place: Place,
    step: Step,
    /// The rung by which blocks are followed, or were when the probes were in.
    rung: usize,
    /// When the present step, and the present place, began.
    step_since_ns: u64,
    place_since_ns: u64,
    /// Stepping up waits for this long, and not before that moment.
    wait_ns: u64,
    not_before_ns: u64,
    /// Whether the present step is one up that has not proven itself.
    on_trial: bool,
    /// What exits took, nanoseconds.
    exit_ns: u64,
    /// What a jump cost until the probes were out, nanoseconds; 0 where none was seen.
    jump_ns: f64,
    /// Spent since the session began, and when the probes went in; nanoseconds.
    all_ns: f64,
    all_at_entry_ns: f64,
    /// Cost of the hits while probes were in, nanoseconds a second; as it was last.
    hot: f64,
}

impl Governor {
    /// At the first rung, with probes about to go in.
    pub fn new(budget: Budget, traps: Traps, rungs: Vec<Rung>) -> Self {
        Self {
            budget,
            model: Model::new(traps, &rungs),
            rungs,
            account: Account::default(),
            mappings: Account::default(),
            before: None,
            place: Place::In,
            step: Step::Asked,
            rung: 0,
            step_since_ns: 0,
            place_since_ns: 0,
            wait_ns: FIRST_WAIT_NS,
            not_before_ns: 0,
            on_trial: false,
            exit_ns: EXIT_NS,
            jump_ns: 0.0,
            all_ns: 0.0,
            all_at_entry_ns: 0.0,
            hot: 0.0,
        }
    }

    /// The present step.
    pub fn step(&self) -> Step {
        self.step
    }

    /// What the probes took in the last ten seconds, of the larger of the target's CPU time and one
    /// core's; with the margin.
    pub fn spent_share(&self) -> f64 {
        self.account.spent_ns() / (self.account.cores().max(PROMISED_CORES) * WINDOW_NS as f64)
    }

    /// Takes in a reading; says what is to be done now, if anything.
    pub fn observe(&mut self, reading: &Reading) -> Option<Decision> {
        if let Some(programs) = reading.programs {
            self.model.learn(self.rung, programs);
        }
        let before = self.before.replace(*reading)?;
        let length_ns = reading.at_ns.saturating_sub(before.at_ns);
        if length_ns == 0 {
            return None;
        }
        let cpu_ns = reading.cpu_ns.saturating_sub(before.cpu_ns) as f64;
        let hits = reading.hits.since(before.hits);
        let cost_ns = self.model.cost_ns(hits, self.rung);
        // Nobody takes more of the target's time than it has used, where that is known; clocks are a
        // little apart.
        let most_ns = match reading.is_cpu_partial {
            true => f64::INFINITY,
            false => cpu_ns + 0.02 * length_ns as f64,
        };
        let cost_ns = cost_ns.min(most_ns);
        self.account.add(reading.at_ns, length_ns, cost_ns, cpu_ns);
        let mappings = Hits { mappings: hits.mappings, ..Hits::default() };
        let mappings_ns = self.model.cost_ns(mappings, self.rung).min(most_ns);
        self.mappings.add(reading.at_ns, length_ns, mappings_ns, cpu_ns);
        self.all_ns += cost_ns;
        let now_ns = reading.at_ns;
        if self.mappings_are_too_dear() {
            let order = Order::TakeOut(Step::Detached);
            return Some(self.decide(now_ns, order, Step::Detached));
        }
        match self.place {
            Place::In => self.when_in(now_ns, cost_ns / length_ns as f64),
            Place::Out => self.when_out(now_ns),
            Place::Leaving | Place::Entering => None,
        }
    }

    /// The probes are out; how long that took.
    pub fn went_out(&mut self, now_ns: u64) {
        if self.place == Place::Leaving {
            let took_ns = now_ns.saturating_sub(self.place_since_ns);
            self.exit_ns = (self.exit_ns / 2 + took_ns / 2).clamp(EXIT_NS / 4, 10 * EXIT_NS);
            // Of a window, not of a long stretch at ease before it.
            let most_ns = self.hot.min(self.account.cores().max(1.0)) * 2.0 * took_ns as f64;
            self.jump_ns = self.owed_ns().min(most_ns).max(self.jump_ns * 0.8);
        }
        self.put(Place::Out, now_ns);
    }

    /// The probes are in.
    pub fn went_in(&mut self, now_ns: u64) {
        self.put(Place::In, now_ns);
    }

    /// Spent since the probes were about to go in.
    fn owed_ns(&self) -> f64 {
        self.all_ns - self.all_at_entry_ns
    }

    fn put(&mut self, place: Place, now_ns: u64) {
        (self.place, self.place_since_ns) = (place, now_ns);
    }

    /// What may be spent in ten seconds, by the aim and by the promise.
    fn limits_ns(&self) -> (f64, f64) {
        let cores = self.account.cores();
        let limit = |least: f64| self.budget.share * cores.max(least) * WINDOW_NS as f64;
        (limit(LEAST_CORES), limit(PROMISED_CORES))
    }

    /// What the probes take, in cores, as it was over the last second; and what they may.
    fn rates(&self) -> (f64, f64) {
        let (cost_ns, cpu_ns, length_ns) = self.account.lately(RATE_NS);
        let length_ns = (length_ns as f64).max(1.0);
        (cost_ns / length_ns, self.budget.share * (cpu_ns / length_ns).max(LEAST_CORES))
    }

    /// What the aim allows over a long time, in cores.
    fn aimed_rate(&self) -> f64 {
        self.budget.share * self.account.cores().max(LEAST_CORES)
    }

    /// Whether mapping calls alone have nearly broken the promise: there is no step that is rid of
    /// them but the last. What they may go on to cost is not counted: a burst, such as a heap that is
    /// given back, ends by itself, and a session that has ended does not come again.
    fn mappings_are_too_dear(&self) -> bool {
        let is_steady = matches!(self.place, Place::In | Place::Out);
        let (_, promise_ns) = self.limits_ns();
        is_steady
            && self.step != Step::Detached
            && self.mappings.spent_ns() > promise_ns * (1.0 - RESERVE)
    }

    fn when_in(&mut self, now_ns: u64, burst: f64) -> Option<Decision> {
        self.hot = burst;
        let (aim_ns, promise_ns) = self.limits_ns();
        let (rate, may) = self.rates();
        let spent_ns = self.account.spent_ns();
        // What comes on top until the probes are out, if this goes on.
        let exit_ns = burst.max(rate) * self.exit_ns as f64;
        let since_step_ns = now_ns.saturating_sub(self.step_since_ns);
        // A program that has jumped before may do so again.
        let reserve_ns = exit_ns.max(if burst > may { self.jump_ns } else { 0.0 });
        if spent_ns + reserve_ns > promise_ns * (1.0 - RESERVE) {
            return Some(self.leave(now_ns, Step::Windows));
        }
        if self.step == Step::Windows {
            return self.end_of_window(now_ns, spent_ns + exit_ns > aim_ns * (1.0 - RESERVE));
        }
        if rate > may && since_step_ns >= RATE_NS {
            // Nothing is done about a moment; over ten seconds it may be within the aim.
            let is_urgent = spent_ns + exit_ns > aim_ns * (1.0 - RESERVE);
            // What is so much too dear eats up the room that the step below needs.
            let is_far_off = rate > FAR_OFF * may;
            if is_urgent || is_far_off || since_step_ns >= SETTLE_NS {
                return match self.rung_that_fits(self.rung + 1, FITS) {
                    Some(rung) => Some(self.change(now_ns, rung)),
                    None if is_urgent => Some(self.leave(now_ns, Step::Windows)),
                    None => None,
                };
            }
        }
        self.step_up(now_ns, since_step_ns)
    }

    /// A milder step, where one has been earned.
    fn step_up(&mut self, now_ns: u64, since_step_ns: u64) -> Option<Decision> {
        if self.on_trial && since_step_ns >= PROVEN_NS {
            (self.on_trial, self.wait_ns) = (false, FIRST_WAIT_NS);
        }
        if self.rung == 0 || now_ns < self.not_before_ns {
            return None;
        }
        let better = self.rung_that_fits(0, FITS_WELL)?;
        (better < self.rung).then(|| {
            let decision = self.change(now_ns, better);
            self.on_trial = true;
            self.not_before_ns = now_ns + SETTLE_NS;
            decision
        })
    }

    /// The first rung from `from` on at which the present hits would take this share of the aim.
    fn rung_that_fits(&self, from: usize, share: f64) -> Option<usize> {
        let (rate, may) = self.rates();
        let now = self.model.cost_ns(ONE_PAIR, self.rung);
        (from..self.rungs.len())
            .find(|rung| rate * self.model.cost_ns(ONE_PAIR, *rung) / now <= share * may)
    }

    /// Another rung, with the probes in.
    fn change(&mut self, now_ns: u64, rung: usize) -> Decision {
        if rung > self.rung {
            self.fell(now_ns);
        }
        self.rung = rung;
        let step = self.rungs.get(rung).map_or(Step::Asked, |rung| rung.step);
        self.decide(now_ns, Order::Regime(rung), step)
    }

    /// A step down: one up waits, twice as long where the last was in vain.
    fn fell(&mut self, now_ns: u64) {
        if std::mem::take(&mut self.on_trial) {
            self.wait_ns = (self.wait_ns * 2).min(LONGEST_WAIT_NS);
        }
        self.not_before_ns = now_ns + self.wait_ns;
    }

    fn leave(&mut self, now_ns: u64, step: Step) -> Decision {
        let (rate, may) = self.rates();
        if rate.max(self.hot) <= FITS * may {
            // What was spent before is too much, and not what this rung costs: it may come again as
            // soon as that is long ago.
            self.not_before_ns = now_ns;
        } else if step != self.step || self.on_trial {
            self.fell(now_ns);
        }
        self.put(Place::Leaving, now_ns);
        self.decide(now_ns, Order::TakeOut(step), step)
    }

    /// A window of tracing is over when what it may cost is spent, or when it has shown enough; it
    /// stays open where it has shown that tracing fits.
    fn end_of_window(&mut self, now_ns: u64, is_spent: bool) -> Option<Decision> {
        let length_ns = now_ns.saturating_sub(self.place_since_ns);
        if is_spent {
            return Some(self.leave(now_ns, Step::Windows));
        }
        if length_ns >= RATE_NS
            && now_ns >= self.not_before_ns
            && let Some(rung) = self.rung_that_fits(0, FITS_WELL)
        {
            self.rung = rung;
            self.on_trial = true;
            self.not_before_ns = now_ns + SETTLE_NS;
            let step = self.rungs.get(rung).map_or(Step::Asked, |rung| rung.step);
            return Some(self.decide(now_ns, Order::Regime(rung), step));
        }
        (length_ns >= LONGEST_WINDOW_NS && self.rung_that_fits(self.rung, FITS).is_none())
            .then(|| self.leave(now_ns, Step::Windows))
    }

    fn when_out(&mut self, now_ns: u64) -> Option<Decision> {
        if self.step == Step::Detached {
            return None;
        }
        if self.left_in_is_too_dear(now_ns) {
            self.put(Place::Leaving, now_ns);
            return Some(self.decide(now_ns, Order::TakeOut(self.step), self.step));
        }
        let (_, promise_ns) = self.limits_ns();
        let pause_ns = now_ns.saturating_sub(self.place_since_ns);
        // What a window costs at least: going in, seeing that it is hot, going out.
        let least_ns = (self.exit_ns + SHORTEST_WINDOW_NS) as f64 * self.hot;
        let least_ns = least_ns.max(self.jump_ns);
        let room_ns = promise_ns * (1.0 - RESERVE);
        if self.step == Step::Windows && least_ns > room_ns && pause_ns >= RATE_NS {
            let order = Order::TakeOut(Step::MappingsOnly);
            return Some(self.decide(now_ns, order, Step::MappingsOnly));
        }
        // One look is ventured when next to nothing was spent for long: what was slow once may be
        // quick. Mapping calls now and then are next to nothing.
        let is_last_step = self.step == Step::MappingsOnly;
        let ventured_ns = room_ns - promise_ns * RESERVE;
        let least_ns = if is_last_step { least_ns.min(ventured_ns) } else { least_ns };
        let asked_ns = (now_ns / RARER).max(SETTLE_NS);
        let asked_ns = match self.step {
            // The aim holds over a window and the pause behind it.
            Step::Windows => asked_ns.max((self.owed_ns() / self.aimed_rate()) as u64),
            // Now and then: it may have calmed down.
            _ => asked_ns.max(self.wait_ns),
        };
        let may_look = pause_ns >= asked_ns.min(LONGEST_WAIT_NS)
            && self.account.spent_ns() + least_ns <= room_ns;
        may_look.then(|| {
            if self.step == Step::MappingsOnly {
                self.wait_ns = (self.wait_ns * 2).min(LONGEST_WAIT_NS);
            }
            self.rung = self.rungs.len().saturating_sub(1);
            self.put(Place::Entering, now_ns);
            self.all_at_entry_ns = self.all_ns;
            self.decide(now_ns, Order::PutIn(self.rung), Step::Windows)
        })
    }

    /// Whether probes of the allocator that were left in are too dear: which are hot is found out in
    /// a moment, and another moment may have others.
    fn left_in_is_too_dear(&self, now_ns: u64) -> bool {
        let out_ns = now_ns.saturating_sub(self.place_since_ns);
        let (rate, may) = self.rates();
        let (mappings_ns, _, length_ns) = self.mappings.lately(RATE_NS);
        // Before, they were in.
        let is_of_pause = (RATE_NS..=out_ns).contains(&length_ns);
        is_of_pause && rate - mappings_ns / length_ns as f64 > may
    }

    fn decide(&mut self, now_ns: u64, order: Order, step: Step) -> Decision {
        let is_new_step = step != self.step;
        if is_new_step {
            (self.step, self.step_since_ns) = (step, now_ns);
        }
        let (rate, _) = self.rates();
        let (_, cpu_ns, length_ns) = self.account.lately(RATE_NS);
        let cores = (cpu_ns / (length_ns as f64).max(1.0)).max(1e-9);
        Decision { order, step, is_new_step, cost_share: (rate / cores).min(1.0) }
    }
}

/// A malloc and a free.
const ONE_PAIR: Hits = Hits { entries: 2, returns: 1, mappings: 0 };
