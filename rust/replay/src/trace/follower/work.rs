//! Work on the free lists: performed on a machine, compared with the trace, and made to agree with
//! it where the prediction failed.

use super::{Conflict, Follower, Work};
use pagebuddy_core::allocator::{CpuChoice, PageAllocator};
use pagebuddy_core::error::BootError;
use pagebuddy_core::follow::Whereabouts;
use pagebuddy_core::gfp::Gfp;
use pagebuddy_core::page_alloc::AllocRequest;
use pagebuddy_core::pressure::NoHooks;
use pagebuddy_core::trace::{Event, TraceClock};
use pagebuddy_core::types::{MIGRATE_PCPTYPES, MigrateType, Pfn};

/// What came of work on a machine.
struct Done {
    /// Pages that moved between the free lists and elsewhere.
    moves: Vec<Event>,
    /// The page of an allocation.
    got: Option<Pfn>,
    /// Pages that must have been taken without an event before it.
    nr_unseen: u64,
}

/// Where an allocation's page is just before it.
#[derive(Clone, Copy)]
pub(super) enum PlaceOfPage {
    /// There is none.
    Failed,
    /// On the per-cpu list that the allocation takes from.
    RightList,
    /// Anywhere else.
    At(Whereabouts),
}

impl Follower<'_> {
    /// Performs work if it moves exactly the pages that the trace shows: the machine before it, if
    /// there was a choice, or where it differs.
    pub(super) fn perform_if_it_fits(
        &mut self,
        cpu: usize,
        work: Work,
        is_choice: bool,
    ) -> Result<Result<Option<PageAllocator>, Conflict>, BootError> {
        let copy = if is_choice { Some(self.machine.fork()?) } else { None };
        let Done { moves, got, nr_unseen } = self.run(copy.as_ref().unwrap_or(&self.machine), cpu, work);
        let shown = self.moves_at(cpu, work.nr_own_events(), |_| true);
        // Moves that the trace should show and does not are passed over.
        let (mut nr_shown, mut differs) = (0, None);
        for event in &moves {
            if shown.get(nr_shown) == Some(event) {
                nr_shown += 1;
            } else if !self.is_missing(event) {
                differs = Some((event.pfn(), shown.get(nr_shown).and_then(Event::pfn)));
                break;
            }
        }
        let conflict = match (differs, work) {
            (Some(conflict), _) => Some(conflict),
            (None, Work::Alloc(at)) if got != self.events[at].event.pfn() => Some((got, self.events[at].event.pfn())),
            // These do move pages.
            (None, Work::Alloc(_) | Work::Refill(..) | Work::Drain(..)) if nr_shown == 0 => {
                Some((None, shown.first().and_then(Event::pfn)))
            }
            (None, _) => None,
        };
        if let Some(conflict) = conflict {
            if copy.is_none() {
                self.undo(cpu, work, &moves, got);
            }
            return Ok(Err(conflict));
        }
        let before = copy.map(|copy| std::mem::replace(&mut self.machine, copy));
        self.tally.moves += nr_shown as u64;
        self.tally.moves_matched += nr_shown as u64;
        self.tally.unseen += nr_unseen + (moves.len() - nr_shown) as u64;
        (0..work.nr_own_events()).for_each(|_| self.advance(cpu));
        self.advance_moves(cpu, nr_shown);
        match work {
            Work::Alloc(at) => {
                self.count_matched();
                self.queues[cpu].early.push(at);
            }
            Work::PutOff(..) => self.queues[cpu].put_off = None,
            Work::Refill(..) | Work::Free(..) | Work::Drain(..) => {}
        }
        Ok(Ok(before))
    }

    /// Takes back work, as well as that is possible without a copy.
    fn undo(&self, cpu: usize, work: Work, moves: &[Event], got: Option<Pfn>) {
        if let (Work::Alloc(at), Some(got)) = (work, got)
            && let Event::Alloc { order, migratetype, .. } = self.events[at].event
            && !self.machine.put_on_pcp(cpu, got, order, type_of(migratetype), false)
        {
            self.machine.release_block(cpu, got, order, type_of(migratetype));
        }
        for event in moves.iter().rev() {
            match *event {
                Event::AllocZoneLocked { pfn, order, migratetype } if self.machine.seize_block(cpu, pfn, order) => {
                    self.machine.release_block(cpu, pfn, order, type_of(migratetype));
                }
                Event::PcpuDrain { pfn, order, migratetype } if self.machine.seize_block(cpu, pfn, order) => {
                    self.machine.put_on_pcp(cpu, pfn, order, type_of(migratetype), true);
                }
                _ => {}
            }
        }
    }

    /// Passes the next moves of a CPU.
    fn advance_moves(&mut self, cpu: usize, mut nr_moves: usize) {
        while nr_moves > 0 {
            let queue = &self.queues[cpu];
            let is_move = !matches!(self.events[queue.events[queue.next]].event, Event::AllocExtfrag { .. });
            nr_moves -= usize::from(is_move);
            self.advance(cpu);
        }
    }

    /// Performs work on a machine.
    fn run(&self, machine: &PageAllocator, cpu: usize, work: Work) -> Done {
        let tracer = machine.trace().start(TraceClock::Counter, None).ok();
        let mut nr_unseen = 0;
        let got = match work {
            Work::Alloc(at) => self.run_allocation(machine, cpu, at, &mut nr_unseen),
            Work::Refill(pfn, mt) => {
                nr_unseen += self.empty_list(machine, cpu, pfn, mt);
                let got = machine.take_from_pcp(cpu, pfn, mt);
                // The refill of an allocation whose own blocks are not told apart.
                if let Some(got) = got.filter(|got| !self.is_taken_unseen(*got)) {
                    machine.put_on_pcp(cpu, got, 0, mt, false);
                }
                got
            }
            Work::Free(pfn, order) | Work::PutOff(pfn, order) => {
                free(machine, cpu, pfn, order);
                None
            }
            Work::Drain(pfn, is_one_batch) => {
                machine.drain_pcp(cpu, pfn, is_one_batch);
                None
            }
        };
        let trace = tracer.and_then(|tracer| machine.trace().stop(tracer)).unwrap_or_default();
        let moves = trace.records.into_iter().map(|record| record.event);
        let is_move = |event: &Event| matches!(event, Event::AllocZoneLocked { .. } | Event::PcpuDrain { .. });
        Done { moves: moves.filter(is_move).collect(), got, nr_unseen }
    }

    fn run_allocation(&self, machine: &PageAllocator, cpu: usize, at: usize, nr_unseen: &mut u64) -> Option<Pfn> {
        let Event::Alloc { pfn: actual, order, gfp, migratetype } = self.events[at].event else { return None };
        let mt = type_of(migratetype);
        if let (0, Some(actual)) = (order, actual) {
            *nr_unseen += self.empty_list(machine, cpu, actual, mt);
        }
        let got = allocate(machine, cpu, order, gfp, actual);
        if let (MigrateType::Movable, Some(got)) = (mt, got) {
            machine.set_movable(got, order, true);
        }
        got
    }

    /// A list that is refilled was empty: what is left on it was taken unseen, or drained if it leaves
    /// the free lists next. How many pages that were.
    fn empty_list(&self, machine: &PageAllocator, cpu: usize, pfn: Pfn, mt: MigrateType) -> u64 {
        let mut nr_unseen = 0;
        while let Some(head) = machine.pcp_head(cpu, pfn, 0, mt) {
            if self.is_taken_unseen(head) {
                machine.take_from_pcp(cpu, head, mt);
            } else if matches!(self.next_of(head), Some(Event::AllocZoneLocked { .. })) {
                machine.seize_block(cpu, head, 0);
                machine.release_block(cpu, head, 0, mt);
            } else {
                break;
            }
            nr_unseen += 1;
        }
        nr_unseen
    }

    /// The next event of a page.
    pub(super) fn next_of(&self, pfn: Pfn) -> Option<Event> {
        self.plan.pending_uses(pfn).next().map(|next| self.events[next].event)
    }

    /// Must a move have happened although the trace does not show it? What happens to the page next
    /// can only happen after it.
    fn is_missing(&self, event: &Event) -> bool {
        match (*event, event.pfn().and_then(|pfn| self.next_of(pfn))) {
            (Event::AllocZoneLocked { .. }, Some(next)) => !matches!(next, Event::AllocZoneLocked { .. }),
            (Event::AllocZoneLocked { pfn, .. }, None) => self.is_taken_unseen(pfn),
            (Event::PcpuDrain { .. }, next) => matches!(next, Some(Event::AllocZoneLocked { .. })),
            _ => false,
        }
    }

    /// Work whose moves are not those of the trace: makes the trace's moves instead.
    pub(super) fn force(&mut self, cpu: usize, work: Work, predicted: Option<Pfn>) {
        let next = self.queues[cpu].events.get(self.queues[cpu].next);
        self.tally.first_wrong_move = self.tally.first_wrong_move.or(next.map(|at| (*at, predicted)));
        // In front of its list again, and not wanted again: in the traced machine it is not there.
        if let Some(pfn) = predicted.filter(|_| self.queues[cpu].passed_over == predicted) {
            self.machine.postpone_block(cpu, pfn);
        }
        self.queues[cpu].passed_over = predicted;
        match work {
            Work::Alloc(at) => {
                let place = self.place_of_alloc(cpu, at);
                // Once more, to report what was predicted.
                let got = self.machine.fork().ok().and_then(|copy| self.run(&copy, cpu, work).got);
                let Event::Alloc { pfn: actual, order, migratetype, .. } = self.events[at].event else { return };
                self.force_moves(cpu);
                if got == actual {
                    self.count_matched()
                } else {
                    self.count_missed(at, got, place)
                }
                self.seize(cpu, actual, order);
                self.mark(actual, order, type_of(migratetype));
                self.queues[cpu].early.push(at);
            }
            Work::Refill(..) | Work::Drain(..) => self.force_moves(cpu),
            Work::Free(pfn, order) => {
                self.advance(cpu);
                free(&self.machine, cpu, pfn, order);
            }
            Work::PutOff(pfn, order) => {
                self.queues[cpu].put_off = None;
                self.seize_unless_held(cpu, pfn, order);
                self.machine.put_on_pcp(cpu, pfn, order, self.list_type(pfn), false);
                self.force_moves(cpu);
            }
        }
    }

    /// The list that a freed page goes to.
    fn list_type(&self, pfn: Pfn) -> MigrateType {
        let pageblock = self.machine.page_report(pfn).pageblock.unwrap_or(MigrateType::Unmovable);
        if pageblock.index() < MIGRATE_PCPTYPES { pageblock } else { MigrateType::Movable }
    }

    fn seize_unless_held(&self, cpu: usize, pfn: Pfn, order: u32) {
        if self.machine.whereabouts(pfn) != Whereabouts::Allocated(order) {
            self.seize(cpu, Some(pfn), order);
        }
    }

    /// Makes the next moves of a CPU as the trace shows them.
    fn force_moves(&mut self, cpu: usize) {
        let moves = self.moves_at(cpu, 0, |_| true);
        self.tally.moves += moves.len() as u64;
        for event in &moves {
            match *event {
                Event::AllocZoneLocked { pfn, order, migratetype } if self.machine.seize_block(cpu, pfn, order) => {
                    self.machine.put_on_pcp(cpu, pfn, order, type_of(migratetype), true);
                }
                Event::PcpuDrain { pfn, order, migratetype } if self.machine.whereabouts(pfn) != Whereabouts::Free => {
                    self.seize_unless_held(cpu, pfn, order);
                    self.machine.release_block(cpu, pfn, order, type_of(migratetype));
                }
                _ => {}
            }
        }
        self.advance_moves(cpu, moves.len());
    }

    pub(super) fn count_matched(&mut self) {
        self.tally.allocs += 1;
        self.tally.matched += 1;
    }

    /// Counts an allocation that was not predicted; `place` is where its page was before.
    pub(super) fn count_missed(&mut self, at: usize, got: Option<Pfn>, place: PlaceOfPage) {
        self.tally.allocs += 1;
        self.tally.first_mismatch.get_or_insert((at, got));
        let misses = &mut self.tally.misses;
        *match place {
            PlaceOfPage::Failed => &mut misses.failed,
            PlaceOfPage::RightList => &mut misses.behind_others,
            PlaceOfPage::At(Whereabouts::Pcp) => &mut misses.on_another_list,
            PlaceOfPage::At(Whereabouts::Free) => &mut misses.other_block,
            PlaceOfPage::At(Whereabouts::Nowhere) => &mut misses.no_memory,
            PlaceOfPage::At(Whereabouts::Allocated(_) | Whereabouts::InUse) => &mut misses.freed_unseen,
        } += 1;
    }

    /// Where the page of an allocation is before it.
    pub(super) fn place_of_alloc(&self, cpu: usize, at: usize) -> PlaceOfPage {
        let Event::Alloc { pfn, order, migratetype, .. } = self.events[at].event else { return PlaceOfPage::Failed };
        let Some(pfn) = pfn else { return PlaceOfPage::Failed };
        if self.machine.is_on_pcp(cpu, pfn, order, type_of(migratetype)) {
            return PlaceOfPage::RightList;
        }
        PlaceOfPage::At(self.machine.whereabouts(pfn))
    }

    /// Movable pages are put on an LRU list sooner or later.
    pub(super) fn mark(&self, pfn: Option<Pfn>, order: u32, mt: MigrateType) {
        if let (MigrateType::Movable, Some(pfn)) = (mt, pfn) {
            self.machine.set_movable(pfn, order, true);
        }
    }

    /// Makes the machine hold a block that is in use.
    pub(super) fn seize(&self, cpu: usize, pfn: Option<Pfn>, order: u32) {
        if let Some(pfn) = pfn
            && !self.machine.seize_block(cpu, pfn, order)
        {
            // In use here too, as something else.
            let _ = self.machine.adopt_block(pfn, order);
        }
    }
}

