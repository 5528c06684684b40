//! Errors of the core: small, exhaustive, `Copy`.

use crate::types::Pfn;
use core::fmt;

/// Why a machine could not be booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootError {
    /// An option is out of range or contradicts another; the text says which.
    Config(&'static str),
    /// The memory map cannot be used; the text says why.
    MemoryMap(&'static str),
    /// CPUs, nodes or distances do not fit together; the text says why.
    Topology(&'static str),
    /// The operating system refused the segment's memory (errno).
    OutOfMemory(i32),
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BootError::Config(what) | BootError::MemoryMap(what) | BootError::Topology(what) => f.write_str(what),
            BootError::OutOfMemory(errno) => write!(f, "the operating system refused the memory (errno {errno})"),
        }
    }
}

impl std::error::Error for BootError {}

/// What is wrong with a page handed to a freeing function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPageReason {
    /// No page descriptor exists for this pfn.
    OutOfRange,
    /// The page is reserved: it never belonged to the page allocator.
    Reserved,
    /// The page is in use, but is no block that a caller could free: in use already when the
    /// machine's state was recorded, or left behind by `put_page` on a block that is not compound.
    InUse,
    /// The page was taken off the lists for good (hardware poison).
    Offline,
    /// The page is free already, in a free list or a per-cpu list.
    AlreadyFree,
    /// The page lies inside a block that starts at a lower pfn.
    InteriorOfBlock,
    /// The block was allocated with another order.
    WrongOrder,
    /// The pfn is not a multiple of the block's size.
    Unaligned,
    /// The order is not below `MAX_ORDER`.
    OrderOutOfRange,
    /// A compound block cannot be split.
    Compound,
    /// Others hold references of a page that is to be freed at once.
    StillReferenced,
    /// The page has as many references as it can count.
    TooManyReferences,
}

impl BadPageReason {
    /// A sentence fragment for messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            BadPageReason::OutOfRange => "no page descriptor exists for this pfn",
            BadPageReason::Reserved => "the page is reserved and was never handed out",
            BadPageReason::InUse => "the page is in use, but not as a block that was allocated here",
            BadPageReason::Offline => "the page was taken off the lists for good",
            BadPageReason::Compound => "the block is a compound page",
            BadPageReason::StillReferenced => "the page has other references",
            BadPageReason::TooManyReferences => "the page has as many references as it can count",
            BadPageReason::AlreadyFree => "the page is already free",
            BadPageReason::InteriorOfBlock => "the page lies inside an allocated block that starts at a lower pfn",
            BadPageReason::WrongOrder => "the block was allocated with another order",
            BadPageReason::Unaligned => "the pfn is not aligned to the order",
            BadPageReason::OrderOutOfRange => "the order is not below MAX_ORDER",
        }
    }
}

/// A wrong free: nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPage {
    /// The page.
    pub pfn: Pfn,
    /// What is wrong with it.
    pub reason: BadPageReason,
}

impl fmt::Display for BadPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bad page pfn {:#x}: {}", self.pfn, self.reason.as_str())
    }
}

impl std::error::Error for BadPage {}
