//! Booking: which counter slot a birth belongs to, and adding to it.

use crate::{
    atomic,
    configuration::config,
    counters::count,
    maps::{CONTROL, EVENTS, SLOTS, STACKS},
    regime::{Births, book_sample},
    thread::ThreadState,
};
use aya_ebpf::bindings::BPF_NOEXIST;
use tracer_common::{
    counter::Counter,
    record::{self, NEW_STACK_PREFIX_BYTES, STACK_WORDS},
    slot::{Control, LiveBlock, pack_stack_entry, unpack_stack_entry},
};

/// The control block.
#[inline(always)]
pub fn control() -> Option<&'static Control> {
    // SAFETY: entry 0 of the map always exists; its fields change under us, but each is one
    // aligned word.
    CONTROL.get_ptr(0).map(|control| unsafe { &*control })
}

/// A slot, and the epoch that it is of.
#[derive(Clone, Copy)]
pub struct Booked {
    pub slot: u32,
    pub epoch: u32,
}

/// Nowhere in particular, in the regime of `births`.
#[inline(always)]
fn unattributed(births: &Births) -> Booked {
    Booked { slot: births.regime, epoch: 0 }
}

/// How many stacks have left the table so far: while that and the epoch are as they were, a slot that
/// was looked up is still the one to book in.
#[inline(always)]
pub fn stacks_removed() -> Option<u32> {
    let control = control()?;
    // SAFETY: an aligned word of the map.
    Some(unsafe { (&raw const control.stacks_removed).read_volatile() })
}

/// The slot in which the stack that `thread` has just walked books a birth of `thread.births`. A
/// stack never seen before is sent to user space; one that cannot be kept books as unattributed.
#[inline(always)]
pub fn slot_of_stack(thread: &mut ThreadState) -> Booked {
    let births = thread.births;
    match slot_in_table(thread.stack.stack_hash, &births) {
        Some(booked) => booked,
        None => in_regime(first_slot(thread, &births), &births),
    }
}

/// The same of a stack by its hash; `None` when it is not in the table.
#[inline(always)]
pub fn slot_in_table(hash: u64, births: &Births) -> Option<Booked> {
    present_slot(hash, births).map(|booked| in_regime(booked, births))
}

/// `found`, if it is of the regime that the block was drawn in. It is not when all slots are taken,
/// or another regime has begun meanwhile: a slot weighs its blocks by its own regime.
#[inline(always)]
fn in_regime(found: Booked, births: &Births) -> Booked {
    // SAFETY: an aligned u32 field of a slot inside the map.
    let regime = SLOTS.get_ptr(found.slot).map(|slot| unsafe { (*slot).regime });
    if regime == Some(births.regime) {
        return found;
    }
    count(Counter::RegimeChangedMeanwhile);
    unattributed(births)
}

#[inline(always)]
fn present_slot(hash: u64, births: &Births) -> Option<Booked> {
    let epoch = births.epoch;
    let entry = STACKS.get_ptr_mut(hash)?;
    // SAFETY: the kernel returned a pointer to an aligned u64 of this map, valid until the program
    // ends even if `first_slot` takes the entry out meanwhile.
    let packed = unsafe { entry.read_volatile() };
    let (entry_epoch, slot) = unpack_stack_entry(packed);
    if entry_epoch == epoch {
        return Some(Booked { slot, epoch });
    }
    let Some(fresh) = new_slot(hash, births) else {
        count(Counter::SlotTableFull);
        return Some(Booked { slot, epoch: entry_epoch });
    };
    // SAFETY: as above.
    Some(match unsafe { atomic::replace(entry, packed, pack_stack_entry(epoch, fresh)) } {
        Ok(()) => Booked { slot: fresh, epoch },
        // Another thread was faster; the slot just taken stays empty.
        Err(winner) => booked(winner),
    })
}

/// A value of the stack table.
#[inline(always)]
fn booked(packed: u64) -> Booked {
    let (epoch, slot) = unpack_stack_entry(packed);
    Booked { slot, epoch }
}

