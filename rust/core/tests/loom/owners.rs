//! Models of what changes hands as a whole: leased cpu slots, blocks with several users, kswapd's
//! work, whole segments. All that is handed over is accessed relaxed, so that only the hand-over
//! itself orders it.

use super::{Block, MT, Zone, explore, in_use, threads};
use loom::sync::Arc;
use pagebuddy_core::config::Config;
use pagebuddy_core::cpu::Cpu;
use pagebuddy_core::free_area::Side;
use pagebuddy_core::node::KswapdRun;
use pagebuddy_core::pcp_list::PcpDeque;
use pagebuddy_core::segment::{CpuSlot, Header, MAGIC, PcpList, PcpWindow, SegmentPlan, ZonePlan};
use pagebuddy_core::sync::{AtomicU32, AtomicU64, Relaxed};
use pagebuddy_core::word::PageIdx;
use pagebuddy_core::word::page_info::{PageInfo, Remembered};

// ---- leases -------------------------------------------------------------------------------------

/// A zone and one cpu slot with one list.
struct Machine {
    zone: Zone,
    slots: Vec<CpuSlot>,
    list: PcpList,
    window: PcpWindow,
    /// Pages on the list, as a slot counts them.
    count: AtomicU32,
}

impl Machine {
    /// Four pages: two on the cpu's list, two in the zone's.
    fn new() -> Self {
        let zero = || AtomicU32::new(0);
        let slot = CpuSlot {
            lease: AtomicU64::new(0),
            cpu: AtomicU32::new(0),
            node: zero(),
            online: zero(),
            policy_mode: zero(),
            policy_home: zero(),
            il_prev: zero(),
            policy_nodes: AtomicU64::new(0),
            allocstall: Default::default(),
        };
        // The last pair of in-flight words is for those without a lease.
        let zone = Zone::new(4, 2);
        [1, 3].into_iter().for_each(|x| zone.append(x));
        let (list, window) = (PcpList::default(), PcpWindow::default());
        let machine = Machine { zone, slots: vec![slot], list, window, count: AtomicU32::new(2) };
        [0, 2].into_iter().for_each(|x| machine.list(|list| list.push_back(x, Remembered::Own)));
        machine
    }

    /// Works with the list.
    fn list<R>(&self, work: impl FnOnce(PcpDeque<'_>) -> R) -> R {
        work(PcpDeque::new(&self.list, &self.window, &self.zone.free_lists().pages))
    }

    fn add_to_count(&self, n: i32) {
        self.count.store(self.count.load(Relaxed).wrapping_add_signed(n), Relaxed);
    }

    fn enter(&self, holder: u64) -> Cpu<'_> {
        Cpu::enter(&self.slots, 0, holder)
    }

    /// Which in-flight words a caller announces in.
    fn announcer(cpu: &Cpu<'_>) -> usize {
        if cpu.is_leased() { 0 } else { usize::MAX }
    }

    /// After all threads ended: every page is somewhere, once, and the slot's words add up.
    fn check(&self, mut held: Vec<Block>) {
        assert!(self.list(|list| list.is_sound()));
        let listed: Vec<PageIdx> = self.list(|list| list.entries(8)).into_iter().map(|(x, _)| x).collect();
        assert_eq!(self.count.load(Relaxed) as usize, listed.len());
        let view = self.zone.buddy(usize::MAX);
        assert!(view.area.in_flight.others_quiet().is_some(), "an announcement was lost");
        held.extend(listed.into_iter().map(|x| (x, 0)));
        self.zone.check(&held, false);
    }
}

/// Allocates a page from the cpu's list and frees it to the list.
fn use_the_list<const HOLDER: u64>(machine: &Machine) -> Vec<Block> {
    let cpu = machine.enter(HOLDER);
    if cpu.is_leased() {
        let x = machine.list(|list| list.pop_front()).expect("whoever holds the lease finds both pages");
        machine.add_to_count(-1);
        machine.zone.received((x, 0));
        machine.zone.release((x, 0));
        machine.zone.buddy(0).set_info(x, machine.list(|list| list.front_info(Remembered::Own)));
        machine.list(|list| list.link_front(x));
        machine.add_to_count(1);
    }
    vec![]
}

