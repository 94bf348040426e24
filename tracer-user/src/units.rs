//! Quantities as people write and read them: sizes, rates, durations, counts. Owns both
//! directions, so that what is printed can be typed. Knows nothing of what is measured.

use std::time::Duration;

/// Bytes in binary units with one decimal: `512 B`, `12.3 MiB`.
pub fn bytes(value_bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if value_bytes < 1024 {
        return format!("{value_bytes} B");
    }
    let mut value = value_bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be printed as 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A change in bytes, as [`bytes`] with its sign: `+12.3 MiB`, `+0 B`.
pub fn signed_bytes(change_bytes: i64) -> String {
    let sign = if change_bytes < 0 { '-' } else { '+' };
    format!("{sign}{}", bytes(change_bytes.unsigned_abs()))
}

/// A rate given in bytes per second, as signed megabytes (10^6 bytes) per hour: `+3.4 MB/h`.
pub fn megabytes_per_hour(bytes_per_s: f64) -> String {
    format!("{} MB/h", signed(bytes_per_s * 3600.0 / 1e6))
}

/// A rate as signed bytes per second, in decimal units: `+944 bytes/s`, `+12.3 kB/s`.
pub fn bytes_per_second(bytes_per_s: f64) -> String {
    let (divisor, unit) = match bytes_per_s.abs() {
        rate if rate < 9_999.5 => return format!("{:+.0} bytes/s", bytes_per_s + 0.0),
        rate if rate < 999_950.0 => (1e3, "kB/s"),
        rate if rate < 999_950_000.0 => (1e6, "MB/s"),
        _ => (1e9, "GB/s"),
    };
    format!("{:+.1} {unit}", bytes_per_s / divisor)
}

/// A signed number with as many decimals as its size deserves: `+0.034`, `+3.4`, `+1,234`.
pub fn signed(value: f64) -> String {
    let sign = if value < 0.0 { '-' } else { '+' };
    format!("{sign}{}", unsigned(value.abs()))
}

/// The same without a sign for what is not negative.
pub fn unsigned(value: f64) -> String {
    match value {
        v if v < 0.0 => signed(v),
        0.0 => "0".into(),
        v if v < 0.0995 => format!("{v:.3}"),
        v if v < 99.95 => format!("{v:.1}"),
        v if v.is_finite() => count(v.round() as u64),
        v => v.to_string(),
    }
}

/// `5 %`, `0.3 %`: a share, with as many decimals as say something.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 9.95 || (percent - percent.round()).abs() < 0.005 {
        format!("{percent:.0} %")
    } else {
        format!("{percent:.1} %")
    }
}

/// A count with thousands separators: `1,234,567`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration given in nanoseconds: `500 ms`, `28.0 s`, `1 min 30 s`, `2 h 05 min`.
pub fn duration(value_ns: u64) -> String {
    let seconds = value_ns as f64 / 1e9;
    match seconds {
        s if s < 1e-6 => format!("{value_ns} ns"),
        s if s < 1e-3 => format!("{:.1} us", s * 1e6),
        s if s < 0.9995 => format!("{:.0} ms", s * 1e3),
        s if s < 59.95 => format!("{s:.1} s"),
        s if s < 3599.5 => {
            let whole = s.round() as u64;
            format!("{} min {:02} s", whole / 60, whole % 60)
        }
        s => {
            let minutes = (s / 60.0).round() as u64;
            format!("{} h {:02} min", minutes / 60, minutes % 60)
        }
    }
}

/// What was typed is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not a size.
    #[error(
        "`{0}` is not a size; write a whole number with an optional unit, such as 4096, 64KiB or 1M"
    )]
    Size(String),
    /// Not a duration.
    #[error("`{0}` is not a duration; write numbers with units, such as 500ms, 60s, 2m or 1h30m")]
    Duration(String),
    /// A duration without its unit.
    #[error("`{0}` has no unit; write {0}s for seconds, or use ms, m or h")]
    NoUnit(String),
    /// More than can be counted.
    #[error("`{0}` is too large")]
    TooLarge(String),
}

/// Reads a size in bytes: `4096`, `64KiB`, `1M`, `2GB`. `K`, `KB` and `KiB` all mean 1024 bytes.
///
/// # Errors
/// A sentence that says what is wrong and what a size looks like.
pub fn parse_size(text: &str) -> Result<u64, ParseError> {
    let trimmed = text.trim();
    let end = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (digits, unit) = trimmed.split_at(end);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(ParseError::Size(text.into())),
    };
    if digits.is_empty() {
        return Err(ParseError::Size(text.into()));
    }
    let number: u64 = digits.parse().map_err(|_| ParseError::TooLarge(text.into()))?;
    number.checked_mul(1 << shift).ok_or_else(|| ParseError::TooLarge(text.into()))
}

