//! The specification's examples, and maps that must be refused.

use super::*;
use crate::config::CoreSize;
use crate::memblock::{FLAG_HOTPLUG, FLAG_MIRROR, FLAG_NOMAP};

const PAGE: u64 = 4096;
const GIB: u64 = 1 << 30;

fn region(base: u64, end: u64, nid: u32) -> Region {
    Region { base, size: end - base, nid: Some(nid), flags: 0 }
}

fn pc_memory() -> Vec<Region> {
    // The 4 GiB guest: [1,0x9f), [0x100,0xbffe0), [0x100000,0x140000).
    vec![
        region(PAGE, 0x9f * PAGE, 0),
        region(0x100 * PAGE, 0xbffe0 * PAGE, 0),
        region(0x100000 * PAGE, 0x140000 * PAGE, 0),
    ]
}

fn nodes(count: u32) -> Topology {
    Topology { nodes: (0..count).collect(), cpu_node: vec![0], distance: Vec::new() }
}

fn even_nodes(count: u32, gib_each: u64) -> Vec<Region> {
    (0..count).map(|n| region(u64::from(n) * gib_each * GIB, (u64::from(n) + 1) * gib_each * GIB, n)).collect()
}

fn sizes(node: &NodeLayout) -> Vec<(u64, u64, u64)> {
    node.zones.iter().map(|zone| (zone.start_pfn, zone.spanned, zone.present)).collect()
}

fn range(start: u64, end: u64) -> PfnRange {
    PfnRange { start, end }
}

#[test]
fn pc_with_4_gib() {
    let layout = plan(&Config::default(), &pc_memory(), &[], &Topology::single_node(1)).unwrap();
    let node = &layout.nodes[0];
    assert_eq!(sizes(node), [(1, 4095, 3998), (4096, 1044480, 782304), (1048576, 262144, 262144), (0, 0, 0)]);
    assert_eq!((node.start_pfn, node.spanned, node.present), (1, 1310719, 1048446));
    assert_eq!(layout.max_low_pfn, 0x140000);
    assert_eq!(layout.policy_zone, 2);
    assert!(!layout.page_group_by_mobility_disabled);
    // Block 0 begins with pfn 0, which is no memory; block 0x5ff's end is a hole but its start is not.
    assert_eq!(layout.movable_pageblocks, [range(1, 0x600), range(0x800, 0xa00)]);
    let memmap: Vec<_> = layout.memmap.iter().map(|r| (r.pfns.start, r.pfns.end, r.zone.index, r.is_hole)).collect();
    assert_eq!(
        memmap,
        [
            (0, 1, 0, true),
            (1, 0x9f, 0, false),
            (0x9f, 0x100, 0, true),
            (0x100, 0x1000, 0, false),
            (0x1000, 0xbffe0, 1, false),
            // The section ends here; its hole names the zone above.
            (0xbffe0, 0xc0000, 2, true),
            (0x100000, 0x140000, 2, false),
        ]
    );
    assert_eq!(layout.memmap_of(0xbffe0).unwrap().zone.index, 2);
    assert_eq!(layout.memmap_of(0xc0000), None);
    assert_eq!(layout.memmap_of(u64::MAX), None);
}

#[test]
fn provisional_managed_counts_leave_out_the_memory_map() {
    // All but 1000 whole pages below 16 MiB are reserved.
    let reserved = [region(0, 0x800 * PAGE + 1, 0), region(0xbe9 * PAGE, 16 << 20, 0)];
    let layout = plan(&Config::default(), &pc_memory(), &reserved, &Topology::single_node(1)).unwrap();
    let managed: Vec<u64> = layout.nodes[0].zones.iter().map(|zone| zone.provisional_managed).collect();
    // DMA: spanned 4095 is within 1/16 of present 3998; dma_reserve is 3998 - 1000.
    assert_eq!(managed[0], 3998 - 64 - (3998 - 1000));
    // DMA32 is sparse: descriptors for present pages only. Normal: 262144 / 64.
    assert_eq!(managed[1..], [782304 - 12224, 262144 - 4096, 0]);
}

