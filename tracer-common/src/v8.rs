//! How the kernel side finds JavaScript frames, and what it keeps of one. Naming them is user
//! space's business.

/// [`V8Layout::kind`]: the target has no V8 that is known.
pub const V8_NONE: u32 = 0;
/// [`V8Layout::kind`]: JavaScript frames are recorded.
pub const V8_FRAMES: u32 = 1;

/// [`JsFrame::kind`]: run by the interpreter; `position` is the bytecode offset as the frame keeps
/// it (the integer in its slot, relative to the tagged bytecode array).
pub const JS_INTERPRETED: u32 = 1;
/// [`JsFrame::kind`]: code that was compiled at run time, by whichever compiler; the return address
/// says where it stands.
pub const JS_COMPILED: u32 = 2;
/// [`JsFrame::kind`]: code that is part of V8 and that JavaScript calls like a function of its own
/// (`Array.prototype.map`).
pub const JS_BUILTIN: u32 = 3;

/// `SharedFunctionInfo`'s first field, in every version: what it runs, or a small integer in a
/// function that is part of V8.
pub const SHARED_DATA: u32 = 8;
/// Bytes of a `SharedFunctionInfo` from [`SHARED_DATA`] on in which its name and script lie.
pub const SHARED_BYTES: u32 = 64;

/// Where one V8 keeps what of a JavaScript frame; offsets in bytes, those of objects from the
/// object's first byte (a tagged pointer is one more). Where its own code lies is told by the code
/// ranges ([`walk::V8`](crate::slot::walk::V8)): each worker thread of Node.js maps it once more.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct V8Layout {
    /// One of the `V8_*` constants.
    pub kind: u32,
    /// The slot of the context, or of the marker of a frame that is no function's; from the frame
    /// pointer.
    pub fp_context: i32,
    /// The slot of the `JSFunction`.
    pub fp_function: i32,
    /// The slot of the bytecode array, in a frame of the interpreter.
    pub fp_bytecode_array: i32,
    /// The slot of the bytecode offset, there.
    pub fp_bytecode_offset: i32,
    /// `JSFunction.shared_function_info`.
    pub function_shared: u32,
    /// `SharedFunctionInfo.name_or_scope_info`.
    pub shared_name: u32,
    /// `SharedFunctionInfo.script`.
    pub shared_script: u32,
}
const _: () = assert!(size_of::<V8Layout>() == 32);

/// A JavaScript frame as the kernel side saw it; its return address is that of the native frame in
/// whose place it stands.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct JsFrame {
    /// Address of the `SharedFunctionInfo`, untagged; 0 where it could not be read. The garbage
    /// collector may move it, though rarely.
    pub shared_avma: u64,
    /// [`cookie`] of what it holds: another value proves that something else is there now.
    pub cookie: u32,
    /// See the kinds.
    pub position: i32,
    /// One of the `JS_*` constants.
    pub kind: u32,
    /// Index of the native frame.
    pub native_index: u32,
}
const _: () = assert!(size_of::<JsFrame>() == 24);

/// Bits of an address of user space.
const ADDRESS_BITS: u32 = 48;
const ADDRESS_MASK: u64 = (1 << ADDRESS_BITS) - 1;
/// Set in a return address behind which a JavaScript frame's words follow.
pub const HAS_JS: u64 = 1 << 63;

impl JsFrame {
    /// As it lies in a record, behind its return address.
    #[inline(always)]
    pub const fn to_words(self) -> [u64; 2] {
        [
            (self.shared_avma & ADDRESS_MASK) | (self.kind as u64) << ADDRESS_BITS,
            self.position as u32 as u64 | (self.cookie as u64) << 32,
        ]
    }

    /// The inverse.
    #[inline(always)]
    pub const fn from_words(words: [u64; 2], native_index: u32) -> Self {
        Self {
            shared_avma: words[0] & ADDRESS_MASK,
            cookie: (words[1] >> 32) as u32,
            position: words[1] as i32,
            kind: (words[0] >> ADDRESS_BITS) as u32,
            native_index,
        }
    }
}

/// What tells one `SharedFunctionInfo` from another that takes its place: its words
/// `name_or_scope_info` and `script`.
#[inline(always)]
pub const fn cookie(name: u64, script: u64) -> u32 {
    let mixed = (name ^ script.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_out_of_its_words() {
        let frame = JsFrame {
            shared_avma: 0x7fff_dead_bee0,
            cookie: 0xffff_0001,
            position: -53,
            kind: JS_BUILTIN,
            native_index: 9,
        };
        assert_eq!(JsFrame::from_words(frame.to_words(), 9), frame);
    }
}
