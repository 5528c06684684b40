//! The page (buddy) allocator of Linux 5.17.9: exact when driven sequentially, lock-free when
//! driven concurrently.
//!
//! A module uses only modules of lower layers; `tools/check_layers.py` holds the list.

pub mod buddy;
pub mod config;
pub mod error;
pub mod free_area;
pub mod free_list;
pub mod gfp;
pub mod layout;
pub mod memblock;

pub mod page_array;
pub mod pageblock;
#[cfg(not(feature = "loom"))]
pub mod segment;
pub mod state;
pub mod sync;
pub mod types;
pub mod watermark;
pub mod word;
