//! How long booting takes, and how much memory a booted machine holds.

use pagebuddy_core::allocator::PageAllocator;
use pagebuddy_core::config::Config;
use pagebuddy_core::error::BootError;
use pagebuddy_core::layout::Topology;
use pagebuddy_core::memblock::Geometry;
use pagebuddy_core::plain_machine::plain_memblock;
use std::time::{Duration, Instant};

/// Sizes in GiB.
pub const SIZES: [u64; 6] = [1, 4, 16, 64, 256, 1024];

/// One size.
#[derive(Clone, Copy, Debug)]
pub struct BootRow {
    /// Memory of the machine.
    pub gib: u64,
    /// Median time to boot.
    pub time: Duration,
    /// Resident bytes afterwards, per page of the machine.
    pub bytes_per_page: f64,
    /// Resident bytes of everything.
    pub resident: u64,
}

/// Boots machines of one size.
pub fn measure(gib: u64, nr_rounds: usize) -> Result<BootRow, BootError> {
    let mut times = Vec::new();
    let mut resident = 0;
    for _ in 0..nr_rounds.max(1) {
        let mut memblock = plain_memblock(gib << 30, 1, Geometry::default())?;
        let before = resident_bytes();
        let start = Instant::now();
        let allocator = PageAllocator::boot_late(&Config::default(), &Topology::single_node(4), &mut memblock)?;
        times.push(start.elapsed());
        resident = resident_bytes().saturating_sub(before);
        drop(allocator);
    }
    times.sort();
    let nr_pages = (gib << 30 >> 12) as f64;
    Ok(BootRow { gib, time: times[times.len() / 2], bytes_per_page: resident as f64 / nr_pages, resident })
}

/// Resident bytes of this process; 0 if the operating system does not tell.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}
