//! The kernel's reports about a machine whose state is known.

use super::*;
use pagebuddy_core::vmstat::{PagetypeinfoReport, VmstatReport};

/// Two nodes of 64 MiB, one cpu each.
fn two_nodes() -> PageAllocator {
    let mut memblock = Memblock::new();
    memblock.add_node(MIB, 63 * MIB, Some(0), 0).unwrap();
    memblock.add_node(64 * MIB, 64 * MIB, Some(1), 0).unwrap();
    let topology = Topology { nodes: vec![0, 1], cpu_node: vec![0, 1], distance: Vec::new() };
    PageAllocator::boot_late(&Config::default(), &topology, &mut memblock).unwrap()
}

fn value(report: &VmstatReport, name: &str) -> u64 {
    report.items.iter().find(|(other, _)| *other == name).unwrap_or_else(|| panic!("no {name}")).1
}

fn lines_with<'a>(text: &'a str, part: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.contains(part)).collect()
}

#[test]
fn a_failure_report_begins_with_the_request() {
    let machine = machine(&Config::default(), 64);
    let request = request(Gfp::GFP_KERNEL | Gfp::COMP | Gfp::ZERO, 4);
    let text = machine.failure_report("stress", request, CPU0).to_string();
    let (header, memory) = text.split_once('\n').unwrap();
    assert_eq!(
        header,
        "stress: page allocation failure: order:4, mode:0x40dc0(GFP_KERNEL|__GFP_COMP|__GFP_ZERO), \
         nodemask=(null),cpuset=/,mems_allowed=0"
    );
    assert_eq!(memory, machine.show_free_areas(None, CPU0));
}

#[test]
fn a_failure_report_tells_of_the_nodes_a_waiting_request_may_use() {
    let machine = two_nodes();
    let report = |gfp, nodemask| {
        let request = AllocRequest { gfp, order: 0, nid: 0, nodemask: Some(nodemask) };
        machine.failure_report("a b", request, CPU0)
    };
    let told = |gfp, nodemask| report(gfp, nodemask).memory.nodes.iter().map(|node| node.nid).collect::<Vec<_>>();
    assert_eq!(told(Gfp::GFP_KERNEL, 0b10), [1]);
    let waiting = report(Gfp::GFP_KERNEL, 0b10);
    assert!(waiting.header().ends_with(", nodemask=1,cpuset=/,mems_allowed=0-1"), "{}", waiting.header());
    assert!(waiting.memory.zones.iter().all(|zone| zone.nid == 1));
    assert_eq!(waiting.memory.present, (127 << 8));
    // Who cannot wait hears of all nodes; an atomic request is no longer bound to its nodes.
    assert_eq!(told(Gfp::GFP_NOWAIT, 0b10), [0, 1]);
    assert!(report(Gfp::GFP_NOWAIT, 0b10).header().contains("nodemask=1,"));
    assert!(report(Gfp::GFP_ATOMIC, 0b10).header().contains("mode:0xa20(GFP_ATOMIC), nodemask=(null),"));
    assert!(report(Gfp::GFP_KERNEL | Gfp::MEMALLOC, 0b10).header().contains("nodemask=(null),"));
    // A mask without memory never gets that far; ATOMIC is dropped where waiting is allowed.
    assert!(report(Gfp::GFP_ATOMIC, 0b100).header().contains("nodemask=2,"));
    let contradictory = report(Gfp::GFP_KERNEL | Gfp::ATOMIC, 0b11);
    assert!(contradictory.header().contains("mode:0xcc0(GFP_KERNEL), nodemask=0-1,"), "{}", contradictory.header());
}

#[test]
fn the_memory_report_counts_what_the_lists_hold() {
    let machine = two_nodes();
    let held = alloc(&machine, Gfp::GFP_KERNEL, 0).unwrap();
    machine.free_pages(CPU0, held, 0).unwrap();
    let report = machine.memory_report(None, CPU0);
    let state = machine.state();
    for (zone, state) in report.zones.iter().zip(&state.zones) {
        assert_eq!((zone.nid, zone.zone), (state.at.nid, state.kind.name()));
        let on_lists: u64 = zone.blocks.iter().enumerate().map(|(order, blocks)| blocks.nr_free << order).sum();
        assert_eq!(on_lists, state.pages_on_free_lists());
        assert_eq!(zone.free_pcp, state.pcp.iter().map(|pcp| pcp.count).sum::<u64>());
        assert_eq!(zone.local_pcp, state.pcp[0].count);
        assert_eq!([zone.min, zone.low, zone.high], state.wmark);
    }
    assert!(report.zones.iter().any(|zone| zone.local_pcp > 0));
    assert_eq!(report.free_pcp, report.zones.iter().map(|zone| zone.free_pcp).sum::<u64>());
    assert_eq!(report.present - report.reserved, state.totalram_pages);
    let only_first = machine.show_free_areas(Some(1), CPU0);
    assert!(lines_with(&only_first, "Node 1").is_empty() && lines_with(&only_first, "Node 0 DMA: ").len() == 1);
    assert!(machine.show_free_areas(Some(0), CPU0).contains(" free_pcp:0 free_cma:0\n0 total pagecache pages\n"));
}

