//! Request flags: zone and migratetype of a request, and their text form.
//!
//! Values are those of Linux 5.17 (include/linux/gfp.h). The flags that steer one walk over a
//! zonelist are in [`AllocFlags`].

mod alloc_flags;
mod text;

pub use alloc_flags::{AllocFlags, FastPathInputs, TaskState};
pub use text::{ALIASES, NAMES, ParseGfpError};

use crate::config::Config;
use crate::types::{MigrateType, ZoneKind};
use core::fmt;
use core::ops::{BitAnd, BitOr, BitOrAssign};

/// A gfp mask: what a request may do, and what it wants (`gfp_t`).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Gfp(pub u32);

impl Gfp {
    /// No bit set.
    pub const NONE: Gfp = Gfp(0);
    /// Memory below 16 MiB (`__GFP_DMA`).
    pub const DMA: Gfp = Gfp(0x1);
    /// High memory is usable; on x86-64 only together with `MOVABLE` (`__GFP_HIGHMEM`).
    pub const HIGHMEM: Gfp = Gfp(0x2);
    /// Memory below 4 GiB (`__GFP_DMA32`).
    pub const DMA32: Gfp = Gfp(0x4);
    /// The page can be migrated; with `HIGHMEM` it may come from zone Movable (`__GFP_MOVABLE`).
    pub const MOVABLE: Gfp = Gfp(0x8);
    /// The page can be freed by shrinkers (`__GFP_RECLAIMABLE`).
    pub const RECLAIMABLE: Gfp = Gfp(0x10);
    /// May use half of the min watermark (`__GFP_HIGH`).
    pub const HIGH: Gfp = Gfp(0x20);
    /// Reclaim may start I/O (`__GFP_IO`).
    pub const IO: Gfp = Gfp(0x40);
    /// Reclaim may enter file systems (`__GFP_FS`).
    pub const FS: Gfp = Gfp(0x80);
    /// The pages are zeroed (`__GFP_ZERO`).
    pub const ZERO: Gfp = Gfp(0x100);
    /// Cannot wait and has high priority (`__GFP_ATOMIC`).
    pub const ATOMIC: Gfp = Gfp(0x200);
    /// The caller may reclaim (`__GFP_DIRECT_RECLAIM`).
    pub const DIRECT_RECLAIM: Gfp = Gfp(0x400);
    /// The reclaim thread is woken (`__GFP_KSWAPD_RECLAIM`).
    pub const KSWAPD_RECLAIM: Gfp = Gfp(0x800);
    /// The page will be dirtied: spread by the nodes' dirty limits (`__GFP_WRITE`).
    pub const WRITE: Gfp = Gfp(0x1000);
    /// No failure report (`__GFP_NOWARN`).
    pub const NOWARN: Gfp = Gfp(0x2000);
    /// Try hard, but no out-of-memory kill (`__GFP_RETRY_MAYFAIL`).
    pub const RETRY_MAYFAIL: Gfp = Gfp(0x4000);
    /// Never fail (`__GFP_NOFAIL`).
    pub const NOFAIL: Gfp = Gfp(0x8000);
    /// One round of reclaim only (`__GFP_NORETRY`).
    pub const NORETRY: Gfp = Gfp(0x10000);
    /// Ignore watermarks (`__GFP_MEMALLOC`).
    pub const MEMALLOC: Gfp = Gfp(0x20000);
    /// Make a compound page (`__GFP_COMP`).
    pub const COMP: Gfp = Gfp(0x40000);
    /// Never use reserves (`__GFP_NOMEMALLOC`).
    pub const NOMEMALLOC: Gfp = Gfp(0x80000);
    /// Keep to the cpuset strictly (`__GFP_HARDWALL`).
    pub const HARDWALL: Gfp = Gfp(0x100000);
    /// From the given node only, without policy (`__GFP_THISNODE`).
    pub const THISNODE: Gfp = Gfp(0x200000);
    /// Charge to the memory cgroup (`__GFP_ACCOUNT`).
    pub const ACCOUNT: Gfp = Gfp(0x400000);
    /// Zero memory tags too (`__GFP_ZEROTAGS`).
    pub const ZEROTAGS: Gfp = Gfp(0x800000);
    /// No KASAN poisoning on free (`__GFP_SKIP_KASAN_POISON`).
    pub const SKIP_KASAN_POISON: Gfp = Gfp(0x1000000);

