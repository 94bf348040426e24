//! How finely a heap is sampled and how often profiles are fetched. Each sample costs the program
//! the walk of a stack, each profile a full garbage collection, during which it stands still.

use std::time::Duration;

/// Time between two profiles, at least.
const SHORTEST: Duration = Duration::from_secs(2);
/// Time between two profiles, at least, in pauses: two percent of the time are given to them.
const PAUSES: u32 = 50;
/// And where a short window would have too few profiles otherwise: three percent.
const PAUSES_AT_LEAST: u32 = 33;
/// Profiles in a window, below which growth cannot be judged.
const WANTED: u32 = 10;
/// And where even that would leave fewer than [`FEWEST`]: ten percent, and no more.
const PAUSES_AT_WORST: u32 = 10;
/// Profiles in a window, below which nothing can be said.
const FEWEST: u32 = 4;
/// How long the first profile may take: a millisecond and a half for each megabyte that is alive,
/// as large heaps took on a slow machine.
const NS_PER_KILOBYTE: u64 = 1430;

/// Mean distance between two samples where nothing speaks for another one: V8's own choice; bytes.
pub const USUAL_INTERVAL_BYTES: u64 = 32 << 10;
/// The finest that is chosen, bytes. Each sampled object that stays takes some 300 bytes of the
/// program's memory, and 150 of each profile.
const FINEST_INTERVAL_BYTES: u64 = 16 << 10;
/// The coarsest that is chosen, bytes: a leak of a megabyte is two samples.
const COARSEST_INTERVAL_BYTES: u64 = 512 << 10;
/// Samples in a second that the program can bear: each took a server 10 to 15 us, so this is less
/// than a hundredth of its time.
const SAMPLES_PER_S: u64 = 500;
/// How long it is looked at how much the program allocates, and how often.
pub const LOOK_FOR: Duration = Duration::from_secs(1);
pub const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The distance between two samples that suits a program, by the size of its heap at several times.
/// What it allocates shows between two collections only.
pub fn interval_bytes(readings: &[(Duration, u64)]) -> u64 {
    let rises = readings.windows(2).filter_map(|pair| {
        let seconds = pair[1].0.checked_sub(pair[0].0)?.as_secs_f64();
        let rise = pair[1].1.checked_sub(pair[0].1)?;
        (seconds > 0.0).then(|| rise as f64 / seconds)
    });
    let mut rises: Vec<f64> = rises.collect();
    if rises.is_empty() {
        return USUAL_INTERVAL_BYTES;
    }
    let middle = rises.len() / 2;
    let (_, bytes_per_s, _) = rises.select_nth_unstable_by(middle, f64::total_cmp);
    let wanted = *bytes_per_s as u64 / SAMPLES_PER_S;
    let power = wanted.clamp(FINEST_INTERVAL_BYTES, COARSEST_INTERVAL_BYTES).next_power_of_two();
    power.min(COARSEST_INTERVAL_BYTES)
}

/// The pace of one session.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// As it was last, or is expected.
    pause: Duration,
    duration: Option<Duration>,
}

impl Pace {
    /// For a heap of so many bytes, and a session of this length where that is known.
    pub fn new(used_bytes: u64, duration: Option<Duration>) -> Self {
        Self {
            pause: Duration::from_nanos((used_bytes / 1000).saturating_mul(NS_PER_KILOBYTE)),
            duration,
        }
    }

    /// Time to the first profile.
    pub fn first(&self) -> Duration {
        let wanted = self.pause * PAUSES;
        let Some(duration) = self.duration else { return wanted.max(SHORTEST) };
        let wanted = wanted.min(duration / WANTED).max(self.pause * PAUSES_AT_LEAST);
        let fewest = (duration / FEWEST).max(self.pause * PAUSES_AT_WORST);
        wanted.min(fewest).max(SHORTEST)
    }

    /// Time to the next profile, after one that took so long.
    pub fn next(&mut self, pause: Duration) -> Duration {
        // A profile of a quiet moment says little about the next one.
        self.pause = pause.max(self.pause / 2);
        self.first()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_program_is_sampled_more_coarsely() {
        // A reading every 20 ms, a collection every fifth time.
        let at = |rate: u64, index: u64| {
            (Duration::from_millis(index * 20), 1_000_000_000 + rate / 50 * (index % 5))
        };
        for (rate, expected) in [
            (0, 16 << 10),
            (1 << 20, 16 << 10),
            (60 << 20, 128 << 10),
            (250 << 20, 512 << 10),
            (4 << 30, 512 << 10),
        ] {
            let readings: Vec<_> = (0..50).map(|index| at(rate, index)).collect();
            assert_eq!(interval_bytes(&readings), expected, "{rate}");
        }
        assert_eq!(interval_bytes(&[]), USUAL_INTERVAL_BYTES);
    }

    #[test]
    fn pauses_stay_a_small_share_of_the_time() {
        let seconds = |s: f64| Duration::from_secs_f64(s);
        for (used_bytes, pause, duration, expected) in [
            (10 << 20, 0.010, None, 2.0),
            (80 << 20, 0.080, None, 4.0),
            (80 << 20, 0.080, Some(120.0), 4.0),
            (80 << 20, 0.080, Some(30.0), 3.0),
            (500 << 20, 0.600, Some(120.0), 19.8),
            (4_u64 << 30, 4.0, Some(60.0), 40.0),
        ] {
            let mut pace = Pace::new(0, duration.map(seconds));
            assert_eq!(pace.next(seconds(pause)), seconds(expected), "{used_bytes} {duration:?}");
            let first = Pace::new(used_bytes, duration.map(seconds)).first().as_secs_f64();
            assert!((0.4..2.1).contains(&(first / expected)), "{first} for {expected}");
        }
    }
}
