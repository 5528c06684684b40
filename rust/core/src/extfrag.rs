//! External fragmentation of a zone, as the kernel measures it.
//!
//! Pure functions over the number of free blocks per order. Source: mm/vmstat.c.

/// What the indices are computed from (`struct contig_page_info`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContigPageInfo {
    order: u32,
    /// Free pages in blocks of any order.
    pub free_pages: u64,
    /// Free blocks of any order.
    pub free_blocks_total: u64,
    /// Blocks of the wanted order that the free blocks at least as large amount to.
    pub free_blocks_suitable: u64,
}

impl ContigPageInfo {
    /// Sums up the free blocks of each order (`nr_free[order]`) for a request of `order`.
    ///
    /// An order without an entry is larger than any block. Source: mm/vmstat.c,
    /// `fill_contig_page_info`.
    pub fn new(nr_free: &[u64], order: u32) -> ContigPageInfo {
        let mut info = ContigPageInfo { order, free_pages: 0, free_blocks_total: 0, free_blocks_suitable: 0 };
        for (block_order, &blocks) in (0u32..).zip(nr_free) {
            info.free_blocks_total += blocks;
            info.free_pages += blocks << block_order;
            if block_order >= order {
                info.free_blocks_suitable += blocks << (block_order - order);
            }
        }
        info
    }

    /// Why a request of the order would fail: towards 0 for lack of memory, towards 1000 for
    /// fragmentation. -1000 if it would succeed; other negative values occur when a few large
    /// blocks are free that are not large enough.
    ///
    /// Source: mm/vmstat.c, `__fragmentation_index`.
    pub fn extfrag_index(&self) -> i32 {
        if self.free_blocks_total == 0 {
            return 0;
        }
        if self.free_blocks_suitable != 0 {
            return -1000;
        }
        let requested = (self.free_pages * 1000).checked_shr(self.order).unwrap_or(0);
        // No free block is as large, so that at most 1500 is subtracted.
        1000 - ((1000 + requested) / self.free_blocks_total) as i32
    }

    /// Share of the free pages that a request of the order cannot use, in thousandths.
    ///
    /// Source: mm/vmstat.c, `unusable_free_index`.
    pub fn unusable_index(&self) -> u32 {
        (self.unusable_pages() * 1000).checked_div(self.free_pages).unwrap_or(1000) as u32
    }

    /// The same share in percent, and 0 if nothing is free (`extfrag_for_order`).
    pub fn extfrag_percentage(&self) -> u32 {
        (self.unusable_pages() * 100).checked_div(self.free_pages).unwrap_or(0) as u32
    }

    fn unusable_pages(&self) -> u64 {
        self.free_pages - self.free_blocks_suitable.checked_shl(self.order).unwrap_or(0)
    }
}

/// An index as debugfs extfrag/extfrag_index prints it, without the space that follows.
///
/// The integer part of a value between -1000 and 0 has no sign; the fraction keeps it.
/// Source: mm/vmstat.c, `extfrag_show_print`.
pub fn extfrag_index_text(index: i32) -> String {
    format!("{:2}.{:03}", index / 1000, index % 1000)
}

/// An index as debugfs extfrag/unusable_index prints it, without the space that follows.
///
/// Source: mm/vmstat.c, `unusable_show_print`.
pub fn unusable_index_text(index: u32) -> String {
    format!("{}.{:03}", index / 1000, index % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(blocks: &[(usize, u64)], order: u32) -> ContigPageInfo {
        let mut nr_free = [0; 11];
        for (block_order, count) in blocks {
            nr_free[*block_order] = *count;
        }
        ContigPageInfo::new(&nr_free, order)
    }

    #[test]
    fn many_small_blocks_are_fragmentation() {
        let info = info(&[(0, 100), (1, 50)], 3);
        assert_eq!((info.free_pages, info.free_blocks_total, info.free_blocks_suitable), (200, 150, 0));
        assert_eq!(extfrag_index_text(info.extfrag_index()), " 0.827");
        assert_eq!(unusable_index_text(info.unusable_index()), "1.000");
        assert_eq!(info.extfrag_percentage(), 100);
    }

    #[test]
    fn one_block_half_the_size_gives_a_negative_index() {
        let index = info(&[(2, 1)], 3).extfrag_index();
        assert_eq!(index, -500);
        assert_eq!(extfrag_index_text(index), " 0.-500");
        assert_eq!(extfrag_index_text(-5), " 0.-05");
    }

    #[test]
    fn a_suitable_block_is_success() {
        let info = info(&[(0, 24), (3, 1), (10, 1)], 3);
        assert_eq!(info.free_blocks_suitable, 1 + 128);
        assert_eq!(extfrag_index_text(info.extfrag_index()), "-1.000");
        assert_eq!(unusable_index_text(info.unusable_index()), "0.022");
        assert_eq!(info.extfrag_percentage(), 2);
    }

    #[test]
    fn nothing_free() {
        let info = info(&[], 0);
        assert_eq!((info.extfrag_index(), info.unusable_index(), info.extfrag_percentage()), (0, 1000, 0));
        assert_eq!(ContigPageInfo::new(&[], 0), info);
    }

    #[test]
    fn orders_beyond_the_largest_find_nothing_suitable() {
        for order in [11, 63, 64, u32::MAX] {
            let info = info(&[(10, 1 << 18)], order);
            assert_eq!((info.free_blocks_suitable, info.unusable_index()), (0, 1000));
            // One block of the largest order is half of the next.
            assert_eq!(info.extfrag_index(), if order == 11 { 500 } else { 1000 });
        }
    }
}
