//! All runs in a table, for people and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::program::Case;
use super::score::Score;

/// Which runs of a case must do all that is demanded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Demand {
    /// Every one.
    Every,
    /// The last one, which had the machine to itself; but no run may accuse an innocent.
    Last,
}

/// A case and its runs: a score each, or why there is none.
pub struct Row<'a> {
    pub case: &'a Case,
    pub runs: Vec<Result<Score, String>>,
    pub demand: Demand,
}

impl Row<'_> {
    fn scores(&self) -> impl Iterator<Item = &Score> {
        self.runs.iter().filter_map(|run| run.as_ref().ok())
    }

    /// Whether any run accuses an innocent, which no later run makes good.
    pub fn accuses(&self) -> bool {
        self.scores().any(|score| !score.accused.is_empty())
    }

    /// What was demanded and missed, or went wrong, over all runs that count.
    pub fn missed(&self) -> Vec<String> {
        let last = self.runs.len().saturating_sub(1);
        let counts = |index: usize, run: &Result<Score, String>| match self.demand {
            Demand::Every => true,
            Demand::Last => {
                index == last || run.as_ref().is_ok_and(|score| !score.accused.is_empty())
            }
        };
        let missed = self.runs.iter().enumerate().filter(|(index, run)| counts(*index, run));
        let missed = missed.flat_map(|(index, run)| {
            let missed = match run {
                Ok(score) => score.missed.clone(),
                Err(error) => vec![format!("did not run: {error}")],
            };
            missed.into_iter().map(move |what| format!("run {}: {what}", index + 1))
        });
        missed.collect()
    }
}

/// Over all runs: true findings by all that accuse, and leaks that were found by all leaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sums {
    pub precision: Option<f64>,
    pub recall: Option<f64>,
}

