//! Debug messages of the kernel side, handed to `log`. They exist only when asked for at load.

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::Log;

/// Reads the messages that wait.
pub struct KernelLog(EbpfLogger<&'static dyn Log>);

impl KernelLog {
    /// `None`, with a word in our own log, when the object has no messages.
    pub(super) fn open(ebpf: &mut Ebpf) -> Option<Self> {
        EbpfLogger::init(ebpf)
            .map(Self)
            .map_err(|error| log::warn!("no messages from the kernel side: {error}"))
            .ok()
    }

    /// Hands over what waits.
    pub fn flush(&mut self) {
        self.0.flush();
    }
}
