//! The page allocator of one machine: a segment and what a process remembers about it.

use crate::config::Config;
use crate::cpu::Cpu;
use crate::error::BootError;
use crate::gfp::{Gfp, GfpZoneTable};
use crate::memblock::FLAG_MIRROR;
use crate::node::NodeParts;
use crate::pcp_sizing::PcpOrders;
use crate::segment::{ImageError, MIXED, Machine, Segment};
use crate::spare::Spares;
use crate::sync::{AtomicU32, Relaxed};
use crate::trace::TraceSink;
use crate::types::{MigrateType, Pfn, ZoneKind};
use crate::zone::{Zone, ZoneParts};
use crate::zonelist::Walk;
use std::sync::Arc;

/// Which cpu a call runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuChoice {
    /// The one the calling thread runs on, or any other whose lists are free.
    Current,
    /// This one; below [`PageAllocator::nr_cpus`].
    Fixed(usize),
}

/// A run of pfns of one zone, for blocks that several zones share.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: Pfn,
    end: Pfn,
    zone: usize,
}

/// Combinations of a request's zone bits.
const NR_SELECTORS: usize = Gfp::ZONEMASK.0 as usize + 1;

/// As a zone's number: there is none.
const NO_ZONE: u16 = u16::MAX;

/// The first zone that a request tries, and its highest zone index.
#[derive(Clone, Copy, Debug)]
struct FirstZone {
    number: u16,
    highest: u16,
}

/// The page allocator of one machine.
///
/// All methods take `&self` and may be called from any number of threads. Nothing blocks.
#[derive(Debug)]
pub struct PageAllocator {
    pub(crate) segment: Segment,
    config: Config,
    nodes: Vec<NodeParts>,
    node_position: [u8; 64],
    /// By node, whether no other node may serve the request, and the zone bits.
    first_zones: Vec<[[FirstZone; NR_SELECTORS]; 2]>,
    gfp_zones: GfpZoneTable,
    zones: Vec<ZoneParts>,
    spans: Vec<Span>,
    block_shift: u32,
    holder: u64,
    pcp_orders: PcpOrders,
    trace: Arc<TraceSink>,
    tells_fallbacks: Arc<AtomicU32>,
}

impl PageAllocator {
    /// Makes an allocator of a segment whose tables are filled. The tables are checked for
    /// everything that later code relies on.
    pub(crate) fn open(segment: Segment) -> Result<PageAllocator, ImageError> {
        let inconsistent = ImageError::Inconsistent;
        let config = segment.header.config().ok_or(inconsistent)?;
        let trace = Arc::new(TraceSink::default());
        let tells_fallbacks = Arc::new(AtomicU32::new(0));
        let zones = (0..segment.zones.len())
            .map(|number| zone_parts(&segment, &config, number, &trace, &tells_fallbacks))
            .collect::<Option<Vec<ZoneParts>>>()
            .ok_or(inconsistent)?;
        let mut node_position = [u8::MAX; 64];
        let mut nodes = Vec::new();
        for (position, node) in segment.nodes.iter().enumerate() {
            let nid = node.nid.load(Relaxed); // ORDERING(R1)
            *node_position.get_mut(nid as usize).ok_or(inconsistent)? = position as u8;
            nodes.push(NodeParts::new(&segment, &config, node).ok_or(inconsistent)?);
        }
        if nodes.is_empty() || segment.cpus.is_empty() {
            return Err(inconsistent);
        }
        // ORDERING(R1)
        if segment.slots.iter().any(|slot| !nodes.iter().any(|node| node.nid == slot.node.load(Relaxed))) {
            return Err(inconsistent);
        }
        let is_known = |cpu: u32| (cpu as usize) < segment.cpus.len();
        // ORDERING(R1)
        if !segment.slots.iter().all(|slot| is_known(slot.cpu.load(Relaxed))) {
            return Err(inconsistent);
        }
        let block_shift = config.max_order - 1;
        let mut allocator = PageAllocator {
            segment,
            config,
            nodes,
            node_position,
            first_zones: Vec::new(),
            gfp_zones: GfpZoneTable::new(&config),
            zones,
            spans: Vec::new(),
            block_shift,
            holder: u64::from(std::process::id()),
            pcp_orders: PcpOrders::new(&config),
            trace,
            tells_fallbacks,
        };
        allocator.spans = allocator.find_spans();
        allocator.first_zones = allocator.find_first_zones();
        let nr_zones = allocator.zones.len();
        // ORDERING(R1)
        if allocator.segment.block_zones.iter().any(|b| {
            let zone = b.load(Relaxed); // ORDERING(R1)
            zone != MIXED && usize::from(zone) > nr_zones
        }) {
            return Err(inconsistent);
        }
        Ok(allocator)
    }

