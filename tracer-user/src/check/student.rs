//! The tail of Student's t distribution, for whole degrees of freedom.

/// The chance that a t statistic with `freedom` degrees of freedom is at least `t` (one-sided).
/// 1 for what is no number, and without any freedom.
///
/// # Sources
/// Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4: finite sums.
pub(super) fn tail(t: f64, freedom: u32) -> f64 {
    if t.is_nan() || freedom == 0 {
        return 1.0;
    }
    if t < 0.0 {
        return 1.0 - tail(-t, freedom);
    }
    let nu = f64::from(freedom);
    let angle = (t / nu.sqrt()).atan();
    let (sine, cosine) = (angle.sin(), angle.cos());
    // Terms of the sum; each is the one before times an odd number over an even one, or the other
    // way about.
    let (mut term, mut sum, first) = match freedom % 2 {
        0 => (1.0, 1.0, 1),
        _ => (cosine, if freedom > 1 { cosine } else { 0.0 }, 2),
    };
    let mut factor = first;
    while factor + 2 < freedom {
        term *= cosine * cosine * f64::from(factor) / f64::from(factor + 1);
        sum += term;
        factor += 2;
    }
    let within = match freedom % 2 {
        0 => sine * sum,
        _ => 2.0 / std::f64::consts::PI * (angle + sine * sum),
    };
    ((1.0 - within) / 2.0).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Critical values as tables print them (NIST/SEMATECH e-Handbook, 1.3.6.7.2).
    #[test]
    fn published_critical_values_have_their_chances() {
        for (freedom, chance, t) in [
            (1, 0.05, 6.314),
            (1, 0.001, 318.313),
            (2, 0.025, 4.303),
            (3, 0.01, 4.541),
            (4, 0.005, 4.604),
            (5, 0.001, 5.893),
            (9, 0.05, 1.833),
            (9, 0.001, 4.297),
            (10, 0.025, 2.228),
            (19, 0.005, 2.861),
            (30, 0.001, 3.385),
            (99, 0.01, 2.365),
        ] {
            let found = tail(t, freedom);
            assert!((found / chance - 1.0).abs() < 0.003, "{freedom} {t}: {found}, not {chance}");
        }
    }

    #[test]
    fn what_is_degenerate_has_an_answer() {
        assert_eq!(tail(0.0, 7), 0.5);
        assert_eq!(tail(f64::NAN, 7), 1.0);
        assert_eq!(tail(3.0, 0), 1.0);
        assert_eq!(tail(f64::INFINITY, 9), 0.0);
        assert_eq!(tail(f64::NEG_INFINITY, 8), 1.0);
        assert!(tail(1e9, 2) < 1e-9);
        assert!((tail(-2.0, 5) + tail(2.0, 5) - 1.0).abs() < 1e-12);
    }
}
