//! Looking at nodes, zones and pages of a running machine. Everything here is a racy view while
//! others work on the machine, and exact while nobody does.

use crate::allocator::{CpuChoice, PageAllocator};
use crate::extfrag::ContigPageInfo;
use crate::page_state::PageState;
use crate::pcp;
use crate::segment::PfnRange;
use crate::sync::Relaxed;
use crate::types::{MIGRATE_PCPTYPES, MigrateType, Pfn};
use crate::word::PageIdx;
use crate::word::page_info::{InfoKind, PageInfo};
use crate::zone::Zone;

/// Everything there is to tell about a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageReport {
    /// The page.
    pub pfn: Pfn,
    /// What it is.
    pub state: PageState,
    /// Node and zone index, if it is memory.
    pub zone: Option<(u32, usize)>,
    /// First page and order of the block it is part of, if it is free or handed out.
    pub block: Option<(Pfn, u32)>,
    /// Migratetype of the free list it is on; of any other memory its pageblock's.
    pub migratetype: Option<MigrateType>,
    /// Migratetype of its pageblock.
    pub pageblock: Option<MigrateType>,
    /// References of the block, counted at its first page; 0 for all other pages.
    pub refcount: u32,
    /// Part of a compound page?
    pub is_compound: bool,
    /// Handed out below the watermarks?
    pub is_pfmemalloc: bool,
    /// Counts as movable for the stealing heuristic?
    pub is_movable: bool,
}

/// A node as its tables describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// Node id.
    pub nid: u32,
    /// First pfn.
    pub start_pfn: Pfn,
    /// Pages from the first to the last, holes included.
    pub spanned: u64,
    /// Pages that exist.
    pub present: u64,
    /// Its cpus.
    pub cpus: Vec<usize>,
    /// Distances to the online nodes, ascending node id.
    pub distance: Vec<u32>,
    /// Numbers of the zones tried for requests that prefer this node, in order.
    pub fallback: Vec<usize>,
    /// The same with `__GFP_THISNODE`.
    pub thisnode: Vec<usize>,
}

/// A block and what it is.
#[derive(Clone, Copy)]
struct Block {
    first: PageIdx,
    order: u32,
    state: PageState,
}

impl Zone<'_> {
    /// Blocks that page words do not show: split registers and per-cpu lists, ascending.
    fn side_blocks(self) -> Vec<Block> {
        let view = self.view();
        let mut blocks = Vec::new();
        for mt in MigrateType::ALL {
            let register = view.area.lists.lists.split.load(mt.index());
            let orders = (0..self.config.max_order).filter(|order| register.has(*order));
            blocks.extend(orders.map(|order| Block { first: register.element(order), order, state: PageState::Buddy }));
        }
        for cpu in 0..self.cpu_zones.len() {
            for index in 0..self.config.nr_pcp_lists() {
                let order = self.pcp_list_order(index);
                let entries = pcp::list_entries(self, cpu, index);
                blocks.extend(entries.into_iter().map(|(first, _)| Block { first, order, state: PageState::Pcp }));
            }
        }
        blocks.sort_unstable_by_key(|block| block.first);
        blocks
    }

    /// Order of the blocks on a per-cpu list.
    fn pcp_list_order(self, index: usize) -> u32 {
        let costly = 4 * MIGRATE_PCPTYPES;
        if index >= costly { self.config.pageblock_order } else { (index / MIGRATE_PCPTYPES) as u32 }
    }

    /// The free or handed-out block that starts at `x`.
    fn block_at(self, x: PageIdx, side: &[Block]) -> Option<Block> {
        let info = self.view().info(x);
        let found = match info.kind() {
            InfoKind::Allocated => Some(Block { first: x, order: info.order(), state: PageState::Allocated }),
            InfoKind::Offline => Some(Block { first: x, order: 0, state: PageState::Offline }),
            InfoKind::Pcp | InfoKind::None => {
                let at = side.partition_point(|block| block.first < x);
                side.get(at).filter(|block| block.first == x).copied().or_else(|| {
                    let word = self.view().area.lists.word(x);
                    let is_free = word.is_free_of_order(word.order());
                    is_free.then(|| Block { first: x, order: word.order(), state: PageState::Buddy })
                })
            }
        };
        // A torn view must not claim more than a block can hold.
        found.filter(|block| block.order < self.config.max_order && x % (1 << block.order) == 0)
    }

    /// The block that contains `x`.
    fn block_of(self, x: PageIdx, side: &[Block]) -> Option<Block> {
        (0..self.config.max_order).find_map(|order| {
            let first = x & !((1 << order) - 1);
            self.block_at(first, side).filter(|block| block.order >= order)
        })
    }

    /// Migratetype of the list a free block stands on.
    fn list_type(self, block: Block) -> Option<MigrateType> {
        let view = self.view();
        match block.state {
            PageState::Buddy => MigrateType::ALL
                .into_iter()
                .find(|mt| view.area.lists.lists.split.load(mt.index()).contains(block.first, block.order))
                .or_else(|| MigrateType::from_index(view.area.lists.word(block.first).mt())),
            PageState::Pcp => (0..self.cpu_zones.len()).find_map(|cpu| {
                (0..self.config.nr_pcp_lists())
                    .filter(|index| self.pcp_list_order(*index) == block.order)
                    .find(|index| pcp::list_entries(self, cpu, *index).iter().any(|(x, _)| *x == block.first))
                    .and_then(|index| MigrateType::from_index(index % MIGRATE_PCPTYPES))
            }),
            _ => None,
        }
    }

    /// Free blocks per order, all migratetypes together (`free_area[order].nr_free`).
    pub fn nr_free(self) -> Vec<u64> {
        let view = self.view();
        let of_order = |order| MigrateType::ALL.into_iter().map(|mt| view.nr_blocks(order, mt)).sum();
        (0..self.config.max_order).map(of_order).collect()
    }

    /// Free blocks per order and migratetype, row by row.
    pub fn free_area_counts(self) -> Vec<u64> {
        let view = self.view();
        let of_order = |order| MigrateType::ALL.map(|mt| view.nr_blocks(order, mt));
        (0..self.config.max_order).flat_map(of_order).collect()
    }

    /// Pages kept from requests that could use a higher zone, by the request's highest zone index.
    pub fn lowmem_reserves(self) -> Vec<u64> {
        let reserves = self.shared.lowmem_reserve.iter().take(self.config.nr_zones());
        reserves.map(|word| word.load(Relaxed)).collect() // ORDERING(R7)
    }

    /// Pages in HighAtomic pageblocks.
    pub fn nr_reserved_highatomic(self) -> u64 {
        self.shared.nr_reserved_highatomic.load(Relaxed) // ORDERING(R7)
    }

    /// Isolated pageblocks.
    pub fn nr_isolate_pageblock(self) -> u32 {
        self.shared.nr_isolate_pageblock.load(Relaxed) // ORDERING(R3)
    }

    /// What the fragmentation indices of an order are computed from.
    pub fn contig_page_info(self, order: u32) -> ContigPageInfo {
        ContigPageInfo::new(&self.nr_free(), order)
    }

    /// First pfns of a free list, head first; empty for an order that does not exist.
    pub fn free_list(self, order: u32, mt: MigrateType) -> Vec<Pfn> {
        if order >= self.config.max_order {
            return Vec::new();
        }
        self.view().list(order, mt).into_iter().map(|x| self.pfn(x)).collect()
    }
}

