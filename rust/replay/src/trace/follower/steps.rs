//! What a CPU's next event asks for, and events that concern their CPU alone.

use super::work::{PlaceOfPage, allocate, free, type_of};
use super::{Follower, Step, Work};
use pagebuddy_core::follow::Whereabouts;
use pagebuddy_core::trace::Event;
use pagebuddy_core::types::{MigrateType, Pfn};

impl Follower<'_> {
    pub(super) fn classify(&self, cpu: usize, at: usize, time: u64) -> Step {
        match self.events[at].event {
            Event::AllocExtfrag { .. } | Event::Alloc { .. } => Step::Local,
            Event::AllocZoneLocked { pfn, migratetype, .. } => match self.plan.alloc_of(at) {
                Some(alloc) if !self.queues[cpu].early.contains(&alloc) => Step::Move(Work::Alloc(alloc)),
                _ => Step::Move(Work::Refill(pfn, type_of(migratetype))),
            },
            Event::PcpuDrain { pfn, .. } => {
                if let Some((pfn, order)) = self.queues[cpu].put_off {
                    return Step::Move(Work::PutOff(pfn, order));
                }
                let nr_pages: u64 = self
                    .moves_at(cpu, 0, |pfn_of_move| self.zone_of(pfn_of_move) == self.zone_of(pfn))
                    .iter()
                    .map(|event| 1 << event.order())
                    .sum();
                Step::Move(Work::Drain(pfn, nr_pages < self.machine.pcp_count(cpu, pfn)))
            }
            Event::Free { pfn, order } => {
                if self.is_allocated_later(pfn, time) {
                    Step::Wait
                } else if self.has_pcp_list(order) {
                    Step::Local
                } else {
                    Step::Move(Work::Free(pfn, order))
                }
            }
            Event::FreeBatched { .. } => Step::Local,
        }
    }

    fn has_pcp_list(&self, order: u32) -> bool {
        let config = self.machine.config();
        order <= 3 || (config.thp && order == config.pageblock_order)
    }

    /// Is the page free here because its allocation in the same tick was not followed yet?
    fn is_allocated_later(&self, pfn: Pfn, time: u64) -> bool {
        matches!(self.machine.whereabouts(pfn), Whereabouts::Free | Whereabouts::Pcp)
            && self
                .plan
                .pending_uses(pfn)
                .take_while(|at| self.events[*at].time <= time)
                .any(|at| matches!(self.events[at].event, Event::Alloc { .. }))
    }

    /// Does a later event of the same CPU put the page on its list?
    fn is_batched(&self, cpu: usize, at: usize, pfn: Pfn) -> bool {
        let mut uses =
            self.plan.pending_uses(pfn).filter(|other| *other > at && self.events[*other].cpu as usize == cpu);
        uses.next().is_some_and(|next| matches!(self.events[next].event, Event::FreeBatched { .. }))
    }

    fn zone_of(&self, pfn: Pfn) -> Option<(u32, usize)> {
        self.machine.zone_of_page(pfn)
    }

    /// The moves in a CPU's queue from its event number `skip` on: all of one kind, as long as
    /// `wanted` says so.
    pub(super) fn moves_at(&self, cpu: usize, skip: usize, wanted: impl Fn(Pfn) -> bool) -> Vec<Event> {
        let queue = &self.queues[cpu];
        let events = queue.events[(queue.next + skip).min(queue.events.len())..].iter().copied();
        let mut moves: Vec<Event> = Vec::new();
        let mut last = None;
        for at in events {
            let event = self.events[at].event;
            if last.is_some_and(|last| self.is_interrupted(cpu, last, at)) {
                break;
            }
            match (event, moves.last()) {
                (Event::AllocExtfrag { .. }, _) => {}
                (Event::AllocZoneLocked { pfn, .. }, None | Some(Event::AllocZoneLocked { .. }))
                | (Event::PcpuDrain { pfn, .. }, None | Some(Event::PcpuDrain { .. }))
                    if wanted(pfn) =>
                {
                    moves.push(event);
                    last = Some(at);
                }
                _ => break,
            }
        }
        moves
    }

    /// Do the times of two moves of a CPU show that another CPU had the zone's lock in between? They
    /// are not of one batch then.
    fn is_interrupted(&self, cpu: usize, first: usize, second: usize) -> bool {
        let (Some(page), times) = (self.events[first].event.pfn(), (self.events[first].time, self.events[second].time))
        else {
            return false;
        };
        self.events[first + 1..second].iter().any(|other| {
            let is_move = matches!(other.event, Event::AllocZoneLocked { .. } | Event::PcpuDrain { .. });
            is_move
                && other.cpu as usize != cpu
                && times.0 < other.time
                && other.time < times.1
                && other.event.pfn().is_some_and(|pfn| self.zone_of(pfn) == self.zone_of(page))
        })
    }

    /// Follows an event that concerns its CPU alone.
    pub(super) fn perform_local(&mut self, cpu: usize, at: usize) {
        self.advance(cpu);
        match self.events[at].event {
            Event::Alloc { .. } => {
                let early = &mut self.queues[cpu].early;
                match early.iter().position(|alloc| *alloc == at) {
                    Some(position) => {
                        early.swap_remove(position);
                    }
                    None => self.allocate_from_list(cpu, at),
                }
            }
            Event::Free { pfn, .. } if self.is_batched(cpu, at, pfn) => {}
            Event::Free { pfn, order } => self.free(cpu, pfn, order),
            Event::FreeBatched { pfn } => self.free(cpu, pfn, 0),
            Event::AllocExtfrag { .. } | Event::AllocZoneLocked { .. } | Event::PcpuDrain { .. } => {}
        }
    }

    /// A free to a per-cpu list: put off if pages are drained next.
    fn free(&mut self, cpu: usize, pfn: Pfn, order: u32) {
        let queue = &mut self.queues[cpu];
        let next = queue.events.get(queue.next).map(|at| self.events[*at].event);
        if matches!(next, Some(Event::PcpuDrain { .. })) {
            queue.put_off = Some((pfn, order));
        } else {
            free(&self.machine, cpu, pfn, order);
        }
    }

    /// An allocation that takes the head of a per-cpu list.
    fn allocate_from_list(&mut self, cpu: usize, at: usize) {
        let Event::Alloc { pfn: actual, order, gfp, migratetype } = self.events[at].event else { return };
        let mt = type_of(migratetype);
        let mut got = None;
        let mut is_tried = actual.is_none();
        if let Some(actual) = actual {
            let mut head = self.machine.pcp_head(cpu, actual, order, mt);
            while let Some(unseen) = head.filter(|head| *head != actual) {
                if !self.take_unseen(cpu, unseen) {
                    break;
                }
                head = self.machine.pcp_head(cpu, actual, order, mt);
            }
            is_tried = head.is_none_or(|head| head == actual);
            got = head;
        }
        // Its place tells why it is not predicted.
        let place = match actual {
            None => PlaceOfPage::Failed,
            Some(_) if is_tried && got.is_some() => PlaceOfPage::RightList,
            Some(_) => self.place_of_alloc(cpu, at),
        };
        if is_tried {
            got = allocate(&self.machine, cpu, order, gfp, actual);
        }
        if got == actual {
            self.count_matched();
        } else {
            self.count_missed(at, got, place);
            if let (PlaceOfPage::RightList, Some(actual), false) = (place, actual, is_tried) {
                if self.queues[cpu].passed_over == got {
                    self.rotate_list(cpu, actual, order, mt);
                }
                self.queues[cpu].passed_over = got;
            }
            if let Some(got) = got.filter(|_| is_tried)
                && !self.machine.put_on_pcp(cpu, got, order, mt, false)
            {
                self.machine.release_block(cpu, got, order, mt);
            }
            self.seize(cpu, actual, order);
        }
        self.mark(actual, order, mt);
    }

    /// Puts what is in front of a block on its list behind all others. In the traced machine it is not
    /// there, and would spoil every allocation to come.
    fn rotate_list(&self, cpu: usize, wanted: Pfn, order: u32, mt: MigrateType) {
        while let Some(head) = self.machine.pcp_head(cpu, wanted, order, mt).filter(|head| *head != wanted) {
            if !self.machine.seize_block(cpu, head, order) || !self.machine.put_on_pcp(cpu, head, order, mt, true) {
                break;
            }
        }
    }

    /// Takes a page that is free here, but that the trace shows to be in use, from wherever it is:
    /// the event of its allocation is missing. False if the page may well be free.
    pub(super) fn take_unseen(&mut self, cpu: usize, pfn: Pfn) -> bool {
        if !self.is_taken_unseen(pfn) {
            return false;
        }
        let order = match self.next_of(pfn) {
            Some(Event::Free { order, .. }) => order,
            _ => 0,
        };
        let is_taken = self.machine.seize_block(cpu, pfn, order) || self.machine.seize_block(cpu, pfn, 0);
        self.tally.unseen += u64::from(is_taken);
        is_taken
    }

    /// Is the next thing that happens to a page that somebody frees it, or is it in use at the end?
    pub(super) fn is_taken_unseen(&self, pfn: Pfn) -> bool {
        match self.plan.pending_uses(pfn).next() {
            Some(next) => matches!(self.events[next].event, Event::Free { .. }),
            None => {
                let after = self.free_at_end.partition_point(|(start, _)| *start <= pfn);
                self.free_at_end[..after].last().is_none_or(|(_, end)| pfn >= *end)
            }
        }
    }
}
