//! Gives memory back to the operating system. The one file with `unsafe` (`docs/adr/0009-memory.md`): glibc keeps freed
//! memory unless it is told otherwise, and a node that rests should be small.
#![expect(unsafe_code, reason = "calls into the C library that the whole program is linked with")]

use std::ffi::c_int;

/// Free bytes at the end of an arena beyond which they go back at once. Naming it stops glibc from raising it to twice
/// the largest block that was ever freed, which left 10 MiB in each of a dozen arenas after a flood of large bodies.
const TRIM_THRESHOLD: c_int = 1024 * 1024;
/// Blocks from this size on are mapped one by one and go back when freed.
const MAP_THRESHOLD: c_int = 512 * 1024;
/// Arenas: two cores' worth of requests and the threads that own something. By default eight for each core.
const ARENAS_MAX: c_int = 4;

/// Tells the allocator to keep little for itself. Called once, before the process has threads.
pub fn keep_little() {
    /// `M_TRIM_THRESHOLD`, `M_MMAP_THRESHOLD`, `M_ARENA_MAX` of `malloc.h`.
    const SETTINGS: [(c_int, c_int); 3] = [(-1, TRIM_THRESHOLD), (-3, MAP_THRESHOLD), (-8, ARENAS_MAX)];
    unsafe extern "C" {
        fn mallopt(parameter: c_int, value: c_int) -> c_int;
    }
    for (parameter, value) in SETTINGS {
        // SAFETY: `mallopt` takes no pointers and only sets a number; one it does not know it refuses.
        let _known = unsafe { mallopt(parameter, value) };
    }
}

/// Returns free pages of all arenas to the operating system. Takes some milliseconds; for idle times.
pub fn give_back() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> c_int;
    }
    // SAFETY: `malloc_trim` takes no pointers, is thread-safe, and only releases pages that hold no allocation.
    let _released = unsafe { malloc_trim(0) };
}
