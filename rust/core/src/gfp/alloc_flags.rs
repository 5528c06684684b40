//! The flags of one walk over a zonelist.

use super::Gfp;
use crate::types::{MigrateType, ZoneKind};
use core::ops::{BitOr, BitOrAssign};

/// How far a walk may go below the watermarks, and what else it may use (mm/internal.h, `ALLOC_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct AllocFlags(pub u32);

impl AllocFlags {
    /// Test against the min watermark (`ALLOC_WMARK_MIN`).
    pub const WMARK_MIN: AllocFlags = AllocFlags(0);
    /// Test against the low watermark (`ALLOC_WMARK_LOW`).
    pub const WMARK_LOW: AllocFlags = AllocFlags(1);
    /// Test against the high watermark (`ALLOC_WMARK_HIGH`).
    pub const WMARK_HIGH: AllocFlags = AllocFlags(2);
    /// The bits of the watermark selector (`ALLOC_WMARK_MASK`).
    pub const WMARK_MASK: AllocFlags = AllocFlags(3);
    /// A failed watermark test does not matter (`ALLOC_NO_WATERMARKS`).
    pub const NO_WATERMARKS: AllocFlags = AllocFlags(0x4);
    /// An out-of-memory victim may use half of min (`ALLOC_OOM`).
    pub const OOM: AllocFlags = AllocFlags(0x8);
    /// May use a quarter of min, and pageblocks reserved for high-order atomic requests
    /// (`ALLOC_HARDER`).
    pub const HARDER: AllocFlags = AllocFlags(0x10);
    /// May use half of min; the same bit as [`Gfp::HIGH`] (`ALLOC_HIGH`).
    pub const HIGH: AllocFlags = AllocFlags(0x20);
    /// Keep to the cpuset (`ALLOC_CPUSET`).
    pub const CPUSET: AllocFlags = AllocFlags(0x40);
    /// May use CMA pageblocks (`ALLOC_CMA`).
    pub const CMA: AllocFlags = AllocFlags(0x80);
    /// Do not mix types below pageblock size (`ALLOC_NOFRAGMENT`).
    pub const NOFRAGMENT: AllocFlags = AllocFlags(0x100);
    /// May wake kswapd; the same bit as [`Gfp::KSWAPD_RECLAIM`] (`ALLOC_KSWAPD`).
    pub const KSWAPD: AllocFlags = AllocFlags(0x800);

