//! Deterministic schedules of a whole machine: leases, per-cpu lists, counters, stealing,
//! isolation, racing frees, on top of the zone.

use crate::crew::{Crew, Script, Stage, Strategy, catch};
use crate::fiber::{self, Fiber, Stop};
use crate::hunt::Budget;
use crate::ledger::MAX_FIBERS;
use crate::strategy::{Pct, Random, Rng};
use pagebuddy_core::allocator::{CpuChoice, PageAllocator};
use pagebuddy_core::bulk::BulkRequest;
use pagebuddy_core::config::Config;
use pagebuddy_core::gfp::Gfp;
use pagebuddy_core::layout::Topology;
use pagebuddy_core::memblock::Memblock;
use pagebuddy_core::page_alloc::AllocRequest;
use pagebuddy_core::pressure::NoHooks;
use pagebuddy_core::sync::scheduled::{Hooks, set_hooks};
use pagebuddy_core::types::{MigrateType, Pfn};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Instant;

const MIB: u64 = 1 << 20;
const NR_PAGES: Pfn = (8 * MIB) >> 12;
const NR_CPUS: usize = 2;

/// Schedules on one copy of the machine; the next group gets a fresh copy.
const PER_GROUP: u64 = 20;

/// Accesses after which a fiber does not get anywhere. (A drain frees hundreds of pages.)
const LIVELOCK: u32 = 2_000_000;

/// What a fiber does; the last number is a cpu, or one more for any cpu: a spare slot if cpu 0 is taken.
#[derive(Clone, Copy, Debug)]
enum Op {
    Alloc(u32, Gfp, usize),
    Bulk(usize, usize),
    Free(usize, usize),
    /// Frees a block that others free, too.
    FreeShared(usize, usize),
    Drain(usize),
    /// Isolates a pageblock and gives it back.
    Isolate(Pfn, usize),
    Contiguous(Pfn, u64, usize),
    /// Takes a page off the lists and puts it back.
    Poison(Pfn, usize),
}

/// The cpu of an operation.
fn choice(cpu: usize) -> CpuChoice {
    if cpu < NR_CPUS { CpuChoice::Fixed(cpu) } else { CpuChoice::Current }
}

struct World {
    machine: PageAllocator,
    running: Cell<u8>,
    nr_accesses: [Cell<u32>; MAX_FIBERS],
    owned: RefCell<Vec<bool>>,
    held: RefCell<Vec<Vec<(Pfn, u32)>>>,
    programs: RefCell<Vec<Vec<Op>>>,
    /// Do the fibers nothing but isolate pageblocks, from a machine on which nobody ever did more?
    only_isolation: Cell<bool>,
    /// How often a pageblock was isolated.
    nr_isolated: Cell<u64>,
    /// Blocks that several fibers free, and how often that succeeded.
    shared: RefCell<Vec<((Pfn, u32), u32)>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

fn before_access(address: usize, is_write: bool) {
    // Destructors of a fiber that broke a rule go on without stops.
    if !fiber::is_running() || std::thread::panicking() {
        return;
    }
    let count = CURRENT.with_borrow(|world| {
        let world = world.as_ref().expect("a running fiber has a world");
        let count = &world.nr_accesses[world.running.get() as usize];
        count.set(count.get() + 1);
        count.get()
    });
    assert!(count < LIVELOCK, "somebody does not get anywhere");
    fiber::suspend(Stop::Access { address, is_write });
}

impl Stage for World {
    fn set_running(&self, fiber: u8) {
        self.running.set(fiber);
    }

    fn nr_accesses(&self, fiber: u8) -> u32 {
        self.nr_accesses[fiber as usize].get()
    }

    fn is_conflict(&self, _: usize) -> bool {
        true
    }
}

impl World {
    fn take(&self, pfn: Pfn, order: u32) {
        let owned = &mut *self.owned.borrow_mut();
        for page in pfn..pfn + (1 << order) {
            assert!(!std::mem::replace(&mut owned[page as usize], true), "page {page:#x} was handed out twice");
        }
    }

