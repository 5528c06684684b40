//! A zone (include/linux/mmzone.h, `struct zone`): its shared words, its pages and its parts of
//! the per-cpu state, as one handle.

use crate::buddy::{Buddy, InFlight, InFlightFlag};
use crate::config::Config;
use crate::cpu::Cpu;
use crate::free_area::{FreeArea, MergeRule};
use crate::free_list::FreeLists;
use crate::page_array::PageArray;
use crate::pageblock::Pageblocks;
use crate::segment::{CpuSlot, CpuZone, Machine, ZoneShared};
use crate::sync::Relaxed;
use crate::trace::TraceSink;
use crate::types::{MIGRATE_PCPTYPES, MigrateType, Pfn};
use crate::word::PageIdx;

/// Handle of one zone: cheap to copy, borrowed from the allocator.
#[derive(Clone, Copy)]
pub struct Zone<'a> {
    /// Number in the zone table.
    pub number: usize,
    /// The zone's shared words.
    pub shared: &'a ZoneShared,
    /// Machine-wide tunables.
    pub machine: &'a Machine,
    /// The configuration.
    pub config: &'a Config,
    /// The zone's parts of the per-cpu state, by cpu.
    pub cpu_zones: &'a [CpuZone],
    /// Cpu slots.
    pub cpus: &'a [CpuSlot],
    /// In-flight flags of the cpu slots.
    pub in_flight: &'a [InFlightFlag],
    /// The page array.
    pub pages: PageArray<'a>,
    /// Pageblock types.
    pub blocks: Pageblocks<'a>,
    /// Pfn of page index 0.
    pub base_pfn: Pfn,
    /// Where trace events go.
    pub trace: &'a TraceSink,
}

impl<'a> Zone<'a> {
    /// The zone's buddy allocator, on behalf of a caller on `cpu`.
    #[inline(always)]
    pub fn buddy(self, cpu: &Cpu<'_>) -> Buddy<'a> {
        self.buddy_with(cpu.is_leased().then(|| &self.in_flight[cpu.id()]))
    }

    /// The zone's buddy allocator for somebody who only looks.
    pub fn view(self) -> Buddy<'a> {
        self.buddy_with(None)
    }

    #[inline(always)]
    fn buddy_with(self, own: Option<&'a InFlightFlag>) -> Buddy<'a> {
        Buddy {
            area: FreeArea {
                lists: FreeLists { lists: &self.shared.lists, pages: self.pages },
                rule: MergeRule {
                    top: self.config.max_order - 1,
                    blocks: self.blocks,
                    nr_isolated: &self.shared.nr_isolate_pageblock,
                },
            },
            in_flight: InFlight { own, all: self.in_flight },
        }
    }

    /// The zone's part of a cpu's state.
    #[inline(always)]
    pub fn cpu_zone(self, cpu: &Cpu<'_>) -> &'a CpuZone {
        &self.cpu_zones[cpu.id()]
    }

    /// Pfn of a page index.
    #[inline(always)]
    pub fn pfn(self, x: PageIdx) -> Pfn {
        self.base_pfn + Pfn::from(x)
    }

    /// Index of a pfn that lies in the zone's page array.
    #[inline(always)]
    pub fn idx(self, pfn: Pfn) -> PageIdx {
        debug_assert!(pfn >= self.base_pfn && pfn - self.base_pfn < u64::from(self.pages.len()));
        (pfn - self.base_pfn) as PageIdx
    }

    /// Node id.
    #[inline(always)]
    pub fn node(self) -> u32 {
        self.shared.node.load(Relaxed) // ORDERING(R1)
    }

    /// Zone index.
    #[inline(always)]
    pub fn index(self) -> usize {
        self.shared.index.load(Relaxed) as usize // ORDERING(R1)
    }

    /// Pages handed to the allocator.
    #[inline(always)]
    pub fn managed(self) -> u64 {
        self.shared.managed.load(Relaxed) // ORDERING(R7)
    }

    /// Does the zone span this pfn (`zone_spans_pfn`)?
    pub fn spans(self, pfn: Pfn) -> bool {
        let start = self.shared.start_pfn.load(Relaxed); // ORDERING(R1)
        let spanned = self.shared.spanned.load(Relaxed); // ORDERING(R1)
        pfn >= start && pfn - start < spanned
    }

    /// A raw watermark, boost not included.
    #[inline(always)]
    pub fn raw_watermark(self, which: usize) -> u64 {
        self.shared.watermark[which].load(Relaxed) // ORDERING(R7)
    }

    /// Current boost of the watermarks.
    #[inline(always)]
    pub fn boost(self) -> u64 {
        self.shared.watermark_boost.load(Relaxed) // ORDERING(R7)
    }

    /// Is grouping by mobility off?
    #[inline(always)]
    pub fn mobility_disabled(self) -> bool {
        self.machine.mobility_disabled.load(Relaxed) != 0 // ORDERING(R7)
    }

    /// Sets a pageblock's type, subject to the grouping rule (`set_pageblock_migratetype`).
    pub fn set_pageblock_type(self, x: PageIdx, mt: MigrateType) {
        let mt = if self.mobility_disabled() && mt.index() < MIGRATE_PCPTYPES { MigrateType::Unmovable } else { mt };
        self.blocks.set(x, mt);
    }

    /// Does list (order, mt) hold a block?
    #[inline(always)]
    pub fn has_free(self, order: u32, mt: MigrateType) -> bool {
        self.view().area.has(order, mt.index())
    }
}
