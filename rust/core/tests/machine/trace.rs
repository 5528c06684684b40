//! The trace events of the worked replays (spec 17) and of the sequences of spec 15.

use super::*;
use pagebuddy_core::memblock::Region;
use pagebuddy_core::state::{
    CpuStat, MachineState, NodeState, NumaEvents, PcpState, Topology as StateTopology, Tunables, ZoneExtent, ZoneRef,
    ZoneState, Zonelists,
};
use pagebuddy_core::trace::{Event, TraceClock, TracerId};
use pagebuddy_core::types::{MigrateType, NR_MIGRATETYPES, ZoneKind};

const U: u8 = MigrateType::Unmovable as u8;
const M: u8 = MigrateType::Movable as u8;

/// A machine of one zone DMA32 with one cpu, exact counters, and watermarks that always pass.
struct OneZone {
    start: Pfn,
    end: Pfn,
    free: Vec<(u32, Vec<Pfn>)>,
    movable_in_use: Vec<Pfn>,
    high: u64,
    batch: u64,
    high_watermark: u64,
}

impl OneZone {
    fn load(&self) -> PageAllocator {
        let config = Config::default();
        let at = ZoneRef { nid: 0, zone: 1 };
        let spanned = self.end - self.start;
        let extent = ZoneExtent { start_pfn: self.start, spanned, present: spanned };
        let mut free_lists = vec![Vec::new(); 11 * NR_MIGRATETYPES];
        for (order, pfns) in &self.free {
            free_lists[ZoneState::free_list_index(*order as usize, MigrateType::Movable)] = pfns.clone();
        }
        let nr_free: Vec<u64> =
            free_lists.chunks(NR_MIGRATETYPES).map(|lists| lists.iter().map(Vec::len).sum::<usize>() as u64).collect();
        let nr_free_pages = nr_free.iter().enumerate().map(|(order, blocks)| (*blocks as i64) << order).sum();
        let mut extents = vec![ZoneExtent::default(); 4];
        extents[1] = extent;
        let zone = ZoneState {
            at,
            kind: ZoneKind::Dma32,
            extent,
            managed: spanned,
            wmark: [0, 0, self.high_watermark],
            boost: 0,
            lowmem_reserve: vec![0; 4],
            nr_reserved_highatomic: 0,
            flags: 0,
            contiguous: true,
            nr_free_pages,
            nr_free_cma: 0,
            percpu_drift_mark: 0,
            pageset_high: self.high,
            pageset_batch: self.batch,
            nr_isolate_pageblock: 0,
            cpustat: vec![CpuStat::default()],
            nr_free,
            free_lists,
            pcp: vec![PcpState {
                cpu: 0,
                high: self.high,
                batch: self.batch,
                lists: vec![Vec::new(); config.nr_pcp_lists()],
                ..PcpState::default()
            }],
            blocks_start: self.start,
            blocks: vec![Some(MigrateType::Movable); spanned as usize >> 9],
            movable_in_use: self.movable_in_use.clone(),
            numa: NumaEvents::default(),
        };
        let node = NodeState {
            nid: 0,
            start_pfn: self.start,
            spanned,
            present: spanned,
            zones: extents,
            zonelists: Zonelists { fallback: vec![at], thisnode: vec![at] },
        };
        let state = MachineState {
            config,
            topology: StateTopology {
                nodes: vec![node],
                cpu_node: vec![0],
                nr_online_cpus: 1,
                node_distance: vec![vec![10]],
            },
            memory: vec![Region { base: self.start << 12, size: spanned << 12, nid: Some(0), flags: 0 }],
            reserved: Vec::new(),
            tunables: Tunables {
                min_free_kbytes: 0,
                user_min_free_kbytes: None,
                watermark_scale_factor: 10,
                watermark_boost_factor: 15000,
                lowmem_reserve_ratio: vec![256, 256, 32, 0],
                percpu_pagelist_high_fraction: 0,
            },
            totalreserve_pages: None,
            node_totalreserve: None,
            totalram_pages: spanned,
            gfp_allowed_mask: Gfp::ALL.0,
            page_group_by_mobility_disabled: false,
            rt_task: false,
            policy_zone: None,
            zones: vec![zone],
        };
        PageAllocator::from_state(&state).unwrap()
    }
}