/// Reads a duration: `60s`, `2m`, `500ms`, `1h30m`, `1.5s`.
///
/// # Errors
/// A sentence that says what is wrong and what a duration looks like.
pub fn parse_duration(text: &str) -> Result<Duration, ParseError> {
    let invalid = || ParseError::Duration(text.into());
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total_s = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().map_err(|_| invalid())?;
        rest = &rest[end..];
        let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit_s = match &rest[..end] {
            "ms" => 1e-3,
            "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "" => return Err(ParseError::NoUnit(text.trim().into())),
            _ => return Err(invalid()),
        };
        rest = rest[end..].trim_start();
        total_s += number * unit_s;
    }
    // A century, so that nothing later overflows in nanoseconds.
    if total_s > 3.2e9 {
        return Err(ParseError::TooLarge(text.into()));
    }
    Duration::try_from_secs_f64(total_s).map_err(|_| ParseError::TooLarge(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_one_decimal_and_never_1024_of_a_unit() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (12_897_485, "12.3 MiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (value, expected) in cases {
            assert_eq!(bytes(value), expected);
        }
    }

    #[test]
    fn changes_and_rates_carry_their_sign() {
        assert_eq!(signed_bytes(0), "+0 B");
        assert_eq!(signed_bytes(12_897_485), "+12.3 MiB");
        assert_eq!(signed_bytes(-512), "-512 B");
        assert_eq!(signed_bytes(i64::MIN), "-8.0 EiB");
        assert_eq!(megabytes_per_hour(944.0), "+3.4 MB/h");
        assert_eq!(megabytes_per_hour(-944.0), "-3.4 MB/h");
        assert_eq!(megabytes_per_hour(0.0), "+0 MB/h");
        assert_eq!(megabytes_per_hour(1e6), "+3,600 MB/h");
        assert_eq!(bytes_per_second(944.2), "+944 bytes/s");
        assert_eq!(bytes_per_second(-12_340.0), "-12.3 kB/s");
        assert_eq!(bytes_per_second(1_500_000.0), "+1.5 MB/s");
    }

    #[test]
    fn counts_are_grouped_by_thousands() {
        for (value, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(count(value), expected);
        }
    }

    #[test]
    fn durations_use_the_unit_that_fits() {
        let cases = [
            (12, "12 ns"),
            (1_500, "1.5 us"),
            (500_000_000, "500 ms"),
            (28_000_000_000, "28.0 s"),
            (90_000_000_000, "1 min 30 s"),
            (7_500_000_000_000, "2 h 05 min"),
        ];
        for (value, expected) in cases {
            assert_eq!(duration(value), expected);
        }
    }

    #[test]
    fn shares_have_decimals_where_they_say_something() {
        let shares = [0.05, 0.003, 0.0834, 0.5, 0.125, 0.0, 1.0];
        let told = shares.map(percent);
        assert_eq!(told, ["5 %", "0.3 %", "8.3 %", "50 %", "12 %", "0 %", "100 %"]);
    }

    #[test]
    fn sizes_parse_or_say_what_is_wrong() {
        for (text, expected) in
            [("4096", 4096), ("64KiB", 65_536), ("1M", 1 << 20), (" 2 gb ", 2 << 30), ("0", 0)]
        {
            assert_eq!(parse_size(text), Ok(expected), "{text}");
        }
        for text in ["", "KiB", "-1", "1.5M", "12 parsecs"] {
            assert_eq!(parse_size(text), Err(ParseError::Size(text.into())));
        }
        for text in ["99999999999999999999", "99999999T"] {
            assert_eq!(parse_size(text), Err(ParseError::TooLarge(text.into())));
        }
    }

    #[test]
    fn durations_parse_or_say_what_is_wrong() {
        let cases = [
            ("60s", 60_000),
            ("2m", 120_000),
            ("500ms", 500),
            ("1h30m", 5_400_000),
            ("1.5s", 1500),
        ];
        for (text, expected_ms) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(expected_ms)), "{text}");
        }
        assert_eq!(parse_duration("60"), Err(ParseError::NoUnit("60".into())));
        for text in ["", "s", "1y", "-5s", "1..2s"] {
            assert_eq!(parse_duration(text), Err(ParseError::Duration(text.into())));
        }
        assert_eq!(
            parse_duration("99999999999h"),
            Err(ParseError::TooLarge("99999999999h".into()))
        );
    }
}
