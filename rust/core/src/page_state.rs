//! What a page is.

/// What a page is at this moment. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PageState {
    /// No memory stands behind the pfn.
    Hole = 0,
    /// Reserved at boot, never handed to the page allocator.
    Reserved = 1,
    /// In a free block of the buddy lists.
    Buddy = 2,
    /// On a per-cpu list.
    Pcp = 3,
    /// In a block that was handed out.
    Allocated = 4,
    /// Taken off the lists for good (hardware poison).
    Offline = 5,
    /// In use, but no block that a caller could free: in use already when the machine's state was
    /// recorded, or left behind by `put_page` on a block that is not compound.
    Used = 6,
}
