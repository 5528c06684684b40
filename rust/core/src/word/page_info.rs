//! The page info word: what happened to a page that is not on a free list.
//!
//! | bits  | field      | for kind         | meaning                                              |
//! |-------|------------|------------------|------------------------------------------------------|
//! | 0-1   | kind       | all              | NONE, ALLOCATED, PCP, OFFLINE                        |
//! | 2     | movable    | NONE, ALLOCATED  | on an LRU list or otherwise movable (stealing counts it) |
//! | 3     | compound   | ALLOCATED        | head of a compound page (`__GFP_COMP`)               |
//! | 4-7   | order      | ALLOCATED        | order of the block; of a single page claimed to be freed in a list (NONE) its migratetype |
//! | 8     | pfmemalloc | ALLOCATED        | came from the reserves                               |
//! | 9     | poisoned   | ALLOCATED, OFFLINE | hardware poison                                    |
//! | 12-31 | refcount   | ALLOCATED        | `page_ref_count` of the first page                   |
//! | 2-3   | remembered | PCP              | free list the page returns to, see [`Remembered`]    |
//! | 4-31  | link       | PCP              | in a list's chain: index of the previous XOR of the next page |
//!
//! NONE is everything that is not a handed-out block's first page: free, reserved, a hole, or the
//! interior of a block. The per-cpu lists are doubly linked through `link`; the lease of the cpu
//! slot makes its holder the only writer of PCP words. ALLOCATED words change by CAS, so that of
//! two threads that free the same block exactly one succeeds.

use super::{INDEX_BITS, PageIdx};
use crate::types::{MAX_ORDER, MigrateType};
use core::fmt;

const KIND_MASK: u32 = 3;
const MOVABLE: u32 = 1 << 2;
const COMPOUND: u32 = 1 << 3;
const ORDER_SHIFT: u32 = 4;
const ORDER_MASK: u32 = 0xf;
const PFMEMALLOC: u32 = 1 << 8;
const POISONED: u32 = 1 << 9;
const REF_SHIFT: u32 = 12;
const REMEMBERED_SHIFT: u32 = 2;
const LINK_SHIFT: u32 = 4;

/// Largest reference count a page can carry.
pub const MAX_REFCOUNT: u32 = (1 << (32 - REF_SHIFT)) - 1;

const _: () = assert!(LINK_SHIFT + INDEX_BITS == 32);
const _: () = assert!(MAX_ORDER as u32 <= ORDER_MASK + 1);

/// What a page info word says about its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum InfoKind {
    /// Not the first page of something handed out.
    None = 0,
    /// First page of an allocated block.
    Allocated = 1,
    /// First page of a block on a per-cpu list.
    Pcp = 2,
    /// Taken off the buddy lists for good (hardware poison).
    Offline = 3,
}

/// The migratetype remembered for a page on a per-cpu list, relative to the list's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Remembered {
    /// The list's own migratetype.
    Own = 0,
    /// HighAtomic (filed under Movable).
    HighAtomic = 1,
    /// CMA (filed under Movable).
    Cma = 2,
}

/// See the module's table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PageInfo(u32);

impl PageInfo {
    /// A page that was not handed out.
    pub const NONE: PageInfo = PageInfo(InfoKind::None as u32);

    /// Interprets a stored value. Every bit pattern is a valid word.
    pub const fn from_raw(raw: u32) -> Self {
        PageInfo(raw)
    }

    /// The value to store.
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// The kind.
    pub const fn kind(self) -> InfoKind {
        match self.0 & KIND_MASK {
            0 => InfoKind::None,
            1 => InfoKind::Allocated,
            2 => InfoKind::Pcp,
            _ => InfoKind::Offline,
        }
    }

    /// A freshly allocated block with one reference.
    pub const fn allocated(order: u32, compound: bool, pfmemalloc: bool) -> Self {
        let mut raw = InfoKind::Allocated as u32 | (order & ORDER_MASK) << ORDER_SHIFT | 1 << REF_SHIFT;
        if compound && order > 0 {
            raw |= COMPOUND;
        }
        if pfmemalloc {
            raw |= PFMEMALLOC;
        }
        PageInfo(raw)
    }

