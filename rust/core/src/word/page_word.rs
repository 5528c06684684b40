//! The page word: a page's buddy state fused with its free-list link.
//!
//! | bits  | field  | range                  | who may write it                                     |
//! |-------|--------|------------------------|------------------------------------------------------|
//! | 0-27  | next   | page index or `NIL`    | the publisher; while FREE whoever relinks (CAS)      |
//! | 28-31 | order  | 0 to 10                | the publisher                                        |
//! | 32-34 | mt     | migratetype 0 to 5     | the publisher                                        |
//! | 35-36 | kind   | USED PEND FREE CLAIMED | see the transitions                                  |
//! | 37    | linked | 0, 1                   | set by the publisher; cleared by the unlinking CAS's winner, or by the owner who proved the node unreachable |
//! | 38-63 | tag    | modulo 2^26            | changed by every publication and every change of next |
//!
//! Life of a free block's first page:
//! ```text
//! USED,L=0 --publish--> PEND,L=1 --promote--> FREE,L=1 --claim--> CLAIMED,L=1 --unlinked--> USED,L=0
//!                                                                      \--leave--> USED,L=1 --clear--> USED,L=0
//! ```
//! Rules (docs/memory-model.md argues them):
//! 1. FREE means linked in list (order, mt). A PEND page may be linked or not; nobody claims it.
//! 2. A word may be published only with L = 0.
//! 3. While the kind is USED or CLAIMED and L = 1, next, order, mt and tag are frozen: a thread
//!    that still reaches the page through the list can unlink it with the frozen `next`.
//! 4. All zero is a page that is USED and not linked, so untouched memory is valid.
//!
//! The tag wraps after 2^26 changes of one word. A CAS can succeed wrongly only if exactly a
//! multiple of 2^26 changes of that word happened while one thread stood between its load and its
//! CAS, and next, order and migratetype are the same too.

use super::{INDEX_BITS, NIL, PageIdx};
use core::fmt;

const NEXT_MASK: u64 = (1 << INDEX_BITS) - 1;
const ORDER_SHIFT: u32 = INDEX_BITS;
const ORDER_MASK: u64 = 0xf;
const MT_SHIFT: u32 = ORDER_SHIFT + 4;
const MT_MASK: u64 = 0x7;
const KIND_SHIFT: u32 = MT_SHIFT + 3;
const KIND_MASK: u64 = 0x3;
const LINKED: u64 = 1 << (KIND_SHIFT + 2);
const TAG_SHIFT: u32 = KIND_SHIFT + 3;
const TAG_ONE: u64 = 1 << TAG_SHIFT;
/// order, migratetype and kind together: what makes a word "FREE in list (order, mt)".
const KEY_MASK: u64 = (ORDER_MASK << ORDER_SHIFT) | (MT_MASK << MT_SHIFT) | (KIND_MASK << KIND_SHIFT);

const _: () = assert!(TAG_SHIFT == 38, "the table above names the bit positions");
const _: () = assert!(crate::types::MAX_ORDER as u64 <= ORDER_MASK + 1);
const _: () = assert!(crate::types::NR_MIGRATETYPES as u64 <= MT_MASK + 1);

/// What a page word says about its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Not a free block's first page.
    Used = 0,
    /// Being published: linked or about to be.
    Pend = 1,
    /// First page of a free block, linked.
    Free = 2,
    /// Taken by one thread, link frozen.
    Claimed = 3,
}

/// See the module's table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PageWord(u64);

impl PageWord {
    /// Interprets a stored value. Every bit pattern is a valid word.
    pub const fn from_raw(raw: u64) -> Self {
        PageWord(raw)
    }

    /// The value to store.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Next page of the list, or [`NIL`].
    pub const fn next(self) -> PageIdx {
        (self.0 & NEXT_MASK) as PageIdx
    }

    /// Order of the block.
    pub const fn order(self) -> u32 {
        ((self.0 >> ORDER_SHIFT) & ORDER_MASK) as u32
    }

