//! Hand-over of all free memory to the page allocator, and the end of memblock.

use super::{FLAG_HOTPLUG, FLAG_NOMAP, ListKind, Memblock, MemblockError};
use crate::types::Pfn;
use core::ops::Range;

/// A range of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PfnSpan {
    /// First page.
    pub start: Pfn,
    /// First page after it.
    pub end: Pfn,
}

/// What `memblock_free_all` does to the page allocator. Nothing is stored: blocks are computed
/// while they are walked, so that a large machine costs no memory.
#[derive(Clone, Copy, Debug)]
pub struct HandOver<'a> {
    memblock: &'a Memblock,
    max_low_pfn: Pfn,
}

impl Memblock {
    /// Plans the hand-over of free memory below `max_low_pfn` (`memblock_free_all`).
    ///
    /// First the HOTPLUG flag is cleared everywhere, so that nothing is withheld. Memblock stays
    /// usable until [`Memblock::discard`].
    pub fn free_all(&mut self, max_low_pfn: Pfn) -> Result<HandOver<'_>, MemblockError> {
        match self.clear_flag(0, u64::MAX, FLAG_HOTPLUG) {
            // The kernel does not look at the result: regions keep the flag then.
            Ok(()) | Err(MemblockError::NoMemory) => Ok(self.hand_over(max_low_pfn)),
            Err(error) => Err(error),
        }
    }

    /// The hand-over as the lists stand: [`Memblock::free_all`] without its first step.
    pub fn hand_over(&self, max_low_pfn: Pfn) -> HandOver<'_> {
        HandOver { memblock: self, max_low_pfn }
    }

    /// Ends memblock (`memblock_discard`): grown arrays are given back, and every later change is
    /// refused. Returns the pages to free, one at a time, in order.
    pub fn discard(&mut self) -> Result<Vec<Pfn>, MemblockError> {
        self.check_open()?;
        self.discarded = true;
        let arrays = [ListKind::Reserved, ListKind::Memory].into_iter().filter_map(|list| self.grown_array(list));
        Ok(arrays.flat_map(|array| self.free_late(array.base, array.size)).collect())
    }

    /// Pages that `memblock_free_late` frees one at a time for a byte range: those wholly inside.
    pub fn free_late(&self, base: u64, size: u64) -> Range<Pfn> {
        let span = pages_inside(base, base.saturating_add(size), self.geometry.page_shift);
        span.start..span.end
    }
}

impl<'a> HandOver<'a> {
    /// Byte ranges whose pages, partial ones included, are marked reserved, in order: all reserved
    /// regions (`(0, 0)` if there is none), then memory without a mapping.
    pub fn reserved_ranges(&self) -> impl Iterator<Item = (u64, u64)> + 'a {
        let nomap = self.memblock.memory().iter().filter(|region| region.flags & FLAG_NOMAP != 0);
        self.memblock.for_each_reserved_mem_range().chain(nomap.map(|region| (region.base, region.end())))
    }

    /// Ranges of wholly free pages, ascending (`__free_memory_core`).
    pub fn free_spans(&self) -> impl Iterator<Item = PfnSpan> + 'a {
        let HandOver { memblock, max_low_pfn } = *self;
        let page_shift = memblock.geometry.page_shift;
        memblock.for_each_free_mem_range(None, 0).filter_map(move |range| {
            let span = pages_inside(range.start, range.end, page_shift);
            let end = span.end.min(max_low_pfn);
            (span.start < end).then_some(PfnSpan { end, ..span })
        })
    }

    /// `(pfn, order)` of the blocks given to the page allocator, in order (`__free_pages_memory`).
    pub fn free_blocks(&self) -> impl Iterator<Item = (Pfn, u32)> + 'a {
        let max_order = self.memblock.geometry.max_order;
        self.free_spans().flat_map(move |span| FreeBlocks::new(span, max_order))
    }

    /// Number of pages given to the page allocator.
    pub fn nr_pages(&self) -> u64 {
        self.free_spans().map(|span| span.end - span.start).sum()
    }
}

/// Pages wholly inside a byte range; none if the start cannot be rounded up.
fn pages_inside(start: u64, end: u64, page_shift: u32) -> PfnSpan {
    // Here the kernel's rounding would wrap and hand out page 0 onwards; no machine has such memory.
    let start = start.div_ceil(1 << page_shift);
    PfnSpan { start, end: (end >> page_shift).max(start) }
}

/// Cuts a range of pages into the largest aligned blocks, from its start on.
#[derive(Clone, Debug)]
pub struct FreeBlocks {
    next: Pfn,
    end: Pfn,
    largest: u32,
}

impl FreeBlocks {
    /// Blocks of orders below `max_order` (at least order 0).
    pub fn new(span: PfnSpan, max_order: u32) -> FreeBlocks {
        FreeBlocks { next: span.start, end: span.end, largest: max_order.saturating_sub(1) }
    }
}

impl Iterator for FreeBlocks {
    type Item = (Pfn, u32);

    fn next(&mut self) -> Option<(Pfn, u32)> {
        let nr_left = self.end.checked_sub(self.next).filter(|&nr| nr > 0)?;
        // Page 0 is aligned to everything: trailing_zeros says 64.
        let order = self.next.trailing_zeros().min(self.largest).min(nr_left.ilog2());
        let pfn = self.next;
        self.next += 1 << order;
        Some((pfn, order))
    }
}
