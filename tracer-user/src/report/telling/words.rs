//! Numbers of the judge and of the ledger in words.

use crate::report::focus::printable;
use crate::report::model::LimitReport;
use crate::units;

/// How sure something is, rounded down: `99.3 % sure`, never 100.
pub(in crate::report) fn sure(confidence: f64) -> String {
    if confidence > 0.999 {
        return "> 99.9 % sure".to_owned();
    }
    // A capture may hold any number; one that is none is no confidence.
    let tenths = (confidence.clamp(0.0, 1.0) * 1000.0 + 1e-9).floor();
    format!("{:.1} % sure", if tenths.is_finite() { tenths / 10.0 } else { 0.0 })
}

/// What has become of the blocks that were born early.
pub(super) fn survival(share_live: f64) -> String {
    let live = share(share_live.clamp(0.0, 1.0));
    match share_live {
        all if all >= 1.0 => "all that was born early in the window is still live".to_owned(),
        none if none <= 0.0 => "nothing that was born early in the window is still live".to_owned(),
        _ => format!("of what was born early in the window, {live} is still live"),
    }
}

/// A share in percent, rounded towards the middle: 100 % is all, 0 % is nothing.
pub(in crate::report) fn share(part: f64) -> String {
    if part >= 1.0 || part <= 0.0 {
        return format!("{:.0} %", part * 100.0);
    }
    format!("{:.2} %", (part * 100.0).clamp(0.01, 99.99))
}

/// When which limit is reached: `the 2.0 GiB limit of control group /x in about 41 min (35 .. 52)`.
pub(in crate::report) fn limit(limit: &LimitReport) -> String {
    let size = units::bytes(limit.limit_bytes);
    let bound = match limit.kind.as_str() {
        "machine" => format!("the {size} of this machine"),
        "cgroup" => format!("the {size} limit of control group {}", printable(&limit.name)),
        kind => format!("the {size} limit of {} {}", printable(kind), printable(&limit.name)),
    };
    format!("{bound} {}", in_about(limit.seconds, limit.earliest_seconds, limit.latest_seconds))
}

/// `in about 41 min (35 .. 52)`: all three in the unit that suits the first.
fn in_about(seconds: f64, earliest: f64, latest: Option<f64>) -> String {
    let (unit_s, unit) = match seconds {
        s if s < 120.0 => (1.0, "s"),
        s if s < 2.0 * 3600.0 => (60.0, "min"),
        s if s < 48.0 * 3600.0 => (3600.0, "h"),
        _ => (86_400.0, "days"),
    };
    let number = |seconds: f64| match seconds.max(0.0) / unit_s {
        // As many decimals as an estimate deserves.
        value if value < 9.95 && unit_s > 1.0 => format!("{value:.1}"),
        value => units::count(value.round() as u64),
    };
    let latest = latest.map_or("or later".to_owned(), |latest| format!(".. {}", number(latest)));
    format!("in about {} {unit} ({} {latest})", number(seconds), number(earliest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_ever_said_to_be_certain() {
        for (confidence, expected) in [
            (1.0, "> 99.9 % sure"),
            (0.9995, "> 99.9 % sure"),
            (0.999, "99.9 % sure"),
            (0.9989, "99.8 % sure"),
            (0.95, "95.0 % sure"),
            (0.0, "0.0 % sure"),
            (-1.0, "0.0 % sure"),
            (f64::NAN, "0.0 % sure"),
        ] {
            assert_eq!(sure(confidence), expected, "{confidence}");
        }
    }

    #[test]
    fn what_survives_is_all_only_when_it_is() {
        assert!(survival(1.0).starts_with("all that"));
        assert!(survival(0.999_999).contains("99.99 %"));
        assert!(survival(0.25).contains("25.00 %"));
        assert!(survival(0.0).starts_with("nothing"));
    }

    #[test]
    fn the_time_to_a_limit_has_one_unit() {
        let min = 60.0;
        for (seconds, earliest, latest, expected) in [
            (41.0 * min, 35.0 * min, Some(52.0 * min), "in about 41 min (35 .. 52)"),
            (30.2, 20.0, None, "in about 30 s (20 or later)"),
            (3.0 * 3600.0, 3600.0, Some(50.0 * 3600.0), "in about 3.0 h (1.0 .. 50)"),
            (
                9e9,
                1.0,
                Some(f64::INFINITY),
                "in about 104,167 days (0.0 .. 18,446,744,073,709,551,615)",
            ),
            (f64::NAN, 0.0, None, "in about 0.0 days (0.0 or later)"),
        ] {
            assert_eq!(in_about(seconds, earliest, latest), expected);
        }
        let cgroup = LimitReport {
            kind: "cgroup".into(),
            name: "/a\nb".into(),
            limit_bytes: 2 << 30,
            used_bytes: 1 << 30,
            growth_bytes_per_s: crate::report::Rate { estimate: 1.0, low: 1.0, high: 1.0 },
            seconds: 41.0 * min,
            earliest_seconds: 35.0 * min,
            latest_seconds: Some(52.0 * min),
        };
        assert_eq!(
            limit(&cgroup),
            "the 2.0 GiB limit of control group /a?b in about 41 min (35 .. 52)"
        );
        let machine = LimitReport { kind: "machine".into(), ..cgroup };
        assert!(limit(&machine).starts_with("the 2.0 GiB of this machine in about"));
    }
}
