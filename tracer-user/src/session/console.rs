//! Words on stderr: progress on a terminal, warnings anywhere; and the signals that end a
//! session.

use crate::{aggregate::Aggregate, printable::printable, stderr::say, units, warning::Warning};
use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Progress and warnings.
pub struct Console {
    bar: ProgressBar,
    duration: Option<Duration>,
}

impl Console {
    /// Draws only when `progress` is wanted.
    pub fn new(progress: bool, duration: Option<Duration>) -> Self {
        let bar = if !progress {
            ProgressBar::hidden()
        } else if let Some(duration) = duration {
            let bar = ProgressBar::new(duration.as_millis() as u64);
            bar.set_style(
                ProgressStyle::with_template("{bar:30} {elapsed} of {len}  {msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar())
                    .with_key("len", {
                        let text = units::duration(duration.as_nanos() as u64);
                        move |_: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                            let _ = out.write_str(&text);
                        }
                    }),
            );
            bar
        } else {
            let bar = ProgressBar::new_spinner();
            bar.set_style(
                ProgressStyle::with_template(
                    "{spinner} {elapsed}  {msg}  (Ctrl-C ends and reports)",
                )
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar
        };
        Self { bar, duration }
    }

    /// One line that stays. The target may have chosen some of it.
    pub fn say(&self, text: &str) {
        self.bar.suspend(|| say(&printable(text)));
    }

    /// A warning.
    pub fn warn(&self, warning: &Warning) {
        self.say(&format!("warning: {warning}"));
    }

    /// Where the session stands.
    pub fn progress(&self, now: Duration, aggregate: &Aggregate) {
        let totals = aggregate.totals();
        match self.duration {
            Some(duration) => self.bar.set_position(now.min(duration).as_millis() as u64),
            None => self.bar.tick(),
        }
        self.bar.set_message(format!(
            "{} live in {} blocks, {} allocations",
            units::bytes(totals.live_bytes()),
            units::count(totals.live_blocks()),
            units::count(totals.allocated_blocks),
        ));
    }

    /// The end of progress.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// The signals that end a session and still want a report.
pub struct Ending {
    interrupt: Signal,
    terminate: Signal,
}

impl Ending {
    /// From now on the signals no longer kill.
    pub fn listen() -> Result<Self> {
        let on = |kind| signal(kind).context("listening for signals");
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
        })
    }

    /// Waits for one of them.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Waits for Ctrl-C or a termination signal.
pub async fn interrupted() -> Result<()> {
    Ending::listen()?.wait().await;
    Ok(())
}
