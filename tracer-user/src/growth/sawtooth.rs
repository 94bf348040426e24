//! Rises that are freed again: live bytes that climb and fall back, at about equal distances.

/// A fall counts when it takes back this share of the whole range.
const FALL: f64 = 0.5;
/// Ticks from one fall to the next, at least: what falls every few ticks is noise.
const SHORTEST: usize = 5;
/// Largest deviation of the distances between falls, as a share of their mean.
const LARGEST_SPREAD: f64 = 0.25;

/// Distance from one fall to the next, nanoseconds; `None` where there are not at least two at about
/// equal distances. Of times and live bytes, in order.
pub(super) fn period_ns(live: &[(u64, u64)]) -> Option<u64> {
    let bytes = || live.iter().map(|(_, bytes)| *bytes);
    let fall = (bytes().max()? - bytes().min()?) as f64 * FALL;
    if fall <= 0.0 {
        return None;
    }
    // Indices of the peaks before the falls.
    let mut peaks = Vec::new();
    let (mut peak, mut trough) = (0, None::<usize>);
    for (index, (_, bytes)) in live.iter().enumerate() {
        match trough {
            None if *bytes >= live[peak].1 => peak = index,
            None if (live[peak].1 - bytes) as f64 >= fall => {
                peaks.push(peak);
                trough = Some(index);
            }
            None => {}
            Some(lowest) if *bytes <= live[lowest].1 => trough = Some(index),
            Some(lowest) if (bytes - live[lowest].1) as f64 >= fall => {
                (peak, trough) = (index, None);
            }
            Some(_) => {}
        }
    }
    let [first, .., last] = peaks.as_slice() else { return None };
    let count = peaks.len() - 1;
    if last - first < SHORTEST * count {
        return None;
    }
    let mean = (live[*last].0.saturating_sub(live[*first].0)) as f64 / count as f64;
    let deviation =
        |pair: &[usize]| (live[pair[1]].0.saturating_sub(live[pair[0]].0) as f64 - mean).powi(2);
    let spread = (peaks.windows(2).map(deviation).sum::<f64>() / count as f64).sqrt();
    (spread <= LARGEST_SPREAD * mean).then_some(mean as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(live: impl IntoIterator<Item = u64>) -> Option<u64> {
        let points: Vec<(u64, u64)> = (0..).zip(live).collect();
        period_ns(&points)
    }

    #[test]
    fn a_sawtooth_has_its_period_whatever_its_phase() {
        for phase in 0..12 {
            assert_eq!(period((0..60).map(|t| (t + phase) % 12 * 100)), Some(12), "{phase}");
        }
        assert_eq!(period((0..60).map(|t| 1000 + if t % 20 < 10 { 0 } else { 70 })), Some(20));
    }

    #[test]
    fn what_falls_once_or_at_random_is_none() {
        assert_eq!(period([]), None);
        assert_eq!(period([5; 40]), None);
        assert_eq!(period((0..60).map(|t| t * 10)), None);
        assert_eq!(period((0..60).map(|t| if t < 30 { t } else { 0 })), None);
        let mut random = fastrand::Rng::with_seed(3);
        let regular = (0..1000).filter(|_| {
            let noise: Vec<u64> = (0..60).map(|_| random.u64(0..1000)).collect();
            period(noise).is_some()
        });
        assert!(regular.count() < 100);
    }
}
