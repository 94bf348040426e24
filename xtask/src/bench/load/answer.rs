//! Where an HTTP answer ends, told as its bytes come: by a length, or by the chunks it comes in.

use anyhow::{Context, Result, bail};

/// Longest head, and longest line between chunks.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// An answer as far as it is there.
#[derive(Debug, Default)]
pub(super) struct Answer {
    state: State,
    /// Of the head, or of a line between chunks, what came so far.
    text: Vec<u8>,
}

#[derive(Debug, Default, PartialEq)]
enum State {
    #[default]
    Head,
    /// So many bytes are missing, and nothing comes behind them.
    Body(usize),
    /// The line that says how long the next chunk is.
    ChunkLength,
    /// So many bytes of a chunk are missing, the end of its line included.
    Chunk(usize),
    /// The empty line behind the last chunk; nobody here sends trailers.
    LastLine,
    Whole,
}

impl Answer {
    /// Takes what came; true when the answer is whole.
    ///
    /// # Errors
    /// When it is not HTTP, not a 200, or goes on behind its end.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<bool> {
        while !bytes.is_empty() {
            match self.state {
                State::Head => {
                    if let Some(head) = self.text_until(b"\r\n\r\n", &mut bytes)? {
                        self.state = behind_head(&head)?;
                    }
                }
                State::Body(left) | State::Chunk(left) => {
                    let taken = left.min(bytes.len());
                    bytes = &bytes[taken..];
                    self.state = match self.state {
                        State::Body(_) if taken == left => State::Whole,
                        State::Body(_) => State::Body(left - taken),
                        _ if taken == left => State::ChunkLength,
                        _ => State::Chunk(left - taken),
                    };
                }
                State::ChunkLength => {
                    if let Some(line) = self.text_until(b"\r\n", &mut bytes)? {
                        let length = line.split(';').next().unwrap_or_default().trim();
                        let length = usize::from_str_radix(length, 16)
                            .with_context(|| format!("no length of a chunk: `{line}`"))?;
                        self.state =
                            if length == 0 { State::LastLine } else { State::Chunk(length + 2) };
                    }
                }
                State::LastLine => {
                    if self.text_until(b"\r\n", &mut bytes)?.is_some() {
                        self.state = State::Whole;
                    }
                }
                State::Whole => bail!("the answer goes on behind its end"),
            }
        }
        Ok(self.state == State::Whole)
    }

    /// The text before `end`, once all of it is there.
    fn text_until(&mut self, end: &[u8], bytes: &mut &[u8]) -> Result<Option<String>> {
        let before = self.text.len();
        self.text.extend_from_slice(bytes);
        let Some(at) = self.text.windows(end.len()).position(|window| window == end) else {
            *bytes = &[];
            if self.text.len() > MAX_LINE_BYTES {
                bail!("{} bytes of an answer without an end of line", self.text.len());
            }
            return Ok(None);
        };
        *bytes = &bytes[at + end.len() - before..];
        let text = String::from_utf8_lossy(&self.text[..at]).into_owned();
        self.text.clear();
        Ok(Some(text))
    }
}

fn behind_head(head: &str) -> Result<State> {
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.contains(" 200 ") && !status.ends_with(" 200") {
        bail!("answered `{status}`");
    }
    let headers = lines.filter_map(|line| line.split_once(':'));
    for (name, value) in headers {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            let length = value.parse().with_context(|| format!("Content-Length: {value}"))?;
            return Ok(if length == 0 { State::Whole } else { State::Body(length) });
        }
        if name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked") {
            return Ok(State::ChunkLength);
        }
    }
    bail!("an answer without a length: `{head}`")
}

#[cfg(test)]
mod tests {
    use super::Answer;

    const WITH_LENGTH: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nX: y\r\n\r\nhello";
    const IN_CHUNKS: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\nA;x=1\r\n0123456789\r\n0\r\n\r\n";
    const EMPTY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn an_answer_is_whole_at_its_last_byte_however_it_is_cut() {
        for whole in [WITH_LENGTH, IN_CHUNKS, EMPTY] {
            for cut in 1..whole.len() {
                let mut answer = Answer::default();
                assert!(!answer.take(&whole[..cut]).unwrap(), "cut at {cut}");
                assert!(answer.take(&whole[cut..]).unwrap(), "cut at {cut}");
            }
            let mut answer = Answer::default();
            let (last, others) = whole.split_last().unwrap();
            assert!(others.iter().all(|byte| !answer.take(&[*byte]).unwrap()));
            assert!(answer.take(&[*last]).unwrap());
        }
    }

    #[test]
    fn what_is_no_good_answer_is_an_error() {
        for text in [
            &b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
            &[b'x'; 20_000],
        ] {
            assert!(Answer::default().take(text).is_err(), "{}", String::from_utf8_lossy(text));
        }
    }
}
