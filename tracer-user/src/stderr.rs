//! Words on stderr that never end the program: whoever reads them may have gone (`2>&1 | head`, a
//! terminal that was closed), and what was recorded is worth more than a line about it.

use std::io::Write as _;

/// Says one line, with our name before it. Nobody may be there to read it.
pub fn say(text: &str) {
    // One write, so that lines of several threads do not mix.
    let _ = std::io::stderr().lock().write_all(format!("outlive: {text}\n").as_bytes());
}
