//! Per-cpu page lists (mm/page_alloc.c, `struct per_cpu_pages` and its users).

use crate::cpu::Cpu;
use crate::free_area::Side;
use crate::gfp::AllocFlags;
use crate::pcp_list::PcpDeque;
use crate::pcp_sizing::{self, PAGE_ALLOC_COSTLY_ORDER, PcpOrders};
use crate::run::Run;
use crate::segment::{CpuZone, Desk};
use crate::state::ZONE_FLAG_RECLAIM_ACTIVE;
use crate::sync::{AtomicU32, Relaxed};
use crate::trace::Event;
use crate::types::{MIGRATE_PCPTYPES, MigrateType};
use crate::word::PageIdx;
use crate::word::page_info::{PageInfo, Remembered};
use crate::zone::Zone;

/// A drain has at most one aligned block of this order in its hands, in case it is killed.
const DRAIN_WINDOW: u32 = 6;

/// One cpu's lists of one zone. Exists only while the cpu's lease is held.
#[derive(Clone, Copy)]
pub struct Pcp<'a> {
    zone: Zone<'a>,
    desk: &'a Desk<'a>,
    state: &'a CpuZone,
}

fn get(word: &AtomicU32) -> u32 {
    word.load(Relaxed) // ORDERING(R8)
}

fn set(word: &AtomicU32, value: u32) {
    word.store(value, Relaxed); // ORDERING(R8)
}

/// The migratetype a page goes to when it leaves list type `own`.
fn remembered_type(own: usize, remembered: Remembered) -> MigrateType {
    match remembered {
        Remembered::Own => MigrateType::from_index(own).unwrap_or(MigrateType::Unmovable),
        Remembered::HighAtomic => MigrateType::HighAtomic,
        Remembered::Cma => MigrateType::Cma,
    }
}

/// The list type that a page of a pageblock type is filed under, and what its entry remembers.
#[inline(always)]
fn filed_under(mt: MigrateType) -> (MigrateType, Remembered) {
    match mt {
        MigrateType::HighAtomic => (MigrateType::Movable, Remembered::HighAtomic),
        MigrateType::Cma => (MigrateType::Movable, Remembered::Cma),
        own => (own, Remembered::Own),
    }
}

impl<'a> Zone<'a> {
    /// Do blocks of this order go through the per-cpu lists (`pcp_allowed_order`)?
    #[inline(always)]
    pub fn pcp_allowed_order(self, order: u32) -> bool {
        PcpOrders::new(&self.config).contains(order)
    }

    /// Index of the list of an order and type (`order_to_pindex`).
    #[inline(always)]
    pub(crate) fn pcp_list_index(self, order: u32, mt: usize) -> usize {
        if order > PAGE_ALLOC_COSTLY_ORDER { 12 + mt } else { MIGRATE_PCPTYPES * order as usize + mt }
    }

    /// The lists of a leased cpu.
    #[inline(always)]
    pub fn pcp(self, cpu: &Cpu<'_>) -> Option<Pcp<'a>> {
        let desk = self.desk(cpu.slot_number());
        cpu.is_leased().then_some(Pcp { zone: self, desk, state: desk.state })
    }

    /// Frees a block to the buddy lists with its counters (`__free_one_page` as drains and direct
    /// frees use it).
    #[inline]
    pub fn free_one_page(self, cpu: &Cpu<'_>, x: PageIdx, order: u32, mt: MigrateType, side: Side) {
        if mt != MigrateType::Isolate {
            self.mod_free_pages(cpu, 1 << order);
            if mt == MigrateType::Cma {
                self.mod_free_cma(cpu, 1 << order);
            }
        }
        self.buddy(cpu).put(x, order, mt.index(), side);
    }

    /// Frees the blocks of a run, as so many calls of [`Self::free_one_page`] would.
    #[inline]
    pub fn free_run(self, cpu: &Cpu<'_>, run: &Run, mt: MigrateType, side: Side) {
        if mt != MigrateType::Isolate {
            self.count_free_each(cpu, run.order(), run.nr_blocks(), mt == MigrateType::Cma);
        }
        self.buddy(cpu).put_run(run, mt.index(), side);
    }
}

impl<'a> Pcp<'a> {
    fn nr_lists(self) -> usize {
        self.zone.config.nr_pcp_lists()
    }

