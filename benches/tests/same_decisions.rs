//! The C variant is a fair opponent only if it does the same work: driven with the same random
//! calls, it and the engine return the same pfns and end up with the same lists.

use core::sync::atomic::Ordering::Relaxed;
use pagebuddy_bench::engines::{Engine, Hand, Level, MOVABLE, c, rust};
use pagebuddy_bench::ffi::{CZone, Flavour, Mutex, NO_PAGE, Pause, Yield};
use pagebuddy_bench::twins::{Machine, Shape};
use pagebuddy_core::pcp;
use pagebuddy_core::types::MigrateType;
use pagebuddy_core::zone::Zone;

const SHAPE: Shape = Shape { mib: 64, nr_cpus: 2, nr_nodes: 1 };
const NR_ORDERS: u32 = 11;
const NR_PCP_LISTS: usize = 15;

fn mt(index: u32) -> MigrateType {
    MigrateType::from_index(index as usize).unwrap()
}

/// Everything both sides know must agree: free lists with their order, per-cpu lists, pageblock
/// types, counters and the watermark boost.
fn assert_same<F: Flavour>(machine: &Machine, c: &CZone<F>) {
    assert_same_zone(machine.zone(), c);
}

fn assert_same_zone<F: Flavour>(zone: Zone<'_>, c: &CZone<F>) {
    for order in 0..NR_ORDERS {
        let mut nr_blocks = 0;
        for list in 0..4 {
            let blocks = zone.free_list(order, mt(list));
            assert_eq!(blocks, c.free_list(order, list), "free list of order {order}, migratetype {list}");
            nr_blocks += blocks.len() as u64;
        }
        assert_eq!(nr_blocks, c.nr_blocks(order), "number of blocks of order {order}");
    }
    for cpu in 0..SHAPE.nr_cpus {
        let free_factor = zone.cpu_zones[cpu].free_factor.load(Relaxed);
        assert_eq!(free_factor, c.pcp_free_factor(cpu as u32), "free factor of cpu {cpu}");
        for index in 0..NR_PCP_LISTS {
            let entries = pcp::list_entries(zone, cpu, index).into_iter().map(|(x, _)| zone.pfn(x));
            assert!(entries.eq(c.pcp_list(cpu as u32, index as u32)), "list {index} of cpu {cpu}");
        }
    }
    for pfn in (c.config.start_pfn.next_multiple_of(512)..c.config.end_pfn).step_by(512) {
        assert_eq!(zone.blocks().get(zone.idx(pfn)) as u32, c.pageblock_type(pfn), "pageblock of {pfn}");
    }
    assert_eq!(zone.boost(), c.watermark_boost());
}

/// Which requests a run makes.
#[derive(Clone, Copy)]
struct Mix {
    nr_ops: u32,
    largest_order: u32,
    mixed_types: bool,
    /// Percent of all memory that may be out at a time.
    most_out: u64,
    bulk: bool,
}

/// Drives both with the same calls. How many failed, on both sides.
fn drive<R: Engine, C: Engine>(rust: &R, c: &C, mix: Mix, seed: u64, check: impl Fn()) -> u32 {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut blocks: Vec<(u64, u32)> = Vec::new();
    let (mut nr_out, mut nr_failed) = (0, 0);
    let limit = (SHAPE.mib << 8) * mix.most_out / 100;
    let mut growing = true;
    for op in 0..mix.nr_ops {
        let thread = random.usize(0..SHAPE.nr_cpus);
        let (rust, c) = (rust.hand(thread), c.hand(thread));
        if random.u32(0..500) == 0 {
            growing = !growing;
        }
        let wants = random.u32(0..10) < if growing { 7 } else { 4 };
        if mix.bulk && random.u32(0..20) == 0 {
            let n = random.usize(1..200);
            let (mut from_rust, mut from_c) = (vec![NO_PAGE; n], vec![NO_PAGE; n]);
            if wants && nr_out + n as u64 <= limit {
                let taken = rust.alloc_bulk(&mut from_rust);
                assert_eq!(taken, c.alloc_bulk(&mut from_c), "operation {op}");
                assert_eq!(from_rust[..taken], from_c[..taken], "operation {op}");
                blocks.extend(from_rust[..taken].iter().map(|&pfn| (pfn, 0)));
                nr_out += taken as u64;
            } else {
                random.shuffle(&mut blocks);
                let singles: Vec<u64> = blocks.iter().filter(|b| b.1 == 0).take(n).map(|b| b.0).collect();
                rust.free_bulk(&singles);
                c.free_bulk(&singles);
                blocks.retain(|b| b.1 != 0 || !singles.contains(&b.0));
                nr_out -= singles.len() as u64;
            }
        } else if wants || blocks.is_empty() {
            let order = (random.u32(..).trailing_zeros()).min(mix.largest_order);
            let order = if random.u32(0..10) == 0 { random.u32(0..mix.largest_order + 1) } else { order };
            let mt = if mix.mixed_types { random.u32(0..3) } else { MOVABLE };
            if nr_out + (1 << order) > limit {
                continue;
            }
            let pfn = rust.alloc(order, mt);
            assert_eq!(pfn, c.alloc(order, mt), "operation {op}: order {order}, migratetype {mt}");
            if pfn == NO_PAGE {
                nr_failed += 1;
            } else {
                blocks.push((pfn, order));
                nr_out += 1 << order;
            }
        } else {
            let (pfn, order) = blocks.swap_remove(random.usize(0..blocks.len()));
            rust.free(pfn, order);
            c.free(pfn, order);
            nr_out -= 1 << order;
        }
        if op % 1024 == 0 {
            check();
        }
    }
    for (pfn, order) in blocks {
        rust.hand(0).free(pfn, order);
        c.hand(0).free(pfn, order);
    }
    check();
    rust.drain();
    c.drain();
    check();
    nr_failed
}

