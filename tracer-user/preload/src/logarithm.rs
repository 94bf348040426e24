//! The natural logarithm, which `core` does not have.

/// Natural logarithm of 2.
const LN_2: f64 = core::f64::consts::LN_2;
/// Bits of a double's fraction.
const FRACTION_BITS: u32 = 52;
/// Exponent bits of 1.0.
const ONE: u64 = 1023;

/// Natural logarithm of a positive, normal `x`; its relative error is below 1e-11.
///
/// # Sources
/// ln(m) = 2 artanh((m - 1) / (m + 1)), by its series; m lies between 1/sqrt(2) and sqrt(2).
pub(crate) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = (bits >> FRACTION_BITS) as i64 - ONE as i64;
    let mut mantissa = f64::from_bits(bits & ((1 << FRACTION_BITS) - 1) | (ONE << FRACTION_BITS));
    if mantissa > core::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let mut series = 0.0;
    for odd in [15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        series = series * square + 1.0 / odd;
    }
    exponent as f64 * LN_2 + 2.0 * s * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_the_one_of_std() {
        let mut x = 1.0_f64 / (1_u64 << 53) as f64;
        while x < 2.0 {
            let (own, known) = (ln(x), x.ln());
            assert!((own - known).abs() <= 1e-11 * known.abs().max(1e-3), "{x}: {own} {known}");
            x *= 1.000_37;
        }
    }
}
