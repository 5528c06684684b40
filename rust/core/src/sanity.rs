//! Sanity of words and numbers that come from outside: a snapshot, a recording, another process.
//!
//! `validate` counts pages and so finds states that contradict themselves. Here stands what the
//! code otherwise takes for granted: links lead to pages that exist, and numbers are so small that
//! sums of them fit.

use crate::allocator::PageAllocator;
use crate::mempolicy::PolicyMode;
use crate::pcp_list::PcpDeque;
use crate::segment::CpuZone;
use crate::spare::Spares;
use crate::sync::{AtomicU32, AtomicU64, Relaxed};
use crate::verify::Violation;
use crate::word::PageIdx;
use crate::zone::Zone;

/// Watermarks, reserves and counts of pages are below this; sums of them fit an `i64`, in KiB too.
const MAX_PAGES: u64 = 1 << 52;
/// No counter has counted so many events; sums over all cpus fit.
const MAX_EVENTS: u64 = 1 << 50;
/// No cpu keeps so much back.
const MAX_DIFFERENTIAL: i32 = 1 << 24;
/// `high` and `batch` of per-cpu lists fit an `int`.
const MAX_PAGESET: u32 = i32::MAX as u32;
/// `free_factor` shifts 32 bits.
const MAX_FREE_FACTOR: u32 = 31;

fn get32(word: &AtomicU32) -> u32 {
    word.load(Relaxed) // ORDERING(R7)
}

fn get64(word: &AtomicU64) -> u64 {
    word.load(Relaxed) // ORDERING(R7)
}

impl PageAllocator {
    /// The first word or number that would lead astray, if any. Meaningful while nobody changes the
    /// machine.
    pub(crate) fn check_sanity(&self) -> Result<(), Violation> {
        if !self.are_tunables_sane() {
            return Err(self.machine_violation("a tunable is out of range"));
        }
        if !self.are_cpus_sane() {
            return Err(self.machine_violation("a cpu's state or memory policy is impossible"));
        }
        if !self.are_nodes_sane() {
            return Err(self.machine_violation("a node's reclaim state or reserve is impossible"));
        }
        self.zones().try_for_each(|zone| zone.check_sanity(self.spares()))
    }

    fn machine_violation(&self, what: &'static str) -> Violation {
        let nid = self.node_ids().next().unwrap_or(0);
        Violation { nid, zone: 0, pfn: None, what, counts: None }
    }

    fn are_tunables_sane(&self) -> bool {
        let machine = self.machine();
        let int_max = i64::from(i32::MAX);
        let is_int = |word: &AtomicU64| get64(word) <= i32::MAX as u64;
        (0..=int_max).contains(&machine.min_free_kbytes.load(Relaxed)) // ORDERING(R7)
            && (-1..=int_max).contains(&machine.user_min_free_kbytes.load(Relaxed)) // ORDERING(R7)
            && get64(&machine.watermark_scale_factor) <= 3000
            && is_int(&machine.watermark_boost_factor)
            && is_int(&machine.percpu_pagelist_high_fraction)
            && machine.lowmem_reserve_ratio.iter().all(is_int)
            && get64(&machine.totalram_pages) < MAX_PAGES
            && get64(&machine.totalreserve_pages) < MAX_PAGES
            && (get32(&machine.policy_zone) as usize) < self.config().nr_zones()
    }

    fn are_cpus_sane(&self) -> bool {
        let is_online = |cpu: usize| self.segment.cpus[cpu].is_online();
        let nr_online = (0..self.nr_cpus()).filter(|cpu| is_online(*cpu)).count();
        let online_nodes = self.node_ids().fold(0u64, |mask, nid| mask | 1 << nid);
        let is_policy_sane = |cpu: usize| {
            let slot = &self.segment.cpus[cpu];
            let Some(mode) = PolicyMode::from_number(get32(&slot.policy_mode)) else { return false };
            let nodes = get64(&slot.policy_nodes);
            let needs_nodes = !matches!(mode, PolicyMode::Default | PolicyMode::Local);
            nodes & !online_nodes == 0
                && (nodes != 0) == needs_nodes
                && get32(&slot.policy_home) <= u64::BITS
                && get32(&slot.il_prev) < u64::BITS
        };
        // Cpus come online in order, the boot cpu is always there.
        nr_online > 0 && (0..nr_online).all(is_online) && (0..self.nr_cpus()).all(is_policy_sane)
    }

