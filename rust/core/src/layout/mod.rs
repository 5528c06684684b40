//! Nodes, zones and zonelists from a memory map.
//!
//! [`plan`] does what the kernel does between the last memblock change and the hand-over of memory
//! to the page allocator: zone limits, zone `Movable`, spanned and present pages, the provisional
//! managed counts, initial pageblock types, zonelists and the mobility-grouping switch
//! (mm/page_alloc.c, `free_area_init` and `build_all_zonelists`; arch/x86/mm/init.c,
//! `zone_sizes_init`). Nothing here loops over pages: the cost depends on the number of regions
//! and nodes only.

mod memmap;
mod movable;
mod ranges;
mod topology;
mod zonelist;
mod zones;

pub use ranges::PfnRange;
pub use topology::Topology;
pub use zonelist::{ZoneRef, fallback_node_orders};

use crate::config::Config;
use crate::error::BootError;
use crate::memblock::Region;
use crate::types::{MAX_PFN, Pfn, ZoneKind};

/// Bytes of a page descriptor that the provisional managed count assumes (`sizeof(struct page)`).
const STRUCT_PAGE_SIZE: u64 = 64;

/// Size of a zone before any page has been freed into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneLayout {
    /// Node the zone belongs to.
    pub node: u32,
    /// Zone index in this configuration.
    pub index: usize,
    /// Which zone this is.
    pub kind: ZoneKind,
    /// First pfn; 0 if nothing is spanned.
    pub start_pfn: Pfn,
    /// Pages from the first to the last, holes included.
    pub spanned: u64,
    /// Pages of the node's memory in the span.
    pub present: u64,
    /// The estimate of managed pages that is in force until the hand-over.
    pub provisional_managed: u64,
}

impl ZoneLayout {
    /// The pfn after the last spanned one.
    pub fn end_pfn(&self) -> Pfn {
        self.start_pfn + self.spanned
    }

    /// The zone has memory (`populated_zone`).
    pub fn is_populated(&self) -> bool {
        self.present != 0
    }
}

/// An online node: its size, its zones and the order in which zones are tried for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLayout {
    /// Node id.
    pub nid: u32,
    /// First pfn of the node's memory; 0 if it has none.
    pub start_pfn: Pfn,
    /// Sum of the spans of its zones.
    pub spanned: u64,
    /// Sum of the present pages of its zones.
    pub present: u64,
    /// One entry per zone index, empty zones included.
    pub zones: Vec<ZoneLayout>,
    /// Zones tried for this node, other nodes' zones included (`ZONELIST_FALLBACK`).
    pub fallback: Vec<ZoneRef>,
    /// Zones tried with `__GFP_THISNODE` (`ZONELIST_NOFALLBACK`); without NUMA the same list.
    pub thisnode: Vec<ZoneRef>,
}

/// Page descriptors of a pfn range: whose they are, and whether memory lies behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemmapRange {
    /// The pfns.
    pub pfns: PfnRange,
    /// The zone and node that the descriptors name.
    pub zone: ZoneRef,
    /// Not memory: the descriptors exist because the section does, and are reserved for good.
    pub is_hole: bool,
}

/// Everything that follows from the memory map before memory is handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The online nodes in ascending order.
    pub nodes: Vec<NodeLayout>,
    /// The pfn after the last page of memory.
    pub max_low_pfn: Pfn,
    /// The highest zone index other than Movable that has memory (mm/mempolicy.c, `policy_zone`).
    pub policy_zone: usize,
    /// Too little memory to group pages by mobility.
    pub page_group_by_mobility_disabled: bool,
    /// Memory pfn ranges in ascending order, one per region (`for_each_mem_pfn_range`).
    pub memory: Vec<PfnRange>,
    /// Pages to be marked reserved: every page touched by a reserved or NOMAP region that has a
    /// descriptor, as disjoint ascending ranges.
    pub reserved: Vec<PfnRange>,
    /// All page descriptors, as disjoint ascending ranges.
    pub memmap: Vec<MemmapRange>,
    /// Pageblock numbers (pfn >> pageblock_order) whose initial type is Movable, as disjoint
    /// ascending ranges; every other pageblock starts as Unmovable.
    pub movable_pageblocks: Vec<PfnRange>,
}

impl Layout {
    /// The node with this id, if it is online.
    pub fn node(&self, nid: u32) -> Option<&NodeLayout> {
        self.nodes.binary_search_by_key(&nid, |node| node.nid).ok().map(|i| &self.nodes[i])
    }

