//! Pageblock migratetypes (include/linux/pageblock-flags.h).

use crate::sync::{AtomicU8, Relaxed};
use crate::types::MigrateType;
use crate::word::PageIdx;

/// The pageblock types of one zone, addressed by page index.
///
/// The array is shared by all zones: a pageblock that straddles a zone boundary has one type.
/// Types are advisory for everybody but their reader: every decision reads one type once.
#[derive(Clone, Copy, Debug)]
pub struct Pageblocks<'a> {
    types: &'a [AtomicU8],
    order: u32,
}

impl<'a> Pageblocks<'a> {
    /// `types[0]` is the pageblock of page index 0.
    pub fn new(types: &'a [AtomicU8], order: u32) -> Self {
        Pageblocks { types, order }
    }

    /// log2 of the pages in a pageblock.
    #[inline(always)]
    pub fn order(self) -> u32 {
        self.order
    }

    /// Pages in a pageblock.
    #[inline(always)]
    pub fn nr_pages(self) -> PageIdx {
        1 << self.order
    }

    /// Migratetype of the pageblock of a page (mm/page_alloc.c, `get_pfnblock_flags_mask`).
    #[inline(always)]
    pub fn get(self, x: PageIdx) -> MigrateType {
        let Some(t) = self.types.get((x >> self.order) as usize) else { return MigrateType::Unmovable };
        // ORDERING(R3)
        MigrateType::from_index(t.load(Relaxed) as usize).unwrap_or(MigrateType::Unmovable)
    }

    /// Sets the type; the caller applies the mobility-grouping rule.
    pub fn set(self, x: PageIdx, mt: MigrateType) {
        if let Some(t) = self.types.get((x >> self.order) as usize) {
            t.store(mt as u8, Relaxed); // ORDERING(R3)
        }
    }

    /// Changes the type if it is still `old`: of several who try the same, one does it.
    #[must_use]
    pub fn replace(self, x: PageIdx, old: MigrateType, new: MigrateType) -> bool {
        let t = self.types.get((x >> self.order) as usize);
        // ORDERING(R3)
        t.is_some_and(|t| t.compare_exchange(old as u8, new as u8, Relaxed, Relaxed).is_ok())
    }
}
