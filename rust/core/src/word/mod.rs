//! State words: one per file, pure transitions, no memory access.
//!
//! Masks and shifts appear nowhere else in the crate.

pub mod list_head;
pub mod page_info;
pub mod page_word;
pub mod split_register;

/// Page index inside a zone: pfn minus the zone's base. 28 bits, so a zone spans at most 1 TiB of
/// 4 KiB pages.
pub type PageIdx = u32;

/// "No page": the end of a list.
pub const NIL: PageIdx = (1 << INDEX_BITS) - 1;

/// Width of a page index in every word.
pub const INDEX_BITS: u32 = 28;
