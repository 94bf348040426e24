//! Begins regimes and epochs: how the kernel side books births from now on.

use super::{error::ProbeError, mapped::MappedArray, probes::Probes};
use std::sync::atomic::{AtomicU64, Ordering};
use tracer_common::{
    regime::{MAX_REGIMES, Regime, pack_present, unpack_present},
    slot::{Control, Slot, UNATTRIBUTED_SLOTS, UNATTRIBUTED_STACK},
};

/// The regimes that have begun.
pub(super) struct Regimes {
    rules: MappedArray<Regime>,
    begun: u32,
}

impl Regimes {
    /// Of a session whose probes are not placed yet; the first begins with epoch 1.
    pub(super) fn new(
        rules: MappedArray<Regime>,
        first: &Regime,
        slots: &MappedArray<Slot>,
        control: &MappedArray<Control>,
    ) -> Self {
        let mut regimes = Self { rules, begun: 0 };
        // SAFETY: an aligned field of element 0, before any program runs.
        control.update(0, |control| unsafe { (*control).slots_used = UNATTRIBUTED_SLOTS });
        // What has no stack is of no epoch.
        regimes.begin(first, 0, slots);
        publish(control, first, 1, 0);
        regimes
    }

    /// Writes down what the next regime is; its number.
    fn begin(&mut self, regime: &Regime, epoch: u32, slots: &MappedArray<Slot>) -> u32 {
        let number = self.begun;
        self.begun += 1;
        // SAFETY: elements that no program reads yet.
        self.rules.update(number as usize, |rules| unsafe { rules.write(*regime) });
        // SAFETY: as above.
        slots.update(number as usize, |slot| unsafe {
            (*slot).epoch = epoch;
            (*slot).regime = number;
            (*slot).sample_mean_bytes = regime.sample_mean_bytes;
            (&raw mut (*slot).stack_hash).write_volatile(UNATTRIBUTED_STACK);
        });
        number
    }
}

/// Lets births belong to an epoch and a regime whose rules have been written.
fn publish(control: &MappedArray<Control>, regime: &Regime, epoch: u32, number: u32) {
    let leaves_out =
        regime.sample_mean_bytes != 0 || regime.min_size_bytes != 0 || regime.is_paused != 0;
    control.update(0, |control| {
        // SAFETY: aligned fields of element 0, which only user space writes. The kernel side reads
        // `present` in one go; what was written before is seen by whoever sees it.
        unsafe {
            if leaves_out {
                (&raw mut (*control).has_left_out).write_volatile(1);
            }
            AtomicU64::from_ptr(&raw mut (*control).present)
                .store(pack_present(epoch, number), Ordering::Release);
            (&raw mut (*control).is_paused).write_volatile(regime.is_paused);
        }
    });
}

impl Probes {
    /// Births belong to this epoch from now on.
    pub fn set_epoch(&mut self, epoch: u32) {
        self.control.update(0, |control| {
            // SAFETY: an aligned field of element 0, which only user space writes.
            let present = unsafe { AtomicU64::from_ptr(&raw mut (*control).present) };
            let (_, regime) = unpack_present(present.load(Ordering::Relaxed));
            present.store(pack_present(epoch, regime), Ordering::Release);
        });
    }

    pub(super) fn epoch(&self) -> u32 {
        self.control.get(0).map_or(0, |control| unpack_present(control.present).0)
    }

    /// Number of the regime that births belong to now.
    pub fn regime_number(&self) -> u32 {
        self.control.get(0).map_or(0, |control| unpack_present(control.present).1)
    }

    /// Births are followed as `regime` says from now on, in an epoch that begins with it.
    ///
    /// # Errors
    /// After [`MAX_REGIMES`] of them; the present one stays.
    pub fn begin_regime(&mut self, regime: &Regime, epoch: u32) -> Result<(), ProbeError> {
        if self.regimes.begun >= MAX_REGIMES {
            return Err(ProbeError::RegimesUsedUp);
        }
        let number = self.regimes.begin(regime, epoch, &self.slots);
        publish(&self.control, regime, epoch, number);
        Ok(())
    }
}