#[test]
fn kernelcore_splits_the_highest_zone() {
    let mut config = Config { kernelcore: CoreSize::Pages(0x80000), ..Config::default() };
    let layout = plan(&config, &pc_memory(), &[], &Topology::single_node(1)).unwrap();
    // Memory below Normal counts first and more than covers the request.
    assert_eq!(sizes(&layout.nodes[0])[2..], [(0, 0, 0), (0x100000, 0x40000, 0x40000)]);
    assert_eq!(layout.policy_zone, 1);

    // 782304 + 3998 pages lie below; 1000 more are needed from Normal, rounded up to 1024.
    config.kernelcore = CoreSize::Pages(782304 + 3998 + 1000);
    let layout = plan(&config, &pc_memory(), &[], &Topology::single_node(1)).unwrap();
    assert_eq!(sizes(&layout.nodes[0])[2..], [(0x100000, 1024, 1024), (0x100400, 0x40000 - 1024, 0x40000 - 1024)]);

    // movablecore of the same effect, and the larger kernelcore wins.
    config.kernelcore = CoreSize::Pages(1);
    config.movablecore = CoreSize::Pages(0x40000 - 1024);
    let same = plan(&config, &pc_memory(), &[], &Topology::single_node(1)).unwrap();
    assert_eq!(sizes(&same.nodes[0])[2..], sizes(&layout.nodes[0])[2..]);

    for everything in [CoreSize::Pages(u64::MAX), CoreSize::Percent(100), CoreSize::Pages(0), CoreSize::None] {
        let config = Config { kernelcore: everything, ..Config::default() };
        let layout = plan(&config, &pc_memory(), &[], &Topology::single_node(1)).unwrap();
        assert_eq!(sizes(&layout.nodes[0])[3], (0, 0, 0));
    }
    // A movablecore of everything leaves a kernelcore of 0.
    let config = Config { movablecore: CoreSize::Pages(u64::MAX), ..Config::default() };
    let layout = plan(&config, &pc_memory(), &[], &Topology::single_node(1)).unwrap();
    assert_eq!(sizes(&layout.nodes[0])[3], (0, 0, 0), "which means no zone Movable");
}

#[test]
fn kernelcore_that_small_nodes_cannot_hold_goes_to_the_others() {
    let memory = [region(4 * GIB, 5 * GIB, 0), region(5 * GIB, 9 * GIB, 1)];
    let config = Config { kernelcore: CoreSize::Pages(3 << 18), ..Config::default() };
    let layout = plan(&config, &memory, &[], &nodes(2)).unwrap();
    // 1.5 GiB each at first; node 0 has 1 GiB only, so node 1 keeps 2.
    assert_eq!(sizes(&layout.nodes[0])[2..], [(4 << 18, 1 << 18, 1 << 18), (0, 0, 0)]);
    assert_eq!(sizes(&layout.nodes[1])[2..], [(5 << 18, 2 << 18, 2 << 18), (7 << 18, 2 << 18, 2 << 18)]);
}

#[test]
fn movable_node_takes_hotpluggable_memory() {
    let mut memory = even_nodes(2, 4);
    memory[1].flags = FLAG_HOTPLUG;
    let config = Config { movable_node: true, kernelcore: CoreSize::Pages(1), ..Config::default() };
    let layout = plan(&config, &memory, &[], &nodes(2)).unwrap();
    assert_eq!(sizes(&layout.nodes[1]), [(0, 0, 0), (0, 0, 0), (0, 0, 0), (1 << 20, 1 << 20, 1 << 20)]);
    assert_eq!(sizes(&layout.nodes[0])[3], (0, 0, 0));
    assert_eq!(layout.nodes_with_memory(), 0b11);
    assert_eq!(layout.nodes_with_normal_memory(), 0b01);
}

#[test]
fn mirrored_memory_and_the_rest_share_a_span() {
    let mut memory = vec![region(0, 2 * GIB, 0), region(4 * GIB, 5 * GIB, 0), region(5 * GIB, 7 * GIB, 0)];
    memory.push(region(7 * GIB, 8 * GIB, 0));
    memory[1].flags = FLAG_MIRROR;
    memory[3].flags = FLAG_MIRROR;
    let config = Config { kernelcore_mirror: true, ..Config::default() };
    let layout = plan(&config, &memory, &[], &nodes(1)).unwrap();
    assert_eq!(sizes(&layout.nodes[0])[2..], [(4 << 18, 4 << 18, 2 << 18), (5 << 18, 3 << 18, 2 << 18)]);
    let zones: Vec<_> = layout.memmap.iter().map(|r| (r.pfns.start >> 18, r.zone.index)).collect();
    assert_eq!(zones, [(0, 0), (0, 1), (4, 2), (5, 3), (7, 2)]);

    // Without mirrored memory above 4 GiB zone Normal is empty, and mirrored memory after that
    // has no zone.
    memory[1].flags = 0;
    let refused = plan(&config, &memory, &[], &nodes(1));
    assert!(matches!(refused, Err(BootError::MemoryMap(_))), "{refused:?}");
}