/// A machine that is listened to.
struct Traced {
    machine: PageAllocator,
    tracer: TracerId,
}

impl Traced {
    fn new(machine: PageAllocator) -> Self {
        let tracer = machine.trace().start(TraceClock::Counter, None).unwrap();
        Traced { machine, tracer }
    }

    /// What happened since the last call.
    fn events(&mut self) -> Vec<Event> {
        let trace = self.machine.trace().stop(self.tracer).unwrap();
        self.tracer = self.machine.trace().start(TraceClock::Counter, None).unwrap();
        assert!(trace.records.iter().all(|record| record.cpu == 0));
        trace.records.into_iter().map(|record| record.event).collect()
    }

    fn alloc(&mut self, gfp: Gfp, order: u32) -> (Pfn, Vec<Event>) {
        let pfn = alloc(&self.machine, gfp, order).unwrap();
        let mut events = self.events();
        let migratetype = if gfp.contains(Gfp::MOVABLE) { M } else { U };
        assert_eq!(events.pop(), Some(Event::Alloc { pfn: Some(pfn), order, gfp: gfp.0, migratetype }));
        (pfn, events)
    }

    fn free(&mut self, pfn: Pfn, order: u32) -> Vec<Event> {
        self.machine.free_pages(CPU0, pfn, order).unwrap();
        let mut events = self.events();
        assert_eq!(events.remove(0), Event::Free { pfn, order });
        events
    }

    /// nr_free, pcp count and the free counter, as the table of spec 17.1 shows them.
    fn numbers(&self) -> (Vec<u64>, u64, i64) {
        let zone = self.machine.state().zones.remove(0);
        (zone.nr_free, zone.pcp[0].count, zone.nr_free_pages)
    }
}

const UNMOVABLE: Gfp = Gfp::GFP_KERNEL;
const MOVABLE: Gfp = Gfp::GFP_HIGHUSER_MOVABLE;

fn zone_locked(pfns: impl IntoIterator<Item = Pfn>, order: u32, migratetype: u8) -> Vec<Event> {
    pfns.into_iter().map(|pfn| Event::AllocZoneLocked { pfn, order, migratetype }).collect()
}

fn drains(pages: &[(Pfn, u32)], migratetype: u8) -> Vec<Event> {
    pages.iter().map(|(pfn, order)| Event::PcpuDrain { pfn: *pfn, order: *order, migratetype }).collect()
}

fn extfrag(pfn: Pfn, orders: (u32, u32), types: (u8, u8), change_ownership: bool) -> Event {
    Event::AllocExtfrag {
        pfn,
        alloc_order: orders.0,
        fallback_order: orders.1,
        alloc_migratetype: types.0,
        fallback_migratetype: types.1,
        change_ownership,
    }
}

fn large_zone() -> Traced {
    let blocks = (0x1000..0x41000).step_by(1024).collect();
    let zone = OneZone {
        start: 0x1000,
        end: 0x41000,
        free: vec![(10, blocks)],
        movable_in_use: Vec::new(),
        high: 300,
        batch: 63,
        high_watermark: 0,
    };
    Traced::new(zone.load())
}