    /// Migratetype index of the list.
    pub const fn mt(self) -> usize {
        ((self.0 >> MT_SHIFT) & MT_MASK) as usize
    }

    /// The kind.
    pub const fn kind(self) -> Kind {
        match (self.0 >> KIND_SHIFT) & KIND_MASK {
            0 => Kind::Used,
            1 => Kind::Pend,
            2 => Kind::Free,
            _ => Kind::Claimed,
        }
    }

    /// L: the node may still be reachable through its list.
    pub const fn is_linked(self) -> bool {
        self.0 & LINKED != 0
    }

    /// USED or CLAIMED: the owner holds it, its link is frozen while L is set.
    pub const fn is_frozen(self) -> bool {
        // The first and the last of the four kinds.
        (self.0 >> KIND_SHIFT).wrapping_add(1) & 0b10 == 0
    }

    /// Are all of them USED?
    #[inline(always)]
    pub fn are_used<const N: usize>(all: [PageWord; N]) -> bool {
        const { assert!(Kind::Used as u64 == 0) };
        matches!(PageWord(all.into_iter().fold(0, |bits, word| bits | word.0)).kind(), Kind::Used)
    }

    /// The tag.
    pub const fn tag(self) -> u64 {
        self.0 >> TAG_SHIFT
    }

    /// Is this a free block's first page, in exactly this list?
    pub const fn is_free_in(self, order: u32, mt: usize) -> bool {
        self.0 & KEY_MASK
            == ((order as u64) << ORDER_SHIFT) | ((mt as u64) << MT_SHIFT) | ((Kind::Free as u64) << KIND_SHIFT)
    }

    /// Is this a free block of this order, in whatever list?
    pub const fn is_free_of_order(self, order: u32) -> bool {
        matches!(self.kind(), Kind::Free) && self.order() == order
    }

    /// USED, L = 0 to PEND, L = 1: a new life in list (order, mt), followed by `next`.
    #[must_use]
    pub const fn publish(self, order: u32, mt: usize, next: PageIdx) -> Self {
        PageWord(
            ((self.0 >> TAG_SHIFT << TAG_SHIFT).wrapping_add(TAG_ONE))
                | LINKED
                | ((Kind::Pend as u64) << KIND_SHIFT)
                | ((mt as u64) << MT_SHIFT)
                | ((order as u64) << ORDER_SHIFT)
                | next as u64,
        )
    }

    /// The same publication with another successor: only before the page is linked.
    #[must_use]
    pub const fn retarget(self, next: PageIdx) -> Self {
        PageWord((self.0 & !NEXT_MASK) | next as u64)
    }

    /// A linked page's word with another successor; changes the tag.
    #[must_use]
    pub const fn relink(self, next: PageIdx) -> Self {
        PageWord(((self.0 & !NEXT_MASK) | next as u64).wrapping_add(TAG_ONE))
    }

    /// PEND to FREE.
    #[must_use]
    pub const fn promote(self) -> Self {
        self.with_kind(Kind::Free)
    }

    /// FREE to CLAIMED: freezes the link.
    #[must_use]
    pub const fn claim(self) -> Self {
        self.with_kind(Kind::Claimed)
    }

    /// CLAIMED to USED with the node still reachable (L stays).
    #[must_use]
    pub const fn leave(self) -> Self {
        self.with_kind(Kind::Used)
    }

    /// To USED with L = 0: the node is unreachable.
    #[must_use]
    pub const fn unlinked(self) -> Self {
        PageWord((self.0 >> TAG_SHIFT << TAG_SHIFT) | NIL as u64)
    }

    /// The same word with L = 0.
    #[must_use]
    pub const fn clear_linked(self) -> Self {
        PageWord(self.0 & !LINKED)
    }

    /// The same life (tag) as `other`?
    pub const fn same_life(self, other: PageWord) -> bool {
        self.tag() == other.tag()
    }