    /// A page on a per-cpu list.
    pub const fn pcp(link: PageIdx, remembered: Remembered) -> Self {
        PageInfo(InfoKind::Pcp as u32 | (remembered as u32) << REMEMBERED_SHIFT | link << LINK_SHIFT)
    }

    /// A page taken off the buddy lists.
    pub const fn offline() -> Self {
        PageInfo(InfoKind::Offline as u32 | POISONED)
    }

    /// An allocated single page with one reference that somebody is about to free: nobody's, as far
    /// as others can see. Its migratetype stands in the place of the order.
    #[must_use]
    pub const fn claimed(self, mt: MigrateType) -> Self {
        PageInfo(self.0 & !KIND_MASK).with_order(mt as u32)
    }

    /// The migratetype that [`Self::claimed`] was given.
    pub fn claimed_type(self) -> MigrateType {
        MigrateType::from_index(self.order() as usize).unwrap_or(MigrateType::Unmovable)
    }

    /// What the word was before [`Self::claimed`].
    #[must_use]
    pub const fn unclaimed(self) -> Self {
        PageInfo(self.0 | InfoKind::Allocated as u32).with_order(0)
    }

    /// Is this the first page of an allocated block?
    pub const fn is_allocated(self) -> bool {
        matches!(self.kind(), InfoKind::Allocated)
    }

    /// Is this the first page of an allocated block of this order with exactly one reference?
    pub const fn is_allocated_once(self, order: u32) -> bool {
        let relevant = KIND_MASK | ORDER_MASK << ORDER_SHIFT | MAX_REFCOUNT << REF_SHIFT;
        self.0 & relevant == InfoKind::Allocated as u32 | order << ORDER_SHIFT | 1 << REF_SHIFT
    }

    /// Order of an allocated block.
    pub const fn order(self) -> u32 {
        (self.0 >> ORDER_SHIFT) & ORDER_MASK
    }

    /// Head of a compound page?
    pub const fn is_compound(self) -> bool {
        self.is_allocated() && self.0 & COMPOUND != 0
    }

    /// Head of a compound page of two pages?
    pub const fn is_compound_pair(self) -> bool {
        let relevant = KIND_MASK | COMPOUND | ORDER_MASK << ORDER_SHIFT;
        self.0 & relevant == InfoKind::Allocated as u32 | COMPOUND | 1 << ORDER_SHIFT
    }

    /// Came from the reserves?
    pub const fn is_pfmemalloc(self) -> bool {
        self.is_allocated() && self.0 & PFMEMALLOC != 0
    }

    /// Reference count of an allocated block's first page.
    pub const fn refcount(self) -> u32 {
        if self.is_allocated() { self.0 >> REF_SHIFT } else { 0 }
    }

    /// Counts as movable for the stealing heuristic?
    pub const fn is_movable(self) -> bool {
        const { assert!(InfoKind::None as u32 | InfoKind::Allocated as u32 == 1) };
        self.0 & (KIND_MASK & !1 | MOVABLE) == MOVABLE
    }

    /// Neither this page nor the next one counts as movable because of this word.
    pub const fn is_plain(self) -> bool {
        self.0 & (MOVABLE | COMPOUND) == 0
    }

    /// Are all of them plain?
    #[inline(always)]
    pub fn are_plain<const N: usize>(all: [PageInfo; N]) -> bool {
        PageInfo(all.into_iter().fold(0, |bits, info| bits | info.0)).is_plain()
    }

    /// The same allocated block with another reference count.
    #[must_use]
    pub const fn with_refcount(self, count: u32) -> Self {
        PageInfo((self.0 & ((1 << REF_SHIFT) - 1)) | count << REF_SHIFT)
    }

    /// The same allocated block with another order (splitting).
    #[must_use]
    pub const fn with_order(self, order: u32) -> Self {
        PageInfo((self.0 & !(ORDER_MASK << ORDER_SHIFT)) | order << ORDER_SHIFT)
    }

    /// The same word, counted as movable or not.
    #[must_use]
    pub const fn with_movable(self, movable: bool) -> Self {
        PageInfo(if movable { self.0 | MOVABLE } else { self.0 & !MOVABLE })
    }