#[test]
fn worked_replay_of_a_large_zone() {
    let mut zone = large_zone();
    let (pfn, events) = zone.alloc(UNMOVABLE, 0);
    assert_eq!(pfn, 0x1000);
    let stolen = extfrag(0x1000, (0, 10), (U, M), true);
    assert_eq!(events, [vec![stolen], zone_locked(0x1000..0x103f, 0, U)].concat());
    assert_eq!(zone.numbers(), (vec![1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 255], 62, 262_081));

    let (pfn, events) = zone.alloc(MOVABLE, 0);
    assert_eq!((pfn, events), (0x1400, zone_locked(0x1400..0x143f, 0, M)));
    assert_eq!(zone.numbers(), (vec![2, 0, 0, 0, 0, 0, 2, 2, 2, 2, 254], 124, 262_018));

    let (pfn, events) = zone.alloc(MOVABLE, 2);
    assert_eq!((pfn, events), (0x1440, zone_locked((0x1440..0x147c).step_by(4), 2, M)));
    assert_eq!(zone.numbers(), (vec![2, 0, 1, 0, 0, 0, 1, 2, 2, 2, 254], 180, 261_958));

    assert_eq!(zone.alloc(UNMOVABLE, 4), (0x1040, zone_locked([0x1040], 4, U)));
    assert_eq!(zone.numbers(), (vec![2, 0, 1, 0, 1, 1, 0, 2, 2, 2, 254], 180, 261_942));
    assert_eq!(zone.alloc(UNMOVABLE, 0), (0x1001, vec![]));

    assert_eq!(zone.alloc(MOVABLE, 9), (0x1600, zone_locked([0x1600, 0x1800], 9, M)));
    assert_eq!(zone.numbers(), (vec![2, 0, 1, 0, 1, 1, 0, 2, 2, 2, 253], 691, 260_918));

    let twos: Vec<(Pfn, u32)> = (0x1464..=0x1478).rev().step_by(4).map(|pfn| (pfn, 2)).collect();
    let drained = [vec![(0x143e, 0)], twos, vec![(0x1800, 9)]].concat();
    assert_eq!(zone.free(0x1400, 0), drains(&drained, M));
    assert_eq!(zone.numbers(), (vec![1, 1, 1, 1, 2, 1, 0, 2, 2, 1, 254], 155, 261_455));

    assert_eq!(zone.alloc(MOVABLE, 0), (0x1400, vec![]));
    assert_eq!(zone.free(0x1040, 4), []);
    assert_eq!(zone.numbers(), (vec![1, 1, 1, 1, 1, 0, 1, 2, 2, 1, 254], 154, 261_471));

    let (mut pages, mut locked) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        let (pfn, events) = zone.alloc(MOVABLE, 0);
        pages.push(pfn);
        locked.extend(events);
    }
    assert_eq!(pages, (0x1401..=0x143f).chain(0x1464..=0x14ec).collect::<Vec<Pfn>>());
    assert_eq!(locked, zone_locked((0x143e..=0x143f).chain(0x1464..=0x151e), 0, M));
    assert_eq!(zone.numbers(), (vec![2, 0, 0, 0, 0, 1, 2, 2, 1, 1, 254], 143, 261_282));

    let mut drained = Vec::new();
    for (number, pfn) in (1..).zip(pages) {
        let events = zone.free(pfn, 0);
        assert_eq!(events.is_empty(), number != 157, "free number {number}");
        drained.extend(events);
    }
    let singles = |pfns: std::ops::RangeInclusive<Pfn>| pfns.rev().map(|pfn| (pfn, 0)).collect::<Vec<_>>();
    let twos = |pfns: std::ops::RangeInclusive<Pfn>| pfns.rev().step_by(4).map(|pfn| (pfn, 2)).collect::<Vec<_>>();
    let expected = [
        drains(&singles(0x151e..=0x151e), M),
        drains(&twos(0x144c..=0x1460), M),
        drains(&singles(0x1037..=0x103e), U),
        drains(&singles(0x151d..=0x151d), M),
        drains(&twos(0x1444..=0x1448), M),
        drains(&singles(0x102b..=0x1036), U),
        drains(&singles(0x151c..=0x151c), M),
        drains(&singles(0x1023..=0x102a), U),
    ];
    assert_eq!(drained, expected.concat());
    assert_eq!(drained.len(), 39);
    assert_eq!(zone.numbers(), (vec![1, 0, 4, 2, 2, 1, 2, 2, 1, 1, 254], 280, 261_345));
}

/// The small zone after its first allocations: the last 256 pages minus `nr_taken` are free, and
/// everything before them in the last pageblock is on the LRU. The boost that stealing causes must not
/// stop the requests that follow: they pass the watermarks.
fn small_zone(free: Vec<(u32, Vec<Pfn>)>, nr_taken: u64) -> Traced {
    let zone = OneZone {
        start: 0x1000,
        end: 0x2000,
        free,
        movable_in_use: (0x1e00..0x1f00 + nr_taken).collect(),
        high: 4,
        batch: 1,
        high_watermark: 100,
    };
    Traced::new(zone.load())
}