    /// All bits of `other` are set.
    pub const fn contains(self, other: AllocFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Some bit of `other` is set.
    pub const fn intersects(self, other: AllocFlags) -> bool {
        self.0 & other.0 != 0
    }

    /// The flags without the bits of `other`.
    pub const fn without(self, other: AllocFlags) -> AllocFlags {
        AllocFlags(self.0 & !other.0)
    }

    /// Index of the watermark to test against: 0 min, 1 low, 2 high. Selector 3 does not occur.
    pub const fn watermark_index(self) -> usize {
        (self.0 & Self::WMARK_MASK.0) as usize
    }

    /// Flags of the first attempt: low watermark, no reserves, types kept apart where possible.
    ///
    /// Source: mm/page_alloc.c, `__alloc_pages`, `prepare_alloc_pages`, `alloc_flags_nofragment`.
    pub fn fast_path(gfp: Gfp, migratetype: MigrateType, inputs: FastPathInputs) -> AllocFlags {
        let mut flags = Self::WMARK_LOW.with_cma(inputs.cma, migratetype) | Self::kswapd_of(gfp);
        if inputs.is_bound_by_cpuset {
            flags |= Self::CPUSET;
        }
        if inputs.is_kept_unfragmented() {
            flags |= Self::NOFRAGMENT;
        }
        flags
    }

    /// Flags of the slow path: min watermark, reserves by priority.
    ///
    /// `is_rt_task`: a real-time task in task context asks. Source: mm/page_alloc.c,
    /// `gfp_to_alloc_flags`.
    pub fn slow_path(gfp: Gfp, migratetype: MigrateType, cma: bool, is_rt_task: bool) -> AllocFlags {
        let mut flags = Self::WMARK_MIN | Self::CPUSET | AllocFlags(gfp.0 & Self::HIGH.0) | Self::kswapd_of(gfp);
        if gfp.contains(Gfp::ATOMIC) {
            if !gfp.contains(Gfp::NOMEMALLOC) {
                flags |= Self::HARDER;
            }
            flags = flags.without(Self::CPUSET);
        } else if is_rt_task {
            flags |= Self::HARDER;
        }
        flags.with_cma(cma, migratetype)
    }

    /// Access to the reserves, which replaces the slow path's flags altogether, if there is any.
    ///
    /// Source: mm/page_alloc.c, `__gfp_pfmemalloc_flags`, `gfp_to_alloc_flags_cma`.
    pub fn reserve_access(gfp: Gfp, migratetype: MigrateType, cma: bool, task: TaskState) -> Option<AllocFlags> {
        let flags = if gfp.contains(Gfp::NOMEMALLOC) {
            return None;
        } else if gfp.contains(Gfp::MEMALLOC)
            || (task.pf_memalloc && (task.is_serving_softirq || !task.is_in_interrupt))
        {
            Self::NO_WATERMARKS
        } else if !task.is_in_interrupt && task.is_oom_victim {
            Self::OOM
        } else {
            return None;
        };
        Some(flags.with_cma(cma, migratetype))
    }

    fn kswapd_of(gfp: Gfp) -> AllocFlags {
        AllocFlags(gfp.0 & Self::KSWAPD.0)
    }

    fn with_cma(self, cma: bool, migratetype: MigrateType) -> AllocFlags {
        if cma && migratetype == MigrateType::Movable { self | Self::CMA } else { self }
    }
}

const _: () = assert!(AllocFlags::HIGH.0 == Gfp::HIGH.0 && AllocFlags::KSWAPD.0 == Gfp::KSWAPD_RECLAIM.0);

impl BitOr for AllocFlags {
    type Output = AllocFlags;
    fn bitor(self, other: AllocFlags) -> AllocFlags {
        AllocFlags(self.0 | other.0)
    }
}

impl BitOrAssign for AllocFlags {
    fn bitor_assign(&mut self, other: AllocFlags) {
        self.0 |= other.0;
    }
}

/// What the flags of the first attempt depend on, besides the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FastPathInputs {
    /// `CONFIG_CMA`.
    pub cma: bool,
    /// Cpusets are in use, and the walk is not confined to the task's nodes by its nodemask.
    pub is_bound_by_cpuset: bool,
    /// The zone that the walk begins with, if any fits.
    pub preferred_zone: Option<ZoneKind>,
    /// Zone DMA32 exists and has memory on the preferred zone's node.
    pub is_dma32_populated: bool,
    /// `CONFIG_ZONE_DMA32`.
    pub zone_dma32: bool,
    /// Online nodes.
    pub nr_online_nodes: usize,
}

impl FastPathInputs {
    /// Types are kept apart only where a lower zone can serve instead.
    fn is_kept_unfragmented(self) -> bool {
        self.zone_dma32
            && self.preferred_zone == Some(ZoneKind::Normal)
            && (self.nr_online_nodes <= 1 || self.is_dma32_populated)
    }
}