impl PageAllocator {
    /// A zone by its number, in the order of nodes and zone indices.
    pub fn zone_by_number(&self, number: usize) -> Option<Zone<'_>> {
        (number < self.nr_zones()).then(|| self.zone(number))
    }

    /// Numbers of the zones with memory, node by node, ascending zone index.
    pub fn populated_zone_numbers(&self) -> Vec<usize> {
        let mut zones: Vec<Zone<'_>> = self.zones().filter(|zone| zone.extent().present != 0).collect();
        zones.sort_by_key(|zone| (zone.node(), zone.index()));
        zones.into_iter().map(|zone| zone.number).collect()
    }

    /// Number of the zone of a node with this zone index, if it has memory.
    pub fn zone_number(&self, nid: u32, index: usize) -> Option<usize> {
        self.zone_at(nid, index).map(|zone| zone.number)
    }

    /// Ids of the online nodes, ascending.
    pub fn node_ids(&self) -> impl ExactSizeIterator<Item = u32> {
        self.nodes().iter().map(|node| node.nid)
    }

    /// One past the highest pfn that any zone's page array covers.
    pub fn end_pfn(&self) -> Pfn {
        self.zones().map(|zone| zone.base_pfn + Pfn::from(zone.pages().len())).max().unwrap_or(0)
    }

    /// Did calls ever overlap on a cpu, so that one used a spare slot?
    pub fn has_used_spares(&self) -> bool {
        self.spares().ever_used().any(|slot| slot >= self.nr_cpus())
    }

    /// Is there an online cpu with this number?
    #[inline(always)]
    pub fn is_cpu_online(&self, cpu: usize) -> bool {
        self.segment.cpus.get(cpu).is_some_and(|slot| slot.is_online())
    }

    /// Has the start-up finished (watermarks, real per-cpu lists)?
    pub fn is_late(&self) -> bool {
        self.machine().late.load(Relaxed) != 0 // ORDERING(R7)
    }

    /// The node a caller runs on (`numa_node_id`).
    #[inline(always)]
    pub fn node_of_cpu(&self, choice: CpuChoice) -> u32 {
        match self.nodes() {
            // Saves asking the operating system where we run.
            [only] => only.nid,
            // ORDERING(R1)
            _ => self.segment.cpus[self.cpu_hint(choice)].node.load(Relaxed),
        }
    }

    /// A node, if it is online.
    pub fn node_report(&self, nid: u32) -> Option<NodeReport> {
        let position = self.nodes().iter().position(|node| node.nid == nid)?;
        let (shared, cache) = (&self.segment.nodes[position], &self.nodes()[position]);
        let cpus = self.segment.cpus.iter().enumerate();
        Some(NodeReport {
            nid,
            start_pfn: shared.start_pfn.load(Relaxed), // ORDERING(R1)
            spanned: shared.spanned.load(Relaxed),     // ORDERING(R1)
            present: shared.present.load(Relaxed),     // ORDERING(R1)
            // ORDERING(R1)
            cpus: cpus.filter(|(_, cpu)| cpu.node.load(Relaxed) == nid).map(|(id, _)| id).collect(),
            // ORDERING(R1)
            distance: self.node_ids().map(|other| shared.distance[other as usize].load(Relaxed)).collect(),
            fallback: cache.fallback.all.iter().map(|entry| entry.zone).collect(),
            thisnode: cache.thisnode.all.iter().map(|entry| entry.zone).collect(),
        })
    }

    /// Everything there is to tell about a page; any pfn is allowed.
    pub fn page_report(&self, pfn: Pfn) -> PageReport {
        let hole = PageReport {
            pfn,
            state: PageState::Hole,
            zone: None,
            block: None,
            migratetype: None,
            pageblock: None,
            refcount: 0,
            is_compound: false,
            is_pfmemalloc: false,
            is_movable: false,
        };
        let Some(zone) = self.zone_of(pfn).filter(|_| self.is_memory(pfn)) else {
            return hole;
        };
        let x = zone.idx(pfn);
        let block = zone.block_of(x, &zone.side_blocks());
        let info = block.map_or(PageInfo::NONE, |block| zone.view().info(block.first));
        let pageblock = zone.blocks().get(x);
        PageReport {
            state: block.map_or_else(|| self.state_outside_blocks(pfn), |block| block.state),
            zone: Some((zone.node(), zone.index())),
            block: block.map(|block| (zone.pfn(block.first), block.order)),
            migratetype: Some(block.and_then(|block| zone.list_type(block)).unwrap_or(pageblock)),
            pageblock: Some(pageblock),
            refcount: if block.is_some_and(|block| block.first == x) { info.refcount() } else { 0 },
            is_compound: info.is_compound(),
            is_pfmemalloc: info.is_pfmemalloc(),
            is_movable: zone.view().info(x).is_movable(),
            ..hole
        }
    }

    /// Is there memory at a page?
    pub(crate) fn is_memory(&self, pfn: Pfn) -> bool {
        // Memory that came later is in whatever entry was empty.
        self.segment.memory.iter().any(|range| {
            // ORDERING(R1)
            range.start.load(Relaxed) <= pfn && pfn < range.end.load(Relaxed)
        })
    }

    /// State of a page of memory that is in no block.
    fn state_outside_blocks(&self, pfn: Pfn) -> PageState {
        if range_of(&self.segment.reserved, pfn).is_some() { PageState::Reserved } else { PageState::Used }
    }

    /// Calls `visit(pfns, state, order)` for the memory of `start..end`, ascending, in runs of
    /// pages of the same block (cut at the ends of the range) or without a block. Holes are left
    /// out.
    pub fn visit_pages(
        &self,
        start: Pfn,
        end: Pfn,
        mut visit: impl FnMut(core::ops::Range<Pfn>, PageState, Option<u32>),
    ) {
        let mut side = (usize::MAX, Vec::new());
        for span in self.memory_spans(start, end) {
            let (number, mut pfn, end) = span;
            let zone = self.zone(number);
            if side.0 != number {
                side = (number, zone.side_blocks());
            }
            while pfn < end {
                let x = zone.idx(pfn);
                let (run_end, state, order) = match zone.block_of(x, &side.1) {
                    Some(block) => (zone.pfn(block.first) + (1 << block.order), block.state, Some(block.order)),
                    None => (pfn + 1, self.state_outside_blocks(pfn), None),
                };
                let run_end = run_end.min(end);
                visit(pfn..run_end, state, order);
                pfn = run_end;
            }
        }
    }

    /// Zone number, start and end of the parts of zones in `start..end` that are memory.
    fn memory_spans(&self, start: Pfn, end: Pfn) -> impl Iterator<Item = (usize, Pfn, Pfn)> {
        self.spans()
            .map(move |(number, from, to)| (number, from.max(start), to.min(end)))
            .filter(|(_, from, to)| from < to)
    }
}

/// The range of an ascending table that contains a pfn.
fn range_of(table: &[PfnRange], pfn: Pfn) -> Option<&PfnRange> {
    let after = table.partition_point(|range| range.start.load(Relaxed) <= pfn); // ORDERING(R1)
    // Reserved ranges are rounded outwards, so that neighbours may share a page.
    let near = &table[after.saturating_sub(2)..after];
    near.iter().find(|range| pfn < range.end.load(Relaxed)) // ORDERING(R1)
}
