//! The page (buddy) allocator of Linux 5.17.9: exact when driven sequentially, lock-free when
//! driven concurrently.
//!
//! A module uses only modules of lower layers; `tools/check_layers.py` holds the list.

#[cfg(not(feature = "loom"))]
pub mod allocator;
#[cfg(not(feature = "loom"))]
mod blueprint;
#[cfg(not(feature = "loom"))]
pub mod boot;
pub mod buddy;
#[cfg(not(feature = "loom"))]
pub mod bulk;
pub mod config;
#[cfg(not(feature = "loom"))]
pub mod counters;
pub mod cpu;
#[cfg(not(feature = "loom"))]
mod drain;
#[cfg(not(feature = "loom"))]
mod dump;
pub mod error;
pub mod extfrag;
#[cfg(not(feature = "loom"))]
mod fast_path;
#[cfg(not(feature = "loom"))]
pub mod follow;
pub mod free_area;
pub mod free_list;
#[cfg(not(feature = "loom"))]
pub mod free_pages;
pub mod gfp;
#[cfg(not(feature = "loom"))]
pub mod hotplug;
pub mod in_flight;
#[cfg(not(feature = "loom"))]
pub mod inspect;
#[cfg(not(feature = "loom"))]
pub mod isolation;
pub mod layout;
#[cfg(not(feature = "loom"))]
pub mod load;
pub mod memblock;
pub mod memparse;
pub mod mempolicy;
pub mod node;
#[cfg(not(feature = "loom"))]
pub mod page_alloc;
pub mod page_array;
#[cfg(not(feature = "loom"))]
pub mod page_frag;
pub mod page_state;
pub mod pageblock;
#[cfg(not(feature = "loom"))]
pub mod pcp;
pub mod pcp_list;
pub mod pcp_sizing;
pub mod plain_machine;
#[cfg_attr(feature = "loom", allow(dead_code))] // reclaim is not there to use it
pub mod pressure;
#[cfg(not(feature = "loom"))]
pub mod reclaim;
#[cfg(not(feature = "loom"))]
pub mod rmqueue;
pub mod run;
#[cfg(not(feature = "loom"))]
mod sanity;
pub mod segment;
#[cfg(not(feature = "loom"))]
mod slow_path;
#[cfg(not(feature = "loom"))]
mod spare;
pub mod split_registers;
pub mod state;
pub mod sync;
#[cfg(not(feature = "loom"))]
pub mod task_policy;
#[cfg(not(feature = "loom"))]
pub mod trace;
#[cfg(not(feature = "loom"))]
pub mod tunables;
pub mod types;
#[cfg(not(feature = "loom"))]
mod unleased;
#[cfg(not(feature = "loom"))]
pub mod verify;
#[cfg(not(feature = "loom"))]
pub mod vmstat;
pub mod watermark;
pub mod word;
#[cfg(not(feature = "loom"))]
pub mod zone;
#[cfg(not(feature = "loom"))]
pub mod zone_view;
pub mod zonelist;
