//! Where resident memory went, row by row.

use super::layout::write_sentence;
use crate::report::focus::printable;
use crate::report::ledger::{shown, whole};
use crate::report::model::LedgerReport;
use crate::report::telling::share;
use crate::units;
use std::fmt;

/// The ledger below its heading.
pub(super) fn write_ledger(out: &mut String, ledger: &LedgerReport) -> fmt::Result {
    let (change, words) = whole(ledger);
    let line = format!("{:>11}  {words}", units::signed_bytes(change));
    write_sentence(out, &printable(&line))?;
    for row in shown(ledger) {
        let last = row
            .last_bytes
            .map_or(String::new(), |last| format!(", {} at the end", units::bytes(last)));
        let note = row.note.as_deref().map_or(String::new(), |note| format!(" ({note})"));
        let line =
            format!("{:>11}  {}{last}{note}", units::signed_bytes(row.change_bytes), row.title);
        write_sentence(out, &printable(&line))?;
    }
    if let Some(explained) = ledger.explained_share {
        write_sentence(out, &format!("{} of the change is explained", share(explained)))?;
    }
    for advice in &ledger.advice {
        write_sentence(out, &printable(&format!("{} {}", advice.sentence, advice.advice)))?;
    }
    Ok(())
}
