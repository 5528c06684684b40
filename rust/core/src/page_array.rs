//! The page array of one zone: index to page descriptor.

use crate::sync::{AtomicU32, AtomicU64, SeqCst};
use crate::types::MAX_ORDER;
use crate::word::PageIdx;
use crate::word::page_word::PageWord;

/// One page descriptor: 16 bytes for every page the zone spans.
///
/// All zero (the state of untouched memory) is a page that is on no free list and was not handed
/// out: reserved, a hole, or the interior of a block.
#[derive(Debug)]
#[repr(C)]
pub struct PageDesc {
    /// Buddy state and link: [`crate::word::page_word`].
    pub word: AtomicU64,
    /// A hint to the previous page of the list; may be wrong.
    pub prev: AtomicU32,
    /// What was handed out: [`crate::word::page_info`].
    pub info: AtomicU32,
}

const _: () = assert!(size_of::<PageDesc>() == 16 || cfg!(feature = "loom"));

impl PageDesc {
    /// A page that is on no list and was not handed out.
    pub fn new() -> Self {
        PageDesc { word: AtomicU64::new(0), prev: AtomicU32::new(0), info: AtomicU32::new(0) }
    }

    /// Is the page not the first one of a block that is free or about to be?
    ///
    /// ORDERING(S1): SeqCst, pairs with the promote.
    #[inline(always)]
    pub fn is_in_use(&self) -> bool {
        PageWord::from_raw(self.word.load(SeqCst)).is_frozen() // ORDERING(S1)
    }
}

impl Default for PageDesc {
    fn default() -> Self {
        Self::new()
    }
}

/// Every so many pages, the first one has its descriptor in a table of its own: log2.
pub const HEAD_ORDER: u32 = MAX_ORDER as u32 - 1;
const HEAD_MASK: PageIdx = (1 << HEAD_ORDER) - 1;

/// The page descriptors of one zone.
///
/// The array starts at a multiple of the largest block, so that buddy arithmetic on indices equals
/// buddy arithmetic on pfns; its length is a multiple of the largest block too.
///
/// The first pages of blocks of the largest order have their descriptors in a table of their own,
/// and those in the main table are never used. While memory is free in such blocks, as after boot,
/// only the small table is touched: sixteen bytes for a block of 4 MiB, and boot is as fast.
#[derive(Clone, Copy, Debug)]
pub struct PageArray<'a> {
    pages: &'a [PageDesc],
    heads: &'a [PageDesc],
}

#[cold]
fn unlikely() {}

impl<'a> PageArray<'a> {
    /// Wraps the two tables of a zone; `None` if their lengths do not fit.
    pub fn new(pages: &'a [PageDesc], heads: &'a [PageDesc]) -> Option<Self> {
        (heads.len() == nr_heads(pages.len())).then_some(PageArray { pages, heads })
    }

    /// Number of descriptors.
    #[inline(always)]
    pub fn len(self) -> PageIdx {
        self.pages.len() as PageIdx
    }

    /// Is there no descriptor at all?
    pub fn is_empty(self) -> bool {
        self.pages.is_empty()
    }

    /// The descriptor of a page that is known to exist.
    ///
    /// # Panics
    /// If the index is not in the array, which only a damaged segment can bring about.
    #[inline(always)]
    pub fn page(self, idx: PageIdx) -> &'a PageDesc {
        if idx & HEAD_MASK == 0 {
            unlikely();
            &self.heads[(idx >> HEAD_ORDER) as usize]
        } else {
            &self.pages[idx as usize]
        }
    }

    /// The descriptors of the pages `first..=last`, which lie in one block of the largest order: the
    /// first one if it stands in the table of its own, and the others.
    #[inline(always)]
    pub fn range(self, first: PageIdx, last: PageIdx) -> (Option<&'a PageDesc>, &'a [PageDesc]) {
        debug_assert!(first > last || first >> HEAD_ORDER == last >> HEAD_ORDER);
        let starts_with_head = first <= last && first & HEAD_MASK == 0;
        let rest = first as usize + usize::from(starts_with_head)..last as usize + 1;
        (starts_with_head.then(|| self.page(first)), self.pages.get(rest).unwrap_or_default())
    }

    /// The descriptor of a page, if it exists.
    #[inline(always)]
    pub fn get(self, idx: PageIdx) -> Option<&'a PageDesc> {
        // One check of the bounds, not two: each table ends where the pages do.
        if idx & HEAD_MASK == 0 {
            unlikely();
            self.heads.get((idx >> HEAD_ORDER) as usize)
        } else {
            self.pages.get(idx as usize)
        }
    }
}

/// How many descriptors stand in the small table, if there are so many pages.
pub const fn nr_heads(nr_pages: usize) -> usize {
    nr_pages.div_ceil(1 << HEAD_ORDER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_a_descriptor_of_its_own() {
        let descs = |n: usize| (0..n).map(|_| PageDesc::new()).collect::<Vec<_>>();
        let nr_pages = 3 << HEAD_ORDER;
        let (pages, heads) = (descs(nr_pages), descs(nr_heads(nr_pages)));
        assert!(PageArray::new(&pages, &heads[..2]).is_none());
        let array = PageArray::new(&pages, &heads).expect("three blocks");
        let nr_pages = array.len();
        let mut places: Vec<*const PageDesc> = (0..nr_pages).map(|x| core::ptr::from_ref(array.page(x))).collect();
        assert_eq!(array.get(nr_pages - 1).map(core::ptr::from_ref), places.last().copied());
        assert!(array.get(nr_pages).is_none() && array.get(PageIdx::MAX).is_none());
        for first in [0, 1, 2 << HEAD_ORDER, (1 << HEAD_ORDER) - 1] {
            let last = (first & !HEAD_MASK) + HEAD_MASK;
            let (head, rest) = array.range(first, last);
            let range = head.into_iter().chain(rest).map(core::ptr::from_ref);
            assert!(range.eq(places[first as usize..=last as usize].iter().copied()));
            let (head, rest) = array.range(last + 1, last);
            assert!(head.is_none() && rest.is_empty());
        }
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), nr_pages as usize);
        let small = &pages[..8];
        assert!(PageArray::new(small, &heads[..1]).is_some_and(|array| array.get(0).is_some()));
    }
}
