//! Many tests, and no flag by chance: Holm's step-down procedure. Knows nothing of memory.
//!
//! Of a thousand series without a trend ten pass a test at 1 %. Holm's procedure holds the chance
//! of even one false rejection among all of them below the level. It does so whatever the tests
//! have to do with each other, and sites do have much to do with each other (the same requests run
//! through all of them), which rules out what asks for independence (Šidák, Hochberg,
//! Benjamini-Hochberg). The false discovery rate under any dependence (Benjamini-Yekutieli) is no
//! alternative: with one leak in a report, which is the rule, it asks for more than Holm does.
//!
//! A leak pays little for it: ten thousand tests ask for 1e-6, and twenty-five ticks that all rise
//! have 1e-12.
//!
//! # Source
//! S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
//! Statistics 6 (1979).

/// The largest of the p-values at which all up to it are rejected so that the chance of a false
/// rejection is at most `level`; where none is, what the smallest would have had to be.
pub fn holm(mut p_values: Vec<f64>, level: f64) -> f64 {
    p_values.sort_unstable_by(f64::total_cmp);
    let count = p_values.len();
    let mut threshold = level / count.max(1) as f64;
    for (rank, p) in p_values.into_iter().enumerate() {
        let wanted = level / (count - rank) as f64;
        if p.is_nan() || p > wanted {
            break;
        }
        threshold = wanted;
    }
    threshold
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_textbook_example_rejects_two_of_four() {
        // 0.01, 0.04, 0.03 and 0.005 at 5 %: 0.005 <= 0.0125, 0.01 <= 0.0167, 0.03 > 0.025.
        let threshold = holm(vec![0.01, 0.04, 0.03, 0.005], 0.05);
        assert!((0.01..0.03).contains(&threshold), "{threshold}");
    }

    #[test]
    fn nothing_to_reject_asks_for_the_level_over_all() {
        assert_eq!(holm(vec![], 0.01), 0.01);
        assert_eq!(holm(vec![0.5; 10], 0.01), 0.001);
        assert_eq!(holm(vec![f64::NAN, 0.5], 0.01), 0.005);
        assert_eq!(holm(vec![0.0; 10], 0.01), 0.01);
    }

    #[test]
    fn chance_rejects_anything_in_as_few_families_as_promised() {
        let mut random = fastrand::Rng::with_seed(8);
        let families = 4000;
        let wrong = (0..families).filter(|_| {
            let p_values: Vec<f64> = (0..300).map(|_| random.f64()).collect();
            let threshold = holm(p_values.clone(), 0.01);
            p_values.iter().any(|p| *p <= threshold)
        });
        let wrong = wrong.count();
        assert!((20..=60).contains(&wrong), "{wrong} of {families}");
    }
}