/// Adds up; a run that did not come to a score is a leak that was not found.
pub fn sums(rows: &[Row<'_>]) -> Sums {
    let scores = || rows.iter().flat_map(Row::scores);
    let found = scores().filter(|score| score.rank.is_some()).count();
    let accused: usize = scores().map(|score| score.accused.len()).sum();
    let leaks: usize = rows.iter().filter(|row| row.case.leaks).map(|row| row.runs.len()).sum();
    let share = |part: usize, whole: usize| (whole > 0).then(|| part as f64 / whole as f64);
    Sums { precision: share(found, found + accused), recall: share(found, leaks) }
}

/// For people.
pub fn text(rows: &[Row<'_>]) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{:<16} {:<9} {:>6} {:>5} {:>11} {:>13} {:>6} {:>8} {:>7}  verdict",
        "program",
        "way",
        "found",
        "rank",
        "truth kB/s",
        "rate/truth",
        "first",
        "innocent",
        "ledger"
    );
    for row in rows {
        let found = row.scores().filter(|score| score.rank.is_some()).count();
        let found = if row.case.leaks { format!("{found}/{}", row.runs.len()) } else { "-".into() };
        let accused: usize = row.scores().map(|score| score.accused.len()).sum();
        let mut verdicts: Vec<&str> = row.scores().map(|score| score.verdict.as_str()).collect();
        verdicts.sort_unstable();
        verdicts.dedup();
        let _ = writeln!(
            out,
            "{:<16} {:<9} {found:>6} {:>5} {:>11} {:>13} {:>6} {accused:>8} {:>7}  {}",
            row.case.name,
            row.case.way,
            range(row.scores().filter_map(|score| score.rank).map(|rank| rank as f64), 0),
            range(row.scores().map(|s| s.true_rate / 1000.0).filter(|_| row.case.leaks), 1),
            range(row.scores().filter_map(|score| score.ratio), 2),
            range(row.scores().filter_map(|score| score.first_flag_s).map(|s| s as f64), 0),
            range(row.scores().filter_map(|score| score.explained), 2),
            verdicts.join(", "),
        );
    }
    let Sums { precision, recall } = sums(rows);
    let shown = |share: Option<f64>| share.map_or("-".into(), |share| format!("{share:.3}"));
    let _ = writeln!(out, "\nprecision {}, recall {}", shown(precision), shown(recall));
    for row in rows {
        for what in row.missed() {
            let _ = writeln!(out, "MISSED {} {}: {what}", row.case.name, row.case.way);
        }
    }
    out
}

/// The lowest and the highest, as one number where they are the same.
fn range(values: impl Iterator<Item = f64>, digits: usize) -> String {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (Some(low), Some(high)) = (values.first(), values.last()) else { return "-".into() };
    let [low, high] = [low, high].map(|value| format!("{value:.digits$}"));
    if low == high { low } else { format!("{low}..{high}") }
}

/// For scripts.
pub fn json(rows: &[Row<'_>]) -> Value {
    let Sums { precision, recall } = sums(rows);
    let cases = rows.iter().map(|row| {
        let runs = row.runs.iter().map(|run| match run {
            Ok(score) => json!({
                "found": score.rank.is_some(), "rank": score.rank, "rate_over_truth": score.ratio,
                "true_bytes_per_s": score.true_rate, "verdict": score.verdict,
                "first_flag_s": score.first_flag_s, "accused": score.accused,
                "ledger_explained_share": score.explained, "missed": score.missed,
            }),
            Err(error) => json!({"error": error}),
        });
        json!({
            "program": row.case.name, "way": row.case.way, "leaks": row.case.leaks,
            "window_s": row.case.window_s, "runs": runs.collect::<Vec<_>>(),
        })
    });
    json!({ "precision": precision, "recall": recall, "cases": cases.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::{Demand, Row, Score, Sums, sums, text};
    use crate::accuracy::program::{self, Case};

    fn row(case: &Case, runs: Vec<Result<Score, String>>) -> Row<'_> {
        Row { case, runs, demand: Demand::Every }
    }

    #[test]
    fn a_second_run_makes_good_what_is_not_an_accusation() {
        let cases = program::cases(true);
        let case = &cases[0];
        let missed = |what: &str| Score { missed: vec![what.into()], ..Score::default() };
        let accused = Score { accused: vec!["put".into()], ..missed("accuses put") };
        let last = |runs| Row { demand: Demand::Last, ..row(case, runs) };
        assert!(last(vec![Ok(missed("slow")), Ok(Score::default())]).missed().is_empty());
        assert!(last(vec![Err("it broke".into()), Ok(Score::default())]).missed().is_empty());
        assert_eq!(last(vec![Ok(missed("slow")), Ok(missed("off"))]).missed(), ["run 2: off"]);
        assert_eq!(last(vec![Ok(accused), Ok(Score::default())]).missed(), ["run 1: accuses put"]);
        assert_eq!(row(case, vec![Ok(missed("slow")), Ok(Score::default())]).missed().len(), 1);
    }

    #[test]
    fn precision_and_recall_count_findings_and_leaks() {
        let cases = program::cases(true);
        let leak = cases.iter().find(|case| case.leaks).unwrap();
        let innocent = cases.iter().find(|case| !case.leaks).unwrap();
        let found = || Score { rank: Some(1), ratio: Some(1.02), ..Score::default() };
        let accused = Score { accused: vec!["put".into()], ..Score::default() };
        let rows = [
            row(leak, vec![Ok(found()), Ok(found()), Err("it broke".into())]),
            row(innocent, vec![Ok(Score::default()), Ok(accused)]),
        ];
        let expected = Sums { precision: Some(2.0 / 3.0), recall: Some(2.0 / 3.0) };
        assert_eq!(sums(&rows), expected);
        let text = text(&rows);
        assert!(text.contains("2/3") && text.contains("run 3: did not run: it broke"), "{text}");
        assert_eq!(sums(&[]), Sums { precision: None, recall: None });
    }
}
