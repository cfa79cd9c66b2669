//! Memory that is needed soon, asked for all at once. With many sessions the state of one is in no cache when its turn comes:
//! read as it is needed, line after line, each is waited for on its own.
#![allow(unsafe_code)] // the processor's instruction takes a pointer, which it never follows where it may not

/// What one line of a cache holds.
const LINE: usize = 64;

/// Asks for all of `soon`, and waits for nothing.
#[inline(always)]
pub(crate) fn prefetch<T>(soon: &T) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..size_of::<T>()).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the place is inside of `soon`, and a prefetch reads nothing that a program could see.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(soon).cast::<i8>().add(at)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = soon;
}