/// Returns the page at the back of the cpu's list to the zone.
fn drain_one(machine: &Machine) -> Vec<Block> {
    let cpu = machine.enter(1);
    if cpu.is_leased()
        && let Some((x, _)) = machine.list(|list| list.pop_back())
    {
        machine.add_to_count(-1);
        machine.zone.buddy(0).put(x, 0, MT, Side::Likely);
    }
    vec![]
}

/// Allocates a page from the zone and frees it: to the cpu's list if it has the lease, else to the
/// zone.
fn free_somewhere(machine: &Machine) -> Vec<Block> {
    let cpu = machine.enter(2);
    let buddy = machine.zone.buddy(Machine::announcer(&cpu));
    let Some(x) = buddy.take_smallest(0, MT) else { return vec![] };
    machine.zone.received((x, 0));
    machine.zone.release((x, 0));
    if cpu.is_leased() {
        buddy.set_info(x, machine.list(|list| list.front_info(Remembered::Own)));
        machine.list(|list| list.link_front(x));
        machine.add_to_count(1);
    } else {
        buddy.put(x, 0, MT, Side::Likely);
    }
    vec![]
}

/// Takes a page from the zone's list, whoever holds the lease.
fn without_lease(machine: &Machine) -> Vec<Block> {
    let block = machine.zone.free_lists().pop(0, MT).map(|x| (x, 0));
    block.into_iter().inspect(|block| machine.zone.received(*block)).collect()
}

fn lease_model<const N: usize>(preemptions: usize, runs: [fn(&Machine) -> Vec<Block>; N]) {
    explore(preemptions, move || {
        let machine = Arc::new(Machine::new());
        let held = threads(&machine, runs).into_iter().flatten().collect();
        machine.check(held);
    });
}

/// Two holders of a slot one after the other, and somebody who works without it.
#[test]
fn two_leases_and_no_lease() {
    lease_model(3, [use_the_list::<1>, use_the_list::<2>, without_lease]);
}

/// Two holders drain and fill the list and announce what they have in flight in the slot's words.
#[test]
fn lease_drain_and_fill() {
    lease_model(3, [drain_one, free_somewhere]);
}

/// The same beside somebody who works without the slot.
#[test]
fn lease_drain_fill_and_no_lease() {
    lease_model(1, [drain_one, free_somewhere, without_lease]);
}

// ---- users of a block ---------------------------------------------------------------------------

/// A zone whose block (0, `order`) is allocated with so many references.
fn allocated(order: u32, refcount: u32) -> Zone {
    let zone = in_use::<2>();
    let info = PageInfo::allocated(order, order > 0, false).with_refcount(refcount);
    zone.buddy(usize::MAX).set_info(0, info);
    zone
}

/// Gives up one reference of block (0, order) and frees it if that was the last; how often that
/// succeeded.
fn put_reference<const ORDER: u32>(zone: &Zone) -> usize {
    let buddy = zone.buddy(usize::MAX);
    loop {
        let info = buddy.info(0);
        if !info.is_allocated() {
            return 0;
        }
        let rest = info.refcount() - 1;
        let new = if rest == 0 { PageInfo::NONE } else { info.with_refcount(rest) };
        if buddy.replace_info(0, info, new) {
            if rest == 0 {
                buddy.put(0, ORDER, MT, Side::Likely);
            }
            return 1;
        }
    }
}

/// Allocates a block of the order and looks at what its last users wrote.
fn next_owner<const ORDER: u32>(zone: &Zone) -> usize {
    zone.alloc(usize::MAX, ORDER).map_or(0, |_| 2)
}