    /// Both reclaim bits (`__GFP_RECLAIM`).
    pub const RECLAIM: Gfp = Gfp(0xc00);
    /// The bits that select the zone (`GFP_ZONEMASK`).
    pub const ZONEMASK: Gfp = Gfp(0xf);
    /// The bits that select the migratetype (`GFP_MOVABLE_MASK`).
    pub const MOVABLE_MASK: Gfp = Gfp(0x18);
    /// Every bit there is (`__GFP_BITS_MASK`).
    pub const ALL: Gfp = Gfp(0x1ffffff);
    /// What requests may use until the scheduler runs: no waiting, no I/O (`GFP_BOOT_MASK`).
    pub const BOOT_MASK: Gfp = Gfp(0x1fff33f);

    /// `GFP_ATOMIC`
    pub const GFP_ATOMIC: Gfp = Gfp(0xa20);
    /// `GFP_KERNEL`
    pub const GFP_KERNEL: Gfp = Gfp(0xcc0);
    /// `GFP_KERNEL_ACCOUNT`
    pub const GFP_KERNEL_ACCOUNT: Gfp = Gfp(0x400cc0);
    /// `GFP_NOWAIT`
    pub const GFP_NOWAIT: Gfp = Gfp(0x800);
    /// `GFP_NOIO`
    pub const GFP_NOIO: Gfp = Gfp(0xc00);
    /// `GFP_NOFS`
    pub const GFP_NOFS: Gfp = Gfp(0xc40);
    /// `GFP_USER`
    pub const GFP_USER: Gfp = Gfp(0x100cc0);
    /// `GFP_DMA`
    pub const GFP_DMA: Gfp = Gfp::DMA;
    /// `GFP_DMA32`
    pub const GFP_DMA32: Gfp = Gfp::DMA32;
    /// `GFP_HIGHUSER`
    pub const GFP_HIGHUSER: Gfp = Gfp(0x100cc2);
    /// `GFP_HIGHUSER_MOVABLE`
    pub const GFP_HIGHUSER_MOVABLE: Gfp = Gfp(0x1100cca);
    /// `GFP_TRANSHUGE_LIGHT`
    pub const GFP_TRANSHUGE_LIGHT: Gfp = Gfp(0x11c20ca);
    /// `GFP_TRANSHUGE`
    pub const GFP_TRANSHUGE: Gfp = Gfp(0x11c24ca);

    /// All bits of `other` are set.
    pub const fn contains(self, other: Gfp) -> bool {
        self.0 & other.0 == other.0
    }

    /// Some bit of `other` is set.
    pub const fn intersects(self, other: Gfp) -> bool {
        self.0 & other.0 != 0
    }

    /// The bits of both.
    pub const fn union(self, other: Gfp) -> Gfp {
        Gfp(self.0 | other.0)
    }

    /// The mask without the bits of `other`.
    pub const fn without(self, other: Gfp) -> Gfp {
        Gfp(self.0 & !other.0)
    }

    /// Finds the contradictions that the kernel only asserts against.
    pub fn check(self) -> Result<(), GfpError> {
        if self.without(Gfp::ALL) != Gfp::NONE {
            return Err(GfpError::UnknownBits);
        }
        if !is_zone_selector_valid(self.0 & Gfp::ZONEMASK.0) {
            return Err(GfpError::ZoneBits);
        }
        if self.contains(Gfp::MOVABLE_MASK) {
            return Err(GfpError::MobilityBits);
        }
        Ok(())
    }

    /// The type of pages requested, or `None` if both mobility bits are set.
    ///
    /// Source: include/linux/gfp.h, `gfp_migratetype`.
    pub const fn migratetype(self, page_group_by_mobility_disabled: bool) -> Option<MigrateType> {
        if page_group_by_mobility_disabled {
            return Some(MigrateType::Unmovable);
        }
        match (self.0 & Gfp::MOVABLE_MASK.0) >> 3 {
            0 => Some(MigrateType::Unmovable),
            1 => Some(MigrateType::Movable),
            2 => Some(MigrateType::Reclaimable),
            _ => None,
        }
    }

    /// The mask inside the scopes that the task has entered.
    ///
    /// Source: include/linux/sched/mm.h, `current_gfp_context`.
    pub const fn in_scopes(self, scopes: MemallocScopes) -> Gfp {
        let mut gfp = self;
        if scopes.noio {
            gfp = gfp.without(Gfp(Gfp::IO.0 | Gfp::FS.0));
        } else if scopes.nofs {
            gfp = gfp.without(Gfp::FS);
        }
        if scopes.pin { gfp.without(Gfp::MOVABLE) } else { gfp }
    }

