//! One per-cpu list: a deque linked through the info words of its pages.
//!
//! Each entry's info word holds the XOR of its neighbours' indices, so 28 bits link both ways and
//! a list may be as long as `high` asks, without memory of its own. Only the holder of the cpu's
//! lease reads or writes a list, so plain (relaxed) accesses do.

use crate::page_array::PageArray;
use crate::run::Run;
use crate::segment::PcpList;
use crate::sync::{AtomicU32, Relaxed};
use crate::word::page_info::{InfoKind, PageInfo, Remembered};
use crate::word::{NIL, PageIdx};

/// A list together with the pages it links.
#[derive(Clone, Copy)]
pub struct PcpDeque<'a> {
    list: &'a PcpList,
    pages: PageArray<'a>,
}

#[inline(always)]
fn end(word: &AtomicU32) -> PageIdx {
    word.load(Relaxed).wrapping_sub(1) & NIL // ORDERING(R8): 0 (empty) becomes NIL
}

#[inline(always)]
fn set_end(word: &AtomicU32, x: PageIdx) {
    word.store(if x == NIL { 0 } else { x + 1 }, Relaxed); // ORDERING(R8)
}

impl<'a> PcpDeque<'a> {
    /// Wraps a list.
    #[inline(always)]
    pub fn new(list: &'a PcpList, pages: PageArray<'a>) -> Self {
        PcpDeque { list, pages }
    }

    /// Is it empty?
    #[inline(always)]
    pub fn is_empty(self) -> bool {
        self.list.head.load(Relaxed) == 0 // ORDERING(R8)
    }

    /// First entry, or [`NIL`].
    #[inline(always)]
    pub fn first(self) -> PageIdx {
        end(&self.list.head)
    }

    #[inline(always)]
    fn info(self, x: PageIdx) -> PageInfo {
        PageInfo::from_raw(self.pages.page(x).info.load(Relaxed)) // ORDERING(R8)
    }

    #[inline(always)]
    fn set_info(self, x: PageIdx, info: PageInfo) {
        self.pages.page(x).info.store(info.raw(), Relaxed); // ORDERING(R8)
    }

    /// An entry gets another neighbour: takes `old` out of its link and `new` in.
    #[inline(always)]
    fn relink(self, x: PageIdx, old: PageIdx, new: PageIdx) {
        let word = &self.pages.page(x).info;
        let info = PageInfo::from_raw(word.load(Relaxed)); // ORDERING(R8)
        word.store(info.with_link(info.link() ^ old ^ new).raw(), Relaxed); // ORDERING(R8)
    }

    /// Info word of a page about to be pushed to the front.
    #[inline(always)]
    pub fn front_info(self, remembered: Remembered) -> PageInfo {
        PageInfo::pcp(NIL ^ self.first(), remembered)
    }

    /// Links a page whose info word is already [`Self::front_info`] at the front.
    #[inline(always)]
    pub fn link_front(self, x: PageIdx) {
        self.link(x, &self.list.head, &self.list.tail);
    }

    /// Puts pages to the front, one after the other: the last one is the first of the list then.
    #[inline(always)]
    pub fn push_front_many(self, pages: impl Iterator<Item = PageIdx>, remembered: Remembered) {
        let first = self.first();
        // `next` follows `current`, whose info word is written once its predecessor is known.
        let (mut current, mut next) = (NIL, first);
        for x in pages {
            if current != NIL {
                self.set_info(current, PageInfo::pcp(x ^ next, remembered));
                next = current;
            } else if first == NIL {
                set_end(&self.list.tail, x);
            } else {
                self.relink(first, NIL, x);
            }
            current = x;
        }
        if current != NIL {
            self.set_info(current, PageInfo::pcp(NIL ^ next, remembered));
            set_end(&self.list.head, current);
        }
    }

    /// Puts a page at the back.
    #[inline(always)]
    pub fn push_back(self, x: PageIdx, remembered: Remembered) {
        self.set_info(x, PageInfo::pcp(NIL ^ end(&self.list.tail), remembered));
        self.link(x, &self.list.tail, &self.list.head);
    }

    #[inline(always)]
    fn link(self, x: PageIdx, near: &AtomicU32, far: &AtomicU32) {
        let neighbour = end(near);
        if neighbour == NIL {
            set_end(far, x);
        } else {
            self.relink(neighbour, NIL, x);
        }
        set_end(near, x);
    }

    /// Takes the first page; its info word becomes NONE.
    #[inline(always)]
    pub fn pop_front(self) -> Option<(PageIdx, Remembered)> {
        self.unlink(&self.list.head, &self.list.tail)
    }

    /// Takes up to `n` pages from the front; each goes to `give`, which writes its info word. How
    /// many there were.
    ///
    /// The neighbours' links are mended once, after the last page.
    #[inline(always)]
    pub fn pop_front_many(self, n: usize, mut give: impl FnMut(PageIdx)) -> usize {
        let (mut prev, mut x) = (NIL, self.first());
        let mut taken = 0;
        while taken < n && x != NIL {
            let next = self.info(x).link() ^ prev;
            give(x);
            (prev, x) = (x, next);
            taken += 1;
        }
        if x == NIL {
            set_end(&self.list.tail, NIL);
        } else if taken > 0 {
            self.relink(x, prev, NIL);
        }
        set_end(&self.list.head, x);
        taken
    }

