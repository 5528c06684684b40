//! Predicts every allocation of a traced workload from the machine's state at the beginning.
//!
//! An event is logged by another rule than "when it happened": an allocation's event comes after
//! its work, that of a free before. So an allocation is performed at the first event of the blocks
//! that it takes from the free lists, and a free that drains at the first drained page.
//!
//! What has no event is inferred. Pages that a bulk allocation took are those that a per-cpu list
//! would give next although their next event is a free. When the clock is coarse, the order of the
//! CPUs within one of its ticks is not that of the lines: each CPU's events are a queue of their
//! own, and of the operations on the free lists that are next in their queues one is performed
//! that moves exactly the pages that the trace shows. A copy of the machine tries it first.
//!
//! A prediction that fails is counted, and the machine is then made to agree with the trace, so
//! that it does not spoil the next ones.

mod steps;
#[cfg(test)]
mod tests;
mod work;

use super::line::TraceEvent;
use super::plan::Plan;
use crate::report::Misses;
use pagebuddy_core::allocator::PageAllocator;
use pagebuddy_core::error::BootError;
use pagebuddy_core::state::ZoneState;
use pagebuddy_core::types::{MIGRATE_PCPTYPES, MigrateType, NR_MIGRATETYPES, Pfn};
use std::collections::{HashSet, VecDeque};

/// Counts of what was predicted.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Allocations in the trace.
    pub allocs: u64,
    /// Allocations whose page was predicted.
    pub matched: u64,
    /// Pages that left the free lists or returned to them through per-cpu lists.
    pub moves: u64,
    /// Those that were predicted.
    pub moves_matched: u64,
    /// Pages taken without an event.
    pub unseen: u64,
    /// Allocations that were not predicted.
    pub misses: Misses,
    /// The first allocation that was not predicted: its event, and what was predicted.
    pub first_mismatch: Option<(usize, Option<Pfn>)>,
    /// The first move that was not predicted: its event, and the page that was predicted.
    pub first_wrong_move: Option<(usize, Option<Pfn>)>,
}

/// What moves pages between the free lists and a per-cpu list or a user.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// The allocation whose event has this index.
    Alloc(usize),
    /// A bulk allocation that refills the list of single pages of this type in the zone of the page.
    Refill(Pfn, MigrateType),
    /// A free past the per-cpu lists, at its event.
    Free(Pfn, u32),
    /// A free that was put off until the first page that it drains.
    PutOff(Pfn, u32),
    /// A drain of its own in the zone of the page: of everything, or of one batch.
    Drain(Pfn, bool),
}

impl Work {
    /// Does it give pages to the free lists?
    const fn is_giving(self) -> bool {
        matches!(self, Work::Free(..) | Work::PutOff(..) | Work::Drain(..))
    }

    /// The page that is freed.
    const fn freed(self) -> Option<Pfn> {
        match self {
            Work::Free(pfn, _) | Work::PutOff(pfn, _) => Some(pfn),
            Work::Alloc(_) | Work::Refill(..) | Work::Drain(..) => None,
        }
    }

    /// Events that it has before its moves.
    const fn nr_own_events(self) -> usize {
        matches!(self, Work::Free(..)) as usize
    }
}

/// What a CPU's next event asks for.
enum Step {
    /// Nothing that concerns other CPUs.
    Local,
    /// Work on the free lists.
    Move(Work),
    /// A page must first be allocated on another CPU.
    Wait,
}

/// One CPU's part of the trace.
#[derive(Default)]
struct Queue {
    events: Vec<usize>,
    /// Position of the next event.
    next: usize,
    /// Allocations that were performed before their event.
    early: Vec<usize>,
    /// A free whose drain comes next.
    put_off: Option<(Pfn, u32)>,
    /// The page in front of its list that the last allocation did not take.
    passed_over: Option<Pfn>,
}

/// Choices that are taken back before a prediction that does not fit is given up.
const MAX_TAKEN_BACK: usize = 100;
/// Bytes of machines that are kept to take choices back.
const MAX_KEPT_BYTES: usize = 256 << 20;

/// Where the queues are, and the counts there.
struct Place {
    queues: Vec<QueuePlace>,
    tally: Tally,
}

/// The changing part of a [`Queue`].
struct QueuePlace {
    next: usize,
    early: Vec<usize>,
    put_off: Option<(Pfn, u32)>,
}

/// What a tick of the clock has left after everything that concerns one CPU alone.
struct Pending {
    /// Each CPU's next operation on the free lists, in the order in which they are tried.
    moves: Vec<(usize, Work)>,
    /// A CPU that waits, and its event.
    waiting: Option<(usize, usize)>,
}

/// A moment to go back to: an operation was chosen there among several.
struct Choice {
    machine: PageAllocator,
    place: Place,
    /// The operations that were not tried.
    others: Vec<(usize, Work)>,
    /// Pages that any of the operations moves.
    pages: HashSet<Pfn>,
    /// Time of the tick.
    time: u64,
}

