//! One per-cpu list: a deque whose first entries stand in a small window, the others are linked.
//!
//! Allocation and free work at the front, so they touch the window alone, and of pages only the
//! one they take or put. The rest is linked through the info words of its pages: each holds the XOR
//! of its neighbours' indices, so 28 bits link both ways and a list may be as long as `high` asks.
//! Half a window at a time goes from one to the other. The window is empty only if the list is.
//!
//! Only the holder of the cpu's lease reads or writes a list, so plain (relaxed) accesses do.

use crate::page_array::PageArray;
use crate::run::Run;
use crate::segment::{Desk, PCP_WINDOW, PcpList, PcpWindow};
use crate::sync::{AcqRel, AtomicU32, Relaxed};
use crate::word::page_info::{InfoKind, PageInfo, Remembered};
use crate::word::{NIL, PageIdx};
use core::hint::black_box;

/// Entries that change between window and chain at a time.
const HALF: u32 = PCP_WINDOW / 2;

const _: () = assert!(PCP_WINDOW.is_power_of_two() && PCP_WINDOW > 1);

/// A list together with the pages it links.
#[derive(Clone, Copy)]
pub struct PcpDeque<'a> {
    list: &'a PcpList,
    window: &'a PcpWindow,
    pages: &'a PageArray<'a>,
}

#[inline(always)]
fn get(word: &AtomicU32) -> u32 {
    word.load(Relaxed) // ORDERING(R8)
}

#[inline(always)]
fn set(word: &AtomicU32, value: u32) {
    word.store(value, Relaxed); // ORDERING(R8)
}

/// An end of the chain: 0 (empty) becomes NIL.
#[inline(always)]
fn end(word: &AtomicU32) -> PageIdx {
    get(word).wrapping_sub(1) & NIL
}

#[inline(always)]
fn set_end(word: &AtomicU32, x: PageIdx) {
    set(word, if x == NIL { 0 } else { x + 1 });
}

impl<'a> PcpDeque<'a> {
    /// Wraps a list.
    #[inline(always)]
    pub fn new(list: &'a PcpList, window: &'a PcpWindow, pages: &'a PageArray<'a>) -> Self {
        PcpDeque { list, window, pages }
    }

    /// A list of a cpu in a zone.
    #[inline(always)]
    pub fn of(desk: &'a Desk<'a>, index: usize) -> Self {
        Self::new(&desk.state.lists[index], &desk.windows[index], &desk.buddy.area.lists.pages)
    }

    /// Is it empty?
    #[inline(always)]
    pub fn is_empty(self) -> bool {
        get(&self.list.nr) == 0
    }

    /// First entry, or [`NIL`].
    #[inline(always)]
    pub fn first(self) -> PageIdx {
        if self.is_empty() { NIL } else { get(self.place(get(&self.list.first))) }
    }

