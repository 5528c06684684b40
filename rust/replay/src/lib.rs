//! Recordings of the Linux page allocator: parsing, replay, comparison.

pub mod file;
pub mod golden;
pub mod lines;
pub mod memblock_recording;
pub mod memory_map;
pub mod report;
pub mod trace;