#[test]
fn a_movable_start_beyond_the_node_is_no_zone() {
    // One hotpluggable page at the end of the node: rounding its start up leaves the node.
    let mut memory = vec![region(0, GIB - PAGE, 0), region(GIB - PAGE, GIB, 0)];
    memory[1].flags = FLAG_HOTPLUG;
    let config = Config { movable_node: true, ..Config::default() };
    let layout = plan(&config, &memory, &[], &nodes(1)).unwrap();
    assert_eq!(sizes(&layout.nodes[0])[1..], [(4096, (1 << 18) - 4096, (1 << 18) - 4096), (0, 0, 0), (0, 0, 0)]);
}

#[test]
fn another_nodes_memory_inside_the_span_is_absent() {
    let memory = [region(0, GIB, 0), region(GIB, 2 * GIB, 1), region(2 * GIB, 3 * GIB, 0)];
    let layout = plan(&Config::default(), &memory, &[], &nodes(2)).unwrap();
    let dma32 = layout.nodes[0].zones[1];
    assert_eq!((dma32.spanned, dma32.present), ((3 << 18) - 4096, (2 << 18) - 4096));
    let owners: Vec<_> = layout.memmap.iter().map(|r| r.zone.node).collect();
    assert_eq!(owners, [0, 0, 1, 0]);
}

#[test]
fn pages_touched_by_reserved_and_nomap_regions_are_reserved() {
    let mut memory = vec![region(PAGE, 64 * PAGE, 0), region(64 * PAGE, 72 * PAGE, 0), region(72 * PAGE, GIB, 0)];
    memory[1].flags = FLAG_NOMAP;
    let reserved = [
        Region { base: 10 * PAGE + 1, size: PAGE, nid: None, flags: 0 },
        Region { base: 80 * PAGE - 1, size: 1, nid: None, flags: 0 },
        Region { base: u64::MAX - 10, size: 100, nid: None, flags: 0 },
    ];
    let layout = plan(&Config::default(), &memory, &reserved, &nodes(1)).unwrap();
    assert_eq!(layout.reserved, [range(10, 12), range(64, 72), range(79, 80)]);
    assert_eq!(layout.memory, [range(1, 64), range(64, 72), range(72, 1 << 18)]);
}

#[test]
fn partial_pages_are_no_memory() {
    let memory = [region(1, 2 * PAGE + 7, 0), region(2 * PAGE + 7, 2 * PAGE + 9, 0), region(16 * PAGE - 1, GIB + 5, 0)];
    let layout = plan(&Config::default(), &memory, &[], &nodes(1)).unwrap();
    assert_eq!(layout.memory, [range(1, 2), range(16, 1 << 18)]);
}

fn orders(topology: &Topology, has_cpus: &[bool]) -> Vec<Vec<usize>> {
    let config = Config { max_numnodes: 64, ..Config::default() };
    fallback_node_orders(&config, topology, &vec![true; topology.nodes.len()], has_cpus)
}

#[test]
fn equally_distant_nodes_are_tried_in_rotation() {
    let rotation = [[0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 0, 1], [3, 0, 1, 2]];
    assert_eq!(orders(&nodes(4), &[false; 4]), rotation);
    assert_eq!(orders(&nodes(4), &[true; 4]), rotation);
    let two_without = [[0, 2, 3, 1], [1, 3, 2, 0], [2, 3, 0, 1], [3, 2, 0, 1]];
    assert_eq!(orders(&nodes(4), &[true, true, false, false]), two_without);
}

#[test]
fn near_nodes_are_tried_first() {
    let distance = vec![vec![10, 12, 20, 22], vec![12, 10, 22, 24], vec![20, 22, 10, 12], vec![22, 24, 12, 10]];
    let topology = Topology { distance, ..nodes(4) };
    assert_eq!(orders(&topology, &[true; 4]), [[0, 1, 2, 3], [1, 0, 2, 3], [2, 3, 0, 1], [3, 2, 0, 1]]);
}

