//! The lock-free free list: one per order and migratetype (mm/page_alloc.c, `free_area`).
//!
//! A Harris list fused with the page words: claiming a block (FREE to CLAIMED) freezes its link,
//! so removal from the middle is immediate and needs no marks. Order is the kernel's: push at the
//! front or at the back, pop at the front, remove anywhere.
//!
//! What another thread that meets an intermediate state does:
//!
//! | state of a node                  | how it got there            | what the other thread does         |
//! |----------------------------------|-----------------------------|------------------------------------|
//! | PEND, linked                     | pusher stopped before promote | promotes it (exactly that word)  |
//! | PEND, not linked                 | pusher stopped before linking | cannot reach it; stale hints are checked |
//! | CLAIMED or USED with L=1, linked | remover stopped or gave up  | unlinks it, then clears L          |
//! | wrong `prev` or tail hint        | any stopped thread          | checks the word, walks if useless  |
//!
//! Linearisation points: push at the CAS that links; claim and pop at the CAS FREE to CLAIMED.
//! Progress: every retry is caused by another thread's successful CAS, so all operations are
//! lock-free; a stopped thread delays nobody.

use crate::page_array::{PageArray, PageDesc};
use crate::split_registers::SplitRegisters;
use crate::sync::{
    AcqRel, Acquire, AtomicU32, AtomicU64, Bug, Relaxed, Release, SeqCst, back_off, forced_zombie, planted,
};
use crate::types::{MAX_ORDER, NR_MIGRATETYPES};
use crate::word::list_head::ListHead;
use crate::word::page_word::{Kind, PageWord};
use crate::word::{NIL, PageIdx};

/// A `prev` or tail hint that names the list's head instead of a page.
const AT_HEAD: PageIdx = u32::MAX;

/// Model checkers and schedules see only small lists, so what happens in long ones must happen there.
const IS_MODEL: bool = cfg!(any(feature = "loom", feature = "schedules"));

/// How many back links to follow from a dead tail hint before walking the list.
const MAX_BACK_LINKS: u32 = if IS_MODEL { 1 } else { 8 };

/// How many nodes an unlink may walk before it leaves the node to somebody else.
const MAX_UNLINK_WALK: usize = if IS_MODEL { 2 } else { 16 };

/// Head and tail hint of one list, on a cache line of its own.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct List {
    head: AtomicU64,
    tail: AtomicU32,
}

impl List {
    /// An empty list.
    pub fn new() -> Self {
        List { head: AtomicU64::new(ListHead::EMPTY.raw()), tail: AtomicU32::new(AT_HEAD) }
    }

    /// The head. ORDERING(P1): Acquire, the first page's word was published before.
    #[inline(always)]
    fn head(&self) -> ListHead {
        ListHead::from_raw(self.head.load(Acquire)) // ORDERING(P1)
    }

    /// ORDERING(P1): AcqRel, publishes the new first page's word and everything seen before.
    #[inline(always)]
    fn cas_head(&self, old: ListHead, new: ListHead) -> Result<(), ListHead> {
        // ORDERING(P1, P10)
        match self.head.compare_exchange(old.raw(), new.raw(), AcqRel, Acquire) {
            Ok(_) => Ok(()),
            Err(seen) => Err(ListHead::from_raw(seen)),
        }
    }

    /// Is anything linked?
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.head().is_empty()
    }

    /// Makes a zeroed list an empty one. For memory that nobody else sees yet.
    pub fn init(&self) {
        self.head.store(ListHead::EMPTY.raw(), Relaxed); // ORDERING(R1)
        self.tail.store(AT_HEAD, Relaxed); // ORDERING(R1)
    }

    /// Overwrites the tail hint, which may be arbitrarily wrong: for tests.
    pub fn set_tail_hint(&self, tail: PageIdx) {
        self.tail.store(tail, Relaxed); // ORDERING(R2)
    }

    /// The head's raw value, for double collects. ORDERING(P10): Acquire, so that a block that was
    /// seen gone brings along what was put elsewhere before.
    pub fn stamp(&self) -> (u64, bool) {
        let head = ListHead::from_raw(self.head.load(Acquire)); // ORDERING(P10)
        (head.raw(), head.is_empty())
    }
}