    fn receive(&self, fiber: u8, pfn: Pfn, order: u32) {
        self.take(pfn, order);
        self.held.borrow_mut()[fiber as usize].push((pfn, order));
    }

    fn give(&self, pfn: Pfn, order: u32) {
        let owned = &mut *self.owned.borrow_mut();
        owned[pfn as usize..(pfn + (1 << order)) as usize].fill(false);
    }

    fn run_program(&self, fiber: u8) {
        let nr_ops = self.programs.borrow()[fiber as usize].len();
        for i in 0..nr_ops {
            let op = self.programs.borrow()[fiber as usize][i];
            self.run_op(fiber, op);
        }
    }

    fn run_op(&self, fiber: u8, op: Op) {
        let machine = &self.machine;
        let movable = MigrateType::Movable;
        match op {
            Op::Alloc(order, gfp, cpu) => {
                let request = AllocRequest { gfp, order, nid: 0, nodemask: None };
                if let Ok(pfn) = machine.alloc_pages(choice(cpu), request, &NoHooks) {
                    self.receive(fiber, pfn, order);
                }
            }
            Op::Bulk(n, cpu) => {
                let request = BulkRequest { gfp: Gfp::GFP_KERNEL, nid: 0, nodemask: None };
                for pfn in machine.alloc_pages_bulk(choice(cpu), request, n, &NoHooks) {
                    self.receive(fiber, pfn, 0);
                }
            }
            Op::Free(i, cpu) => {
                let block = {
                    let held = &mut self.held.borrow_mut()[fiber as usize];
                    let i = i.checked_rem(held.len());
                    i.map(|i| held.swap_remove(i))
                };
                if let Some((pfn, order)) = block {
                    self.give(pfn, order);
                    machine.free_pages(choice(cpu), pfn, order).expect("a block that was allocated");
                }
            }
            Op::FreeShared(i, cpu) => {
                let (pfn, order) = self.shared.borrow()[i].0;
                if machine.free_pages(choice(cpu), pfn, order).is_ok() {
                    self.shared.borrow_mut()[i].1 += 1;
                }
            }
            Op::Drain(cpu) => {
                machine.drain_cpu(cpu, None);
            }
            Op::Isolate(start, cpu) => {
                let cpu = choice(cpu);
                if machine.start_isolate_page_range(cpu, start, start + 512, movable).is_ok() {
                    self.nr_isolated.set(self.nr_isolated.get() + 1);
                    machine.undo_isolate_page_range(cpu, start, start + 512, movable).expect("an isolated pageblock");
                }
            }
            Op::Contiguous(start, n, cpu) => {
                if machine.alloc_contig_range(choice(cpu), start, start + n, movable).is_ok() {
                    (start..start + n).for_each(|pfn| self.receive(fiber, pfn, 0));
                }
            }
            Op::Poison(pfn, cpu) => {
                let cpu = choice(cpu);
                if machine.take_page_off_buddy(cpu, pfn) {
                    self.take(pfn, 0);
                    self.give(pfn, 0);
                    assert!(machine.put_page_back_buddy(cpu, pfn), "a page that was taken off");
                }
            }
        }
    }

    /// All free blocks, whatever list they are in; none overlaps another or what is held.
    fn free_blocks(&self) -> BTreeSet<(Pfn, usize)> {
        let mut blocks = BTreeSet::new();
        let mut free = self.owned.borrow().clone();
        for zone in self.machine.state().zones {
            for order in 0..=10 {
                for mt in MigrateType::ALL {
                    for pfn in zone.free_list(order, mt) {
                        blocks.insert((*pfn, order));
                        for page in *pfn..pfn + (1 << order) {
                            assert!(!std::mem::replace(&mut free[page as usize], true), "page {page:#x} is free");
                        }
                    }
                }
            }
        }
        blocks
    }