#[test]
fn numa_events_show_in_zoneinfo_once_vmstat_was_read() {
    let machine = two_nodes();
    let free_before = value(&machine.vmstat_report(), "nr_free_pages");
    let before = machine.zoneinfo();
    let page = alloc(&machine, Gfp::GFP_KERNEL, 5).unwrap();
    assert_eq!(lines_with(&machine.zoneinfo(), "numa_"), lines_with(&before, "numa_"));
    let report = machine.vmstat_report();
    assert!(value(&report, "numa_hit") > 0 && value(&report, "numa_hit") == value(&report, "numa_local"));
    assert_ne!(lines_with(&machine.zoneinfo(), "numa_"), lines_with(&before, "numa_"));
    assert_eq!(value(&report, "nr_free_pages"), free_before - 32);
    assert_eq!(value(&report, "pgalloc_dma32"), 32);
    let pgfree = value(&report, "pgfree");
    machine.free_pages(CPU0, page, 5).unwrap();
    assert_eq!(value(&machine.vmstat_report(), "pgfree"), pgfree + 32);
    assert_eq!(report.to_string().lines().last(), Some("nr_unstable 0"));
}

#[test]
fn the_configuration_decides_lines() {
    let plain = Config { numa: false, max_numnodes: 1, thp: false, smp: false, zone_dma: false, ..Config::default() };
    let machine = machine(&plain, 64);
    let zoneinfo = machine.zoneinfo();
    assert!(lines_with(&zoneinfo, "numa_").is_empty() && lines_with(&zoneinfo, "vm stats threshold").is_empty());
    assert_eq!(
        lines_with(&zoneinfo, "Node 0"),
        ["Node 0, zone    DMA32", "Node 0, zone   Normal", "Node 0, zone  Movable"]
    );
    assert_eq!(lines_with(&zoneinfo, "protection: ("), ["        protection: (0, 0, 0)"; 3]);
    assert!(machine.buddyinfo().starts_with("Node 0, zone    DMA32 "));
    let memory = machine.show_free_areas(None, CPU0);
    assert!(memory.contains("\nDMA32 free:") && memory.contains("\nDMA32: ") && !memory.contains("_thp"));
    let names: Vec<&str> = machine.vmstat_report().items.iter().map(|(name, _)| *name).collect();
    assert!(!names.contains(&"numa_hit") && !names.contains(&"pgalloc_dma") && names.contains(&"pgalloc_movable"));

    let cma = Config { cma: true, memory_isolation: true, ..Config::default() };
    let machine = super::machine(&cma, 64);
    let types = "Number of blocks type     Unmovable      Movable  Reclaimable   HighAtomic          CMA      Isolate ";
    assert_eq!(lines_with(&machine.pagetypeinfo(), "Number of blocks"), [types]);
    assert!(machine.show_free_areas(None, CPU0).ends_with("0 pages cma reserved\n"));
}

/// Pageblocks of zone DMA32 by type: Unmovable, Movable.
fn dma32_blocks(report: &PagetypeinfoReport) -> [u64; 2] {
    let zones = report.nodes.iter().flat_map(|node| &node.zones);
    let blocks = zones.filter(|zone| zone.zone == "DMA32").map(|zone| &zone.pageblocks);
    blocks.fold([0, 0], |sum, counts| [sum[0] + counts[0], sum[1] + counts[1]])
}

#[test]
fn pageblocks_count_where_descriptors_name_the_zone() {
    let boot = |ranges: &[(u64, u64)]| {
        let mut memblock = Memblock::new();
        ranges.iter().for_each(|(start, end)| memblock.add_node(start * MIB, (end - start) * MIB, Some(0), 0).unwrap());
        PageAllocator::boot_late(&Config::default(), &Topology::single_node(1), &mut memblock).unwrap()
    };
    // A hole in a section with memory has descriptors of the zone above it, and no type was set.
    assert_eq!(dma32_blocks(&boot(&[(1, 32), (48, 128)]).pagetypeinfo_report()), [8, 48]);
    // Sections without memory have no descriptors: the hole counts from 32 to 128 and from 512 to 520.
    assert_eq!(dma32_blocks(&boot(&[(1, 32), (520, 640)]).pagetypeinfo_report()), [48 + 4, 8 + 60]);
    // The hole's descriptors are those of zone Normal, which does not span it.
    assert_eq!(dma32_blocks(&boot(&[(1, 32), (4096, 4352)]).pagetypeinfo_report()), [0, 8]);
}

#[test]
fn memory_added_later_is_told() {
    let config = Config { memory_isolation: true, max_possible_pfn: (1 << 30) >> 12, ..Config::default() };
    let machine = machine(&config, 256);
    let before = dma32_blocks(&machine.pagetypeinfo_report());
    machine.online_pages(CPU0, (384 * MIB) >> 12, (128 * MIB) >> 12, 0).unwrap();
    assert_eq!(dma32_blocks(&machine.pagetypeinfo_report()), [before[0], before[1] + 64]);
    assert!(machine.zoneinfo().contains(&format!("        spanned  {}\n", (496 * MIB) >> 12)));
}

#[test]
fn fragmentation_indices_are_those_of_the_zones() {
    let machine = two_nodes();
    let text = machine.extfrag_index_report().to_string();
    assert_eq!(text.lines().next(), Some(&*format!("Node 0, zone      DMA {}", "-1.000 ".repeat(11))));
    let report = machine.unusable_index_report();
    for (number, zone) in report.zones.iter().enumerate() {
        let direct = machine.zone_by_number(number).unwrap();
        let indices: Vec<u32> = (0..11).map(|order| direct.contig_page_info(order).unusable_index()).collect();
        assert_eq!(zone.by_order, indices);
    }
    assert!(report.to_string().starts_with("Node 0, zone      DMA 0.000 "));
}
