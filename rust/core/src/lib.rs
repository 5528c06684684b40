//! The page (buddy) allocator of Linux 5.17.9: exact when driven sequentially, lock-free when
//! driven concurrently.
//!
//! A module uses only modules of lower layers; `tools/check_layers.py` holds the list.

pub mod config;
pub mod error;
pub mod memblock;
pub mod state;
pub mod types;