    /// The mask of the slow path: `ATOMIC` contradicts `DIRECT_RECLAIM` and yields to it.
    ///
    /// Source: mm/page_alloc.c, `__alloc_pages_slowpath`.
    pub const fn in_slow_path(self) -> Gfp {
        if self.contains(Gfp(Gfp::ATOMIC.0 | Gfp::DIRECT_RECLAIM.0)) { self.without(Gfp::ATOMIC) } else { self }
    }
}

impl BitOr for Gfp {
    type Output = Gfp;
    fn bitor(self, other: Gfp) -> Gfp {
        self.union(other)
    }
}

impl BitOrAssign for Gfp {
    fn bitor_assign(&mut self, other: Gfp) {
        *self = self.union(other);
    }
}

impl BitAnd for Gfp {
    type Output = Gfp;
    fn bitand(self, other: Gfp) -> Gfp {
        Gfp(self.0 & other.0)
    }
}

/// Allocation scopes of a task (include/linux/sched/mm.h, `memalloc_noio_save` and its kin).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemallocScopes {
    /// No I/O, hence no file systems either (`PF_MEMALLOC_NOIO`).
    pub noio: bool,
    /// No file systems (`PF_MEMALLOC_NOFS`).
    pub nofs: bool,
    /// Pages that will be pinned must not come from movable memory (`PF_MEMALLOC_PIN`).
    pub pin: bool,
}

/// Why a mask is not usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GfpError {
    /// A bit outside the known ones is set.
    UnknownBits,
    /// The low four bits name more than one zone.
    ZoneBits,
    /// Movable and Reclaimable at once.
    MobilityBits,
}

impl fmt::Display for GfpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GfpError::UnknownBits => "the gfp mask has bits that mean nothing",
            GfpError::ZoneBits => {
                "__GFP_DMA, __GFP_DMA32 and __GFP_HIGHMEM exclude each other, and only one zone can be chosen"
            }
            GfpError::MobilityBits => "__GFP_MOVABLE and __GFP_RECLAIMABLE exclude each other",
        })
    }
}

impl std::error::Error for GfpError {}

/// At most one of DMA, HIGHMEM and DMA32 may be set.
const fn is_zone_selector_valid(selector: u32) -> bool {
    (selector & 0x7).count_ones() <= 1
}

/// The highest zone index for each combination of the zone bits.
///
/// Source: include/linux/gfp.h, `GFP_ZONE_TABLE`, `gfp_zone`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GfpZoneTable {
    indices: [u8; 16],
}

impl GfpZoneTable {
    /// The table of a configuration; missing zones are replaced by Normal.
    pub fn new(config: &Config) -> GfpZoneTable {
        let index = |kind| config.zone_index(kind);
        let normal = index(ZoneKind::Normal).unwrap_or(0);
        let mut indices = [0; 16];
        for (selector, slot) in indices.iter_mut().enumerate() {
            // Combinations that exclude each other look up 0 in the kernel.
            *slot = match selector {
                0x0 | 0x2 | 0x8 => normal,
                0x1 | 0x9 => index(ZoneKind::Dma).unwrap_or(normal),
                0x4 | 0xc => index(ZoneKind::Dma32).unwrap_or(normal),
                0xa => index(ZoneKind::Movable).unwrap_or(normal),
                _ => 0,
            } as u8;
        }
        GfpZoneTable { indices }
    }

