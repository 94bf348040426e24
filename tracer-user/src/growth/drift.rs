//! Does a walk have a drift? What is held may wander without any aim, as the level of a pool does:
//! every step is kept, and so is a rise that came about by chance. Against such a walk a test for a
//! trend around a level is none. Its steps are what to test: whether their mean is above zero, by
//! Student's t, with the variance corrected for what neighbouring steps have in common.
//!
//! # Sources
//! - Student, "The probable error of a mean", Biometrika 6 (1908).
//! - D. L. Wallace, "Bounds on normal approximations to Student's and the chi-square distributions",
//!   Annals of Mathematical Statistics 30 (1959): the normal deviate of t, within 0.1 for more than a
//!   few degrees of freedom.
//! - For the correction see [`super::correlation`].

use super::correlation::neighbour_inflation;
use super::trend::upper_tail;

/// Long steps that the whole way is cut into.
const LONG_STEPS: usize = 16;

/// Chance that a walk without a drift rises at least so clearly (one-sided); 1 for fewer than four
/// points. Looked at twice, which the chance allows for: by single steps, and by long ones, in which
/// what goes up and down between them cancels.
pub(super) fn chance_of_drift(points: &[(f64, f64)]) -> f64 {
    let long = (points.len() / LONG_STEPS).max(2);
    let every =
        |length: usize| -> Vec<f64> { points.iter().map(|(_, y)| *y).step_by(length).collect() };
    (2.0 * chance_by_steps(&every(1)).min(chance_by_steps(&every(long)))).min(1.0)
}

fn chance_by_steps(places: &[f64]) -> f64 {
    let steps: Vec<(f64, f64)> =
        (0..).map(f64::from).zip(places.windows(2).map(|pair| pair[1] - pair[0])).collect();
    let count = steps.len() as f64;
    if steps.len() < 3 {
        return 1.0;
    }
    let mean = steps.iter().map(|(_, step)| step).sum::<f64>() / count;
    let freedom = count - 1.0;
    let variance = steps.iter().map(|(_, step)| (step - mean).powi(2)).sum::<f64>() / freedom;
    if mean <= 0.0 || !variance.is_finite() {
        return 1.0;
    }
    let t = mean / (variance * neighbour_inflation(&steps) / count).sqrt();
    upper_tail(normal_deviate(t, freedom))
}

/// The deviate that a normal variable exceeds as often as Student's exceeds `t`.
fn normal_deviate(t: f64, freedom: f64) -> f64 {
    let scale = (8.0 * freedom + 1.0) / (8.0 * freedom + 3.0);
    scale * (freedom * (t * t / freedom).ln_1p()).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(steps: impl IntoIterator<Item = f64>) -> Vec<(f64, f64)> {
        let mut at = 0.0;
        let places = steps.into_iter().map(|step| {
            at += step;
            at
        });
        (0..).map(f64::from).zip(places).collect()
    }

    #[test]
    fn the_deviate_agrees_with_published_quantiles() {
        // Quantiles of t for 0.025, 0.005 and 0.0005 (one-sided).
        for (freedom, t, p) in [
            (10.0, 2.228, 0.025),
            (10.0, 3.169, 0.005),
            (30.0, 2.750, 0.005),
            (30.0, 3.646, 0.0005),
        ] {
            let found = upper_tail(normal_deviate(t, freedom));
            assert!((found / p - 1.0).abs() < 0.03, "{freedom} {t}: {found}");
        }
        assert_eq!(upper_tail(normal_deviate(f64::INFINITY, 20.0)), 0.0);
    }

    #[test]
    fn a_walk_without_a_drift_has_one_as_often_as_the_test_says() {
        let mut random = fastrand::Rng::with_seed(77);
        for count in [25, 96] {
            let rounds = 5000;
            let drifting = (0..rounds)
                .filter(|_| chance_of_drift(&walk((0..count).map(|_| random.f64() - 0.5))) <= 0.01);
            let drifting = drifting.count();
            assert!((15..=75).contains(&drifting), "{drifting} of {rounds} with {count} points");
        }
    }

    #[test]
    fn degenerate_walks() {
        assert_eq!(chance_of_drift(&[]), 1.0);
        assert_eq!(chance_of_drift(&walk([1.0; 3])), 1.0);
        assert_eq!(chance_of_drift(&walk([0.0; 30])), 1.0);
        assert_eq!(chance_of_drift(&walk([-1.0; 30])), 1.0);
        assert_eq!(chance_of_drift(&walk([2.0; 30])), 0.0);
        assert_eq!(chance_of_drift(&walk([f64::NAN; 30])), 1.0);
    }
}
