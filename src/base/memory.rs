//! Gives memory back to the operating system. The one file with `unsafe` (`docs/adr/0009-memory.md`): glibc keeps freed
//! memory unless it is asked, and an idle node should be small.
#![expect(unsafe_code, reason = "a call into the C library that the whole program is linked with")]

/// Returns free pages of all arenas to the operating system. Takes some milliseconds; for idle times.
pub fn give_back() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> i32;
    }
    // SAFETY: `malloc_trim` takes no pointers, is thread-safe, and only releases pages that hold no allocation.
    let _released = unsafe { malloc_trim(0) };
}
