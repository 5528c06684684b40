//! The split register of one migratetype: the free remainders of the last split, or one large block
//! that was freed while it was empty, in one word.
//!
//! | bits  | field | range          | who may write it                            |
//! |-------|-------|----------------|---------------------------------------------|
//! | 0-27  | base  | page index     | whoever splits or frees (CAS)               |
//! | 28-38 | mask  | orders 0 to 10 | the same, and who takes, merges, spills     |
//!
//! Bit i of the mask means: block `((base >> i) ^ 1) << i` of order i is free and is the *front*
//! element of list (i, mt). The page words of such blocks stay USED. An empty register is zero.
//!
//! The register has value semantics: whenever a CAS finds the expected value, the elements it
//! names are free at that moment, whatever happened in between. It needs no tag.

use super::{INDEX_BITS, PageIdx};
use crate::types::MAX_ORDER;
use core::fmt;

const BASE_MASK: u64 = (1 << INDEX_BITS) - 1;
const MASK_BITS: u64 = (1 << MAX_ORDER) - 1;

const _: () = assert!(INDEX_BITS as usize + MAX_ORDER <= 64);

/// See the module's table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SplitRegister(u64);

impl SplitRegister {
    /// No element.
    pub const EMPTY: SplitRegister = SplitRegister(0);

    /// Interprets a stored value.
    pub const fn from_raw(raw: u64) -> Self {
        SplitRegister(raw)
    }

    /// The value to store.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The remainders of a split that kept `base`: one element per bit of `mask`.
    pub const fn new(base: PageIdx, mask: u32) -> Self {
        if mask == 0 {
            Self::EMPTY
        } else {
            SplitRegister((base as u64 & BASE_MASK) | ((mask as u64 & MASK_BITS) << INDEX_BITS))
        }
    }

    /// The register whose only element is block (page, order).
    pub const fn only(page: PageIdx, order: u32) -> Self {
        Self::new(page ^ (1 << order), 1 << order)
    }

    /// The block that was kept by the split; of a single element the buddy.
    pub const fn base(self) -> PageIdx {
        (self.0 & BASE_MASK) as PageIdx
    }

    /// Orders that have an element.
    pub const fn mask(self) -> u32 {
        ((self.0 >> INDEX_BITS) & MASK_BITS) as u32
    }

    /// Is there no element at all?
    pub const fn is_empty(self) -> bool {
        self.mask() == 0
    }

    /// Is there an element of this order?
    pub const fn has(self, order: u32) -> bool {
        self.mask() >> order & 1 == 1
    }

    /// Is there an element of a smaller order?
    pub const fn has_below(self, order: u32) -> bool {
        self.mask() & ((1 << order) - 1) != 0
    }

    /// The element of this order (meaningful only if [`Self::has`]).
    pub const fn element(self, order: u32) -> PageIdx {
        ((self.base() >> order) ^ 1) << order
    }

    /// Is block (page, order) an element?
    pub const fn contains(self, page: PageIdx, order: u32) -> bool {
        self.has(order) && self.element(order) == page
    }

    /// Is the buddy of block (page, order) an element?
    pub const fn has_buddy_of(self, page: PageIdx, order: u32) -> bool {
        self.has(order) && self.base() >> order == page >> order
    }

    /// Can an element merge with a block at `page`, as far as one can tell from where the two are:
    /// in the same block of the largest order there may be?
    pub const fn is_near(self, page: PageIdx) -> bool {
        const BLOCK_MASK: u64 = BASE_MASK >> (MAX_ORDER - 1) << (MAX_ORDER - 1);
        (self.0 ^ page as u64) & BLOCK_MASK == 0 && !self.is_empty()
    }

    /// Smallest order >= `order` that has an element.
    pub const fn smallest_from(self, order: u32) -> Option<u32> {
        let rest = self.mask() >> order;
        if rest == 0 { None } else { Some(order + rest.trailing_zeros()) }
    }

    /// The register without the elements of `orders`.
    #[must_use]
    pub const fn without(self, orders: u32) -> Self {
        Self::new(self.base(), self.mask() & !orders)
    }

    /// How many merges in a row block (page, order) finds here, at most up to order `limit`.
    pub const fn run_from(self, order: u32, limit: u32) -> u32 {
        let run = (!(self.mask() >> order)).trailing_zeros();
        if order + run > limit { limit - order } else { run }
    }

