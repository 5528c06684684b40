//! A zone (include/linux/mmzone.h, `struct zone`): its shared words, its pages and its parts of
//! the per-cpu state, as one handle.

use crate::buddy::Buddy;
use crate::config::Config;
use crate::cpu::Cpu;
use crate::page_array::PageArray;
use crate::pageblock::Pageblocks;
use crate::segment::{Buddies, CpuSlot, CpuZone, Desk, Machine, SharedRef, SharedSlice, ZoneShared};
use crate::spare::spare_high;
use crate::sync::{AtomicU32, Relaxed};
use crate::trace::TraceSink;
use crate::types::{MIGRATE_PCPTYPES, MigrateType, Pfn, ZoneKind};
use crate::word::PageIdx;
use core::ops::Deref;
use std::sync::Arc;

/// What a process keeps of one zone: places in the segment, and what never changes.
#[derive(Debug)]
pub struct ZoneParts {
    /// Number in the zone table.
    pub number: usize,
    /// The configuration.
    pub config: Config,
    /// Pfn of page index 0.
    pub base_pfn: Pfn,
    /// Zone index.
    pub index: usize,
    /// Node id.
    pub node: u32,
    /// The zone's kind.
    pub kind: ZoneKind,
    /// The zone's shared words.
    pub shared: SharedRef<ZoneShared>,
    /// Machine-wide tunables.
    pub machine: SharedRef<Machine>,
    /// The zone's parts of the per-cpu state, by slot.
    pub cpu_zones: SharedSlice<CpuZone>,
    /// The cpus' slots.
    pub cpus: SharedSlice<CpuSlot>,
    /// All slots: those of the cpus, then the spare ones.
    pub slots: SharedSlice<CpuSlot>,
    /// Where trace events go.
    pub trace: Arc<TraceSink>,
    /// Whether hooks want to be told of fallbacks.
    pub tells_fallbacks: Arc<AtomicU32>,
    /// The buddy allocator as each cpu's holder sees it.
    pub(crate) buddies: Buddies,
}

/// Handle of one zone: one pointer, borrowed from the allocator.
#[derive(Clone, Copy)]
pub struct Zone<'a>(pub &'a ZoneParts);

impl Deref for Zone<'_> {
    type Target = ZoneParts;

    #[inline(always)]
    fn deref(&self) -> &ZoneParts {
        self.0
    }
}

impl<'a> Zone<'a> {
    /// The page array.
    #[inline(always)]
    pub fn pages(self) -> &'a PageArray<'a> {
        &self.0.buddies.view().area.lists.pages
    }

    /// Pageblock types.
    #[inline(always)]
    pub fn blocks(self) -> Pageblocks<'a> {
        self.0.buddies.view().blocks()
    }

    /// The zone's buddy allocator, on behalf of a caller on `cpu`.
    #[inline(always)]
    pub fn buddy(self, cpu: &Cpu<'_>) -> &'a Buddy<'a> {
        if cpu.is_leased() { self.buddy_of(cpu.slot_number()) } else { self.view() }
    }

    /// The zone's buddy allocator on behalf of whoever holds a slot's lease.
    #[inline(always)]
    pub fn buddy_of(self, slot: usize) -> &'a Buddy<'a> {
        &self.desk(slot).buddy
    }

    /// What whoever holds a slot's lease works with.
    #[inline(always)]
    pub fn desk(self, slot: usize) -> &'a Desk<'a> {
        self.0.buddies.of_slot(slot)
    }

    /// The zone's buddy allocator for somebody without a lease.
    #[inline(always)]
    pub fn view(self) -> &'a Buddy<'a> {
        self.0.buddies.view()
    }

    /// The zone's part of a cpu's state.
    #[inline(always)]
    pub fn cpu_zone(self, cpu: &Cpu<'_>) -> &'a CpuZone {
        &self.0.cpu_zones[cpu.slot_number()]
    }

    /// The zone's part of the state of each cpu, without spare slots.
    pub fn own_cpu_zones(self) -> &'a [CpuZone] {
        &self.0.cpu_zones[..self.0.cpus.len()]
    }

    /// Sizes of the lists of a spare slot, from those of the zone.
    pub(crate) fn set_spare_sizes(self, slot: usize) {
        let (high, batch) = (&self.shared.pageset_high, &self.shared.pageset_batch);
        let (high, batch) = (high.load(Relaxed), batch.load(Relaxed).max(1)); // ORDERING(R7)
        self.cpu_zones[slot].high.store(spare_high(high, batch), Relaxed); // ORDERING(R8)
        self.cpu_zones[slot].batch.store(batch, Relaxed); // ORDERING(R8)
    }

    /// Pfn of a page index.
    #[inline(always)]
    pub fn pfn(self, x: PageIdx) -> Pfn {
        self.base_pfn + Pfn::from(x)
    }

    /// Does a pfn lie in the zone's page array?
    #[inline(always)]
    pub fn has_descriptor(self, pfn: Pfn) -> bool {
        pfn >= self.base_pfn && pfn - self.base_pfn < u64::from(self.pages().len())
    }

    /// Index of a pfn that lies in the zone's page array.
    #[inline(always)]
    pub fn idx(self, pfn: Pfn) -> PageIdx {
        debug_assert!(self.has_descriptor(pfn));
        (pfn - self.base_pfn) as PageIdx
    }

    /// Node id.
    #[inline(always)]
    pub fn node(self) -> u32 {
        self.0.node
    }

    /// Zone index.
    #[inline(always)]
    pub fn index(self) -> usize {
        self.0.index
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
        self.blocks().set(x, self.grouped(mt));
    }

    /// The same, if the type is still `old`, so that nobody's isolation is overwritten.
    pub fn replace_pageblock_type(self, x: PageIdx, old: MigrateType, mt: MigrateType) -> bool {
        self.blocks().replace(x, old, self.grouped(mt))
    }

    fn grouped(self, mt: MigrateType) -> MigrateType {
        if self.mobility_disabled() && mt.index() < MIGRATE_PCPTYPES { MigrateType::Unmovable } else { mt }
    }

    /// Does list (order, mt) hold a block?
    #[inline(always)]
    pub fn has_free(self, order: u32, mt: MigrateType) -> bool {
        self.view().area.has(order, mt.index())
    }
}