/// Work did not fit: at a page that it moves, the trace shows another.
type Conflict = (Option<Pfn>, Option<Pfn>);

/// A dead end that choices are taken back for.
struct DeadEnd {
    machine: PageAllocator,
    place: Place,
    nr_done: usize,
    /// The operation that is given up, and the page that it moves instead of the trace's.
    first: (usize, Work),
    predicted: Option<Pfn>,
    nr_taken_back: usize,
}

/// Follows a trace.
pub(super) struct Follower<'a> {
    machine: PageAllocator,
    events: &'a [TraceEvent],
    plan: Plan,
    /// Free blocks of the state at the end, ascending, as first page and page behind.
    free_at_end: Vec<(Pfn, Pfn)>,
    queues: Vec<Queue>,
    nr_done: usize,
    /// Choices that can be taken back, oldest first.
    choices: VecDeque<Choice>,
    /// The operations to go on with after a choice was taken back.
    resume: Option<Vec<(usize, Work)>>,
    dead_end: Option<DeadEnd>,
    pub tally: Tally,
}

impl<'a> Follower<'a> {
    pub fn new(machine: PageAllocator, events: &'a [TraceEvent], end: &[ZoneState], nr_cpus: usize) -> Self {
        let mut queues: Vec<Queue> = (0..nr_cpus).map(|_| Queue::default()).collect();
        for (at, event) in events.iter().enumerate() {
            queues[event.cpu as usize].events.push(at);
        }
        let free_at_end = free_blocks(end, machine.config().pageblock_order);
        let plan = Plan::new(events);
        Follower {
            machine,
            events,
            plan,
            free_at_end,
            queues,
            nr_done: 0,
            choices: VecDeque::new(),
            resume: None,
            dead_end: None,
            tally: Tally::default(),
        }
    }

    /// The machine as it is now.
    pub fn machine(&self) -> &PageAllocator {
        &self.machine
    }

    /// Follows events until this many more were followed or none is left; how many were followed
    /// up to now, or `None` if there was none left.
    pub fn step(&mut self, nr_events: usize) -> Result<Option<usize>, BootError> {
        let before = self.nr_done;
        while self.nr_done < before + nr_events {
            let next = self.queues.iter().filter_map(|queue| queue.events.get(queue.next)).min();
            let Some(&next) = next else { break };
            self.step_in_tick(self.events[next].time)?;
        }
        Ok((self.nr_done > before).then_some(self.nr_done))
    }

    /// Follows the events of a tick of the clock up to and including one operation on the free
    /// lists.
    fn step_in_tick(&mut self, time: u64) -> Result<(), BootError> {
        let Pending { mut moves, waiting } = match self.resume.take() {
            Some(moves) => Pending { moves, waiting: None },
            None => self.perform_locals(time),
        };
        let Some(&first) = moves.first() else {
            if let Some((cpu, at)) = waiting {
                self.perform_local(cpu, at);
            }
            return Ok(());
        };
        let pages = self.pages_of(&moves);
        let is_choice = moves.len() > 1;
        let mut conflicts = Vec::new();
        while !moves.is_empty() {
            let (cpu, work) = moves.remove(0);
            let place = self.place();
            match self.perform_if_it_fits(cpu, work, is_choice)? {
                Ok(before) => {
                    if self.dead_end.as_ref().is_some_and(|dead_end| self.nr_done > dead_end.nr_done) {
                        self.dead_end = None;
                    }
                    if let Some(machine) = before.filter(|_| !moves.is_empty()) {
                        self.remember(Choice { machine, place, others: moves, pages, time });
                    }
                    return Ok(());
                }
                Err(conflict) => conflicts.push((cpu, conflict)),
            }
        }
        for (cpu, (predicted, _)) in &conflicts {
            if predicted.is_some_and(|pfn| self.take_unseen(*cpu, pfn)) {
                return Ok(());
            }
        }
        let conflicts: Vec<Conflict> = conflicts.into_iter().map(|(_, conflict)| conflict).collect();
        self.leave_dead_end(first, &conflicts, time)
    }

    /// Keeps a choice.
    fn remember(&mut self, choice: Choice) {
        self.choices.push_back(choice);
        let nr_kept = (MAX_KEPT_BYTES / self.machine.segment_bytes().max(1)).max(1);
        while self.choices.len() > nr_kept {
            self.choices.pop_front();
        }
    }