/// Two threads free the same page at the same time: one succeeds, and the next owner sees what the
/// last one wrote before.
#[test]
fn double_free() {
    explore(3, || {
        let zone = Arc::new(allocated(0, 1));
        zone.received((1, 0));
        zone.contents[0].store(0, Relaxed);
        let done = threads(&zone, [put_reference::<0>, put_reference::<0>, next_owner::<0>]);
        assert_eq!(done[0] + done[1], 1, "of two frees one succeeds");
        let held = if done[2] == 2 { vec![(0, 0), (1, 0)] } else { vec![(1, 0)] };
        zone.check(&held, true);
    });
}

/// Two users of a block give up their references at the same time: the next owner sees what both
/// wrote, whoever of them freed it.
#[test]
fn two_users_and_the_next_owner() {
    fn user<const PAGE: usize>(zone: &Zone) -> usize {
        zone.contents[PAGE].store(0, Relaxed);
        put_reference::<1>(zone)
    }
    explore(3, || {
        let zone = Arc::new(allocated(1, 2));
        zone.contents.iter().for_each(|page| page.store(1, Relaxed));
        let done = threads(&zone, [user::<0>, user::<1>, next_owner::<1>]);
        assert_eq!(done[0] + done[1], 2, "both had a reference");
        zone.check(if done[2] == 2 { &[(0, 1)] } else { &[] }, true);
    });
}

// ---- kswapd -------------------------------------------------------------------------------------

/// Three callers find work for kswapd: whoever gets to do it goes on from what the last run left.
#[test]
fn kswapd_runs() {
    fn run((running, marks): &(AtomicU32, AtomicU32)) -> u32 {
        let Some(_run) = KswapdRun::begin(running) else { return 0 };
        marks.store(marks.load(Relaxed) + 1, Relaxed);
        1
    }
    explore(4, || {
        let node = Arc::new((AtomicU32::new(0), AtomicU32::new(0)));
        let runs: u32 = threads(&node, [run, run, run]).into_iter().sum();
        assert!(runs > 0, "nobody ran although nobody else did");
        assert_eq!(node.1.load(Relaxed), runs, "a run did not see what the last one wrote");
        assert!(KswapdRun::begin(&node.0).is_some());
    });
}

// ---- segments -----------------------------------------------------------------------------------

/// Somebody opens a segment while it is made: there is none, or all of it is there.
#[test]
fn segment_publication() {
    fn plan() -> SegmentPlan {
        SegmentPlan {
            config: Config::default(),
            nr_nodes: 1,
            nr_cpus: 3,
            nr_spares: 8,
            zones: vec![ZonePlan::default(); 2],
            nr_zonelist_entries: 4,
            nr_memory: 5,
            nr_reserved: 6,
            end_pfn: 7,
        }
    }
    type Segment = (Header, AtomicU32);
    fn make((header, table): &Segment) -> bool {
        header.write(&plan(), 4096);
        table.store(42, Relaxed);
        header.publish();
        true
    }
    fn open((header, table): &Segment) -> bool {
        if header.magic.load(Relaxed) != MAGIC {
            return false;
        }
        let fields = header.read().expect("the magic is there, so all of the header is");
        assert_eq!(table.load(Relaxed), 42);
        // All but the zones, whose number the header has.
        let found = SegmentPlan { zones: plan().zones, ..fields.plan };
        assert_eq!(format!("{found:?}"), format!("{:?}", plan()));
        assert_eq!((fields.nr_zones, fields.total_bytes), (2, 4096));
        true
    }
    explore(4, || {
        let word = || AtomicU64::new(0);
        let half = || AtomicU32::new(0);
        let header = Header {
            magic: word(),
            version: half(),
            nr_nodes: half(),
            nr_cpus: half(),
            nr_spares: half(),
            nr_zones: half(),
            nr_zonelist_entries: word(),
            nr_memory: word(),
            nr_reserved: word(),
            end_pfn: word(),
            total_bytes: word(),
            config: std::array::from_fn(|_| word()),
        };
        let segment = Arc::new((header, half()));
        threads(&segment, [make, open]);
        assert!(open(&segment), "a segment that was published");
    });
}