    /// Takes the last page; its info word becomes NONE.
    #[inline(always)]
    pub fn pop_back(self) -> Option<(PageIdx, Remembered)> {
        self.unlink(&self.list.tail, &self.list.head)
    }

    /// Takes blocks from the back as long as they make up a run of one remembered type; at most
    /// `most`, which is not 0. Their info words become NONE.
    #[inline(always)]
    pub fn pop_back_run(self, order: u32, most: u32, window: u32) -> Option<(Run, Remembered)> {
        let last = end(&self.list.tail);
        if last == NIL {
            return None;
        }
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
            if info.remembered() != remembered || !run.push(x, window) {
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
        Some((run, remembered))
    }

    #[inline(always)]
    fn unlink(self, near: &AtomicU32, far: &AtomicU32) -> Option<(PageIdx, Remembered)> {
        let x = end(near);
        if x == NIL {
            return None;
        }
        let word = &self.pages.page(x).info;
        let info = PageInfo::from_raw(word.load(Relaxed)); // ORDERING(R8)
        let next = info.link() ^ NIL;
        if next == NIL {
            set_end(far, NIL);
        } else {
            self.relink(next, x, NIL);
        }
        set_end(near, next);
        word.store(PageInfo::NONE.raw(), Relaxed); // ORDERING(R8)
        Some((x, info.remembered()))
    }

    /// Is the list a chain of per-cpu pages from its head to its tail? For lists that nobody uses.
    pub fn is_sound(self) -> bool {
        let mut nr_left = self.pages.len();
        let (mut prev, mut x) = (NIL, self.first());
        while x != NIL {
            let Some(desc) = self.pages.get(x) else { return false };
            let info = PageInfo::from_raw(desc.info.load(Relaxed)); // ORDERING(R8)
            if info.kind() != InfoKind::Pcp || nr_left == 0 {
                return false;
            }
            nr_left -= 1;
            (prev, x) = (x, info.link() ^ prev);
        }
        prev == end(&self.list.tail)
    }

    /// The entries from head to tail; at most `limit` of them, so that damaged links end.
    pub fn entries(self, limit: usize) -> Vec<(PageIdx, Remembered)> {
        let mut entries = Vec::new();
        let (mut prev, mut x) = (NIL, self.first());
        while x != NIL && entries.len() < limit {
            let Some(desc) = self.pages.get(x) else { break };
            let info = PageInfo::from_raw(desc.info.load(Relaxed)); // ORDERING(R8)
            entries.push((x, info.remembered()));
            (prev, x) = (x, info.link() ^ prev);
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
        let list = PcpList { head: AtomicU32::new(0), tail: AtomicU32::new(0) };
        let deque = PcpDeque::new(&list, PageArray::new(&pages, &pages[..1]).expect("a small zone"));
        let mut model: VecDeque<PageIdx> = VecDeque::new();
        let mut spare: Vec<PageIdx> = (0..64).collect();
        let mut random = 1u64;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            match random >> 60 {
                0 => {
                    let mut got = Vec::new();
                    let n = (random >> 50) as usize % 5;
                    let taken = deque.pop_front_many(n, |x| {
                        deque.set_info(x, PageInfo::NONE);
                        got.push(x);
                    });
                    let expected: Vec<PageIdx> = model.drain(..n.min(model.len())).collect();
                    assert_eq!((taken, &got), (expected.len(), &expected));
                    spare.extend(got);
                }
                1 => {
                    let n = ((random >> 50) as usize % 5).min(spare.len());
                    let pages = spare.split_off(spare.len() - n);
                    deque.push_front_many(pages.iter().copied(), Remembered::Cma);
                    pages.into_iter().for_each(|x| model.push_front(x));
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
                    assert!(spare.iter().all(|x| deque.info(*x) == PageInfo::NONE));
                }
                3 => {
                    if let Some(x) = spare.pop() {
                        let info = deque.front_info(Remembered::Cma);
                        deque.set_info(x, info);
                        deque.link_front(x);
                        model.push_front(x);
                    }
                }
                4..=7 => {
                    if let Some(x) = spare.pop() {
                        deque.push_back(x, Remembered::Cma);
                        model.push_back(x);
                    }
                }
                8..=11 => {
                    let got = deque.pop_front();
                    assert_eq!(got, model.pop_front().map(|x| (x, Remembered::Cma)));
                    spare.extend(got.map(|g| g.0));
                }
                _ => {
                    let got = deque.pop_back();
                    assert_eq!(got, model.pop_back().map(|x| (x, Remembered::Cma)));
                    spare.extend(got.map(|g| g.0));
                }
            }
            assert_eq!(deque.is_empty(), model.is_empty());
            let entries: Vec<PageIdx> = deque.entries(100).into_iter().map(|e| e.0).collect();
            assert!(entries.iter().eq(model.iter()));
        }
    }
}