    /// The highest zone index that a request may use; 0 for contradicting bits, as in a kernel
    /// without DEBUG_VM ([`Gfp::check`] finds them).
    pub const fn highest_zone_index(&self, gfp: Gfp) -> usize {
        self.indices[(gfp.0 & Gfp::ZONEMASK.0) as usize] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composites_are_their_parts() {
        assert_eq!(Gfp::GFP_KERNEL, Gfp::RECLAIM | Gfp::IO | Gfp::FS);
        assert_eq!(Gfp::GFP_ATOMIC, Gfp::HIGH | Gfp::ATOMIC | Gfp::KSWAPD_RECLAIM);
        assert_eq!(Gfp::GFP_KERNEL_ACCOUNT, Gfp::GFP_KERNEL | Gfp::ACCOUNT);
        assert_eq!(Gfp::GFP_NOFS, Gfp::RECLAIM | Gfp::IO);
        assert_eq!(Gfp::GFP_USER, Gfp::GFP_KERNEL | Gfp::HARDWALL);
        assert_eq!(Gfp::GFP_HIGHUSER, Gfp::GFP_USER | Gfp::HIGHMEM);
        assert_eq!(Gfp::GFP_HIGHUSER_MOVABLE, Gfp::GFP_HIGHUSER | Gfp::MOVABLE | Gfp::SKIP_KASAN_POISON);
        let light = Gfp::GFP_HIGHUSER_MOVABLE | Gfp::COMP | Gfp::NOMEMALLOC | Gfp::NOWARN;
        assert_eq!(Gfp::GFP_TRANSHUGE_LIGHT, light.without(Gfp::RECLAIM));
        assert_eq!(Gfp::GFP_TRANSHUGE, Gfp::GFP_TRANSHUGE_LIGHT | Gfp::DIRECT_RECLAIM);
        assert_eq!(Gfp::BOOT_MASK, Gfp::ALL.without(Gfp::GFP_KERNEL));
    }

    fn highest(config: &Config, selector: u32) -> usize {
        GfpZoneTable::new(config).highest_zone_index(Gfp(selector | Gfp::GFP_KERNEL.0))
    }

    #[test]
    fn zone_selectors() {
        let zones: Vec<usize> = (0..16).map(|selector| highest(&Config::default(), selector)).collect();
        assert_eq!(zones, [2, 0, 2, 0, 1, 0, 0, 0, 2, 0, 3, 0, 1, 0, 0, 0]);
        let without_dma = Config { zone_dma: false, ..Config::default() };
        let zones: Vec<usize> = (0..16).map(|selector| highest(&without_dma, selector)).collect();
        assert_eq!(zones, [1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 0]);
        let normal_only = Config { zone_dma32: false, ..without_dma };
        assert_eq!([1, 4, 0, 0xa].map(|selector| highest(&normal_only, selector)), [0, 0, 0, 1]);
    }

    #[test]
    fn contradictions_are_found() {
        let invalid: Vec<u32> = (0..16).filter(|bits| Gfp(*bits).check() == Err(GfpError::ZoneBits)).collect();
        assert_eq!(invalid, [3, 5, 6, 7, 0xb, 0xd, 0xe, 0xf]);
        assert_eq!(Gfp(0x18).check(), Err(GfpError::MobilityBits));
        assert_eq!(Gfp(0x2000000).check(), Err(GfpError::UnknownBits));
        assert_eq!(Gfp(u32::MAX).check(), Err(GfpError::UnknownBits));
        assert_eq!(Gfp::GFP_TRANSHUGE.check(), Ok(()));
    }

    #[test]
    fn migratetypes() {
        let types: Vec<_> = (0..4).map(|bits| Gfp(bits << 3).migratetype(false)).collect();
        let expected = [MigrateType::Unmovable, MigrateType::Movable, MigrateType::Reclaimable];
        assert_eq!(types[..3], expected.map(Some));
        assert_eq!(types[3], None);
        assert!((0..4).all(|bits| Gfp(bits << 3).migratetype(true) == Some(MigrateType::Unmovable)));
    }

    #[test]
    fn scopes_take_bits_away() {
        let scopes = |noio, nofs, pin| Gfp::GFP_HIGHUSER_MOVABLE.in_scopes(MemallocScopes { noio, nofs, pin });
        assert_eq!(scopes(false, false, false), Gfp(0x1100cca));
        assert_eq!(scopes(true, true, false), Gfp(0x1100c0a));
        assert_eq!(scopes(false, true, false), Gfp(0x1100c4a));
        let pinned = scopes(false, false, true);
        assert_eq!(pinned.migratetype(false), Some(MigrateType::Unmovable));
        assert_eq!(GfpZoneTable::new(&Config::default()).highest_zone_index(pinned), 2);
    }

    #[test]
    fn atomic_yields_to_direct_reclaim_in_the_slow_path() {
        assert_eq!((Gfp::GFP_ATOMIC | Gfp::DIRECT_RECLAIM).in_slow_path(), Gfp(0xc20));
        assert_eq!(Gfp::GFP_ATOMIC.in_slow_path(), Gfp::GFP_ATOMIC);
        assert_eq!(Gfp::GFP_KERNEL.in_slow_path(), Gfp::GFP_KERNEL);
    }
}
