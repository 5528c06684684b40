//! The head of one free list.
//!
//! | bits  | field | range               | who may write it                  |
//! |-------|-------|---------------------|-----------------------------------|
//! | 0-27  | first | page index or `NIL` | whoever pushes, pops, helps (CAS) |
//! | 28-63 | tag   | modulo 2^36         | changed by every CAS              |
//!
//! A stale head CAS could succeed wrongly only after a multiple of 2^36 changes of one head (at
//! 100 million operations per second on one list: eleven minutes within one stalled CAS) that also
//! ends with the same first page.

use super::{INDEX_BITS, NIL, PageIdx};

const FIRST_MASK: u64 = (1 << INDEX_BITS) - 1;
const TAG_ONE: u64 = 1 << INDEX_BITS;

/// See the module's table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListHead(u64);

impl ListHead {
    /// An empty list.
    pub const EMPTY: ListHead = ListHead(NIL as u64);

    /// Interprets a stored value.
    pub const fn from_raw(raw: u64) -> Self {
        ListHead(raw)
    }

    /// The value to store.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// First page of the list, or [`NIL`].
    pub const fn first(self) -> PageIdx {
        (self.0 & FIRST_MASK) as PageIdx
    }

    /// Is nothing linked?
    pub const fn is_empty(self) -> bool {
        self.first() == NIL
    }

    /// The head with another first page and the next tag.
    #[must_use]
    pub const fn with_first(self, first: PageIdx) -> Self {
        ListHead(((self.0 & !FIRST_MASK) | first as u64).wrapping_add(TAG_ONE))
    }

    /// For planted bugs only: another first page under the same tag.
    #[must_use]
    pub const fn with_first_same_tag(self, first: PageIdx) -> Self {
        ListHead((self.0 & !FIRST_MASK) | first as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_has_a_new_tag() {
        assert!(ListHead::EMPTY.is_empty());
        let mut head = ListHead::EMPTY;
        for first in [0, 1, 12345, NIL - 1, NIL] {
            let changed = head.with_first(first);
            assert_eq!(changed.first(), first);
            assert_ne!(changed.raw() >> 28, head.raw() >> 28);
            assert_eq!(changed.is_empty(), first == NIL);
            head = changed;
        }
        let last = ListHead::from_raw(u64::MAX);
        assert_eq!(last.with_first(5).raw(), 5, "the tag wraps into nothing else");
    }
}