impl Default for List {
    fn default() -> Self {
        Self::new()
    }
}

/// All free lists and split registers of one zone.
#[derive(Debug)]
#[repr(C)]
pub struct ZoneLists {
    lists: [[List; MAX_ORDER]; NR_MIGRATETYPES],
    /// The split registers.
    pub split: SplitRegisters,
}

impl ZoneLists {
    /// Empty lists.
    pub fn new() -> Self {
        ZoneLists {
            lists: core::array::from_fn(|_| core::array::from_fn(|_| List::new())),
            split: SplitRegisters::new(),
        }
    }

    /// Makes zeroed lists empty. For memory that nobody else sees yet.
    pub fn init(&self) {
        self.lists.iter().flatten().for_each(List::init);
    }

    /// The lists of one migratetype, by order.
    #[inline(always)]
    pub fn lists(&self, mt: usize) -> &[List; MAX_ORDER] {
        &self.lists[mt]
    }

    /// The list of one order and migratetype.
    #[inline(always)]
    pub fn list(&self, order: u32, mt: usize) -> &List {
        &self.lists[mt][order as usize]
    }
}

impl Default for ZoneLists {
    fn default() -> Self {
        Self::new()
    }
}

/// What a walk found.
enum Walk {
    /// The node looked for was unlinked by this walk.
    Unlinked,
    /// The end was reached: the node looked for is not in the list. The last live node, if any.
    End(Option<(PageIdx, PageWord)>),
    /// The step limit was reached.
    GaveUp,
}

/// The accesses to a page's word and hint, with their orderings.
impl PageDesc {
    /// ORDERING(P2): Acquire, pairs with every publication and relink.
    #[inline(always)]
    fn load_word(&self) -> PageWord {
        PageWord::from_raw(self.word.load(Acquire)) // ORDERING(P2)
    }

    /// ORDERING(P2): AcqRel, publishes a relink and sees what was linked before.
    #[inline(always)]
    fn cas_word(&self, old: PageWord, new: PageWord) -> bool {
        // ORDERING(P2)
        self.word.compare_exchange(old.raw(), new.raw(), AcqRel, Acquire).is_ok()
    }

    /// ORDERING(P3): Release, the next life of the page happens after this one.
    #[inline(always)]
    fn store_word(&self, word: PageWord) {
        self.word.store(word.raw(), Release); // ORDERING(P3)
    }

    /// PEND to FREE, if the word is still exactly the published one.
    ///
    /// ORDERING(S1): SeqCst on success, so that of two buddies freed at the same time at least one
    /// sees the other; SeqCst on failure too, because then a helper's promote stands for ours.
    #[inline(always)]
    fn promote(&self, published: PageWord) {
        if planted(Bug::PromoteAnyWord) {
            let word = self.load_word();
            self.cas_word(word, word.promote());
            return;
        }
        // ORDERING(S1)
        let _ = self.word.compare_exchange(published.raw(), published.promote().raw(), SeqCst, SeqCst);
        crate::sync::fence_for_model();
    }

    #[inline(always)]
    fn prev_hint(&self) -> PageIdx {
        self.prev.load(Relaxed) // ORDERING(R2)
    }

    #[inline(always)]
    fn set_prev_hint(&self, prev: PageIdx) {
        self.prev.store(prev, Relaxed); // ORDERING(R2)
    }
}

/// The free lists of a zone together with the pages they link.
#[derive(Clone, Copy)]
pub struct FreeLists<'a> {
    /// Heads, tails and split registers.
    pub lists: &'a ZoneLists,
    /// The zone's pages.
    pub pages: PageArray<'a>,
}

impl<'a> FreeLists<'a> {
    /// A page's word.
    #[inline(always)]
    pub fn word(&self, x: PageIdx) -> PageWord {
        self.pages.page(x).load_word()
    }

