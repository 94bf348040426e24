//! Records into bytes. All numbers little-endian; every layout is read back in `decode`.

use crate::stack::{Domain, Frame, FrameKind, Generated, RawStack, Stack};
use crate::tick::{MemorySplit, Tick};
use bytes::{BufMut, BytesMut};
use tracer_common::record::domain;

/// Stands for an absent text.
pub(super) const NO_TEXT: u32 = u32::MAX;

pub(super) fn domain_number(of: Domain) -> u32 {
    match of {
        Domain::Malloc => domain::MALLOC,
        Domain::Mmap => domain::MMAP,
        Domain::Python => domain::PYTHON,
        Domain::V8 => domain::V8,
    }
}

pub(super) fn kind_number(of: FrameKind) -> u8 {
    match of {
        FrameKind::Native => 0,
        FrameKind::Python => 1,
        FrameKind::Js => 2,
        FrameKind::Kernel => 3,
    }
}

pub(super) fn tick(tick: &Tick, out: &mut BytesMut) {
    out.put_u64_le(tick.at_ns);
    out.put_u32_le(tick.sites.len() as u32);
    for site in &tick.sites {
        out.put_u64_le(site.stack.0);
        out.put_u32_le(site.epoch);
        out.put_u64_le(site.allocated_bytes);
        out.put_u64_le(site.allocated_blocks);
        out.put_u64_le(site.freed_bytes);
        out.put_u64_le(site.freed_blocks);
    }
    out.put_u32_le(tick.counters.kernel.len() as u32);
    tick.counters.kernel.iter().for_each(|value| out.put_u64_le(*value));
    out.put_u32_le(tick.counters.user.len() as u32);
    for (name, value) in &tick.counters.user {
        out.put_u32_le(name.len() as u32);
        out.put_slice(name.as_bytes());
        out.put_u64_le(*value);
    }
    out.put_u8(tick.memory.is_some().into());
    if let Some(memory) = tick.memory {
        put_memory(memory, out);
    }
    out.put_u8(tick.overhead.is_some().into());
    if let Some(overhead) = tick.overhead {
        out.put_u64_le(overhead.hits);
        out.put_f64_le(overhead.program_ns_per_hit);
        out.put_f64_le(overhead.trap_ns_per_hit);
    }
    out.put_u32_le(tick.processes.len() as u32);
    for reading in &tick.processes {
        out.put_u32_le(reading.process);
        put_memory(reading.memory, out);
    }
    out.put_u32_le(tick.v8.len() as u32);
    for reading in &tick.v8 {
        out.put_u32_le(reading.process);
        for value in [reading.heap_bytes, reading.full_collections] {
            out.put_u8(value.is_some().into());
            out.put_u64_le(value.unwrap_or(0));
        }
    }
    put_variances(tick, out);
}

/// Those of the sites that have any, by their places in the tick.
fn put_variances(tick: &Tick, out: &mut BytesMut) {
    let sampled = || {
        let sites = (0_u32..).zip(&tick.sites);
        sites.filter(|(_, site)| site.allocated_variance != 0)
    };
    out.put_u32_le(sampled().count() as u32);
    for (place, site) in sampled() {
        out.put_u32_le(place);
        out.put_u64_le(site.allocated_variance);
        out.put_u64_le(site.freed_variance);
    }
}

fn put_memory(memory: MemorySplit, out: &mut BytesMut) {
    for value in
        [memory.resident_bytes, memory.anonymous_bytes, memory.file_bytes, memory.shared_bytes]
    {
        out.put_u64_le(value);
    }
}

pub(super) fn raw_stack(stack: &RawStack, out: &mut BytesMut) {
    out.put_u64_le(stack.id.0);
    out.put_u32_le(domain_number(stack.domain));
    out.put_u32_le(stack.native_end.number());
    out.put_u32_le(stack.python_end.number());
    out.put_u32_le(stack.native.len() as u32);
    stack.native.iter().for_each(|address| out.put_u64_le(*address));
    out.put_u32_le(stack.python.len() as u32);
    for frame in &stack.python {
        out.put_u64_le(frame.code_avma);
        out.put_i32_le(frame.instr_offset);
        out.put_u32_le(frame.is_entry);
    }
    out.put_u32_le(stack.image);
    out.put_u32_le(stack.js.len() as u32);
    for frame in &stack.js {
        out.put_u64_le(frame.shared_avma);
        out.put_u32_le(frame.cookie);
        out.put_i32_le(frame.position);
        out.put_u32_le(frame.kind);
        out.put_u32_le(frame.native_index);
    }
}

/// Texts go through `number`, which hands out (and records) a number for each.
pub(super) fn stack(stack: &Stack, number: &mut impl FnMut(&str) -> u32, out: &mut BytesMut) {
    out.put_u64_le(stack.id.0);
    out.put_u32_le(domain_number(stack.domain));
    out.put_u8(stack.truncated.is_some().into());
    out.put_u32_le(stack.truncated.map_or(0, |end| end.number()));
    out.put_u32_le(stack.frames.len() as u32);
    for frame in &stack.frames {
        put_frame(frame, number, out);
    }
    let generated: Vec<(u32, &Generated)> = (0..)
        .zip(&stack.frames)
        .filter_map(|(index, frame)| Some((index, frame.generated.as_ref()?)))
        .collect();
    out.put_u32_le(generated.len() as u32);
    for (index, generated) in generated {
        out.put_u32_le(index);
        out.put_u32_le(number(&generated.file));
        out.put_u32_le(generated.line);
    }
}

fn put_frame(frame: &Frame, number: &mut impl FnMut(&str) -> u32, out: &mut BytesMut) {
    out.put_u8(kind_number(frame.kind));
    out.put_u32_le(number(&frame.function));
    for text in [&frame.file, &frame.module, &frame.build_id] {
        out.put_u32_le(text.as_deref().map_or(NO_TEXT, &mut *number));
    }
    out.put_u8(u8::from(frame.line.is_some()) | u8::from(frame.offset.is_some()) << 1);
    out.put_u32_le(frame.line.unwrap_or(0));
    out.put_u64_le(frame.offset.unwrap_or(0));
}
