//! Lines of source code that a report shows.

use serde::{Deserialize, Serialize};

/// A line of source code, as it was when the session ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceLine {
    /// Path, as frames name it.
    pub file: String,
    /// 1-based.
    pub line: u32,
    /// Its text without the white space around it, cut where it is long.
    pub text: String,
}