const MIX: Mix = Mix { nr_ops: 60_000, largest_order: 10, mixed_types: false, most_out: 100, bulk: false };

fn zone_level<F: Flavour>() {
    for seed in 0..4 {
        let machine = Machine::boot(SHAPE).unwrap();
        let c = c::ZoneLevel(machine.c_zone::<F>(false));
        let nr_failed = drive(&rust::ZoneLevel(&machine), &c, MIX, seed, || assert_same(&machine, &c.0));
        assert!(nr_failed > 0, "the zone was never exhausted");
    }
}

#[test]
fn zones_decide_alike_with_every_lock_flavour() {
    zone_level::<Pause>();
    zone_level::<Yield>();
    zone_level::<Mutex>();
}

#[test]
fn zones_decide_alike_in_bulk() {
    let machine = Machine::boot(SHAPE).unwrap();
    let c = c::ZoneLevel(machine.c_zone::<Yield>(true));
    let mix = Mix { nr_ops: 20_000, bulk: true, ..MIX };
    drive(&rust::ZoneLevel(&machine), &c, mix, 1, || assert_same(&machine, &c.0));
}

#[test]
fn zones_fall_back_and_steal_alike() {
    let mut nr_fallbacks = 0;
    for (seed, largest_order) in [(0, 10), (1, 10), (2, 3), (3, 3), (4, 0)] {
        let machine = Machine::boot(SHAPE).unwrap();
        let c = c::StealLevel(machine.c_zone::<Yield>(false));
        let mix = Mix { largest_order, mixed_types: true, ..MIX };
        drive(&rust::StealLevel(&machine), &c, mix, seed, || assert_same(&machine, &c.0));
        nr_fallbacks += c.0.nr_fallbacks();
    }
    assert!(nr_fallbacks > 100, "only {nr_fallbacks} fallbacks");
}

#[test]
fn per_cpu_lists_decide_alike() {
    for (seed, mixed_types) in [(0, false), (1, true)] {
        let machine = Machine::boot(SHAPE).unwrap();
        let c = c::PcpLevel(machine.c_zone::<Yield>(false));
        let mix = Mix { largest_order: 9, mixed_types, ..MIX };
        drive(&rust::PcpLevel(&machine), &c, mix, seed, || {
            assert_same(&machine, &c.0);
            assert_eq!(machine.zone().free_pages_snapshot(), c.0.nr_free_pages());
        });
    }
}

#[test]
fn machines_decide_alike() {
    for (seed, mixed_types, bulk) in [(0, false, false), (1, true, false), (2, true, true), (3, false, true)] {
        let machine = Machine::boot(SHAPE).unwrap();
        let c = c::MachineLevel(machine.c_zone::<Mutex>(false), Level::Fixed);
        let mix = Mix { mixed_types, bulk, ..MIX };
        let nr_failed = drive(&rust::MachineLevel(&machine, Level::Fixed), &c, mix, seed, || {
            assert_same(&machine, &c.0);
            assert_eq!(machine.zone().free_pages_snapshot(), c.0.nr_free_pages());
        });
        assert!(nr_failed > 0, "the watermarks were never reached");
    }
}

#[test]
fn machines_with_two_nodes_decide_alike() {
    for (seed, level) in [(0, Level::Local), (1, Level::Remote)] {
        let machine = Machine::boot(Shape { nr_nodes: 2, ..SHAPE }).unwrap();
        let c = c::NodesLevel(machine.c_zones::<Pause>(false), level);
        assert_eq!(c.0.len(), 2);
        // Little enough that no node runs short: the C variant would not look at the other.
        let mix = Mix { largest_order: 8, mixed_types: false, most_out: 25, ..MIX };
        let nr_failed = drive(&rust::MachineLevel(&machine, level), &c, mix, seed, || {
            for (zone, c) in machine.zones().zip(&c.0) {
                assert_same_zone(zone, c);
                assert_eq!(zone.free_pages_snapshot(), c.nr_free_pages());
            }
        });
        assert_eq!(nr_failed, 0);
    }
}