    /// The parts of memory ranges that lie in each zone, ascending.
    fn find_spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for range in self.segment.memory.iter() {
            let nid = range.nid.load(Relaxed); // ORDERING(R1)
            for number in 0..self.zones.len() {
                let zone = &self.segment.zones[number];
                let start = zone.start_pfn.load(Relaxed); // ORDERING(R1)
                let end = start.saturating_add(zone.spanned.load(Relaxed)); // ORDERING(R1)
                let span = Span {
                    start: start.max(range.start.load(Relaxed)), // ORDERING(R1)
                    end: end.min(range.end.load(Relaxed)),       // ORDERING(R1)
                    zone: number,
                };
                // With kernelcore=mirror the spans of Normal and Movable overlap: mirrored memory
                // belongs to the one, all other memory to the other.
                let mirrored = range.flags.load(Relaxed) & FLAG_MIRROR != 0; // ORDERING(R1)
                let belongs = !self.config.kernelcore_mirror
                    || match self.zones[number].kind {
                        ZoneKind::Normal => mirrored,
                        ZoneKind::Movable => !mirrored,
                        ZoneKind::Dma | ZoneKind::Dma32 => true,
                    };
                // ORDERING(R1)
                if belongs && zone.node.load(Relaxed) == nid && span.start < span.end {
                    spans.push(span);
                }
            }
        }
        spans.sort_by_key(|span| span.start);
        spans
    }

    /// Zone number, first pfn and end of the memory of each zone, ascending, added and removed
    /// sections considered.
    pub(crate) fn spans(&self) -> impl Iterator<Item = (usize, Pfn, Pfn)> {
        self.find_spans().into_iter().map(|span| (span.zone, span.start, span.end))
    }

    /// Writes the zone of every block of the largest order (at boot).
    pub(crate) fn write_block_zones(&self) {
        for span in &self.spans {
            let blocks = span.start >> self.block_shift..((span.end - 1) >> self.block_shift) + 1;
            for block in blocks {
                let Some(entry) = self.segment.block_zones.get(block as usize) else { continue };
                let zone = span.zone as u16 + 1;
                let seen = entry.load(Relaxed); // ORDERING(R1)
                entry.store(if seen == 0 || seen == zone { zone } else { MIXED }, Relaxed); // ORDERING(R1)
            }
        }
    }

    /// The configuration.
    #[inline(always)]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Machine-wide tunables.
    #[inline(always)]
    pub(crate) fn machine(&self) -> &Machine {
        &self.segment.machine
    }

    /// Where trace events go.
    pub fn trace(&self) -> &TraceSink {
        &self.trace
    }

    /// Switches on or off that hooks are told of every fallback.
    pub fn tell_fallbacks(&self, on: bool) {
        self.tells_fallbacks.store(on.into(), Relaxed); // ORDERING(R9)
    }

    /// Number of cpus.
    pub fn nr_cpus(&self) -> usize {
        self.segment.cpus.len()
    }

    /// Number of cpu slots: one for each cpu, then spare ones.
    pub fn nr_slots(&self) -> usize {
        self.segment.slots.len()
    }

    /// Node of a cpu.
    pub fn cpu_node(&self, cpu: usize) -> u32 {
        self.segment.cpus[cpu].node.load(Relaxed) // ORDERING(R1)
    }

    /// Number of online nodes.
    #[inline(always)]
    pub(crate) fn nr_online_nodes(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn nodes(&self) -> &[NodeParts] {
        &self.nodes
    }

    /// Is this node online?
    pub fn has_node(&self, nid: u32) -> bool {
        self.node(nid).is_some()
    }

    fn node(&self, nid: u32) -> Option<&NodeParts> {
        self.nodes.get(usize::from(*self.node_position.get(nid as usize)?))
    }

    /// Zone index of zone Normal.
    pub(crate) fn normal_zone_index(&self) -> usize {
        self.config.nr_zones() - 2
    }

    /// The zones a request may use, in order.
    #[inline(always)]
    pub(crate) fn walk(&self, nid: u32, gfp: Gfp, nodemask: Option<u64>) -> Walk<'_> {
        let highest = self.highest_zone(gfp);
        let list = self
            .node(nid)
            .map(|node| if self.config.numa && gfp.contains(Gfp::THISNODE) { &node.thisnode } else { &node.fallback });
        Walk { list: list.map_or(&[], |list| list.up_to(highest)), highest, nodemask }
    }

    /// Number of the first zone that a request for any node tries, and its highest zone index.
    #[inline(always)]
    pub(crate) fn first_zone(&self, nid: u32, gfp: Gfp) -> Option<(usize, usize)> {
        let this_node = self.config.numa && gfp.contains(Gfp::THISNODE);
        let selector = (gfp.0 & Gfp::ZONEMASK.0) as usize % NR_SELECTORS;
        let first = self.first_zones.get(nid as usize)?[usize::from(this_node)][selector];
        (first.number != NO_ZONE).then_some((usize::from(first.number), usize::from(first.highest)))
    }

    fn find_first_zones(&self) -> Vec<[[FirstZone; NR_SELECTORS]; 2]> {
        let of_request = |nid: usize, flags: Gfp| {
            let highest = self.highest_zone(flags);
            let first = self.node(nid as u32).and_then(|_| self.walk(nid as u32, flags, None).list.first());
            let number = first.and_then(|entry| u16::try_from(entry.zone).ok());
            FirstZone { number: number.unwrap_or(NO_ZONE), highest: highest as u16 }
        };
        let of_node = |nid| {
            [Gfp(0), Gfp::THISNODE]
                .map(|flags| core::array::from_fn(|bits| of_request(nid, Gfp(flags.0 | bits as u32))))
        };
        (0..self.node_position.len()).map(of_node).collect()
    }

    /// Migratetype of a request (`gfp_migratetype`); both mobility bits count as none.
    #[inline(always)]
    pub(crate) fn migratetype_of(&self, gfp: Gfp) -> MigrateType {
        let grouping_disabled = self.machine().mobility_disabled.load(Relaxed) != 0; // ORDERING(R7)
        gfp.migratetype(grouping_disabled).unwrap_or(MigrateType::Unmovable)
    }

    /// Highest zone index a request may use (`gfp_zone`).
    #[inline(always)]
    pub(crate) fn highest_zone(&self, gfp: Gfp) -> usize {
        self.gfp_zones.highest_zone_index(gfp)
    }

    /// Number of zones in the zone table.
    pub fn nr_zones(&self) -> usize {
        self.zones.len()
    }

    /// A zone by its number in the zone table.
    #[inline(always)]
    pub(crate) fn zone(&self, number: usize) -> Zone<'_> {
        Zone(&self.zones[number])
    }

    /// All zones.
    pub(crate) fn zones(&self) -> impl Iterator<Item = Zone<'_>> {
        (0..self.zones.len()).map(|number| self.zone(number))
    }

    /// The zone of a node with this zone index.
    pub(crate) fn zone_at(&self, nid: u32, index: usize) -> Option<Zone<'_>> {
        self.zones().find(|zone| zone.node() == nid && zone.index() == index)
    }

    /// The zone a page belongs to, if it is memory.
    #[inline(always)]
    pub(crate) fn zone_of(&self, pfn: Pfn) -> Option<Zone<'_>> {
        self.zone_of_whole(pfn).or_else(|| self.zone_of_mixed(pfn))
    }

    /// The zone of a page, if all of the largest block around it is that zone's.
    #[inline(always)]
    pub(crate) fn zone_of_whole(&self, pfn: Pfn) -> Option<Zone<'_>> {
        let number = self.segment.block_zones.get((pfn >> self.block_shift) as usize)?.load(Relaxed); // ORDERING(R1)
        // Neither 0 nor MIXED is the number of a zone.
        let zone = Zone(self.zones.get(usize::from(number).wrapping_sub(1))?);
        zone.has_descriptor(pfn).then_some(zone)
    }

    /// The zone of a page whose largest block belongs to several zones, or to one in part.
    #[cold]
    fn zone_of_mixed(&self, pfn: Pfn) -> Option<Zone<'_>> {
        let entry = self.segment.block_zones.get((pfn >> self.block_shift) as usize)?;
        // ORDERING(R1)
        if entry.load(Relaxed) != MIXED {
            return None;
        }
        let after = self.spans.partition_point(|span| span.start <= pfn);
        let zone = self.zone(self.spans[..after].last().filter(|span| pfn < span.end)?.zone);
        zone.has_descriptor(pfn).then_some(zone)
    }

    /// Orders that go through the per-cpu lists.
    #[inline(always)]
    pub(crate) fn pcp_orders(&self) -> PcpOrders {
        self.pcp_orders
    }

    /// Who leases are held by.
    #[inline(always)]
    pub(crate) fn holder(&self) -> u64 {
        self.holder
    }

    /// Enters a cpu: takes its lease if it is free.
    #[inline(always)]
    pub(crate) fn enter(&self, choice: CpuChoice) -> Cpu<'_> {
        match choice {
            CpuChoice::Fixed(id) => self.enter_slot(id),
            CpuChoice::Current => self.enter_any(self.cpu_hint(choice)),
        }
    }

    /// Enters cpu `own` if it is online and free; else a spare slot, or another cpu; `own` without a
    /// lease if all are taken.
    #[inline]
    fn enter_any(&self, own: usize) -> Cpu<'_> {
        // Nobody drains the lists of a cpu that never came online.
        let is_online = |slot: usize| self.segment.slots[slot].is_online();
        let enter = |slot: usize| is_online(slot).then(|| self.enter_slot(slot)).filter(Cpu::is_leased);
        enter(own)
            .or_else(|| self.find_spare(own).and_then(enter))
            .or_else(|| (own + 1..self.nr_cpus()).chain(0..own).find_map(enter))
            .unwrap_or_else(|| Cpu::unleased(&self.segment.slots, own))
    }

    /// A spare slot for cpu `own` that nobody uses at this moment, ready for use.
    pub(crate) fn find_spare(&self, own: usize) -> Option<usize> {
        let slot = self.spares().find(own)?;
        if !self.spares().was_used(slot) {
            self.prepare_spare(slot);
        }
        Some(slot)
    }

    /// What a spare slot needs before its first use. Not done at boot: slots that nobody ever uses
    /// cost no memory. Whoever does it at the same time does the same.
    #[cold]
    fn prepare_spare(&self, slot: usize) {
        self.zones().for_each(|zone| zone.set_spare_sizes(slot));
        self.spares().mark_used(slot);
        // Somebody may have changed the sizes before they saw the mark.
        self.zones().for_each(|zone| zone.set_spare_sizes(slot));
    }

    /// The spare slots.
    #[inline(always)]
    pub(crate) fn spares(&self) -> Spares<'_> {
        Spares { slots: &self.segment.slots, nr_cpus: self.nr_cpus(), used: &self.machine().spares_used }
    }

    /// Enters one slot, spare or not: takes its lease if it is free.
    #[inline(always)]
    pub(crate) fn enter_slot(&self, slot: usize) -> Cpu<'_> {
        Cpu::enter(&self.segment.slots, slot, self.holder)
    }

    /// The cpu a choice asks for first.
    #[inline(always)]
    pub(crate) fn cpu_hint(&self, choice: CpuChoice) -> usize {
        match choice {
            CpuChoice::Fixed(id) => id,
            CpuChoice::Current => {
                let (cpu, nr_cpus) = (current_cpu(), self.segment.cpus.len());
                if cpu < nr_cpus { cpu } else { cpu % nr_cpus }
            }
        }
    }

    /// The slot that a call tries first: the cpu's own, or a spare one if that is taken and any will
    /// do.
    #[inline(always)]
    pub(crate) fn slot_hint(&self, choice: CpuChoice) -> usize {
        let own = self.cpu_hint(choice);
        let is_taken = choice == CpuChoice::Current && !self.segment.slots[own].is_free();
        if is_taken { self.spare_hint(own) } else { own }
    }

    #[cold]
    #[inline(never)]
    fn spare_hint(&self, own: usize) -> usize {
        self.find_spare(own).unwrap_or(own)
    }

    /// An independent copy of the machine. Exact if nobody changes it meanwhile.
    pub fn fork(&self) -> Result<PageAllocator, BootError> {
        Self::reopen(self.segment.fork()?)
    }

    /// An independent copy of the machine that processes which this one forks share: each of them
    /// calls [`Self::in_this_process`]. Exact if nobody changes the machine meanwhile.
    pub fn fork_inherited(&self) -> Result<PageAllocator, BootError> {
        Self::reopen(self.segment.fork_inherited()?)
    }

    /// The same machine, whose leases the calling process holds in its own name.
    pub fn in_this_process(&self) -> Result<PageAllocator, BootError> {
        Self::reopen(self.segment.share()?)
    }

    fn reopen(segment: Segment) -> Result<PageAllocator, BootError> {
        PageAllocator::open(segment).map_err(|_| BootError::MemoryMap("the machine's tables contradict each other"))
    }

    /// The process that holds the lease of a cpu slot, if somebody does.
    pub fn lease_holder(&self, slot: usize) -> Option<u32> {
        let holder = self.segment.slots[slot].lease.load(Relaxed); // ORDERING(R6)
        (holder != 0).then_some(holder as u32)
    }

    /// Everything as bytes: sparse, versioned, with a checksum.
    pub fn snapshot(&self) -> Vec<u8> {
        self.segment.save()
    }

    /// The machine of a snapshot. Damaged, foreign or impossible contents are refused.
    pub fn restore(bytes: &[u8]) -> Result<PageAllocator, ImageError> {
        let allocator = PageAllocator::open(Segment::load(bytes)?)?;
        allocator.forget_holders();
        allocator.validate().map_err(|_| ImageError::Inconsistent)?;
        Ok(allocator)
    }

    /// Forgets leases and in-flight flags of processes that do not exist in a copy.
    fn forget_holders(&self) {
        self.segment.slots.iter().for_each(|slot| slot.lease.store(0, Relaxed)); // ORDERING(R1)
        self.segment.in_flight.iter().for_each(crate::in_flight::InFlightFlag::clear);
        self.segment.nodes.iter().for_each(|node| node.kswapd_running.store(0, Relaxed)); // ORDERING(R1)
    }

    /// Bytes of address space the page descriptors take.
    pub fn page_table_bytes(&self) -> usize {
        self.segment.page_table_bytes()
    }

    /// Bytes of address space everything takes.
    pub fn segment_bytes(&self) -> usize {
        self.segment.len_bytes()
    }
}