#[test]
fn worked_replay_of_claiming_a_pageblock() {
    let mut zone = small_zone(vec![(8, vec![0x1f00])], 0);
    let (pfn, events) = zone.alloc(UNMOVABLE | Gfp::MEMALLOC, 0);
    assert_eq!(pfn, 0x1f00);
    assert_eq!(events, [vec![extfrag(0x1f00, (0, 8), (U, M), true)], zone_locked([0x1f00], 0, U)].concat());
    let state = zone.machine.state();
    assert_eq!((state.zones[0].boost, state.zones[0].blocks[7]), (512, Some(MigrateType::Unmovable)));

    let (pfn, events) = zone.alloc(MOVABLE | Gfp::MEMALLOC, 1);
    assert_eq!(pfn, 0x1f02);
    assert_eq!(events, [vec![extfrag(0x1f80, (1, 7), (M, U), true)], zone_locked([0x1f02], 1, M)].concat());
    let state = zone.machine.state();
    assert_eq!((state.zones[0].boost, state.zones[0].blocks[7]), (512, Some(MigrateType::Movable)));

    assert_eq!(zone.free(0x1f00, 0), []);
    assert!(zone.machine.drain_cpu(0, None));
    assert_eq!(zone.events(), drains(&[(0x1f00, 0)], M));
    let state = zone.machine.state();
    assert!(state.zones[0].free_list(1, MigrateType::Movable).contains(&0x1f00));
}

#[test]
fn worked_replay_of_not_claiming_a_pageblock() {
    let free = (0..8).map(|order| (order, vec![0x1f00 + (1 << order)])).collect();
    let mut zone = small_zone(free, 1);
    let (pfn, events) = zone.alloc(UNMOVABLE | Gfp::MEMALLOC, 0);
    assert_eq!(pfn, 0x1f01);
    assert_eq!(events, [vec![extfrag(0x1f80, (0, 7), (U, M), false)], zone_locked([0x1f01], 0, U)].concat());
    assert_eq!(zone.machine.state().zones[0].blocks[7], Some(MigrateType::Movable));

    let (pfn, events) = zone.alloc(MOVABLE | Gfp::MEMALLOC, 1);
    assert_eq!(pfn, 0x1f02);
    assert_eq!(events, [vec![extfrag(0x1f80, (1, 7), (M, U), true)], zone_locked([0x1f02], 1, M)].concat());

    assert_eq!(zone.free(0x1f01, 0), []);
    assert!(zone.machine.drain_cpu(0, None));
    assert_eq!(zone.events(), drains(&[(0x1f01, 0)], M));
}

#[test]
fn an_exact_allocation_frees_its_rest() {
    let mut zone = large_zone();
    let pfn = zone.machine.alloc_pages_exact(CPU0, Gfp::GFP_KERNEL, 5, Some(0), &NoHooks).unwrap();
    let events = zone.events();
    let rest = (pfn + 5..pfn + 8).map(|pfn| Event::Free { pfn, order: 0 });
    let alloc = Event::Alloc { pfn: Some(pfn), order: 3, gfp: Gfp::GFP_KERNEL.0, migratetype: U };
    assert!(events.ends_with(&[vec![alloc], rest.collect()].concat()), "{events:?}");
    zone.machine.free_pages_exact(CPU0, pfn, 5).unwrap();
    assert_eq!(zone.events(), (pfn..pfn + 5).map(|pfn| Event::Free { pfn, order: 0 }).collect::<Vec<_>>());
}

#[test]
fn a_free_with_another_reference_frees_piece_by_piece() {
    let mut zone = large_zone();
    let (pfn, _) = zone.alloc(UNMOVABLE, 4);
    zone.machine.get_page(pfn).unwrap();
    zone.machine.free_pages(CPU0, pfn, 4).unwrap();
    let pieces = (0..4).rev().map(|order| Event::Free { pfn: pfn + (1 << order), order });
    assert_eq!(zone.events(), pieces.collect::<Vec<_>>());
    assert_eq!(zone.free(pfn, 0), []);
    // A compound block stays whole.
    let (pfn, _) = zone.alloc(UNMOVABLE | Gfp::COMP, 4);
    zone.machine.get_page(pfn).unwrap();
    zone.machine.free_pages(CPU0, pfn, 4).unwrap();
    assert_eq!(zone.events(), []);
    assert_eq!(zone.free(pfn, 4), []);
}

