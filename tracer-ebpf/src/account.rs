//! Booking: which counter slot a birth belongs to, and adding to it.

use crate::{
    atomic,
    configuration::config,
    counters::count,
    maps::{CONTROL, EVENTS, SLOTS, STACKS},
    regime::{Births, book_sample},
    thread::ThreadState,
};
use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
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

/// The slot in which the stack that `thread` has just walked books a birth. A stack never seen before
/// is sent to user space; one that cannot be kept books as unattributed.
#[inline(always)]
pub fn slot_of_stack(thread: &mut ThreadState, births: &Births) -> u32 {
    let slot = present_slot(thread, births);
    // SAFETY: an aligned u32 field of a slot inside the map.
    let regime = SLOTS.get_ptr(slot).map(|slot| unsafe { (*slot).regime });
    if regime == Some(births.regime) {
        return slot;
    }
    // All slots are taken, or another regime has begun meanwhile. A slot weighs its blocks by its own
    // regime, so it cannot take one that was drawn in another.
    count(Counter::RegimeChangedMeanwhile);
    births.regime
}

#[inline(always)]
fn present_slot(thread: &mut ThreadState, births: &Births) -> u32 {
    let (hash, epoch) = (thread.stack.stack_hash, births.epoch);
    let Some(entry) = STACKS.get_ptr_mut(hash) else { return first_slot(thread, births) };
    // SAFETY: the kernel returned a pointer to an aligned u64 of this map, valid until the program
    // ends even if `first_slot` takes the entry out meanwhile.
    let packed = unsafe { entry.read_volatile() };
    let (entry_epoch, slot) = unpack_stack_entry(packed);
    if entry_epoch == epoch {
        return slot;
    }
    let Some(fresh) = new_slot(hash, births) else {
        count(Counter::SlotTableFull);
        return slot;
    };
    // SAFETY: as above.
    match unsafe { atomic::replace(entry, packed, pack_stack_entry(epoch, fresh)) } {
        Ok(()) => fresh,
        // Another thread was faster; the slot just taken stays empty.
        Err(winner) => unpack_stack_entry(winner).1,
    }
}

/// First booking of a stack: enter it in the table and send its frames.
#[inline(always)]
fn first_slot(thread: &mut ThreadState, births: &Births) -> u32 {
    let hash = thread.stack.stack_hash;
    let Some(slot) = new_slot(hash, births) else {
        count(Counter::SlotTableFull);
        return births.regime;
    };
    if STACKS.insert(hash, pack_stack_entry(births.epoch, slot), NO_REPLACE).is_err() {
        // Entered by another thread in the meantime, or the table is full.
        if let Some(entry) = STACKS.get_ptr(hash) {
            // SAFETY: the kernel returned a pointer to an aligned u64 of this map.
            return unpack_stack_entry(unsafe { *entry }).1;
        }
        count(Counter::StackTableFull);
        return births.regime;
    }
    if send_stack(thread).is_err() {
        // Without its frames the entry is useless: take it out, so that the next birth retries.
        count(Counter::StackRingFull);
        let _ = STACKS.remove(hash);
        return births.regime;
    }
    slot
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
        (*slot).sample_mean_bytes = births.rules.sample_mean_bytes;
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

/// Flag of an insertion that may replace.
pub const REPLACE: u64 = BPF_ANY as u64;
/// Flag of an insertion that must not replace.
pub const NO_REPLACE: u64 = BPF_NOEXIST as u64;