/// A zone's places in the segment, if the segment holds them.
fn zone_parts(
    segment: &Segment,
    config: &Config,
    number: usize,
    trace: &Arc<TraceSink>,
    tells_fallbacks: &Arc<AtomicU32>,
) -> Option<ZoneParts> {
    let shared = segment.zone(number)?;
    let base_pfn = shared.base_pfn.load(Relaxed); // ORDERING(R1)
    let index = shared.index.load(Relaxed) as usize; // ORDERING(R1)
    let node = shared.node.load(Relaxed); // ORDERING(R1)
    let kind = ZoneKind::from_index(shared.kind.load(Relaxed) as usize)?; // ORDERING(R1)
    let start_pfn = shared.start_pfn.load(Relaxed); // ORDERING(R1)
    let end_pfn = start_pfn.checked_add(shared.spanned.load(Relaxed))?; // ORDERING(R1)
    let array_end = base_pfn.checked_add(segment.pages.get(number)?.len() as u64)?;
    if index >= config.nr_zones() || node >= 64 || start_pfn < base_pfn || end_pfn > array_end {
        return None;
    }
    Some(ZoneParts {
        number,
        config: *config,
        base_pfn,
        index,
        node,
        kind,
        machine: segment.machine.share(),
        cpu_zones: segment.cpu_zones_of(number)?,
        cpus: segment.cpus.share(),
        slots: segment.slots.share(),
        buddies: segment.buddies(number, config, base_pfn)?,
        trace: trace.clone(),
        tells_fallbacks: tells_fallbacks.clone(),
        shared,
    })
}

fn current_cpu() -> usize {
    crate::segment::current_cpu()
}
