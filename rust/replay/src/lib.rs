//! Recordings of the Linux page allocator: parsing, replay, comparison.

pub mod report;