pub(super) fn type_of(number: u8) -> MigrateType {
    MigrateType::from_index(number.into()).unwrap_or(MigrateType::Unmovable)
}

/// The trace does not tell the preferred node: the CPU's, unless the page comes from another.
fn preferred_node(machine: &PageAllocator, cpu: usize, actual: Option<Pfn>) -> u32 {
    let local = machine.node_of_cpu(CpuChoice::Fixed(cpu));
    actual.and_then(|pfn| machine.zone_of_page(pfn)).map_or(local, |(nid, _)| nid)
}

pub(super) fn allocate(machine: &PageAllocator, cpu: usize, order: u32, gfp: u32, actual: Option<Pfn>) -> Option<Pfn> {
    let nid = preferred_node(machine, cpu, actual);
    let request = AllocRequest { gfp: Gfp(gfp), order, nid, nodemask: None };
    machine.alloc_pages(CpuChoice::Fixed(cpu), request, &NoHooks).ok()
}

/// Frees a block that is in use on the traced machine, whatever it is here.
pub(super) fn free(machine: &PageAllocator, cpu: usize, pfn: Pfn, order: u32) {
    match machine.whereabouts(pfn) {
        Whereabouts::Allocated(found) if found == order => {}
        Whereabouts::Free | Whereabouts::Pcp => {
            machine.seize_block(cpu, pfn, order);
        }
        Whereabouts::Allocated(_) | Whereabouts::InUse | Whereabouts::Nowhere => {
            // What cannot be adopted cannot be freed either, which changes nothing.
            let _ = machine.adopt_block(pfn, order);
        }
    }
    if order > 0 {
        machine.set_movable(pfn, order, false);
    }
    let _ = machine.free_pages(CpuChoice::Fixed(cpu), pfn, order);
}