    /// XOR of the neighbours' indices on a per-cpu list.
    pub const fn link(self) -> PageIdx {
        self.0 >> LINK_SHIFT
    }

    /// The same per-cpu list entry with another link.
    #[must_use]
    pub const fn with_link(self, link: PageIdx) -> Self {
        PageInfo((self.0 & ((1 << LINK_SHIFT) - 1)) | link << LINK_SHIFT)
    }

    /// Remembered migratetype of a per-cpu list entry.
    pub const fn remembered(self) -> Remembered {
        match (self.0 >> REMEMBERED_SHIFT) & 3 {
            1 => Remembered::HighAtomic,
            2 => Remembered::Cma,
            _ => Remembered::Own,
        }
    }
}

impl fmt::Debug for PageInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            InfoKind::None => f.write_str("NONE")?,
            InfoKind::Allocated => write!(f, "ALLOCATED order={} refcount={}", self.order(), self.refcount())?,
            InfoKind::Pcp => return write!(f, "PCP {:?} link={:#x}", self.remembered(), self.link()),
            InfoKind::Offline => f.write_str("OFFLINE")?,
        }
        for (flag, name) in [(MOVABLE, " movable"), (COMPOUND, " compound"), (PFMEMALLOC, " pfmemalloc")] {
            if self.0 & flag != 0 {
                f.write_str(name)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::word::NIL;

    #[test]
    fn allocated_blocks_keep_what_they_were_given() {
        for order in 0..11 {
            for compound in [false, true] {
                for pfmemalloc in [false, true] {
                    let info = PageInfo::allocated(order, compound, pfmemalloc);
                    assert_eq!(info.order(), order);
                    assert_eq!(info.is_compound(), compound && order > 0);
                    assert_eq!(info.with_movable(true).is_compound_pair(), compound && order == 1);
                    assert_eq!(info.is_pfmemalloc(), pfmemalloc);
                    assert_eq!(info.refcount(), 1);
                    assert!(!info.is_movable());
                    for other in 0..11 {
                        assert_eq!(info.with_movable(true).is_allocated_once(other), other == order);
                        assert!(!info.with_refcount(2).is_allocated_once(other));
                        assert!(!info.with_refcount(0).is_allocated_once(other));
                    }
                    for count in [0, 1, 2, 32769, MAX_REFCOUNT] {
                        let held = info.with_refcount(count).with_movable(true);
                        assert_eq!((held.refcount(), held.order(), held.is_movable()), (count, order, true));
                        assert_eq!(held.with_movable(false).with_refcount(1), info);
                    }
                    assert_eq!(info.with_order(3).order(), 3);
                    for mt in MigrateType::ALL {
                        for movable in [false, true] {
                            let info = PageInfo::allocated(0, false, pfmemalloc).with_movable(movable);
                            let claimed = info.claimed(mt);
                            assert_eq!((claimed.kind(), claimed.is_movable()), (InfoKind::None, movable));
                            assert_eq!((claimed.claimed_type(), claimed.unclaimed()), (mt, info));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn pcp_entries_keep_link_and_type() {
        for link in [0, 1, 0x555_5555, NIL] {
            for remembered in [Remembered::Own, Remembered::HighAtomic, Remembered::Cma] {
                let info = PageInfo::pcp(link, remembered);
                assert_eq!((info.kind(), info.link(), info.remembered()), (InfoKind::Pcp, link, remembered));
                assert_eq!(info.with_link(7).link(), 7);
                assert_eq!(info.with_link(7).remembered(), remembered);
                assert!(!info.is_movable() && info.refcount() == 0);
            }
        }
        assert!((0..1 << 12).map(PageInfo::from_raw).all(|info| {
            info.is_compound_pair() == (info.is_compound() && info.order() == 1)
                && info.is_movable() == (info.raw() & MOVABLE != 0 && info.raw() & KIND_MASK < 2)
        }));
        assert!(!PageInfo::NONE.is_allocated_once(0) && !PageInfo::pcp(1 << 8, Remembered::Own).is_allocated_once(0));
        assert_eq!(PageInfo::NONE.raw(), 0);
        assert_eq!(PageInfo::offline().kind(), InfoKind::Offline);
    }
}