#[test]
fn lists_are_freed_in_two_passes() {
    let mut zone = large_zone();
    let pages: Vec<Pfn> = (0..5).map(|_| zone.alloc(MOVABLE, 0).0).collect();
    zone.machine.free_page_list(CPU0, &pages).unwrap();
    let first = pages.iter().map(|pfn| Event::Free { pfn: *pfn, order: 0 });
    let second = pages.iter().map(|pfn| Event::FreeBatched { pfn: *pfn });
    assert_eq!(zone.events(), first.chain(second).collect::<Vec<_>>());
}

#[test]
fn bulk_pages_from_the_list_are_not_seen() {
    let mut zone = large_zone();
    let request = pagebuddy_core::bulk::BulkRequest { gfp: MOVABLE, nid: 0, nodemask: None };
    let pages = zone.machine.alloc_pages_bulk(CPU0, request, 4, &NoHooks);
    assert_eq!((pages.len(), zone.events()), (4, zone_locked(0x1000..0x103f, 0, M)));
    // One page alone goes the ordinary way.
    let pages = zone.machine.alloc_pages_bulk(CPU0, request, 1, &NoHooks);
    let alloc = Event::Alloc { pfn: Some(pages[0]), order: 0, gfp: MOVABLE.0, migratetype: M };
    assert_eq!(zone.events(), [alloc]);
}

#[test]
fn failures_are_seen_but_impossible_orders_are_not() {
    let mut zone = large_zone();
    let request = |order, nodemask| AllocRequest { gfp: Gfp::GFP_NOWAIT, order, nid: 0, nodemask };
    assert!(zone.machine.alloc_pages(CPU0, request(11, None), &NoHooks).is_err());
    assert_eq!(zone.events(), []);
    assert!(zone.machine.alloc_pages(CPU0, request(2, Some(0)), &NoHooks).is_err());
    assert_eq!(zone.events(), [Event::Alloc { pfn: None, order: 2, gfp: Gfp::GFP_NOWAIT.0, migratetype: U }]);
    // The kernel would look for ever, and never tell.
    let forever = AllocRequest { gfp: Gfp::GFP_KERNEL | Gfp::NOFAIL, ..request(0, Some(0)) };
    assert_eq!(zone.machine.alloc_pages(CPU0, forever, &NoHooks), Err(AllocError::WouldLoopForever));
    assert_eq!(zone.events(), []);
}

#[test]
fn atomic_requests_show_the_reserve_they_took_from() {
    let mut zone = large_zone();
    // Everything is taken but what the reserve holds: the first atomic request makes the reserve.
    let atomic = Gfp::GFP_ATOMIC;
    let mut state = zone.machine.state();
    let blocks = &mut state.zones[0];
    blocks.wmark = [1, 1 << 20, 1 << 20];
    blocks.blocks[0] = Some(MigrateType::HighAtomic);
    blocks.nr_reserved_highatomic = 512;
    let movable = ZoneState::free_list_index(10, MigrateType::Movable);
    blocks.free_lists[movable].remove(0);
    blocks.free_lists[ZoneState::free_list_index(9, MigrateType::HighAtomic)] = vec![0x1000];
    blocks.free_lists[ZoneState::free_list_index(9, MigrateType::Movable)] = vec![0x1200];
    blocks.nr_free[10] -= 1;
    blocks.nr_free[9] = 2;
    zone = Traced::new(PageAllocator::from_state(&state).unwrap());
    let (pfn, events) = zone.alloc(atomic, 4);
    assert_eq!((pfn, events), (0x1000, zone_locked([0x1000], 4, U)));
}

#[test]
fn added_memory_is_freed_block_by_block() {
    let config = Config { memory_isolation: true, max_possible_pfn: (1 << 30) >> 12, ..Config::default() };
    let mut zone = Traced::new(machine(&config, 256));
    let (start, nr_pages) = ((384 * MIB) >> 12, (128 * MIB) >> 12);
    zone.machine.online_pages(CPU0, start, nr_pages, 0).unwrap();
    let blocks = (start..start + nr_pages).step_by(1024).map(|pfn| Event::Free { pfn, order: 10 });
    assert_eq!(zone.events(), blocks.collect::<Vec<_>>());
}