    /// After a schedule in which nobody died: frees everything; the machine is as it was.
    fn settle(&self, whole: &BTreeSet<(Pfn, usize)>, may_split: bool) {
        for ((pfn, order), freed) in self.shared.take() {
            assert!(freed <= 1, "block ({pfn:#x}, {order}) was freed {freed} times");
            if freed == 0 {
                self.machine.free_pages(CpuChoice::Fixed(0), pfn, order).expect("a block that was allocated");
            }
        }
        for (pfn, order) in std::mem::take(&mut *self.held.borrow_mut()).into_iter().flatten() {
            self.give(pfn, order);
            self.machine.free_pages(CpuChoice::Fixed(0), pfn, order).expect("a block that was allocated");
        }
        self.machine.drain_all(None);
        if let Err(violation) = self.machine.validate() {
            panic!("{violation}");
        }
        // A steal may overwrite the type of an isolated pageblock, as in the kernel; here are none.
        if self.only_isolation.get() {
            let nr_isolated: u64 = self.machine.state().zones.iter().map(|zone| zone.nr_isolate_pageblock).sum();
            assert_eq!(nr_isolated, 0, "isolated pageblocks that stayed behind");
        }
        let now = self.free_blocks();
        let nr_pages = |blocks: &BTreeSet<(Pfn, usize)>| blocks.iter().map(|(_, order)| 1 << order).sum::<u64>();
        assert_eq!(nr_pages(&now), nr_pages(whole), "free pages");
        // Isolation may leave pairs of buddies unmerged, as it does in the kernel.
        assert!(may_split || now == *whole, "not merged as before: {now:?}");
    }

