//! Memory for a segment.

use crate::sync::{AtomicU64, Relaxed};
use core::ptr::NonNull;
use std::sync::Arc;

/// Pages of the operating system; sparse copies work in these units.
pub(super) const OS_PAGE: usize = 4096;
pub(super) const WORDS_PER_OS_PAGE: usize = OS_PAGE / 8;

/// One mapped piece of memory, unmapped when the last user drops it.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is plain memory that is valid from any thread; all access goes through
// `Shared` types, which consist of atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Fresh private zeroed memory; pages that are never touched cost nothing. Err is the errno.
    pub fn anonymous(len: usize) -> Result<Arc<Mapping>, i32> {
        Self::fresh(len, libc::MAP_PRIVATE)
    }

    /// The same, but processes that this one forks share it.
    pub fn inherited(len: usize) -> Result<Arc<Mapping>, i32> {
        Self::fresh(len, libc::MAP_SHARED)
    }

    fn fresh(len: usize, sharing: i32) -> Result<Arc<Mapping>, i32> {
        let len = len.next_multiple_of(OS_PAGE).max(OS_PAGE);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = sharing | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a null hint and an anonymous mapping touch no existing memory.
        let base = unsafe { libc::mmap(core::ptr::null_mut(), len, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(last_errno());
        }
        // Huge pages would make a few touched descriptors of a large machine resident by the
        // 2 MiB. Failure only costs memory.
        // SAFETY: exactly the range that was just mapped.
        let _ = unsafe { libc::madvise(base, len, libc::MADV_NOHUGEPAGE) };
        let base = NonNull::new(base.cast::<u8>()).ok_or(libc::ENOMEM)?;
        Ok(Arc::new(Mapping { base, len }))
    }

    /// Length in bytes, a multiple of the operating system's page size.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Mappings are never empty.
    pub fn is_empty(&self) -> bool {
        false
    }

    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// All of it as words.
    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: (1) the mapping is page aligned and `len` is a multiple of the word size;
        // (2) it lives as long as `self`; (3) any bit pattern is a valid AtomicU64; (4) all other
        // access is atomic too.
        unsafe { core::slice::from_raw_parts(self.base.cast::<AtomicU64>().as_ptr(), self.len / 8) }
    }

    /// Calls `visit(page number, words)` for every operating-system page that is not all zero.
    pub(super) fn for_each_page(&self, mut visit: impl FnMut(usize, &[AtomicU64])) {
        for (number, page) in self.words().chunks_exact(WORDS_PER_OS_PAGE).enumerate() {
            // ORDERING(R5)
            if page.iter().any(|word| word.load(Relaxed) != 0) {
                visit(number, page);
            }
        }
    }

    /// Copies everything into a fresh mapping of the same length.
    pub fn copy_to(&self, fresh: &Mapping) {
        let target = fresh.words();
        self.for_each_page(|number, page| {
            let start = number * WORDS_PER_OS_PAGE;
            for (to, from) in target[start..start + WORDS_PER_OS_PAGE].iter().zip(page) {
                to.store(from.load(Relaxed), Relaxed); // ORDERING(R5)
            }
        });
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that was mapped; every slice into it holds the Arc, so none
        // is left. A failure could only leak address space.
        let _ = unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

fn last_errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::ENOMEM)
}

/// The cpu the calling thread runs on, as far as the operating system tells.
#[inline(always)]
pub fn current_cpu() -> usize {
    if cfg!(any(feature = "loom", feature = "schedules")) {
        return 0; // the same in each run
    }
    // SAFETY: the call takes no argument and cannot fail in a harmful way; -1 means unknown.
    let cpu = unsafe { libc::sched_getcpu() };
    usize::try_from(cpu).unwrap_or(0)
}