    /// Nothing fits: takes back the choice that is to blame, or makes the trace's moves.
    fn leave_dead_end(&mut self, first: (usize, Work), conflicts: &[Conflict], time: u64) -> Result<(), BootError> {
        if self.dead_end.is_none() {
            let machine = self.machine.fork()?;
            let (place, nr_done) = (self.place(), self.nr_done);
            let predicted = conflicts.first().and_then(|(predicted, _)| *predicted);
            self.dead_end = Some(DeadEnd { machine, place, nr_done, first, predicted, nr_taken_back: 0 });
        }
        let Some(dead_end) = &mut self.dead_end else { return Ok(()) };
        dead_end.nr_taken_back += 1;
        // Both pages were moved at that moment, in the wrong order.
        let is_to_blame = |choice: &Choice| {
            let moved = |page: &Option<Pfn>| page.is_some_and(|pfn| choice.pages.contains(&pfn));
            conflicts.iter().any(|(predicted, shown)| moved(predicted) && moved(shown))
        };
        let blamed = self.choices.iter().rposition(is_to_blame);
        let blamed = blamed.or_else(|| self.choices.iter().rposition(|choice| choice.time == time));
        if let Some(blamed) = blamed.filter(|_| dead_end.nr_taken_back <= MAX_TAKEN_BACK) {
            self.choices.truncate(blamed + 1);
            if let Some(choice) = self.choices.pop_back() {
                self.go_to(choice.machine, choice.place);
                self.resume = Some(choice.others);
            }
        } else if let Some(DeadEnd { machine, place, first: (cpu, work), predicted, .. }) = self.dead_end.take() {
            self.go_to(machine, place);
            self.choices.clear();
            self.force(cpu, work, predicted);
        }
        Ok(())
    }

    /// Pages that operations move.
    fn pages_of(&self, moves: &[(usize, Work)]) -> HashSet<Pfn> {
        let moved = moves.iter().flat_map(|(cpu, work)| {
            let shown = self.moves_at(*cpu, work.nr_own_events(), |_| true);
            work.freed().into_iter().chain(shown.into_iter().filter_map(|event| event.pfn()))
        });
        moved.collect()
    }

    /// Where the queues are.
    fn place(&self) -> Place {
        let queues = self.queues.iter().map(|queue| QueuePlace {
            next: queue.next,
            early: queue.early.clone(),
            put_off: queue.put_off,
        });
        Place { queues: queues.collect(), tally: self.tally.clone() }
    }

    /// Goes back, or forward again, to a moment.
    fn go_to(&mut self, machine: PageAllocator, place: Place) {
        self.machine = machine;
        self.tally = place.tally;
        for (queue, QueuePlace { next, early, put_off }) in self.queues.iter_mut().zip(place.queues) {
            for at in &queue.events[next.min(queue.next)..next.max(queue.next)] {
                self.plan.set_done(*at, next > queue.next);
            }
            self.nr_done = self.nr_done + next - queue.next;
            queue.next = next;
            queue.early = early;
            queue.put_off = put_off;
        }
    }

    /// Follows the events that concern their CPUs alone.
    fn perform_locals(&mut self, time: u64) -> Pending {
        let mut moves = Vec::new();
        let mut waiting = None;
        for cpu in self.cpus_by_line() {
            while let Some(at) = self.peek(cpu, time) {
                match self.classify(cpu, at, time) {
                    Step::Local => self.perform_local(cpu, at),
                    Step::Move(work) => {
                        moves.push((cpu, work));
                        break;
                    }
                    Step::Wait => {
                        waiting = waiting.or(Some((cpu, at)));
                        break;
                    }
                }
            }
        }
        // What takes pages goes first, if it fits: what gives pages fits at any time.
        moves.sort_by_key(|(_, work)| work.is_giving());
        Pending { moves, waiting }
    }

    /// CPUs with events left, in the order of their next lines.
    fn cpus_by_line(&self) -> Vec<usize> {
        let next = |cpu: usize| self.queues[cpu].events.get(self.queues[cpu].next).copied();
        let mut cpus: Vec<(usize, usize)> =
            (0..self.queues.len()).filter_map(|cpu| next(cpu).map(|at| (at, cpu))).collect();
        cpus.sort_unstable();
        cpus.into_iter().map(|(_, cpu)| cpu).collect()
    }

    /// A CPU's next event up to a time.
    fn peek(&self, cpu: usize, time: u64) -> Option<usize> {
        let queue = &self.queues[cpu];
        queue.events.get(queue.next).copied().filter(|at| self.events[*at].time <= time)
    }

    /// A CPU's next event was followed.
    fn advance(&mut self, cpu: usize) {
        let queue = &mut self.queues[cpu];
        self.plan.set_done(queue.events[queue.next], true);
        queue.next += 1;
        self.nr_done += 1;
    }
}

/// First page and page behind of every free block, ascending.
fn free_blocks(zones: &[ZoneState], pageblock_order: u32) -> Vec<(Pfn, Pfn)> {
    let costly_list = 4 * MIGRATE_PCPTYPES;
    let mut blocks = Vec::new();
    for zone in zones {
        for (index, list) in zone.free_lists.iter().enumerate() {
            blocks.extend(list.iter().map(|pfn| (*pfn, pfn + (1 << (index / NR_MIGRATETYPES)))));
        }
        for (index, list) in zone.pcp.iter().flat_map(|pcp| pcp.lists.iter().enumerate()) {
            let order = if index < costly_list { (index / MIGRATE_PCPTYPES) as u32 } else { pageblock_order };
            blocks.extend(list.iter().map(|pfn| (*pfn, pfn + (1 << order))));
        }
    }
    blocks.sort_unstable();
    blocks
}