#[test]
fn a_node_without_memory_borrows() {
    let memory = [region(PAGE, GIB, 0), region(GIB, 2 * GIB, 2)];
    let layout = plan(&Config::default(), &memory, &[], &nodes(3)).unwrap();
    let entries = |list: &[ZoneRef]| list.iter().map(|z| (z.node, z.index)).collect::<Vec<_>>();
    assert_eq!(entries(&layout.nodes[0].fallback), [(0, 1), (0, 0), (2, 1)]);
    assert_eq!(entries(&layout.nodes[1].fallback), [(2, 1), (0, 1), (0, 0)]);
    assert_eq!(entries(&layout.nodes[1].thisnode), []);
    assert_eq!((layout.nodes[1].start_pfn, layout.nodes[1].spanned), (0, 0));
    assert_eq!(layout.nodes_with_memory(), 0b101);
}

#[test]
fn without_numa_there_is_one_list() {
    let config = Config { numa: false, max_numnodes: 1, ..Config::default() };
    // Node ids of regions mean nothing then.
    let layout = plan(&config, &[region(0, GIB, 5)], &[], &nodes(1)).unwrap();
    assert_eq!(layout.nodes[0].fallback, layout.nodes[0].thisnode);
    assert_eq!(layout.nodes[0].fallback.len(), 2);
}

#[test]
fn little_memory_disables_mobility_grouping() {
    let grouping_off = |pages: u64, config: &Config| {
        let layout = plan(config, &[region(GIB, GIB + pages * PAGE, 0)], &[], &nodes(1)).unwrap();
        layout.page_group_by_mobility_disabled
    };
    // 2048 pages are needed with four types: 2081 pages less 33 for their descriptors.
    let config = Config::default();
    assert!(grouping_off(2080, &config));
    assert!(!grouping_off(2081, &config));
    let with_cma = Config { cma: true, memory_isolation: true, ..config };
    assert!(grouping_off(3120, &with_cma));
    assert!(!grouping_off(3121, &with_cma));
}

#[test]
fn missing_dma_zones_shift_the_others() {
    let config = Config { zone_dma: false, zone_dma32: false, ..Config::default() };
    let layout = plan(&config, &pc_memory(), &[], &nodes(1)).unwrap();
    assert_eq!(sizes(&layout.nodes[0]), [(1, 0x13ffff, 1048446), (0, 0, 0)]);
    assert_eq!(layout.nodes[0].zones[0].kind, ZoneKind::Normal);
}

#[test]
fn a_huge_sparse_map_is_cheap() {
    let memory = [region(0, 1 << 40, 0), region((1 << 52) - GIB, 1 << 52, 0)];
    let layout = plan(&Config::default(), &memory, &[], &nodes(1)).unwrap();
    assert_eq!(layout.max_low_pfn, MAX_PFN);
    assert_eq!(layout.nodes[0].present, (1 << 28) + (1 << 18));
}

#[test]
fn unusable_maps_are_refused() {
    let refused = |memory: &[Region]| {
        let result = plan(&Config::default(), memory, &[], &nodes(1));
        assert!(matches!(result, Err(BootError::MemoryMap(_))), "{result:?}");
    };
    refused(&[]);
    refused(&[region(0, 0, 0)]);
    refused(&[region(1, 4096, 0)]);
    refused(&[region(0, GIB, 1)]);
    refused(&[Region { nid: None, ..region(0, GIB, 0) }]);
    refused(&[region(GIB, 2 * GIB, 0), region(0, GIB, 0)]);
    refused(&[region(0, GIB, 0), region(GIB - 1, 2 * GIB, 0)]);
    refused(&[region(0, (1 << 52) + PAGE, 0)]);
    refused(&[Region { base: u64::MAX - PAGE, size: 2 * PAGE, nid: Some(0), flags: 0 }]);
    refused(&[region(u64::MAX - 3 * PAGE, u64::MAX, 0)]);
}

