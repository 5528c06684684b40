//! The page array of one zone: index to page descriptor.

use crate::sync::{AtomicU32, AtomicU64};
use crate::word::PageIdx;

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
}

impl Default for PageDesc {
    fn default() -> Self {
        Self::new()
    }
}

/// The page descriptors of one zone.
///
/// The array starts at a multiple of the largest block, so that buddy arithmetic on indices equals
/// buddy arithmetic on pfns; its length is a multiple of the largest block too.
#[derive(Clone, Copy, Debug)]
pub struct PageArray<'a> {
    pages: &'a [PageDesc],
}

impl<'a> PageArray<'a> {
    /// Wraps the descriptors of a zone.
    pub fn new(pages: &'a [PageDesc]) -> Self {
        PageArray { pages }
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
        &self.pages[idx as usize]
    }

    /// The descriptor of a page, if it exists.
    #[inline(always)]
    pub fn get(self, idx: PageIdx) -> Option<&'a PageDesc> {
        self.pages.get(idx as usize)
    }
}