    const fn with_kind(self, kind: Kind) -> Self {
        PageWord((self.0 & !(KIND_MASK << KIND_SHIFT)) | ((kind as u64) << KIND_SHIFT))
    }

    /// For planted bugs only: the same word with another word's tag.
    #[must_use]
    pub const fn with_tag_of(self, other: PageWord) -> Self {
        PageWord((self.0 & (TAG_ONE - 1)) | (other.0 >> TAG_SHIFT << TAG_SHIFT))
    }
}

impl fmt::Debug for PageWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} order={} mt={} next=", self.kind(), self.order(), self.mt())?;
        if self.next() == NIL {
            f.write_str("nil")?
        } else {
            write!(f, "{}", self.next())?
        }
        write!(f, " L={} tag={}", u8::from(self.is_linked()), self.tag())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{MAX_ORDER, NR_MIGRATETYPES};

    /// Every combination of kind, L, order and migratetype with edge values of next and tag.
    fn all_words() -> impl Iterator<Item = PageWord> {
        let edges = |max: u64| [0, 1, max / 2, max - 1, max];
        let nexts = edges(NEXT_MASK);
        let tags = edges((1 << 26) - 1);
        (0..4u64).flat_map(move |kind| {
            (0..2u64).flat_map(move |linked| {
                (0..MAX_ORDER as u64).flat_map(move |order| {
                    (0..NR_MIGRATETYPES as u64).flat_map(move |mt| {
                        nexts.into_iter().flat_map(move |next| {
                            tags.into_iter().map(move |tag| {
                                PageWord::from_raw(
                                    next | order << 28 | mt << 32 | kind << 35 | linked << 37 | tag << 38,
                                )
                            })
                        })
                    })
                })
            })
        })
    }

    fn fields(w: PageWord) -> (PageIdx, u32, usize, Kind, bool, u64) {
        (w.next(), w.order(), w.mt(), w.kind(), w.is_linked(), w.tag())
    }

    #[test]
    fn zero_is_used_and_unlinked() {
        let w = PageWord::from_raw(0);
        assert_eq!((w.kind(), w.is_linked()), (Kind::Used, false));
    }

    #[test]
    fn transitions_change_only_their_fields() {
        let wrap = |tag: u64| (tag + 1) & ((1 << 26) - 1);
        let mut seen = 0u32;
        for w in all_words() {
            let (next, order, mt, _, linked, tag) = fields(w);
            for (o, m, n) in [(0, 0, NIL), (10, 5, 0), (9, 3, 12345)] {
                assert_eq!(fields(w.publish(o, m, n)), (n, o, m, Kind::Pend, true, wrap(tag)));
            }
            let kind = w.kind();
            assert_eq!(fields(w.retarget(77)), (77, order, mt, kind, linked, tag));
            assert_eq!(fields(w.relink(77)), (77, order, mt, kind, linked, wrap(tag)));
            assert_eq!(fields(w.promote()), (next, order, mt, Kind::Free, linked, tag));
            assert_eq!(fields(w.claim()), (next, order, mt, Kind::Claimed, linked, tag));
            assert_eq!(fields(w.leave()), (next, order, mt, Kind::Used, linked, tag));
            assert_eq!(fields(w.unlinked()), (NIL, 0, 0, Kind::Used, false, tag));
            assert_eq!(fields(w.clear_linked()), (next, order, mt, kind, false, tag));
            for (o, m) in [(order, mt), (order ^ 1, mt), (order, mt ^ 1)] {
                let expected = kind == Kind::Free && order == o && mt == m;
                assert_eq!(w.is_free_in(o, m), expected, "{w:?}");
            }
            assert_eq!(w.is_frozen(), matches!(kind, Kind::Used | Kind::Claimed));
            seen += 1;
        }
        assert_eq!(seen, 4 * 2 * 11 * 6 * 25);
    }
}
