//! Warnings: something is less than it could be, and what to do about it.

use std::fmt;

/// A condition that does not end the session. Shown on stderr when it happens and again in the
/// report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Stable identifier for scripts, in kebab-case (`python-unknown`).
    pub code: &'static str,
    /// What is the case, in one sentence.
    pub message: String,
    /// What to do about it; empty when nothing can be done.
    pub advice: String,
}

impl Warning {
    /// A warning with advice.
    pub fn new(code: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { code, message: message.into(), advice: advice.into() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.advice.is_empty() {
            write!(f, " {}", self.advice)?;
        }
        Ok(())
    }
}
