//! Keeps what a session sees: in memory for the report, in the capture where one is wanted, and on
//! stderr for whoever waits.

use super::{
    console::Console,
    output::Folder,
    told::{Told, Verdict},
};
use crate::{
    capture::{DEFAULT_MAX_BYTES, Meta, RecordedWarning, Recording, Writer},
    stack::{RawStack, Stack},
    tick::Tick,
    warning::Warning,
};
use anyhow::{Context as _, Result};
use std::path::PathBuf;

/// A recording under way.
pub struct Recorder {
    /// What was seen so far.
    pub recording: Recording,
    /// Words on stderr.
    pub console: Console,
    told: Told,
    writer: Option<Writer>,
    folder: Option<Folder>,
}

impl Recorder {
    /// Begins one, with a capture where there is a folder for it.
    ///
    /// # Errors
    /// When the capture cannot be made.
    pub fn new(meta: Meta, console: Console, mut folder: Option<Folder>) -> Result<Self> {
        let writer = folder
            .as_ref()
            .map(|folder| Writer::create(&folder.capture(), DEFAULT_MAX_BYTES))
            .transpose()
            .context("making the capture in --out")?;
        if let Some(folder) = &mut folder {
            folder.keep();
        }
        let recording = Recording::new(meta);
        Ok(Self { recording, console, told: Told::default(), writer, folder })
    }

    /// Takes in a tick.
    ///
    /// # Errors
    /// When the capture cannot be written; so for all that follow.
    pub fn tick(&mut self, tick: &Tick) -> Result<()> {
        self.recording.aggregate.apply(tick);
        self.write(|writer| writer.tick(tick))
    }

    /// The latest tick has a meaning: it is kept however long the session gets.
    pub fn pin_latest(&mut self) -> Result<()> {
        self.recording.aggregate.pin_latest();
        self.write(Writer::pin_latest)
    }

    /// Takes in a stack as the kernel side saw it.
    pub fn stack(&mut self, raw: RawStack) -> Result<()> {
        self.write(|writer| writer.stack(&raw))?;
        self.recording.raw_stacks.insert(raw.id, raw);
        Ok(())
    }

    /// Takes in a stack as people read it.
    pub fn resolved(&mut self, stack: Stack) -> Result<()> {
        self.write(|writer| writer.resolved(&stack))?;
        self.recording.stacks.insert(stack.id, stack);
        Ok(())
    }

    /// Tells a warning once, now and in the report; the many of one kind are counted.
    pub fn warn(&mut self, warning: &Warning) -> Result<()> {
        let recorded = RecordedWarning::from(warning);
        match self.told.judge(&recorded) {
            Verdict::Told => {
                self.console.warn(warning);
                self.record_warning(recorded)
            }
            Verdict::Counted(1) => {
                let code = warning.code;
                self.console.say(&format!("more warnings of this kind ({code}) are only counted"));
                Ok(())
            }
            Verdict::Counted(_) | Verdict::Known => Ok(()),
        }
    }

    fn record_warning(&mut self, warning: RecordedWarning) -> Result<()> {
        self.write(|writer| writer.warning(&warning))?;
        self.recording.warnings.push(warning);
        Ok(())
    }

    /// Ends the capture. The folder that it is in, and what was recorded.
    pub fn finish(mut self) -> Result<(Recording, Option<PathBuf>)> {
        for warning in self.told.untold() {
            self.console.say(&format!("warning: {}", warning.message));
            self.record_warning(warning)?;
        }
        self.tell_of_thinning()?;
        if let Some(mut writer) = self.writer.take() {
            let written = writer
                .end_ticks()
                .and_then(|()| writer.mappings(&self.recording.mappings))
                .and_then(|()| writer.meta(&self.recording.meta));
            let refused = writer.refused_bytes();
            if refused > 0 {
                self.recording.aggregate.note_loss("capture_bytes_refused", refused);
            }
            written.and_then(|()| writer.finish()).context("writing the capture")?;
        }
        let folder = self.folder.as_ref().map(|folder| folder.path().to_owned());
        Ok((self.recording, folder))
    }

    fn tell_of_thinning(&mut self) -> Result<()> {
        let stride = self.writer.as_ref().map_or(1, Writer::stride);
        if stride == 1 {
            return Ok(());
        }
        self.warn(&Warning::new(
            "capture-thinned",
            format!(
                "The capture would have become too large: of its ticks it keeps every {stride}th. Sums are exact; what happened between two of them is told as of the later one."
            ),
            "A longer --interval makes fewer ticks.",
        ))
    }

    fn write(&mut self, what: impl FnOnce(&mut Writer) -> std::io::Result<()>) -> Result<()> {
        match &mut self.writer {
            Some(writer) => what(writer).context("writing the capture"),
            None => Ok(()),
        }
    }
}
