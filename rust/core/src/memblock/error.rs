//! Errors of the boot memory allocator.

use core::fmt;

/// Why a memblock operation was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemblockError {
    /// No free range fits, or a list is full and cannot grow (`-ENOMEM`, or a null address).
    NoMemory,
    /// An alignment is not a power of two.
    BadAlign,
    /// Memory was handed over to the page allocator; nothing can be changed any more.
    Discarded,
    /// A list's array could be placed but not reserved: the kernel stops with a BUG there. Nothing
    /// of the operation's last growth remains.
    ArrayReservation,
    /// Regions are empty, out of order, overlap, or reach past the last address.
    BadRegions,
    /// The geometry is unusable.
    Geometry,
}

impl fmt::Display for MemblockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MemblockError::NoMemory => "no free range fits, or a region list is full and cannot grow",
            MemblockError::BadAlign => "the alignment is not a power of two",
            MemblockError::Discarded => "boot memory was handed over to the page allocator",
            MemblockError::ArrayReservation => "a grown region array could not be reserved",
            MemblockError::BadRegions => "regions must be in order, disjoint and not empty",
            MemblockError::Geometry => {
                "the page size must be 4 KiB to 64 KiB, a list must start with room for 4 to 65536 regions of 8 to 256 \
                 bytes, MAX_ORDER must be 1 to 32 and the cache line a power of two"
            }
        })
    }
}

impl std::error::Error for MemblockError {}