    /// The zone of a zonelist entry.
    pub fn zone(&self, zone: ZoneRef) -> Option<&ZoneLayout> {
        self.node(zone.node)?.zones.get(zone.index)
    }

    /// Zones with memory, node by node, ascending index.
    pub fn populated_zones(&self) -> impl Iterator<Item = &ZoneLayout> {
        self.nodes.iter().flat_map(|node| &node.zones).filter(|zone| zone.is_populated())
    }

    /// Bit mask of the nodes with memory (include/linux/nodemask.h, `N_MEMORY`).
    pub fn nodes_with_memory(&self) -> u64 {
        self.node_mask(|_| true)
    }

    /// Bit mask of the nodes with memory outside zone Movable (`N_NORMAL_MEMORY`).
    pub fn nodes_with_normal_memory(&self) -> u64 {
        self.node_mask(|zone| zone.kind != ZoneKind::Movable)
    }

    fn node_mask(&self, counts: impl Fn(&ZoneLayout) -> bool) -> u64 {
        self.populated_zones().filter(|zone| counts(zone)).fold(0, |mask, zone| mask | 1 << zone.node)
    }

    /// The descriptors that include a pfn, if it has one.
    pub fn memmap_of(&self, pfn: Pfn) -> Option<&MemmapRange> {
        let next = self.memmap.partition_point(|range| range.pfns.start <= pfn);
        self.memmap[..next].last().filter(|range| pfn < range.pfns.end)
    }
}

/// Sizes nodes and zones and builds the zonelists for a memory map.
///
/// `memory` and `reserved` are the memblock lists at the hand-over: ascending and disjoint.
/// Source: mm/page_alloc.c, `free_area_init`, `build_all_zonelists`.
pub fn plan(config: &Config, memory: &[Region], reserved: &[Region], topology: &Topology) -> Result<Layout, BootError> {
    config.validate()?;
    topology.validate(config)?;
    let map = ranges::MemoryMap::new(config, memory, topology)?;
    let limits = zones::ZoneLimits::new(config, map.first_pfn, map.max_low_pfn);
    let movable_pfns = movable::zone_movable_pfns(config, &map, &limits);
    let dma_reserve = ranges::dma_reserve(config, memory, reserved);

    let mut nodes = Vec::with_capacity(topology.nodes.len());
    for (position, &nid) in topology.nodes.iter().enumerate() {
        let ranges = &map.by_node[position];
        let zones = zones::node_zones(config, &limits, nid, ranges, movable_pfns[position], dma_reserve);
        nodes.push(NodeLayout {
            nid,
            start_pfn: ranges.first().map_or(0, |range| range.pfns.start),
            spanned: zones.iter().map(|zone| zone.spanned).sum(),
            present: zones.iter().map(|zone| zone.present).sum(),
            zones,
            fallback: Vec::new(),
            thisnode: Vec::new(),
        });
    }
    zonelist::build(config, topology, &mut nodes);

    let memmap = memmap::descriptors(config, &map, &nodes, &movable_pfns)?;
    let reserved = memmap::reserved_pages(config, memory, reserved, &memmap);
    let boot_node = topology.boot_node_position();
    Ok(Layout {
        max_low_pfn: map.max_low_pfn,
        policy_zone: policy_zone(&nodes),
        page_group_by_mobility_disabled: is_mobility_grouping_disabled(config, &nodes, boot_node),
        memory: map.ranges.iter().map(|range| range.pfns).collect(),
        reserved,
        memmap,
        movable_pageblocks: memmap::movable_pageblocks(config, &map),
        nodes,
    })
}

fn policy_zone(nodes: &[NodeLayout]) -> usize {
    let zones = nodes.iter().flat_map(|node| &node.zones);
    zones.filter(|zone| zone.is_populated() && zone.kind != ZoneKind::Movable).map(|zone| zone.index).max().unwrap_or(0)
}

/// Before the hand-over watermarks are 0 and managed counts are the estimates.
///
/// Source: mm/page_alloc.c, `build_all_zonelists`, `nr_free_zone_pages`.
fn is_mobility_grouping_disabled(config: &Config, nodes: &[NodeLayout], boot_node: usize) -> bool {
    let managed = |entry: &ZoneRef| {
        let node = nodes.iter().find(|node| node.nid == entry.node);
        node.map_or(0, |node| node.zones[entry.index].provisional_managed)
    };
    let total: u64 = nodes[boot_node].fallback.iter().map(managed).sum();
    total < config.pageblock_nr_pages() * config.migrate_types() as u64
}

#[cfg(test)]
mod tests;