    /// Order of the pages on a list (`pindex_to_order`).
    #[inline(always)]
    fn list_order(self, index: usize) -> u32 {
        if index >= 12 { self.zone.config.pageblock_order } else { (index / MIGRATE_PCPTYPES) as u32 }
    }

    #[inline(always)]
    fn deque(self, index: usize) -> PcpDeque<'a> {
        PcpDeque::of(self.desk, index)
    }

    /// Pages on all lists.
    pub fn count(self) -> u32 {
        get(&self.state.count)
    }

    /// Halves the free factor, as every ordinary allocation does (`rmqueue_pcplist`).
    #[inline(always)]
    pub fn decay_free_factor(self) {
        set(&self.state.free_factor, get(&self.state.free_factor) >> 1);
    }

    /// Takes a page of list (order, mt), refilling the list if it is empty (`__rmqueue_pcplist`).
    #[inline]
    pub fn take(self, cpu: &Cpu<'_>, order: u32, mt: MigrateType, flags: AllocFlags) -> Option<PageIdx> {
        let list = self.deque(self.zone.pcp_list_index(order, mt.index()));
        if list.is_empty() {
            self.refill(cpu, list, order, mt, flags);
        }
        let x = list.pop_front()?;
        set(&self.state.count, self.count() - (1 << order));
        Some(x)
    }

    /// Takes up to `n` single pages as so many calls of [`Self::take`] would, for so many places; each
    /// gets the info word `info` and is given to its place. How many there were.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "what is taken and where it goes, in one call")]
    pub fn take_many<T>(
        self,
        cpu: &Cpu<'_>,
        mt: MigrateType,
        flags: AllocFlags,
        n: usize,
        mut places: impl Iterator<Item = T>,
        info: PageInfo,
        mut give: impl FnMut(T, PageIdx),
    ) -> usize {
        let list = self.deque(self.zone.pcp_list_index(0, mt.index()));
        let mut taken = 0;
        while taken < n {
            if list.is_empty() {
                self.refill(cpu, list, 0, mt, flags);
            }
            let some = list.pop_front_many(&mut places, info, &mut give);
            if some == 0 {
                break;
            }
            set(&self.state.count, self.count() - some as u32);
            taken += some;
        }
        taken
    }

    /// `rmqueue_bulk` with the batch of a refill.
    #[inline(never)]
    fn refill(self, cpu: &Cpu<'_>, list: PcpDeque<'a>, order: u32, mt: MigrateType, flags: AllocFlags) {
        let batch = get(&self.state.batch);
        let wanted = if batch > 1 { (batch >> order).max(2) } else { batch };
        let mut taken = 0;
        while taken < wanted {
            let Some((first, n, from)) = self.zone.rmqueue_run(cpu, order, mt, flags, wanted - taken) else { break };
            let remembered = if from == MigrateType::Cma {
                self.zone.mod_free_cma(cpu, -(i64::from(n) << order));
                Remembered::Cma
            } else {
                Remembered::Own
            };
            list.push_back_run(first, order, n, remembered);
            taken += n;
        }
        self.zone.mod_free_pages(cpu, -(i64::from(taken) << order));
        set(&self.state.count, self.count() + (taken << order));
    }

    /// Effective high (`nr_pcp_high`).
    fn effective_high(self) -> u32 {
        // ORDERING(R7)
        let reclaim_active = self.zone.shared.flags.load(Relaxed) & ZONE_FLAG_RECLAIM_ACTIVE != 0;
        pcp_sizing::nr_pcp_high(get(&self.state.high), get(&self.state.batch), reclaim_active)
    }

