//! Blocks that are freed one after the other, put as the larger blocks they make up together.
//!
//! If 2^k blocks that follow each other in time are together one aligned block, all go to one list
//! type and nothing restricts merging among them, then freeing them one by one ends as freeing that
//! block at once does. Until the last of them comes, some page of the aligned block is in use; so
//! whatever the others merge into lies inside it, is put into lists, and is taken out again by a
//! later one of them. Other blocks keep their places in all lists meanwhile. The last one merges
//! with all the others and goes on from there as a block of the larger order, which is where the
//! one free begins.

use crate::buddy::Buddy;
use crate::free_area::Side;
use crate::word::PageIdx;

/// Blocks of one order that lie side by side, freed in ascending or in descending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    first: PageIdx,
    last: PageIdx,
    order: u32,
    /// Distance from one to the next; 0 while there is only one.
    step: i32,
}

impl Run {
    /// One block.
    #[inline(always)]
    pub fn new(x: PageIdx, order: u32) -> Run {
        Run { first: x, last: x, order, step: 0 }
    }

    /// Adds the block that is freed next if it continues the run and lies in the same aligned
    /// block of order `window` as the others; says whether it does.
    #[inline(always)]
    pub fn push(&mut self, x: PageIdx, window: u32) -> bool {
        let continues = self.is_continued_by(x, window);
        if continues {
            (self.last, self.step) = (x, x.wrapping_sub(self.last) as i32);
        }
        continues
    }

    /// Would [`Self::push`] add the block?
    #[inline(always)]
    pub fn is_continued_by(&self, x: PageIdx, window: u32) -> bool {
        let step = x.wrapping_sub(self.last) as i32;
        let continues = if self.step == 0 { step.unsigned_abs() == 1 << self.order } else { step == self.step };
        continues && (x ^ self.first) >> window == 0
    }

    /// Some block of the run.
    #[inline(always)]
    pub fn first(&self) -> PageIdx {
        self.first
    }

    /// Order of its blocks.
    #[inline(always)]
    pub fn order(&self) -> u32 {
        self.order
    }

    /// Number of its blocks.
    #[inline(always)]
    pub fn nr_blocks(&self) -> u32 {
        (self.first.abs_diff(self.last) >> self.order) + 1
    }

    /// The largest aligned blocks that follow each other in the run: first page and order.
    #[inline(always)]
    pub fn for_each_block(&self, mut put: impl FnMut(PageIdx, u32)) {
        if self.step == 0 {
            return put(self.first, self.order); // as most are where memory is scattered
        }
        let mut low = self.first.min(self.last);
        let mut end = self.first.max(self.last) + (1 << self.order);
        while low < end {
            let largest = (end - low).ilog2();
            if self.step < 0 {
                let order = largest.min(end.trailing_zeros());
                end -= 1 << order;
                put(end, order);
            } else {
                let order = largest.min(low.trailing_zeros());
                put(low, order);
                low += 1 << order;
            }
        }
    }
}

/// Finds the runs in pages that are freed one after the other, in windows of order `window`.
#[inline(always)]
pub fn for_each_run(pages: impl Iterator<Item = PageIdx>, window: u32, mut free: impl FnMut(&Run)) {
    let mut current: Option<Run> = None;
    for x in pages {
        if let Some(run) = &mut current {
            if run.push(x, window) {
                continue;
            }
            free(run);
        }
        current = Some(Run::new(x, 0));
    }
    if let Some(run) = &current {
        free(run);
    }
}

impl Buddy<'_> {
    /// Up to this order the pages of an aligned block have one type, and merge if they are all free.
    #[inline(always)]
    pub fn run_window(&self) -> u32 {
        self.area.rule.top.min(self.blocks().order())
    }

    /// Frees the blocks of a run to list type `mt`, as so many calls of [`Self::put`] would. The run
    /// lies in a window of at most [`Self::run_window`].
    #[inline(always)]
    pub fn put_run(&self, run: &Run, mt: usize, side: Side) {
        run.for_each_block(|x, order| self.put_one(x, order, mt, side));
    }

    /// [`Self::put`] out of line, for the three places where blocks of a run are put.
    #[inline(never)]
    fn put_one(&self, x: PageIdx, order: u32, mt: usize, side: Side) {
        self.put(x, order, mt, side);
    }
}