/// The context that asks, as far as reserves depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskState {
    /// The task frees memory (`PF_MEMALLOC`).
    pub pf_memalloc: bool,
    /// Running in a softirq (`in_serving_softirq`).
    pub is_serving_softirq: bool,
    /// Running in any interrupt (`in_interrupt`).
    pub is_in_interrupt: bool,
    /// Chosen by the out-of-memory killer (`oom_reserves_allowed`).
    pub is_oom_victim: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use MigrateType::{Movable, Unmovable};

    fn inputs() -> FastPathInputs {
        FastPathInputs {
            preferred_zone: Some(ZoneKind::Normal),
            is_dma32_populated: true,
            zone_dma32: true,
            nr_online_nodes: 2,
            ..FastPathInputs::default()
        }
    }

    #[test]
    fn fast_path_flags() {
        let flags = |gfp, mt, inputs| AllocFlags::fast_path(gfp, mt, inputs).0;
        assert_eq!(flags(Gfp::GFP_KERNEL, Unmovable, inputs()), 0x901);
        assert_eq!(flags(Gfp::GFP_ATOMIC, Unmovable, inputs()), 0x901, "HIGH and HARDER are for the slow path");
        assert_eq!(flags(Gfp::NONE, Movable, inputs()), 0x101);
        assert_eq!(flags(Gfp::NONE, Movable, FastPathInputs { cma: true, ..inputs() }), 0x181);
        assert_eq!(flags(Gfp::NONE, Unmovable, FastPathInputs { cma: true, ..inputs() }), 0x101);
        assert_eq!(flags(Gfp::NONE, Unmovable, FastPathInputs { is_bound_by_cpuset: true, ..inputs() }), 0x141);
    }

    #[test]
    fn types_are_kept_apart_only_with_a_zone_to_fall_back_to() {
        let kept = |inputs| AllocFlags::fast_path(Gfp::NONE, Unmovable, inputs).contains(AllocFlags::NOFRAGMENT);
        assert!(kept(inputs()));
        for zone in [None, Some(ZoneKind::Dma), Some(ZoneKind::Dma32), Some(ZoneKind::Movable)] {
            assert!(!kept(FastPathInputs { preferred_zone: zone, ..inputs() }));
        }
        assert!(!kept(FastPathInputs { is_dma32_populated: false, ..inputs() }));
        assert!(kept(FastPathInputs { is_dma32_populated: false, nr_online_nodes: 1, ..inputs() }));
        assert!(!kept(FastPathInputs { zone_dma32: false, nr_online_nodes: 1, ..inputs() }));
    }

    #[test]
    fn slow_path_flags() {
        let flags = |gfp, mt, cma, rt| AllocFlags::slow_path(gfp, mt, cma, rt).0;
        assert_eq!(flags(Gfp::GFP_KERNEL, Unmovable, false, false), 0x840);
        assert_eq!(flags(Gfp::GFP_KERNEL, Unmovable, false, true), 0x850);
        assert_eq!(flags(Gfp::GFP_ATOMIC, Unmovable, false, false), 0x830);
        assert_eq!(flags(Gfp::GFP_ATOMIC | Gfp::NOMEMALLOC, Unmovable, false, true), 0x820);
        assert_eq!(flags(Gfp::GFP_HIGHUSER_MOVABLE, Movable, true, false), 0x8c0);
        assert_eq!(flags(Gfp::HIGH, Movable, false, false), 0x60);
    }

    #[test]
    fn reserves_are_for_those_who_free_memory() {
        let access = |gfp, task| AllocFlags::reserve_access(gfp, Unmovable, true, task);
        let task = TaskState::default();
        let memalloc = TaskState { pf_memalloc: true, ..task };
        let victim = TaskState { is_oom_victim: true, ..task };
        assert_eq!(access(Gfp::GFP_KERNEL, task), None);
        assert_eq!(access(Gfp::MEMALLOC, task), Some(AllocFlags::NO_WATERMARKS));
        assert_eq!(access(Gfp::MEMALLOC | Gfp::NOMEMALLOC, memalloc), None);
        assert_eq!(access(Gfp::GFP_KERNEL, memalloc), Some(AllocFlags::NO_WATERMARKS));
        let in_softirq = TaskState { is_serving_softirq: true, is_in_interrupt: true, ..memalloc };
        assert_eq!(access(Gfp::GFP_ATOMIC, in_softirq), Some(AllocFlags::NO_WATERMARKS));
        assert_eq!(access(Gfp::GFP_ATOMIC, TaskState { is_serving_softirq: false, ..in_softirq }), None);
        assert_eq!(access(Gfp::GFP_KERNEL, victim), Some(AllocFlags::OOM));
        assert_eq!(access(Gfp::GFP_KERNEL, TaskState { is_in_interrupt: true, ..victim }), None);
        let movable = AllocFlags::reserve_access(Gfp::MEMALLOC, Movable, true, task);
        assert_eq!(movable, Some(AllocFlags::NO_WATERMARKS | AllocFlags::CMA));
    }
}