    fn are_nodes_sane(&self) -> bool {
        self.segment.nodes.iter().all(|node| {
            get32(&node.kswapd_highest_zone) as usize <= self.config().nr_zones()
                && get32(&node.kswapd_order) < self.config().max_order
                && get32(&node.kswapd_failures) < 1 << 30
                && get64(&node.totalreserve_pages) < MAX_PAGES
                && get64(&node.spanned) < MAX_PAGES
                && get64(&node.present) < MAX_PAGES
                && get64(&node.start_pfn) < MAX_PAGES
        })
    }
}

impl Zone<'_> {
    fn check_sanity(self, spares: Spares<'_>) -> Result<(), Violation> {
        let fail = |x: Option<PageIdx>, what| {
            // A wrong link may lead to a page that does not exist.
            let pfn = x.map(|x| self.pfn(x));
            Err(Violation { nid: self.node(), zone: self.index(), pfn, what, counts: None })
        };
        if !self.are_numbers_sane() {
            return fail(None, "a watermark, reserve or counter is impossibly large");
        }
        for (id, state) in self.cpu_zones.iter().enumerate() {
            if !is_cpu_zone_sane(state, spares.was_used(id)) {
                return fail(None, "a cpu's list sizes or counters are impossible");
            }
            let is_sound = |index: usize| PcpDeque::of(self.desk(id), index).is_sound();
            let (used, unused) = (0..self.config.nr_pcp_lists(), self.config.nr_pcp_lists()..state.lists.len());
            let is_empty = |index: usize| PcpDeque::of(self.desk(id), index).is_empty();
            if !used.into_iter().all(is_sound) || !unused.into_iter().all(is_empty) {
                return fail(None, "the links of a per-cpu list are broken");
            }
        }
        match self.view().area.lists.check_links() {
            Ok(()) => Ok(()),
            Err(x) => fail(Some(x), "the links of a free list are broken"),
        }
    }

    fn are_numbers_sane(self) -> bool {
        let shared = &self.shared;
        let is_count = |word: &AtomicU64| get64(word) < MAX_PAGES;
        let is_counter = |value: i64| value.unsigned_abs() < MAX_PAGES;
        let counts = [
            &shared.nr_reserved_highatomic,
            &shared.watermark_boost,
            &shared.percpu_drift_mark,
            &shared.totalreserve_pages,
            &shared.cma_pages,
        ];
        let is_event = |word: &AtomicU64| get64(word) < MAX_EVENTS;
        counts.into_iter().all(is_count)
            && shared.watermark.iter().chain(&shared.lowmem_reserve).all(is_count)
            && get64(&shared.present) <= get64(&shared.spanned)
            && get64(&shared.managed) <= get64(&shared.present)
            && is_counter(shared.nr_free_pages.load(Relaxed)) // ORDERING(R7)
            && is_counter(shared.nr_free_cma.load(Relaxed)) // ORDERING(R7)
            && get32(&shared.pageset_high) <= MAX_PAGESET
            && get32(&shared.pageset_batch) <= MAX_PAGESET
            && u64::from(get32(&shared.nr_isolate_pageblock)) <= get64(&shared.spanned)
            && shared.numa_events.iter().chain([&shared.pgalloc, &shared.pgfree]).all(is_event)
    }
}

/// A slot that nobody ever used may be without sizes, but then it has no pages.
fn is_cpu_zone_sane(state: &CpuZone, was_used: bool) -> bool {
    let is_event = |word: &AtomicU64| get64(word) < MAX_EVENTS;
    let differentials = [&state.diff_free, &state.diff_cma, &state.stat_threshold];
    get32(&state.high) <= MAX_PAGESET
        && (u32::from(was_used)..=MAX_PAGESET).contains(&get32(&state.batch))
        && get32(&state.count) <= if was_used { MAX_PAGESET } else { 0 }
        && get32(&state.free_factor) <= MAX_FREE_FACTOR
        && differentials.iter().all(|word| word.load(Relaxed).unsigned_abs() < MAX_DIFFERENTIAL as u32) // ORDERING(R8)
        && state.numa_events.iter().chain([&state.pgalloc, &state.pgfree]).all(is_event)
}