    /// The register after `n` blocks of order `to` in a row were taken from its element of order
    /// `from`, lowest first: what so many smallest fits leave. The last one is the new base and
    /// leaves the register. `n` is at most what the element holds; elements below `to` must have
    /// been spilled before.
    #[must_use]
    pub const fn take_run(self, from: u32, to: u32, n: u32) -> Self {
        if from == to {
            return self.without(1 << from);
        }
        let last = self.element(from) + ((n - 1) << to);
        let above = self.mask() & !((2 << from) - 1);
        // The upper halves of the splits on the way to the last block that do not hold it.
        let split = !last & ((1 << from) - 1) & !((1 << to) - 1);
        Self::new(last, above | split)
    }
}

impl fmt::Debug for SplitRegister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("split[")?;
        for order in 0..MAX_ORDER as u32 {
            if self.has(order) {
                write!(f, " ({}, {order})", self.element(order))?;
            }
        }
        f.write_str(" ]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(f: SplitRegister) -> Vec<(PageIdx, u32)> {
        (0..11).filter(|&o| f.has(o)).map(|o| (f.element(o), o)).collect()
    }

    /// The elements a split of (page, high) down to `low` leaves (spec 4.6).
    fn remainders(page: PageIdx, high: u32, low: u32) -> Vec<(PageIdx, u32)> {
        (low..high).map(|o| (page + (1 << o), o)).collect()
    }

    #[test]
    fn split_leaves_the_upper_halves() {
        for high in 0..11 {
            for low in 0..=high {
                let page = 5 << 10;
                let f = SplitRegister::new(page, ((1 << high) - 1) & !((1 << low) - 1));
                assert_eq!(elements(f), remainders(page, high, low));
                assert_eq!(f.is_empty(), high == low);
            }
        }
    }

    #[test]
    fn every_take_equals_a_split_of_the_element() {
        // All masks, all orders: taking and splitting the smallest fitting element.
        let page = 3 << 10;
        for mask in 1..1u32 << 11 {
            let f = SplitRegister::new(page | 0x2a5, mask);
            for to in 0..11 {
                let Some(from) = f.smallest_from(to) else { continue };
                let f = f.without((1 << to) - 1);
                let block = f.element(from);
                let mut expected: Vec<_> = elements(f).into_iter().filter(|e| e.1 != from).collect();
                expected.extend(remainders(block, from, to));
                expected.sort_by_key(|e| e.1);
                assert_eq!(elements(f.take_run(from, to, 1)), expected);
            }
        }
    }

    #[test]
    fn a_run_equals_so_many_takes() {
        for mask in (1..1u32 << 11).step_by(7) {
            let f = SplitRegister::new(0x2a5 | 3 << 10, mask);
            for to in 0..6 {
                let Some(from) = f.smallest_from(to) else { continue };
                let f = f.without((1 << to) - 1);
                let mut one_by_one = f;
                for n in 1..=1u32 << (from - to) {
                    let k = one_by_one.smallest_from(to).expect("the element holds more");
                    assert_eq!(one_by_one.element(k), f.element(from) + ((n - 1) << to));
                    one_by_one = one_by_one.take_run(k, to, 1);
                    assert_eq!(elements(f.take_run(from, to, n)), elements(one_by_one), "{f:?} {from} {to} {n}");
                }
            }
        }
    }

    #[test]
    fn one_block_is_the_only_element() {
        for order in 0..11 {
            for page in [0, 1 << order, 7 << 10, (1 << 28) - 2048] {
                assert_eq!(elements(SplitRegister::only(page, order)), [(page, order)]);
            }
        }
    }

    #[test]
    fn near_is_the_same_largest_block() {
        let f = SplitRegister::new(5 << 10 | 77, 1);
        for (page, is_near) in [(5 << 10, true), ((6 << 10) - 1, true), (6 << 10, false), ((5 << 10) - 1, false)] {
            assert_eq!(f.is_near(page), is_near, "{page}");
            assert!(!f.without(1).is_near(page) && !SplitRegister::EMPTY.is_near(page));
        }
    }

    #[test]
    fn runs_stop_at_gaps_and_limits() {
        let f = SplitRegister::new(0, 0b101_1110);
        assert_eq!(f.run_from(1, 10), 4);
        assert_eq!(f.run_from(1, 3), 2);
        assert_eq!(f.run_from(0, 10), 0);
        assert_eq!(f.run_from(6, 10), 1);
        assert_eq!(f.without(0b1110).mask(), 0b101_0000);
        assert!(f.has_buddy_of(0, 1) && !f.has_buddy_of(2, 1) && f.contains(2, 1));
    }
}
