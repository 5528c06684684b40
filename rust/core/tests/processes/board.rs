//! What processes tell each other beside the machine: who owns which page, and how far each got.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Workers at a time.
pub const MAX_WORKERS: usize = 8;

/// A worker's id in the owner table: never used twice on one board.
pub type Id = u64;

/// Memory that parent and children share, all of it atomics.
pub struct Board {
    words: &'static [AtomicU64],
    nr_pages: usize,
}

impl Board {
    /// A board for so many pages, all zero. It lives as long as the process.
    pub fn new(nr_pages: usize) -> Self {
        let nr_words = nr_pages + 1 + 2 * MAX_WORKERS;
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh anonymous mapping touches no existing memory.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), nr_words * 8, protection, flags, -1, 0) };
        assert!(base != libc::MAP_FAILED, "no memory for the board");
        // SAFETY: the mapping is page aligned, as long as the slice, zeroed, and never unmapped; all
        // access to it is atomic.
        let words = unsafe { std::slice::from_raw_parts(base.cast::<AtomicU64>(), nr_words) };
        Board { words, nr_pages }
    }

    /// Forgets everything. For a board that nobody else uses.
    pub fn clear(&self) {
        self.words.iter().for_each(|word| word.store(0, Relaxed));
    }

    /// Marks a block as owned; the first page that somebody owned already, and who.
    pub fn take(&self, first: u64, order: u32, id: Id) -> Result<(), (u64, Id)> {
        self.exchange(first, order, 0, id)
    }

    /// Gives up a block; the first page that was not ours, and whose it is.
    pub fn give(&self, first: u64, order: u32, id: Id) -> Result<(), (u64, Id)> {
        self.exchange(first, order, id, 0)
    }

    fn exchange(&self, first: u64, order: u32, old: Id, new: Id) -> Result<(), (u64, Id)> {
        (first..first + (1 << order)).try_for_each(|page| {
            let owner = &self.words[page as usize];
            owner.compare_exchange(old, new, Relaxed, Relaxed).map(|_| ()).map_err(|found| (page, found))
        })
    }

    /// Owner of a page, 0 if nobody.
    pub fn owner(&self, page: u64) -> Id {
        self.words[page as usize].load(Relaxed)
    }

    /// Asks all workers to end.
    pub fn stop(&self) {
        self.words[self.nr_pages].store(1, Relaxed);
    }

    /// Are the workers asked to end?
    pub fn is_stopped(&self) -> bool {
        self.words[self.nr_pages].load(Relaxed) != 0
    }

    /// A worker finished an operation.
    pub fn count(&self, worker: usize) {
        self.words[self.nr_pages + 1 + worker].fetch_add(1, Relaxed);
    }

    /// Operations of a worker's place, whoever had it.
    pub fn nr_operations(&self, worker: usize) -> u64 {
        self.words[self.nr_pages + 1 + worker].load(Relaxed)
    }
}