    /// Puts a page that is ready to be freed on the lists (`free_unref_page_commit`).
    ///
    /// `claim` turns the page's info word from ALLOCATED into the given list entry and says
    /// whether it succeeded; if it did not, nothing else happens.
    #[inline]
    pub fn commit(
        self,
        cpu: &Cpu<'_>,
        x: PageIdx,
        order: u32,
        mt: MigrateType,
        claim: impl FnOnce(crate::word::page_info::PageInfo) -> bool,
    ) -> bool {
        let (list_type, remembered) = filed_under(mt);
        let list = self.deque(self.zone.pcp_list_index(order, list_type.index()));
        if !claim(list.front_info(remembered)) {
            return false;
        }
        self.zone.count_pgfree(cpu, 1);
        list.link_front(x);
        self.grow(cpu, 1 << order);
        true
    }

    /// Puts single pages of one type that are ours on the lists, as so many calls of
    /// [`Self::commit`] would.
    #[inline(always)]
    pub fn commit_run(self, cpu: &Cpu<'_>, mt: MigrateType, mut pages: impl ExactSizeIterator<Item = PageIdx>) {
        let (list_type, remembered) = filed_under(mt);
        let list = self.deque(self.zone.pcp_list_index(0, list_type.index()));
        while pages.len() > 0 {
            // Up to and with the one that makes a drain necessary.
            let room = self.effective_high().saturating_sub(self.count()).max(1) as usize;
            let n = room.min(pages.len());
            list.push_front_many(pages.by_ref().take(n), remembered);
            self.zone.count_pgfree(cpu, n as u64);
            self.grow(cpu, n as u32);
        }
    }

    /// Makes single pages of one type ours and puts them on the lists, as so many calls of
    /// [`Self::commit`] would: if no drain comes of it, and each fits and has the info word `from`.
    /// Otherwise false, and nothing is done.
    #[inline(always)]
    pub fn commit_ready<T: Copy>(
        self,
        cpu: &Cpu<'_>,
        mt: MigrateType,
        pages: &[T],
        fits: impl FnMut(T) -> bool,
        index: impl Fn(T) -> PageIdx,
        from: PageInfo,
    ) -> bool {
        let (list_type, remembered) = filed_under(mt);
        let list = self.deque(self.zone.pcp_list_index(0, list_type.index()));
        let room = self.effective_high().saturating_sub(self.count());
        let is_done = pages.len() < room as usize && list.claim_front_many(pages, fits, index, from, remembered);
        if is_done {
            set(&self.state.count, self.count() + pages.len() as u32);
            self.zone.count_pgfree(cpu, pages.len() as u64);
        }
        is_done
    }

    /// So many pages more are on the lists; drains them if they are too many.
    #[inline(always)]
    fn grow(self, cpu: &Cpu<'_>, nr_pages: u32) {
        let count = self.count() + nr_pages;
        set(&self.state.count, count);
        let high = self.effective_high();
        if count >= high {
            let batch = get(&self.state.batch);
            let factor = get(&self.state.free_factor);
            let (n, factor) = pcp_sizing::nr_pcp_free(high, batch, factor);
            set(&self.state.free_factor, factor);
            self.free_bulk(cpu, n);
        }
    }