    /// A page's word for the buddy re-check. ORDERING(S1): SeqCst load, pairs with the promote.
    #[inline(always)]
    pub fn word_for_recheck(&self, x: PageIdx) -> PageWord {
        PageWord::from_raw(self.pages.page(x).word.load(SeqCst)) // ORDERING(S1)
    }

    #[inline(always)]
    fn cas_word(&self, x: PageIdx, old: PageWord, new: PageWord) -> bool {
        self.pages.page(x).cas_word(old, new)
    }

    #[inline(always)]
    fn store_word(&self, x: PageIdx, word: PageWord) {
        self.pages.page(x).store_word(word);
    }

    #[inline(always)]
    fn prev_hint(&self, x: PageIdx) -> PageIdx {
        self.pages.page(x).prev_hint()
    }

    #[inline(always)]
    fn set_prev_hint(&self, x: PageIdx, prev: PageIdx) {
        self.pages.page(x).set_prev_hint(prev);
    }

    #[inline(always)]
    fn list(&self, order: u32, mt: usize) -> &'a List {
        self.lists.list(order, mt)
    }

    fn relinked(&self, word: PageWord, next: PageIdx) -> PageWord {
        let new = word.relink(next);
        if planted(Bug::NoTagOnRelink) { new.with_tag_of(word) } else { new }
    }

    fn new_head(&self, head: ListHead, first: PageIdx) -> ListHead {
        if planted(Bug::NoTagOnHead) { head.with_first_same_tag(first) } else { head.with_first(first) }
    }

    // ---- publishing -------------------------------------------------------------------------

    /// The word of a page we own, ready to be published: L is 0.
    #[inline(always)]
    fn own_word(&self, x: PageIdx, desc: &PageDesc) -> PageWord {
        let word = desc.load_word();
        if word.is_linked() && !planted(Bug::NoResolve) { self.resolve(x) } else { word }
    }

    fn published(&self, owned: PageWord, order: u32, mt: usize, next: PageIdx) -> PageWord {
        let mut word = owned.publish(order, mt, next);
        if planted(Bug::NoTagOnPublish) {
            word = word.with_tag_of(owned);
        }
        if planted(Bug::NoPend) { word.promote() } else { word }
    }

    #[inline(always)]
    fn promote(&self, x: PageIdx, published: PageWord) {
        self.pages.page(x).promote(published);
    }

    /// Puts a block we own at the front of list (order, mt).
    #[inline(always)]
    pub fn push_front(&self, x: PageIdx, order: u32, mt: usize) {
        let (list, desc) = (self.list(order, mt), self.pages.page(x));
        let owned = self.own_word(x, desc);
        let mut head = list.head();
        desc.set_prev_hint(AT_HEAD);
        let mut published = self.published(owned, order, mt, head.first());
        if !planted(Bug::LinkBeforeWord) {
            desc.store_word(published);
        }
        // One try in place; what a loop keeps ready would be paid for by each call.
        if list.cas_head(head, self.new_head(head, x)).is_err() {
            (head, published) = self.link_late(x, owned, order, mt);
        }
        if planted(Bug::LinkBeforeWord) {
            desc.store_word(published);
        }
        if head.is_empty() {
            list.tail.store(x, Relaxed); // ORDERING(R2)
        } else {
            self.set_prev_hint(head.first(), x);
        }
        desc.promote(published);
    }

    /// The link of [`Self::push_front`] after somebody else was quicker once: the head before it, and
    /// the word that was published.
    #[cold]
    #[inline(never)]
    fn link_late(&self, x: PageIdx, owned: PageWord, order: u32, mt: usize) -> (ListHead, PageWord) {
        let (list, desc) = (self.list(order, mt), self.pages.page(x));
        let mut failures = 1;
        loop {
            back_off(failures);
            let head = list.head();
            let word = self.published(owned, order, mt, head.first());
            if !planted(Bug::LinkBeforeWord) {
                desc.store_word(word);
            }
            if list.cas_head(head, self.new_head(head, x)).is_ok() {
                return (head, word);
            }
            failures += 1;
        }
    }

    /// Puts a block we own at the back of list (order, mt).
    pub fn push_back(&self, x: PageIdx, order: u32, mt: usize) {
        let (list, desc) = (self.list(order, mt), self.pages.page(x));
        let published = self.published(self.own_word(x, desc), order, mt, NIL);
        loop {
            let head = list.head();
            if head.is_empty() {
                desc.set_prev_hint(AT_HEAD);
                desc.store_word(published);
                if list.cas_head(head, self.new_head(head, x)).is_ok() {
                    break;
                }
            } else if let Some((last, last_word)) = self.find_last(order, mt) {
                desc.set_prev_hint(last);
                desc.store_word(published);
                if self.cas_word(last, last_word, self.relinked(last_word, x)) {
                    break;
                }
            }
        }
        list.tail.store(x, Relaxed); // ORDERING(R2)
        desc.promote(published);
    }

    /// The last node of the list and its word at a moment when it was the last.
    fn find_last(&self, order: u32, mt: usize) -> Option<(PageIdx, PageWord)> {
        let mut cur = self.list(order, mt).tail.load(Relaxed); // ORDERING(R2)
        if planted(Bug::TrustTailHint) && cur < self.pages.len() {
            return Some((cur, self.word(cur)));
        }
        let mut back_links = 0;
        loop {
            if cur >= self.pages.len() {
                return self.find_last_by_walk(order, mt);
            }
            let word = self.word(cur);
            if !word.is_free_in(order, mt) {
                back_links += 1;
                if back_links > MAX_BACK_LINKS {
                    return self.find_last_by_walk(order, mt);
                }
                cur = self.prev_hint(cur);
                continue;
            }
            let next = word.next();
            if next == NIL {
                return Some((cur, word));
            }
            let next_word = self.word(next);
            if self.word(cur) != word && !planted(Bug::NoTailValidation) {
                continue;
            }
            // cur did not change in between, so next was linked behind it when its word was read.
            match next_word.kind() {
                Kind::Free => cur = next,
                Kind::Pend => self.promote(next, next_word),
                Kind::Used | Kind::Claimed => {
                    if self.cas_word(cur, word, self.relinked(word, next_word.next())) {
                        self.fix_hints(next, next_word, cur);
                        self.clear_linked(next, next_word);
                    }
                }
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn find_last_by_walk(&self, order: u32, mt: usize) -> Option<(PageIdx, PageWord)> {
        match self.walk(order, mt, NIL, usize::MAX) {
            Walk::End(last) => last,
            Walk::Unlinked | Walk::GaveUp => None,
        }
    }

    // ---- removing ---------------------------------------------------------------------------

    /// FREE to CLAIMED: takes block (b, order) from whatever list it is in and freezes its link.
    #[inline(always)]
    pub fn claim(&self, b: PageIdx, mut order: u32) -> Option<PageWord> {
        let desc = self.pages.get(b)?;
        let mut word = PageWord::from_raw(desc.word.load(SeqCst)); // ORDERING(S1)
        while word.is_free_of_order(order) {
            // ORDERING(P3): AcqRel, the block's contents and link are ours.
            match desc.word.compare_exchange(word.raw(), word.claim().raw(), AcqRel, Acquire) {
                Ok(_) => return Some(word.claim()),
                Err(seen) => word = PageWord::from_raw(seen),
            }
            if planted(Bug::ClaimAnyOrder) {
                order = word.order();
            }
        }
        None
    }

    /// Unlinks a block we claimed if that is cheap, else leaves a zombie (L stays set).
    #[inline(always)]
    pub fn detach(&self, x: PageIdx, frozen: PageWord) {
        if planted(Bug::UnlinkedBeforeUnlink) {
            self.store_word(x, frozen.unlinked());
        }
        if (!forced_zombie() && self.try_unlink(x, frozen)) || planted(Bug::DetachUnproved) {
            self.store_word(x, frozen.unlinked());
        } else {
            self.leave(x);
        }
    }

    /// CLAIMED to USED while the node may still be linked. A helper may clear L at the same time.
    #[cold]
    #[inline(never)]
    fn leave(&self, x: PageIdx) {
        loop {
            let word = self.word(x);
            if self.cas_word(x, word, word.leave()) {
                return;
            }
        }
    }

    /// Takes the first block of list (order, mt).
    #[inline(always)]
    pub fn pop(&self, order: u32, mt: usize) -> Option<PageIdx> {
        let list = self.list(order, mt);
        let head = list.head();
        if head.is_empty() {
            return None;
        }
        // One try in place; what a loop keeps ready would be paid for by each call.
        let top = head.first();
        let desc = self.pages.page(top);
        let word = desc.load_word();
        if planted(Bug::PopWithoutClaim) || !word.is_free_in(order, mt) || !desc.cas_word(word, word.claim()) {
            return self.pop_late(order, mt);
        }
        self.unlink_top(list, head, desc, word);
        Some(top)
    }

    /// Unlinks the top of a list, which we claimed: its descriptor and word before.
    #[inline(always)]
    fn unlink_top(&self, list: &List, head: ListHead, desc: &PageDesc, word: PageWord) {
        if !forced_zombie() && list.cas_head(head, self.new_head(head, word.next())).is_ok() {
            self.fix_hints_in(list, head.first(), word, AT_HEAD);
            desc.store_word(word.unlinked());
        } else {
            self.detach_late(head.first(), word.claim());
        }
    }

    /// [`Self::detach`] where it is rare.
    #[cold]
    #[inline(never)]
    fn detach_late(&self, x: PageIdx, frozen: PageWord) {
        self.detach(x, frozen);
    }

    /// [`Self::pop`] after somebody else was quicker once.
    #[cold]
    #[inline(never)]
    fn pop_late(&self, order: u32, mt: usize) -> Option<PageIdx> {
        let list = self.list(order, mt);
        let mut failures = 1;
        back_off(failures);
        loop {
            let head = list.head();
            if head.is_empty() {
                return None;
            }
            let top = head.first();
            let desc = self.pages.page(top);
            let word = desc.load_word();
            if !word.is_free_in(order, mt) {
                failures += 1;
                back_off(failures);
                self.help_top(list, head, word);
                continue;
            }
            if planted(Bug::PopWithoutClaim) {
                if list.cas_head(head, self.new_head(head, word.next())).is_ok() {
                    desc.store_word(word.unlinked());
                    return Some(top);
                }
                continue;
            }
            if !desc.cas_word(word, word.claim()) {
                failures += 1;
                back_off(failures);
                continue;
            }
            self.unlink_top(list, head, desc, word);
            return Some(top);
        }
    }

    /// The first block of list (order, mt). What others left unfinished at the front is finished
    /// first, so that a caller who tries again until it gets the block waits for nobody.
    pub fn first(&self, order: u32, mt: usize) -> Option<PageIdx> {
        let list = self.list(order, mt);
        loop {
            let head = list.head();
            if head.is_empty() {
                return None;
            }
            let word = self.word(head.first());
            if word.is_free_in(order, mt) {
                return Some(head.first());
            }
            if planted(Bug::FirstWithoutHelp) {
                return (!word.is_frozen()).then_some(head.first());
            }
            self.help_top(list, head, word);
        }
    }

    /// The top of a list is not FREE: finish what its owner did not.
    #[cold]
    #[inline(never)]
    fn help_top(&self, list: &List, head: ListHead, word: PageWord) {
        let top = head.first();
        if word.kind() == Kind::Pend {
            // The head is unchanged, so the page was linked when its word was read.
            if !planted(Bug::NoHelpForPush) && (list.head() == head || planted(Bug::HelpWithoutHead)) {
                self.promote(top, word);
            }
        } else if !planted(Bug::NoHelpForRemoval)
            && word.is_frozen()
            && word.is_linked()
            && list.cas_head(head, self.new_head(head, word.next())).is_ok()
        {
            self.fix_hints(top, word, AT_HEAD);
            self.clear_linked(top, word);
        }
    }

    /// After unlinking x, which stood behind `prev`: hints that named x name its neighbours.
    #[inline(always)]
    fn fix_hints(&self, x: PageIdx, frozen: PageWord, prev: PageIdx) {
        self.fix_hints_in(self.list(frozen.order(), frozen.mt()), x, frozen, prev);
    }

    #[inline(always)]
    fn fix_hints_in(&self, list: &List, x: PageIdx, frozen: PageWord, prev: PageIdx) {
        let next = frozen.next();
        if let Some(desc) = self.pages.get(next) {
            // ORDERING(R2)
            if desc.prev.load(Relaxed) == x {
                desc.prev.store(prev, Relaxed); // ORDERING(R2)
            }
        }
        let tail = &list.tail;
        // ORDERING(R2)
        if tail.load(Relaxed) == x {
            tail.store(if next == NIL { prev } else { next }, Relaxed); // ORDERING(R2)
        }
    }

    /// The winner of the unlinking CAS tells the owner: the node is unreachable.
    ///
    /// The tag check keeps a late clear from hitting a later life of the page.
    fn clear_linked(&self, x: PageIdx, frozen: PageWord) {
        loop {
            let word = self.word(x);
            let other_life = !word.same_life(frozen) || !word.is_frozen();
            if !word.is_linked() || (other_life && !planted(Bug::ClearLinkedWithoutTag)) {
                return;
            }
            if self.cas_word(x, word, word.clear_linked()) {
                return;
            }
        }
    }

    /// Unlinks a frozen node through its hint. True: we did it. False: unknown.
    #[inline]
    fn try_unlink(&self, x: PageIdx, frozen: PageWord) -> bool {
        let (order, mt, next) = (frozen.order(), frozen.mt(), frozen.next());
        let list = self.list(order, mt);
        for attempt in 0..4 {
            let prev = self.prev_hint(x);
            if prev >= self.pages.len() {
                let head = list.head();
                if head.first() == x {
                    if list.cas_head(head, self.new_head(head, next)).is_ok() {
                        self.fix_hints(x, frozen, AT_HEAD);
                        return true;
                    }
                    continue;
                }
            } else {
                let word = self.word(prev);
                let is_linked = word.is_free_in(order, mt) || planted(Bug::UnlinkThroughAnyPrev);
                if is_linked && word.next() == x {
                    if self.cas_word(prev, word, self.relinked(word, next)) {
                        self.fix_hints(x, frozen, prev);
                        return true;
                    }
                    continue;
                }
            }
            if !self.word(x).is_linked() {
                return false; // somebody unlinked it and told us
            }
            if attempt == 1 && matches!(self.walk(order, mt, x, MAX_UNLINK_WALK), Walk::Unlinked) {
                return true;
            }
        }
        false
    }

    /// Hand-over-hand walk that unlinks every frozen node it meets and repairs `prev` hints.
    ///
    /// A step is valid only if the predecessor's word is unchanged after the current word was
    /// read: then the current node was linked at that instant. Reaching the end by valid steps
    /// proves that `x`, which is frozen and cannot be inserted meanwhile, is not in the list.
    #[cold]
    #[inline(never)]
    fn walk(&self, order: u32, mt: usize, x: PageIdx, limit: usize) -> Walk {
        let list = self.list(order, mt);
        let mut steps = 0;
        'restart: loop {
            let mut head = list.head();
            let mut prev: Option<(PageIdx, PageWord)> = None;
            let mut cur = head.first();
            loop {
                if cur == NIL {
                    return Walk::End(prev);
                }
                steps += 1;
                if steps > limit {
                    return Walk::GaveUp;
                }
                let word = self.word(cur);
                let unchanged = match prev {
                    None => list.head() == head,
                    Some((p, p_word)) => self.word(p) == p_word,
                };
                if !unchanged && !planted(Bug::NoWalkValidation) {
                    continue 'restart;
                }
                match word.kind() {
                    Kind::Free => {
                        let hint = prev.map_or(AT_HEAD, |(p, _)| p);
                        if self.prev_hint(cur) != hint {
                            self.set_prev_hint(cur, hint);
                        }
                        prev = Some((cur, word));
                        cur = word.next();
                    }
                    Kind::Pend => self.promote(cur, word),
                    Kind::Used | Kind::Claimed => {
                        let next = word.next();
                        match &mut prev {
                            None => {
                                let new = self.new_head(head, next);
                                if list.cas_head(head, new).is_err() {
                                    continue 'restart;
                                }
                                head = new;
                            }
                            Some((p, p_word)) => {
                                let new = self.relinked(*p_word, next);
                                if !self.cas_word(*p, *p_word, new) {
                                    continue 'restart;
                                }
                                *p_word = new;
                            }
                        }
                        self.fix_hints(cur, word, prev.map_or(AT_HEAD, |(p, _)| p));
                        if cur == x {
                            return Walk::Unlinked;
                        }
                        self.clear_linked(cur, word);
                        cur = next;
                    }
                }
            }
        }
    }

    /// The owner wants to publish x again, but its old node may still be linked: prove it is not.
    #[cold]
    #[inline(never)]
    fn resolve(&self, x: PageIdx) -> PageWord {
        loop {
            let word = self.word(x);
            if !word.is_linked() {
                return word;
            }
            if !self.try_unlink(x, word) && self.word(x).is_linked() && !planted(Bug::ResolveUnproved) {
                let _proof = self.walk(word.order(), word.mt(), x, usize::MAX);
            }
            self.clear_linked(x, word);
        }
    }

    // ---- looking ----------------------------------------------------------------------------

    /// Is block (b, order) FREE in some list? (Elements of split registers are not.)
    #[inline(always)]
    pub fn is_free(&self, b: PageIdx, order: u32) -> bool {
        b < self.pages.len() && self.word_for_recheck(b).is_free_of_order(order)
    }

    /// Checks that every link leads to a page of the same list and that every page that claims to
    /// be linked is. For lists that nobody changes; the first wrong page.
    pub fn check_links(&self) -> Result<(), PageIdx> {
        let mut linked = vec![false; self.pages.len() as usize];
        for (order, mt) in (0..MAX_ORDER as u32).flat_map(|order| (0..NR_MIGRATETYPES).map(move |mt| (order, mt))) {
            let mut cur = self.list(order, mt).head().first();
            while cur != NIL {
                match linked.get_mut(cur as usize) {
                    Some(seen) if !*seen => *seen = true,
                    _ => return Err(cur), // no such page, or a circle
                }
                let word = self.word(cur);
                let is_frozen = word.is_frozen() && word.is_linked();
                let is_free = matches!(word.kind(), Kind::Free) && word.is_linked();
                if !(is_free || is_frozen) || word.order() != order || word.mt() != mt {
                    return Err(cur);
                }
                cur = word.next();
            }
        }
        let is_stray = |x: PageIdx| {
            let word = self.word(x);
            !linked[x as usize] && (word.is_linked() || !matches!(word.kind(), Kind::Used))
        };
        (0..self.pages.len()).find(|x| is_stray(*x)).map_or(Ok(()), Err)
    }

    /// Calls `visit` for the blocks of list (order, mt) from head to tail, the split register's
    /// element first, until it returns false. Exact when nobody changes the list, else a racy
    /// view that ends after at most as many steps as the zone has pages.
    pub fn for_each(&self, order: u32, mt: usize, mut visit: impl FnMut(PageIdx) -> bool) {
        let register = self.lists.split.load(mt);
        if register.has(order) && !visit(register.element(order)) {
            return;
        }
        let mut cur = self.list(order, mt).head().first();
        for _ in 0..self.pages.len() {
            let Some(desc) = self.pages.get(cur) else { return };
            let word = PageWord::from_raw(desc.word.load(Acquire)); // ORDERING(P2)
            if !word.is_frozen() && word.order() == order && word.mt() == mt {
                if !visit(cur) {
                    return;
                }
            } else if !(word.is_frozen() && word.is_linked()) {
                return; // it moved away while we looked
            }
            cur = word.next();
        }
    }
}