#[test]
fn unusable_topologies_are_refused() {
    let refused = |topology: Topology| {
        let result = plan(&Config::default(), &[region(0, GIB, 0)], &[], &topology);
        assert!(matches!(result, Err(BootError::Topology(_))), "{result:?}");
    };
    refused(Topology { nodes: vec![], ..nodes(1) });
    refused(Topology { nodes: vec![0, 0], ..nodes(1) });
    refused(Topology { nodes: vec![1, 0], ..nodes(1) });
    refused(Topology { nodes: vec![0, 8], ..nodes(1) });
    refused(Topology { cpu_node: vec![0, 1], ..nodes(1) });
    refused(Topology { distance: vec![vec![10, 20]], ..nodes(2) });
    refused(Topology { distance: vec![vec![10, 20], vec![20]], ..nodes(2) });
    refused(Topology { distance: vec![vec![10, 9], vec![20, 10]], ..nodes(2) });
    refused(Topology { distance: vec![vec![10, 256], vec![20, 10]], ..nodes(2) });
    refused(Topology { distance: vec![vec![11, 20], vec![20, 10]], ..nodes(2) });
}

/// Pseudo-random numbers below a bound.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % bound
    }

    /// Regions with gaps and odd bytes, on changing nodes and with changing flags.
    fn memory(&mut self, nr_nodes: u64) -> Vec<Region> {
        let mut base = self.below(1 << 14);
        let nr_regions = 1 + self.below(12);
        (0..nr_regions)
            .map(|_| {
                let scale = 12 + self.below(21);
                let size = 1 + (self.below(1000) << scale) / 100 + self.below(3 * PAGE);
                base += if self.below(2) == 0 { 0 } else { self.below(1000) << scale >> 9 };
                let flags = [0, 0, 0, FLAG_HOTPLUG, FLAG_MIRROR, FLAG_NOMAP][self.below(6) as usize];
                let region = Region { base, size, nid: Some(self.below(nr_nodes) as u32), flags };
                base += size;
                region
            })
            .collect()
    }

    fn core_size(&mut self) -> CoreSize {
        match self.below(4) {
            0 => CoreSize::Percent(self.below(101)),
            1 => CoreSize::Pages(self.below(1 << 22)),
            _ => CoreSize::None,
        }
    }
}

#[test]
fn zones_and_descriptors_cover_random_maps_exactly() {
    let mut numbers = Numbers(1);
    let mut nr_planned = 0;
    for _ in 0..4000 {
        let nr_nodes = 1 + numbers.below(4);
        let memory = numbers.memory(nr_nodes);
        let config = Config {
            kernelcore: numbers.core_size(),
            movablecore: numbers.core_size(),
            movable_node: numbers.below(4) == 0,
            kernelcore_mirror: numbers.below(6) == 0,
            zone_dma: numbers.below(4) != 0,
            zone_dma32: numbers.below(4) != 0,
            ..Config::default()
        };
        match plan(&config, &memory, &memory[..1], &nodes(nr_nodes as u32)) {
            Ok(layout) => {
                check_cover(&config, &layout);
                nr_planned += 1;
            }
            Err(BootError::MemoryMap(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(nr_planned > 3000, "{nr_planned}");
}

fn check_cover(config: &Config, layout: &Layout) {
    assert!(layout.memmap.iter().all(|range| !range.pfns.is_empty()));
    assert!(layout.memmap.windows(2).all(|pair| pair[0].pfns.end <= pair[1].pfns.start));
    let present = |counts: &dyn Fn(ZoneRef) -> bool| -> u64 {
        let memory = layout.memmap.iter().filter(|range| !range.is_hole && counts(range.zone));
        memory.map(|range| range.pfns.nr_pages()).sum()
    };
    assert_eq!(present(&|_| true), layout.memory.iter().map(PfnRange::nr_pages).sum::<u64>());
    for node in &layout.nodes {
        for zone in &node.zones {
            let pages = present(&|at| at == ZoneRef { node: node.nid, index: zone.index });
            // What the rounding of zone Movable's start leaves to Normal is not counted as its own.
            let is_exact = !config.kernelcore_mirror || config.movable_node;
            assert!(zone.present == pages || (!is_exact && zone.present < pages), "{zone:?} {pages}");
            assert!(zone.present <= zone.spanned && zone.provisional_managed <= zone.present);
        }
    }
    for range in layout.memmap.iter().filter(|range| !range.is_hole) {
        let zone = layout.zone(range.zone).unwrap();
        assert!(zone.start_pfn <= range.pfns.start && range.pfns.end <= zone.end_pfn());
    }
    for list in layout.nodes.iter().map(|node| &node.fallback) {
        assert_eq!(list.len(), layout.populated_zones().count());
    }
}