/// First booking of a stack: enter it in the table and send its frames.
#[inline(always)]
fn first_slot(thread: &mut ThreadState, births: &Births) -> Booked {
    let hash = thread.stack.stack_hash;
    let Some(slot) = new_slot(hash, births) else {
        count(Counter::SlotTableFull);
        return unattributed(births);
    };
    if STACKS.insert(hash, pack_stack_entry(births.epoch, slot), NO_REPLACE).is_err() {
        // Entered by another thread in the meantime, or the table is full.
        if let Some(entry) = STACKS.get_ptr(hash) {
            // SAFETY: the kernel returned a pointer to an aligned u64 of this map.
            return booked(unsafe { *entry });
        }
        count(Counter::StackTableFull);
        return unattributed(births);
    }
    if send_stack(thread).is_err() {
        // Without its frames the entry is useless: take it out, so that the next birth retries.
        count(Counter::StackRingFull);
        let _ = STACKS.remove(hash);
        stack_removed();
        return unattributed(births);
    }
    Booked { slot, epoch: births.epoch }
}

/// Says that a stack has left the table: nobody must book in its slot from memory.
#[inline(always)]
fn stack_removed() {
    if let Some(control) = CONTROL.get_ptr_mut(0) {
        // SAFETY: an aligned u32 inside entry 0 of the map.
        unsafe { atomic::take_next(&raw mut (*control).stacks_removed) };
    }
}

/// Sends the frames that there are.
#[inline(always)]
fn send_stack(thread: &mut ThreadState) -> Result<(), i32> {
    let stack = &mut thread.stack;
    stack.header.kind = record::kind::NEW_STACK;
    let words = thread.words_used as usize;
    // The mask changes nothing; it shows the verifier that the record ends inside the stack.
    let length = NEW_STACK_PREFIX_BYTES + 8 * (words & (STACK_WORDS - 1));
    // SAFETY: NewStack is repr(C) without padding, initialised, and longer than `length`.
    let bytes = unsafe { core::slice::from_raw_parts((&raw const *stack).cast::<u8>(), length) };
    EVENTS.output::<[u8]>(bytes, 0)
}

/// Whether a stack that is new can still be entered, as far as slots go.
#[inline(always)]
pub fn has_slots() -> bool {
    let Some(control) = control() else { return false };
    // SAFETY: an aligned u32 of the map.
    let used = unsafe { (&raw const control.slots_used).read_volatile() };
    used < config!(max_slots)
}

/// Takes the next unused slot.
#[inline(always)]
fn new_slot(stack_hash: u64, births: &Births) -> Option<u32> {
    let control = CONTROL.get_ptr_mut(0)?;
    // SAFETY: an aligned u32 inside entry 0 of the map.
    let used = unsafe { &raw mut (*control).slots_used };
    let limit = config!(max_slots);
    // Looked at before it is raised, so that a full table never wraps the counter.
    // SAFETY: as above.
    if unsafe { used.read_volatile() } >= limit {
        return None;
    }
    // SAFETY: as above.
    let index = unsafe { atomic::take_next(used) };
    if index >= limit {
        return None;
    }
    let slot = SLOTS.get_ptr_mut(index)?;
    // SAFETY: a slot nobody else has been given; user space reads `stack_hash` last.
    unsafe {
        (*slot).epoch = births.epoch;
        (*slot).regime = births.regime;
        (*slot).sample_mean_bytes = births.sample_mean_bytes;
        (&raw mut (*slot).stack_hash).write_volatile(stack_hash);
    }
    Some(index)
}

/// Books a birth.
#[inline(always)]
pub fn born(index: u32, size_bytes: u64) {
    if let Some(slot) = SLOTS.get_ptr_mut(index) {
        // SAFETY: aligned u64 fields of a slot inside the map.
        unsafe {
            if (*slot).sample_mean_bytes != 0 {
                book_sample(index, size_bytes, 0);
                return;
            }
            atomic::add(&raw mut (*slot).allocated_bytes, size_bytes);
            atomic::add(&raw mut (*slot).allocated_blocks, 1);
        }
    }
}

/// Books a death into the slot of the block's birth.
#[inline(always)]
pub fn died(block: &LiveBlock) {
    if let Some(slot) = SLOTS.get_ptr_mut(block.slot) {
        // SAFETY: aligned u64 fields of a slot inside the map.
        unsafe {
            if (*slot).sample_mean_bytes != 0 {
                book_sample(block.slot, block.size_bytes, 1);
                return;
            }
            atomic::add(&raw mut (*slot).freed_bytes, block.size_bytes);
            atomic::add(&raw mut (*slot).freed_blocks, 1);
        }
    }
}

/// Flag of an insertion that must not replace.
pub const NO_REPLACE: u64 = BPF_NOEXIST as u64;
