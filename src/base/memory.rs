//! Gives memory back to the operating system, and shares a little of it with the supervisor. The one file with `unsafe`
//! (`docs/adr/0009-memory.md`, 0026): glibc keeps freed memory unless it is told otherwise, and a node that rests should be
//! small.
#![expect(unsafe_code, reason = "calls into the C library that the whole program is linked with")]

use std::ffi::c_int;
use std::ffi::c_void;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;

use rustix::fs::SealFlags;
use rustix::process::Signal;

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

/// Has a write beyond the limit of file sizes fail, where the kernel would end the process without a word (`SIGXFSZ`). What is
/// started from then on ignores it as well. Called once, before the process has threads.
pub fn outlive_file_limit() {
    /// `SIG_IGN` of `signal.h`.
    const IGNORE: usize = 1;
    unsafe extern "C" {
        fn signal(number: c_int, handler: usize) -> usize;
    }
    // SAFETY: `SIG_IGN` is no function, so nothing of ours runs in a signal; a number that is none the kernel refuses.
    let _before = unsafe { signal(Signal::XFSZ.as_raw(), IGNORE) };
}

/// Maps the beginning of a file as numbers that several processes share, for as long as this process lives; `None` where the
/// kernel refuses. The file must be that long, and must never become shorter: it is sealed against that.
#[must_use]
pub fn shared_words(file: &std::fs::File, count: usize) -> Option<&'static [AtomicU64]> {
    /// `PROT_READ | PROT_WRITE` and `MAP_SHARED` of `sys/mman.h`.
    const READ_WRITE: c_int = 3;
    const SHARED: c_int = 1;
    unsafe extern "C" {
        fn mmap(at: *mut c_void, bytes: usize, how: c_int, flags: c_int, fd: c_int, offset: i64) -> *mut c_void;
    }
    let bytes = count.checked_mul(size_of::<AtomicU64>())?;
    if bytes == 0 || file.metadata().ok()?.len() < bytes as u64 {
        return None;
    }
    // SAFETY: a new mapping anywhere (no address is asked for) overlaps nothing; the descriptor is open, and the kernel
    // checks the rest.
    let at = unsafe { mmap(std::ptr::null_mut(), bytes, READ_WRITE, SHARED, file.as_raw_fd(), 0) };
    if at.is_null() || at as isize == -1 {
        return None;
    }
    // SAFETY: the mapping is page-aligned, that long, readable and writable, and is never unmapped. All bit patterns are
    // numbers, and whoever else writes there, in this process or another, does so by atomics or by the kernel's copies,
    // which atomics allow. The file is sealed against shrinking (`flight::make`), so that no access faults.
    Some(unsafe { std::slice::from_raw_parts(at.cast::<AtomicU64>(), count) })
}

/// Takes over a sealed piece of memory that this process was started with; `None` where there is none under that number. To
/// be called once for a number, before the process opens anything that could be given the same.
#[must_use]
pub fn inherited(number: c_int) -> Option<std::fs::File> {
    // Those are everybody's.
    if number <= 2 {
        return None;
    }
    // SAFETY: the descriptor is only looked at here, not closed; one that is not open is refused by the kernel.
    let seen = unsafe { BorrowedFd::borrow_raw(number) };
    // Nothing else of this program is ever sealed.
    let seals = rustix::fs::fcntl_get_seals(seen).ok()?;
    if !seals.contains(SealFlags::SHRINK | SealFlags::GROW) {
        return None;
    }
    // SAFETY: it is open and sealed, as was just seen, so the starter made it for this process alone (the contract above).
    Some(std::fs::File::from(unsafe { OwnedFd::from_raw_fd(number) }))
}

/// Reads where nothing is, as a bug would: for drills, which see what becomes of it.
pub fn touch_nothing() {
    // Of the first page, which no process has.
    let nowhere = std::hint::black_box(8_usize) as *const u64;
    // SAFETY: none: this is the access that must fail. It touches memory of nobody, and ends the process.
    let _never = std::hint::black_box(unsafe { std::ptr::read_volatile(nowhere) });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::inherited;
    use super::shared_words;

    #[test]
    fn words_are_shared_with_the_file_and_a_short_file_is_refused() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let (one, other) = (shared_words(&file, 512).unwrap(), shared_words(&file, 512).unwrap());
        one[7].store(42, Ordering::SeqCst);
        assert_eq!(other[7].load(Ordering::SeqCst), 42);
        assert!(shared_words(&file, 513).is_none());
    }

    #[test]
    fn what_is_not_open_is_not_taken_over() {
        assert!(inherited(-1).is_none() && inherited(1).is_none() && inherited(1_000_000).is_none());
    }
}
