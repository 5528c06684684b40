//! Watermark tests: may a request take pages from a zone?
//!
//! Pure functions over a snapshot of a zone's marks. [`sizing`] computes the marks.
//! Source: mm/page_alloc.c, `__zone_watermark_ok`, `zone_watermark_fast`.

pub mod sizing;

use crate::config::Config;
use crate::gfp::{AllocFlags, Gfp};
use crate::types::{MAX_NR_ZONES, MigrateType};

/// Index of the min watermark (`WMARK_MIN`).
pub const WMARK_MIN: usize = 0;
/// Index of the low watermark (`WMARK_LOW`).
pub const WMARK_LOW: usize = 1;
/// Index of the high watermark (`WMARK_HIGH`).
pub const WMARK_HIGH: usize = 2;

/// What a zone's watermark tests depend on, besides its free pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZoneMarks {
    /// Watermarks min, low and high without boost, in pages (`_watermark`).
    pub raw: [u64; 3],
    /// What is added to all three for now (`watermark_boost`).
    pub boost: u64,
    /// Pages withheld from requests that could use a higher zone, by their highest zone index.
    pub lowmem_reserve: [u64; MAX_NR_ZONES],
    /// Pages in pageblocks reserved for high-order atomic requests.
    pub nr_reserved_highatomic: u64,
    /// Approximate free CMA pages; 0 without CMA.
    pub free_cma: i64,
}

impl ZoneMarks {
    /// A watermark as the kernel reads it: with the boost (`wmark_pages`).
    pub fn watermark(&self, index: usize) -> u64 {
        self.raw[index].saturating_add(self.boost)
    }

    /// The watermark that the flags select, with the boost.
    pub fn selected_by(&self, flags: AllocFlags) -> u64 {
        self.watermark(flags.watermark_index())
    }

    /// Free pages that a request with these flags cannot use; `order` is below `MAX_ORDER`.
    ///
    /// Source: mm/page_alloc.c, `__zone_watermark_unusable_free`.
    pub fn unusable_free(&self, config: &Config, order: u32, flags: AllocFlags) -> i64 {
        let mut unusable = (1i64 << order) - 1;
        if !flags.intersects(AllocFlags::HARDER | AllocFlags::OOM) {
            unusable = unusable.wrapping_add(self.nr_reserved_highatomic as i64);
        }
        if config.cma && !flags.contains(AllocFlags::CMA) {
            unusable = unusable.wrapping_add(self.free_cma);
        }
        unusable
    }
}

/// Which free lists of a zone have blocks.
pub trait FreeBlocks {
    /// The list of this order and migratetype is not empty.
    fn has_free(&self, order: u32, migratetype: MigrateType) -> bool;
}

impl<F: Fn(u32, MigrateType) -> bool> FreeBlocks for F {
    fn has_free(&self, order: u32, migratetype: MigrateType) -> bool {
        self(order, migratetype)
    }
}

/// A zone as the watermark tests see it.
#[derive(Debug)]
pub struct WatermarkTest<'a, L> {
    /// The kernel's options.
    pub config: &'a Config,
    /// The zone's marks.
    pub marks: &'a ZoneMarks,
    /// The zone's free lists.
    pub lists: &'a L,
}

impl<L: FreeBlocks> WatermarkTest<'_, L> {
    /// The full test: enough free pages above the mark, and a block of the order at hand.
    ///
    /// `free_pages` is the caller's reading of the free counter. The request's migratetype plays no
    /// role. Source: mm/page_alloc.c, `__zone_watermark_ok`.
    pub fn is_ok(&self, order: u32, mark: u64, highest_zone_index: usize, flags: AllocFlags, free_pages: i64) -> bool {
        if order >= self.config.max_order {
            return false;
        }
        let free = free_pages.wrapping_sub(self.marks.unusable_free(self.config, order, flags));
        let mut min = mark as i64;
        if flags.contains(AllocFlags::HIGH) {
            min -= min / 2;
        }
        if flags.contains(AllocFlags::OOM) {
            min -= min / 2;
        } else if flags.contains(AllocFlags::HARDER) {
            min -= min / 4;
        }
        if free <= min.wrapping_add(self.marks.lowmem_reserve[highest_zone_index] as i64) {
            return false;
        }
        order == 0 || (order..self.config.max_order).any(|order| self.has_usable_block(order, flags))
    }

    fn has_usable_block(&self, order: u32, flags: AllocFlags) -> bool {
        let has_free = |migratetype| self.lists.has_free(order, migratetype);
        has_free(MigrateType::Unmovable)
            || has_free(MigrateType::Movable)
            || has_free(MigrateType::Reclaimable)
            || (self.config.cma && flags.contains(AllocFlags::CMA) && has_free(MigrateType::Cma))
            || (flags.intersects(AllocFlags::HARDER | AllocFlags::OOM) && has_free(MigrateType::HighAtomic))
    }

    /// The test of the zonelist walk, with a short cut for single pages.
    ///
    /// The mark is the one that `flags` select. Source: mm/page_alloc.c, `zone_watermark_fast`.
    pub fn is_ok_fast(
        &self,
        order: u32,
        highest_zone_index: usize,
        flags: AllocFlags,
        gfp: Gfp,
        free_pages: i64,
    ) -> bool {
        let marks = self.marks;
        let mark = marks.selected_by(flags);
        if order == 0 {
            let usable = free_pages.wrapping_sub(marks.unusable_free(self.config, 0, flags));
            // Compared as unsigned numbers: more unusable than free pages pass. Linux 5.17 does this.
            if usable as u64 > mark.wrapping_add(marks.lowmem_reserve[highest_zone_index]) {
                return true;
            }
        }
        if self.is_ok(order, mark, highest_zone_index, flags, free_pages) {
            return true;
        }
        // A boost only keeps types apart; single atomic pages need not wait for reclaim to end it.
        order == 0
            && gfp.contains(Gfp::ATOMIC)
            && marks.boost != 0
            && flags.watermark_index() == WMARK_MIN
            && self.is_ok(0, marks.raw[WMARK_MIN], highest_zone_index, flags, free_pages)
    }

    /// The test of the reclaim thread: no flags, exact where the counter may mislead.
    ///
    /// `snapshot` adds up the global counter and all pending differentials; it is read if the
    /// `approximate` reading, the global counter alone, is below the zone's drift mark (0: never).
    /// Source: mm/page_alloc.c, `zone_watermark_ok_safe`.
    pub fn is_ok_safe(
        &self,
        order: u32,
        mark: u64,
        highest_zone_index: usize,
        approximate: i64,
        drift_mark: u64,
        snapshot: impl FnOnce() -> i64,
    ) -> bool {
        let is_misleading = drift_mark != 0 && approximate < drift_mark as i64;
        let free = if is_misleading { snapshot() } else { approximate };
        self.is_ok(order, mark, highest_zone_index, AllocFlags::default(), free)
    }
}

#[cfg(test)]
mod tests;