    /// Returns `n` pages or a few more to the buddy lists, round robin over the lists from their
    /// tails (`free_pcppages_bulk`).
    #[inline(never)]
    pub fn free_bulk(self, cpu: &Cpu<'_>, n: u32) {
        let zone = self.zone;
        let nr_lists = self.nr_lists();
        let reread_types = zone.view().area.rule.has_isolated();
        let window = zone.view().run_window().min(DRAIN_WINDOW);
        // Events tell of one page after the other.
        let longest = if zone.trace.is_on() { 1 } else { i64::from(u32::MAX) };
        let mut left = i64::from(n.min(self.count()));
        let (mut index, mut quota) = (0, 0i64);
        while left > 0 {
            let mut looked_at = 0;
            loop {
                quota += 1;
                index += 1;
                if index == nr_lists {
                    index = 0;
                }
                if !self.deque(index).is_empty() {
                    break;
                }
                looked_at += 1;
                if looked_at > nr_lists {
                    return; // the count promises pages that no list has
                }
            }
            if quota == nr_lists as i64 {
                quota = left; // the only list with pages
            }
            let order = self.list_order(index);
            let list = self.deque(index);
            while left > 0 && quota > 0 {
                let wanted = quota.min((left + (1 << order) - 1) >> order);
                let most = wanted.min(longest) as u32;
                let Some((run, remembered)) = list.pop_back_run(order, most, window) else { break };
                set(&self.state.count, self.count().saturating_sub(run.nr_blocks() << order));
                let x = run.first();
                let mt = if reread_types {
                    zone.blocks().get(x)
                } else {
                    remembered_type(index % MIGRATE_PCPTYPES, remembered)
                };
                zone.free_run(cpu, &run, mt, Side::Likely);
                zone.trace.emit(cpu.id(), || Event::PcpuDrain { pfn: zone.pfn(x), order, migratetype: mt as u8 });
                left -= i64::from(run.nr_blocks()) << order;
                quota -= i64::from(run.nr_blocks());
            }
        }
    }

    /// Puts a block at an end of a list, without the drain that a free may cause.
    pub fn insert(self, x: PageIdx, order: u32, mt: MigrateType, is_at_back: bool) {
        let list = self.deque(self.zone.pcp_list_index(order, mt.index()));
        if is_at_back {
            list.push_back(x, Remembered::Own);
        } else {
            self.zone.view().set_info(x, list.front_info(Remembered::Own));
            list.link_front(x);
        }
        set(&self.state.count, self.count() + (1 << order));
    }

    /// Takes a block out of the middle of its list. False if it is on none of the cpu's lists.
    pub fn remove(self, x: PageIdx, order: u32) -> bool {
        let index = (0..self.nr_lists()).filter(|index| self.list_order(*index) == order).find(|index| {
            self.deque(*index).entries(self.zone.pages().len() as usize).iter().any(|(entry, _)| *entry == x)
        });
        let Some(index) = index else { return false };
        let list = self.deque(index);
        let mut others = Vec::new();
        while let Some((entry, remembered)) = list.pop_back() {
            others.extend((entry != x).then_some((entry, remembered)));
        }
        others.into_iter().rev().for_each(|(entry, remembered)| list.push_back(entry, remembered));
        set(&self.state.count, self.count().saturating_sub(1 << order));
        true
    }

    /// The block that a list gives next.
    pub fn first(self, order: u32, mt: MigrateType) -> Option<PageIdx> {
        let list = self.deque(self.zone.pcp_list_index(order, mt.index()));
        (!list.is_empty()).then(|| list.first())
    }

    /// Is a block on the list of this order and type?
    pub fn holds(self, x: PageIdx, order: u32, mt: MigrateType) -> bool {
        let list = self.deque(self.zone.pcp_list_index(order, mt.index()));
        list.entries(self.zone.pages().len() as usize).iter().any(|(entry, _)| *entry == x)
    }

    /// Returns all pages (`drain_pages_zone`).
    pub fn drain(self, cpu: &Cpu<'_>) {
        let count = self.count();
        if count != 0 {
            self.free_bulk(cpu, count);
        }
    }

    /// Returns one batch (`drain_zone_pages`, remote pageset expiry).
    pub fn drain_batch(self, cpu: &Cpu<'_>) {
        let n = self.count().min(get(&self.state.batch));
        self.free_bulk(cpu, n);
    }
}

/// The pages on list `index` of a cpu, head first, with their remembered types. Exact while nobody
/// uses the cpu.
pub fn list_entries(zone: Zone<'_>, cpu: usize, index: usize) -> Vec<(PageIdx, MigrateType)> {
    PcpDeque::of(zone.desk(cpu), index)
        .entries(zone.pages().len() as usize)
        .into_iter()
        .map(|(x, remembered)| (x, remembered_type(index % MIGRATE_PCPTYPES, remembered)))
        .collect()
}