    /// Where the window keeps an entry, by a number that wraps.
    #[inline(always)]
    fn place(self, number: u32) -> &'a AtomicU32 {
        &self.window.pages[(number % PCP_WINDOW) as usize]
    }

    #[inline(always)]
    fn info(self, x: PageIdx) -> PageInfo {
        PageInfo::from_raw(get(&self.pages.page(x).info))
    }

    #[inline(always)]
    fn set_info(self, x: PageIdx, info: PageInfo) {
        set(&self.pages.page(x).info, info.raw());
    }

    // ---- the front --------------------------------------------------------------------------

    /// Info word of a page about to be put to the front.
    #[inline(always)]
    pub fn front_info(self, remembered: Remembered) -> PageInfo {
        PageInfo::pcp(0, remembered)
    }

    /// Puts a page whose info word is already [`Self::front_info`] to the front.
    #[inline(always)]
    pub fn link_front(self, x: PageIdx) {
        let mut nr = get(&self.list.nr);
        if nr >= PCP_WINDOW {
            nr = Self::spill(self.list, self.window, self.pages);
        }
        let first = get(&self.list.first).wrapping_sub(1);
        set(self.place(first), x);
        set(&self.list.first, first);
        set(&self.list.nr, nr + 1);
    }

    /// Puts pages to the front, one after the other: the last one is the first of the list then.
    #[inline(always)]
    pub fn push_front_many(self, pages: impl Iterator<Item = PageIdx>, remembered: Remembered) {
        for x in pages {
            self.set_info(x, self.front_info(remembered));
            self.link_front(x);
        }
    }

    /// Takes the first page; the caller writes its info word.
    #[inline(always)]
    pub fn pop_front(self) -> Option<PageIdx> {
        let nr = get(&self.list.nr);
        if nr == 0 {
            return None;
        }
        let first = get(&self.list.first);
        let x = get(self.place(first));
        set(&self.list.first, first.wrapping_add(1));
        set(&self.list.nr, nr - 1);
        if nr == 1 && get(&self.list.head) != 0 {
            Self::pull(self.list, self.window, self.pages);
        }
        Some(x)
    }

    /// Takes a page from the front for each of some places, as long as there are any; each gets the
    /// info word `info` and is given to its place. How many there were.
    #[inline(always)]
    pub fn pop_front_many<T>(
        self,
        places: &mut impl Iterator<Item = T>,
        info: PageInfo,
        mut give: impl FnMut(T, PageIdx),
    ) -> usize {
        let (mut first, nr) = (get(&self.list.first), get(&self.list.nr));
        let mut left = nr;
        while left > 0 {
            let Some(place) = places.next() else { break };
            let x = get(self.place(first));
            self.set_info(x, info);
            give(place, x);
            (first, left) = (first.wrapping_add(1), left - 1);
        }
        set(&self.list.first, first);
        set(&self.list.nr, left);
        let from_chain = if left == 0 { self.pop_chain_many(places, info, give) } else { 0 };
        (nr - left) as usize + from_chain
    }

    /// The part of [`Self::pop_front_many`] that comes from the chain; the window is empty.
    ///
    /// The neighbours' links are mended once, after the last page.
    #[inline(always)]
    fn pop_chain_many<T>(
        self,
        places: &mut impl Iterator<Item = T>,
        info: PageInfo,
        mut give: impl FnMut(T, PageIdx),
    ) -> usize {
        let (mut before, mut x) = (NIL, end(&self.list.head));
        let mut taken = 0;
        // Most pages lie side by side. Where the next one most likely is, is known before the link to it
        // is loaded, so the processor need not wait for one link after the other, as long as it is
        // a branch that decides (`black_box`: it may not become a move).
        let mut step = 0;
        while x != NIL {
            let Some(place) = places.next() else { break };
            let likely = x.wrapping_add(step);
            let word = &self.pages.page(x).info;
            let next = PageInfo::from_raw(get(word)).link() ^ before;
            set(word, info.raw());
            give(place, x);
            taken += 1;
            before = x;
            x = likely;
            if next != likely {
                step = black_box(next.wrapping_sub(before));
                x = next;
            }
        }
        let mut first = NIL;
        if x != NIL {
            // The next one goes to the window, which may not be empty.
            set(self.place(get(&self.list.first)), x);
            set(&self.list.nr, 1);
            first = self.info(x).link() ^ before;
            if first != NIL {
                self.relink(first, x, NIL);
            }
        }
        set_end(&self.list.head, first);
        if first == NIL {
            set_end(&self.list.tail, NIL);
        }
        taken
    }

    /// [`Self::push_front_many`] of pages that are not ours yet: each becomes ours as its info word
    /// turns from `from` into that of the entry. If one does not, or does not `fit`, nothing is done.
    ///
    /// The last ones, half a window at most, go to the window, all others to the chain.
    #[inline(always)]
    pub fn claim_front_many<T: Copy>(
        self,
        pages: &[T],
        mut fits: impl FnMut(T) -> bool,
        index: impl Fn(T) -> PageIdx,
        from: PageInfo,
        remembered: Remembered,
    ) -> bool {
        // ORDERING(P8): AcqRel, what all former users wrote happens before the next one's use.
        let claim = |x: PageIdx, link: PageIdx| {
            let entry = PageInfo::pcp(link, remembered).raw();
            // An exchange waits for the loads before it, so the word is not looked at first.
            self.pages.page(x).info.compare_exchange(from.raw(), entry, AcqRel, Relaxed).is_ok() // ORDERING(P8)
        };
        let Some(&bottom) = pages.first().filter(|page| fits(**page)) else { return false };
        if get(&self.list.nr) > HALF {
            Self::spill(self.list, self.window, self.pages); // room for half a window
        }
        let (bottom, old) = (index(bottom), self.first());
        let (mut current, mut next) = (bottom, old);
        let (chained, windowed) = pages.split_at(pages.len().saturating_sub(HALF as usize));
        // The entry of a page names both neighbours, so it is claimed once the next one is known.
        for (nr_claimed, &page) in chained.iter().enumerate().skip(1) {
            if !fits(page) || !claim(current, index(page) ^ next) {
                return self.unclaim(&pages[..nr_claimed - 1], index, from);
            }
            (next, current) = (current, index(page));
        }
        let is_top_good = chained.is_empty() || claim(current, NIL ^ next);
        if !is_top_good {
            return self.unclaim(&pages[..chained.len() - 1], index, from);
        }
        let mut first = get(&self.list.first);
        for (nr_claimed, &page) in windowed.iter().enumerate() {
            if !fits(page) || !claim(index(page), 0) {
                return self.unclaim(&pages[..chained.len() + nr_claimed], index, from);
            }
            first = first.wrapping_sub(1);
            set(self.place(first), index(page));
        }
        if !chained.is_empty() {
            self.spill_below(bottom);
            set_end(&self.list.head, current);
        }
        set(&self.list.first, first);
        set(&self.list.nr, get(&self.list.nr) + windowed.len() as u32);
        true
    }

    /// Gives claimed pages back to their owner; not the whole list was claimed.
    #[cold]
    fn unclaim<T: Copy>(self, claimed: &[T], index: impl Fn(T) -> PageIdx, from: PageInfo) -> bool {
        claimed.iter().for_each(|page| self.set_info(index(*page), from));
        false
    }

    /// Moves the whole window to the chain, in front of which `before` will be.
    #[inline(always)]
    fn spill_below(self, before: PageIdx) {
        let (mut first, nr) = (get(&self.list.first), get(&self.list.nr));
        let head = end(&self.list.head);
        let (mut before, mut x) = (before, if nr == 0 { NIL } else { get(self.place(first)) });
        for left in (0..nr).rev() {
            first = first.wrapping_add(1);
            let next = if left == 0 { head } else { get(self.place(first)) };
            self.set_info(x, self.info(x).with_link(before ^ next));
            (before, x) = (x, next);
        }
        // The window is empty only if the list is: then the chain is empty, too.
        if head == NIL {
            set_end(&self.list.tail, before)
        } else {
            self.relink(head, NIL, before)
        }
        set(&self.list.nr, 0);
    }

    // ---- the back ---------------------------------------------------------------------------

    /// Puts a page at the back.
    #[inline(always)]
    pub fn push_back(self, x: PageIdx, remembered: Remembered) {
        let nr = get(&self.list.nr);
        if nr < PCP_WINDOW && get(&self.list.head) == 0 {
            self.set_info(x, PageInfo::pcp(0, remembered));
            set(self.place(get(&self.list.first).wrapping_add(nr)), x);
            set(&self.list.nr, nr + 1);
            return;
        }
        let last = end(&self.list.tail);
        self.set_info(x, PageInfo::pcp(NIL ^ last, remembered));
        if last == NIL {
            set_end(&self.list.head, x);
        } else {
            self.relink(last, NIL, x);
        }
        set_end(&self.list.tail, x);
    }

    /// Puts `n` blocks of an order that lie side by side at the back, ascending.
    #[inline(always)]
    pub fn push_back_run(self, first: PageIdx, order: u32, n: u32, remembered: Remembered) {
        let size = 1 << order;
        let last = first + ((n - 1) << order);
        let mut x = first;
        if get(&self.list.head) == 0 {
            let (number, nr) = (get(&self.list.first), get(&self.list.nr));
            // Half a window, so that there is room in front.
            let windowed = n.min(HALF.saturating_sub(nr));
            for i in nr..nr + windowed {
                self.set_info(x, PageInfo::pcp(0, remembered));
                set(self.place(number.wrapping_add(i)), x);
                x += size;
            }
            set(&self.list.nr, nr + windowed);
            if windowed == n {
                return;
            }
        }
        let mut before = end(&self.list.tail);
        if before == NIL {
            set_end(&self.list.head, x);
        } else {
            self.relink(before, NIL, x);
        }
        while x != last {
            self.set_info(x, PageInfo::pcp(before ^ (x + size), remembered));
            (before, x) = (x, x + size);
        }
        self.set_info(last, PageInfo::pcp(before ^ NIL, remembered));
        set_end(&self.list.tail, last);
    }

    /// Takes the last page; its info word becomes NONE.
    #[inline(always)]
    pub fn pop_back(self) -> Option<(PageIdx, Remembered)> {
        let last = end(&self.list.tail);
        let x = if last != NIL {
            let before = self.info(last).link() ^ NIL;
            if before == NIL {
                set_end(&self.list.head, NIL);
            } else {
                self.relink(before, last, NIL);
            }
            set_end(&self.list.tail, before);
            last
        } else {
            let nr = get(&self.list.nr).checked_sub(1)?;
            set(&self.list.nr, nr);
            get(self.place(get(&self.list.first).wrapping_add(nr)))
        };
        let info = &self.pages.page(x).info;
        let remembered = PageInfo::from_raw(get(info)).remembered();
        set(info, PageInfo::NONE.raw());
        Some((x, remembered))
    }

    /// Takes blocks from the back as long as they make up a run of one remembered type; at most
    /// `most`, which is not 0. Their info words become NONE.
    #[inline(always)]
    pub fn pop_back_run(self, order: u32, most: u32, extent: u32) -> Option<(Run, Remembered)> {
        let last = end(&self.list.tail);
        let (mut run, remembered) = if last == NIL {
            let (x, remembered) = self.pop_back()?;
            (Run::new(x, order), remembered)
        } else {
            self.chain_run(last, order, most, extent)
        };
        if get(&self.list.tail) == 0 {
            self.continue_run(&mut run, remembered, most, extent);
        }
        Some((run, remembered))
    }

    /// The part of a run that is in the chain, which ends with `last`.
    #[inline(always)]
    fn chain_run(self, last: PageIdx, order: u32, most: u32, extent: u32) -> (Run, Remembered) {
        let info = self.info(last);
        self.set_info(last, PageInfo::NONE);
        let remembered = info.remembered();
        let mut run = Run::new(last, order);
        let (mut taken, mut x) = (last, info.link() ^ NIL);
        for _ in 1..most {
            if x == NIL {
                break;
            }
            let info = self.info(x);
            if info.remembered() != remembered || !run.push(x, extent) {
                break;
            }
            self.set_info(x, PageInfo::NONE);
            (taken, x) = (x, info.link() ^ taken);
        }
        if x == NIL {
            set_end(&self.list.head, NIL);
        } else {
            self.relink(x, taken, NIL);
        }
        set_end(&self.list.tail, x);
        (run, remembered)
    }

    /// The part of a run that is in the window; the chain is empty.
    #[inline(always)]
    fn continue_run(self, run: &mut Run, remembered: Remembered, most: u32, extent: u32) {
        let (first, mut nr) = (get(&self.list.first), get(&self.list.nr));
        while nr != 0 && run.nr_blocks() < most {
            let x = get(self.place(first.wrapping_add(nr - 1)));
            // The page itself is looked at only if its number fits, which it rarely does.
            if !run.is_continued_by(x, extent) || self.info(x).remembered() != remembered {
                break;
            }
            run.push(x, extent);
            self.set_info(x, PageInfo::NONE);
            nr -= 1;
        }
        set(&self.list.nr, nr);
    }

    // ---- between window and chain -----------------------------------------------------------

    /// An entry of the chain gets another neighbour: takes `old` out of its link and `new` in.
    #[inline(always)]
    fn relink(self, x: PageIdx, old: PageIdx, new: PageIdx) {
        let info = self.info(x);
        self.set_info(x, info.with_link(info.link() ^ old ^ new));
    }

    /// The window is more than half full: its second half becomes the front of the chain. How many it
    /// holds now.
    #[cold]
    #[inline(never)]
    fn spill(list: &'a PcpList, window: &'a PcpWindow, pages: &'a PageArray<'a>) -> u32 {
        let this = PcpDeque { list, window, pages }; // three words come in registers, as one they would not
        let (first, nr) = (get(&this.list.first), get(&this.list.nr).min(PCP_WINDOW));
        let old = end(&this.list.head);
        let mut next = old;
        // From the last one on: each gets the one before it and the one that follows.
        for number in (HALF..nr).rev() {
            let x = get(this.place(first.wrapping_add(number)));
            let before = if number == HALF { NIL } else { get(this.place(first.wrapping_add(number - 1))) };
            this.set_info(x, this.info(x).with_link(before ^ next));
            if number == nr - 1 {
                if old == NIL { set_end(&this.list.tail, x) } else { this.relink(old, NIL, x) }
            }
            next = x;
        }
        set_end(&this.list.head, next);
        set(&this.list.nr, HALF);
        HALF
    }

    /// The window is empty: the first entries of the chain go there.
    #[cold]
    #[inline(never)]
    fn pull(list: &'a PcpList, window: &'a PcpWindow, pages: &'a PageArray<'a>) {
        let this = PcpDeque { list, window, pages };
        let first = get(&this.list.first);
        let (mut before, mut x) = (NIL, end(&this.list.head));
        let mut nr = 0;
        while nr < HALF && x != NIL {
            set(this.place(first.wrapping_add(nr)), x);
            (before, x) = (x, this.info(x).link() ^ before);
            nr += 1;
        }
        if x == NIL {
            set_end(&this.list.tail, NIL);
        } else {
            this.relink(x, before, NIL);
        }
        set_end(&this.list.head, x);
        set(&this.list.nr, nr);
    }

    // ---- looking ----------------------------------------------------------------------------

    fn in_window(self) -> impl Iterator<Item = PageIdx> {
        let (first, nr) = (get(&self.list.first), get(&self.list.nr).min(PCP_WINDOW));
        (0..nr).map(move |number| get(self.place(first.wrapping_add(number))))
    }

    /// Does it hold per-cpu pages from its first entry to its last? For lists that nobody uses.
    pub fn is_sound(self) -> bool {
        let is_listed = |x: PageIdx| {
            self.pages.get(x).is_some_and(|desc| PageInfo::from_raw(get(&desc.info)).kind() == InfoKind::Pcp)
        };
        let nr = get(&self.list.nr);
        if nr > PCP_WINDOW || !self.in_window().all(is_listed) || (nr == 0 && get(&self.list.head) != 0) {
            return false;
        }
        let mut nr_left = self.pages.len();
        let (mut before, mut x) = (NIL, end(&self.list.head));
        while x != NIL {
            if !is_listed(x) || nr_left == 0 {
                return false;
            }
            nr_left -= 1;
            (before, x) = (x, self.info(x).link() ^ before);
        }
        before == end(&self.list.tail)
    }

    /// The entries from first to last; at most `limit` of them, so that damaged links end.
    pub fn entries(self, limit: usize) -> Vec<(PageIdx, Remembered)> {
        let mut entries = Vec::new();
        for x in self.in_window().take(limit) {
            let Some(desc) = self.pages.get(x) else { break };
            entries.push((x, PageInfo::from_raw(get(&desc.info)).remembered()));
        }
        let (mut before, mut x) = (NIL, end(&self.list.head));
        while x != NIL && entries.len() < limit {
            let Some(desc) = self.pages.get(x) else { break };
            let info = PageInfo::from_raw(get(&desc.info));
            entries.push((x, info.remembered()));
            (before, x) = (x, info.link() ^ before);
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page_array::PageDesc;
    use std::collections::VecDeque;

    #[test]
    fn behaves_like_a_deque() {
        let pages: Vec<PageDesc> = (0..64).map(|_| PageDesc::new()).collect();
        let (list, window) = (PcpList::default(), PcpWindow::default());
        let pages = PageArray::new(&pages, &pages[..1]).expect("a small zone");
        let deque = PcpDeque::new(&list, &window, &pages);
        let mut model: VecDeque<PageIdx> = VecDeque::new();
        let mut spare: Vec<PageIdx> = (0..64).collect();
        let mut random = 1u64;
        for _ in 0..60_000 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            match random >> 60 {
                0 => {
                    let mut got = Vec::new();
                    let n = (random >> 50) as usize % 40;
                    let taken = deque.pop_front_many(&mut (0..n), PageInfo::offline(), |_, x| got.push(x));
                    assert!(got.iter().all(|x| deque.info(*x) == PageInfo::offline()));
                    let expected: Vec<PageIdx> = model.drain(..n.min(model.len())).collect();
                    assert_eq!((taken, &got), (expected.len(), &expected));
                    spare.extend(got);
                }
                1 => {
                    let n = ((random >> 50) as usize % 40).min(spare.len());
                    let pages = spare.split_off(spare.len() - n);
                    let (old, misfit) = (PageInfo::allocated(0, false, false), (random >> 40) as usize % 60);
                    pages.iter().for_each(|x| deque.set_info(*x, old));
                    let claims = random >> 39 & 1 == 1 && n > 0;
                    if claims && misfit < n {
                        // One of them does not fit, or is somebody else's.
                        let is_foreign = random >> 38 & 1 == 1;
                        let fits = |x: PageIdx| is_foreign || x != pages[misfit];
                        deque.set_info(pages[misfit], if is_foreign { PageInfo::offline() } else { old });
                        let before: Vec<PageInfo> = pages.iter().map(|x| deque.info(*x)).collect();
                        assert!(!deque.claim_front_many(&pages, fits, |x| x, old, Remembered::Cma));
                        assert!(pages.iter().map(|x| deque.info(*x)).eq(before));
                        spare.extend(pages);
                    } else {
                        if claims {
                            assert!(deque.claim_front_many(&pages, |_| true, |x| x, old, Remembered::Cma));
                        } else {
                            deque.push_front_many(pages.iter().copied(), Remembered::Cma);
                        }
                        pages.into_iter().for_each(|x| model.push_front(x));
                    }
                }
                2 => {
                    let most = (random >> 50) as u32 % 5 + 1;
                    let Some((run, remembered)) = deque.pop_back_run(0, most, 3) else {
                        assert!(model.is_empty());
                        continue;
                    };
                    assert_eq!(remembered, Remembered::Cma);
                    let mut expected = Run::new(model.pop_back().expect("a page"), 0);
                    spare.push(expected.first());
                    while expected.nr_blocks() < most
                        && let Some(&x) = model.back()
                        && expected.push(x, 3)
                    {
                        spare.extend(model.pop_back());
                    }
                    assert_eq!(run, expected);
                    let taken = &spare[spare.len() - run.nr_blocks() as usize..];
                    assert!(taken.iter().all(|x| deque.info(*x) == PageInfo::NONE));
                }
                3 => {
                    if let Some(x) = spare.pop() {
                        let info = deque.front_info(Remembered::Cma);
                        deque.set_info(x, info);
                        deque.link_front(x);
                        model.push_front(x);
                    }
                }
                4 => {
                    let n = (random >> 50) as usize % 20 + 1;
                    spare.sort_unstable();
                    if let Some(at) = spare.windows(n).position(|some| some[n - 1] - some[0] == n as PageIdx - 1) {
                        let some: Vec<PageIdx> = spare.drain(at..at + n).collect();
                        deque.push_back_run(some[0], 0, n as u32, Remembered::Cma);
                        model.extend(some);
                    }
                }
                5..=7 => {
                    if let Some(x) = spare.pop() {
                        deque.push_back(x, Remembered::Cma);
                        model.push_back(x);
                    }
                }
                8..=11 => {
                    let got = deque.pop_front();
                    assert_eq!(got, model.pop_front());
                    got.into_iter().for_each(|x| deque.set_info(x, PageInfo::NONE));
                    spare.extend(got);
                }
                _ => {
                    let got = deque.pop_back();
                    assert_eq!(got, model.pop_back().map(|x| (x, Remembered::Cma)));
                    spare.extend(got.map(|g| g.0));
                }
            }
            assert!(deque.is_sound());
            assert_eq!(deque.first(), model.front().copied().unwrap_or(NIL));
            assert_eq!(deque.is_empty(), model.is_empty());
            let entries: Vec<PageIdx> = deque.entries(100).into_iter().map(|e| e.0).collect();
            assert!(entries.iter().eq(model.iter()));
        }
    }
}