    /// A random program per fiber. Blocks that several fibers free are not mixed with allocations,
    /// which could get such a block between two frees of it.
    fn write_programs(&self, rng: &mut Rng, nr_fibers: usize, with_isolation: bool) {
        let racing_frees = !self.only_isolation.get() && rng.one_in(4);
        let only_isolation = self.only_isolation.get();
        if racing_frees {
            let orders = [0, 0, 1, 3, 4, 9];
            let blocks = orders.map(|order| {
                let request = AllocRequest { gfp: Gfp::GFP_KERNEL, order, nid: 0, nodemask: None };
                self.machine.alloc_pages(CpuChoice::Fixed(0), request, &NoHooks).ok().map(|pfn| ((pfn, order), 0))
            });
            self.shared.borrow_mut().extend(blocks.into_iter().flatten());
        }
        let nr_shared = self.shared.borrow().len() as u64;
        let op = |rng: &mut Rng| {
            let cpu = rng.below(NR_CPUS as u64 + 1) as usize;
            if racing_frees && nr_shared > 0 {
                return if rng.one_in(8) { Op::Drain(cpu) } else { Op::FreeShared(rng.below(nr_shared) as usize, cpu) };
            }
            let pageblock = 512 * (1 + rng.below(2));
            let kind = if only_isolation { 16 + rng.below(2) } else { rng.below(if with_isolation { 20 } else { 16 }) };
            match kind {
                0..8 => {
                    let order = rng.pick(&[0, 0, 0, 0, 1, 2, 3, 4, 8, 9, 10]);
                    let gfp = rng.pick(&[Gfp::GFP_KERNEL, Gfp::GFP_HIGHUSER_MOVABLE, Gfp::GFP_ATOMIC]);
                    Op::Alloc(order, gfp, cpu)
                }
                8 => Op::Bulk(1 + rng.below(8) as usize, cpu),
                9 => Op::Drain(cpu),
                10..16 => Op::Free(rng.below(16) as usize, cpu),
                16 => Op::Isolate(pageblock, cpu),
                17 => Op::Contiguous(pageblock + rng.below(300), 1 + rng.below(20), cpu),
                _ => Op::Poison(pageblock + rng.below(512), cpu),
            }
        };
        let programs = (0..nr_fibers).map(|_| (0..2 + rng.below(6)).map(|_| op(rng)).collect()).collect();
        *self.programs.borrow_mut() = programs;
        *self.held.borrow_mut() = vec![Vec::new(); nr_fibers];
        self.nr_accesses.iter().for_each(|n| n.set(0));
    }
}

/// What a search saw.
#[derive(Debug, Default)]
pub struct Tally {
    /// Schedules.
    pub schedules: u64,
    /// Fibers killed.
    pub kills: u64,
    /// Pageblocks isolated.
    pub isolated: u64,
    /// Schedules after which the spare slot had been used on their copy of the machine.
    pub spare: u64,
    /// Most accesses in a schedule.
    pub most_accesses: u32,
}

/// Random schedules of one machine, group by group; what was broken and how to repeat the group.
pub fn search(first_group: u64, budget: Budget) -> Result<Tally, String> {
    let mut memblock = Memblock::new();
    memblock.add_node(MIB, 7 * MIB, Some(0), 0).expect("valid memory");
    let topology = Topology::single_node(NR_CPUS);
    let boot = |config: &Config| {
        let base = PageAllocator::boot_late(config, &topology, &mut memblock.clone()).expect("it boots");
        base.drain_all(None);
        base
    };
    let plain = boot(&Config::default());
    let with_isolation = boot(&Config { memory_isolation: true, ..Config::default() });
    let mut tally = Tally::default();
    let began = Instant::now();
    for group in first_group.. {
        if budget.is_spent(began, tally.schedules) {
            break;
        }
        let base = if group % 3 == 0 { &with_isolation } else { &plain };
        run_group(base, group, &mut tally)?;
    }
    Ok(tally)
}

fn run_group(base: &PageAllocator, group: u64, tally: &mut Tally) -> Result<(), String> {
    let world = Rc::new(World {
        machine: base.fork().expect("a copy"),
        running: Cell::new(0),
        nr_accesses: Default::default(),
        owned: RefCell::new(vec![false; NR_PAGES as usize]),
        held: RefCell::default(),
        programs: RefCell::default(),
        only_isolation: Cell::new(false),
        nr_isolated: Cell::new(0),
        shared: RefCell::default(),
    });
    CURRENT.set(Some(Rc::clone(&world)));
    let whole = world.free_blocks();
    let mut crew = Crew::default();
    crew.fill(|number| {
        let world = Rc::clone(&world);
        Fiber::new(move || world.run_program(number))
    });
    let with_isolation = base.config().memory_isolation;
    world.only_isolation.set(with_isolation && group % 2 == 0);
    for schedule in group * PER_GROUP..(group + 1) * PER_GROUP {
        let mut rng = Rng::new(schedule ^ 0xa5a5);
        let nr_fibers = 2 + rng.below(3) as usize;
        world.write_programs(&mut rng, nr_fibers, with_isolation);
        // After a kill the machine is good for nothing else.
        let kills = schedule + 1 == (group + 1) * PER_GROUP;
        let mut strategy: Box<dyn Strategy> = if schedule % 2 == 0 {
            Box::new(Random::new(schedule, nr_fibers as u8, kills))
        } else {
            Box::new(Pct::new(schedule, nr_fibers as u8, kills))
        };
        let mut script = Script::default();
        set_hooks(Hooks {
            before: Some(before_access),
            after: None,
            yielded: Some(|| fiber::suspend(Stop::Yield)),
            zombie: Some(fiber::ask_zombie),
        });
        let result = catch(|| {
            crew.run(nr_fibers, &*world, &mut *strategy, &mut script);
            set_hooks(Hooks::default());
            match script.killed {
                None => world.settle(&whole, with_isolation),
                Some(_) => {
                    world.free_blocks();
                }
            }
        });
        set_hooks(Hooks::default());
        tally.isolated += world.nr_isolated.take();
        tally.schedules += 1;
        tally.spare += u64::from(world.machine.has_used_spares());
        tally.kills += u64::from(script.killed.is_some());
        tally.most_accesses =
            tally.most_accesses.max((0..MAX_FIBERS as u8).map(|fiber| world.nr_accesses(fiber)).sum());
        if let Err(what) = result {
            let programs = world.programs.borrow();
            return Err(format!(
                "{what}\nin schedule {schedule}, repeat with PAGEBUDDY_MACHINE_GROUP={group}: {programs:?}"
            ));
        }
        if script.killed.is_some() {
            break;
        }
    }
    Ok(())
}
