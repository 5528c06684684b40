//! One small zone, and what the harness knows about it.

use crate::crew::Stage;
use crate::fiber::{self, Stop};
use crate::ledger::{Ledger, MAX_FIBERS};
use crate::program::Op;
use pagebuddy_core::buddy::Buddy;
use pagebuddy_core::free_area::{FreeArea, MergeRule};
use pagebuddy_core::free_list::{FreeLists, ZoneLists};
use pagebuddy_core::in_flight::{InFlight, InFlightFlag};
use pagebuddy_core::page_array::{PageArray, PageDesc};
use pagebuddy_core::pageblock::Pageblocks;
use pagebuddy_core::sync::scheduled::{Access, Hooks, plant, set_hooks};
use pagebuddy_core::sync::{AtomicU8, AtomicU32, Bug, Relaxed};
use pagebuddy_core::types::{MAX_ORDER, NR_MIGRATETYPES};
use pagebuddy_core::word::list_head::ListHead;
use pagebuddy_core::word::page_word::PageWord;
use pagebuddy_core::word::split_register::SplitRegister;
use pagebuddy_core::word::{NIL, PageIdx};
use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::rc::Rc;

/// Most pages of a zone.
pub const MAX_PAGES: usize = 32;

/// More accesses than any schedule needs: whoever makes them does not get anywhere.
const LIVELOCK: u32 = 60_000;

/// Bytes of one announcer's words.
const FLAG: usize = size_of::<InFlightFlag>();

/// A list: order, migratetype, blocks from head to tail.
pub type ListContents = (u32, usize, Vec<PageIdx>);

/// A hint, which may be arbitrarily wrong. [`AT_HEAD`] names the list's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Tail hint of list (order, migratetype).
    Tail(u32, usize, PageIdx),
    /// Back link of a page.
    Prev(PageIdx, PageIdx),
}

/// "No page before".
pub const AT_HEAD: PageIdx = PageIdx::MAX;

/// State from which a schedule starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Pages of the zone, a power of two.
    pub nr_pages: PageIdx,
    /// log2 of the pages in a pageblock.
    pub pageblock_order: u32,
    /// Migratetypes of the pageblocks.
    pub types: Vec<u8>,
    /// Blocks held by each fiber.
    pub held: Vec<Vec<(PageIdx, u32)>>,
    /// Blocks held by nobody who runs.
    pub others: Vec<(PageIdx, u32)>,
    /// The lists.
    pub free: Vec<ListContents>,
    /// The split registers that are not empty.
    pub registers: Vec<(usize, SplitRegister)>,
    /// Hints that are wrong.
    pub hints: Vec<Hint>,
}

/// Which words were accessed by several fibers and written by one of them.
#[derive(Default)]
struct ConflictMap {
    /// One bit per fiber, and bit 7: was it written?
    slots: Vec<u8>,
    grown: bool,
}

impl ConflictMap {
    const WRITTEN: u8 = 0x80;

    fn is_conflict(seen: u8) -> bool {
        seen & Self::WRITTEN != 0 && (seen & !Self::WRITTEN).count_ones() > 1
    }

    fn touch(&mut self, slot: usize, fiber: u8, is_write: bool) -> bool {
        let seen = self.slots[slot];
        let now = seen | 1 << fiber | if is_write { Self::WRITTEN } else { 0 };
        self.slots[slot] = now;
        let conflict = Self::is_conflict(now);
        self.grown |= conflict && !Self::is_conflict(seen);
        conflict
    }
}

/// A word of the world, found by its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Word(PageIdx),
    Prev(PageIdx),
    Info(PageIdx),
    Head(u32, usize),
    Tail(u32, usize),
    Register(usize),
    Begun(usize),
    Ended(usize),
    Other(usize),
}

/// See the module's comment. One per OS thread, used for one schedule after another.
pub struct World {
    pages: Vec<PageDesc>,
    lists: Box<ZoneLists>,
    types: Vec<AtomicU8>,
    nr_isolated: AtomicU32,
    flags: Vec<InFlightFlag>,
    nr_pages: Cell<PageIdx>,
    pageblock_order: Cell<u32>,
    /// Who owns what.
    pub ledger: RefCell<Ledger>,
    /// What each fiber holds.
    pub held: RefCell<Vec<Vec<(PageIdx, u32)>>>,
    /// What each fiber does.
    pub programs: RefCell<Vec<Vec<Op>>>,
    /// The fiber that runs.
    pub running: Cell<u8>,
    /// Does each fiber hold a cpu slot, or do all announce what they have in flight in one place?
    pub leased: Cell<bool>,
    /// Is a failed allocation of a single page wrong if a page was available all the time?
    pub exact_failure: Cell<bool>,
    /// Stop only where fibers can influence each other.
    pub filtered: Cell<bool>,
    /// Stop before every write, because a fiber may be killed there.
    pub kill_points: Cell<bool>,
    nr_accesses: [Cell<u32>; MAX_FIBERS],
    conflicts: RefCell<ConflictMap>,
    trace: RefCell<Option<String>>,
}

thread_local! {
    static WORLD: Rc<World> = Rc::new(World::new());
}

impl World {
    /// The world of this OS thread.
    pub fn of_thread() -> Rc<World> {
        WORLD.with(Rc::clone)
    }

    fn new() -> Self {
        let nr_slots = MAX_PAGES * 4 + size_of::<ZoneLists>() / 4 + (MAX_FIBERS + 1) * 2 + 1;
        World {
            pages: (0..MAX_PAGES).map(|_| PageDesc::new()).collect(),
            lists: Box::new(ZoneLists::new()),
            types: (0..MAX_PAGES).map(|_| AtomicU8::new(0)).collect(),
            nr_isolated: AtomicU32::new(0),
            flags: (0..=MAX_FIBERS).map(|_| InFlightFlag::new()).collect(),
            nr_pages: Cell::new(0),
            pageblock_order: Cell::new(0),
            ledger: RefCell::new(Ledger::new(0)),
            held: RefCell::default(),
            programs: RefCell::default(),
            running: Cell::new(0),
            leased: Cell::new(true),
            exact_failure: Cell::new(false),
            filtered: Cell::new(false),
            kill_points: Cell::new(false),
            nr_accesses: Default::default(),
            conflicts: RefCell::new(ConflictMap { slots: vec![0; nr_slots], grown: false }),
            trace: RefCell::new(None),
        }
    }

    /// Pages of the zone.
    pub fn nr_pages(&self) -> PageIdx {
        self.nr_pages.get()
    }

    /// Order of the largest block: the whole zone.
    pub fn top(&self) -> u32 {
        self.nr_pages().trailing_zeros()
    }

    /// Pageblock types.
    pub fn blocks(&self) -> Pageblocks<'_> {
        Pageblocks::new(&self.types, self.pageblock_order.get())
    }

    /// Free lists and pages.
    pub fn free_lists(&self) -> FreeLists<'_> {
        let pages = &self.pages[..self.nr_pages() as usize];
        // The small table has one descriptor, that of page 0, which the other has room for.
        FreeLists { lists: &self.lists, pages: PageArray::new(pages, &pages[..1]).expect("a small zone") }
    }

    /// The allocator as `fiber` sees it.
    pub fn buddy(&self, fiber: u8) -> Buddy<'_> {
        let rule =
            MergeRule { top: self.top(), blocks: self.blocks(), nr_isolated: &self.nr_isolated, has_isolation: true };
        let own = self.leased.get().then(|| &self.flags[fiber as usize]);
        let in_flight = InFlight { own, all: &self.flags };
        Buddy { area: FreeArea { lists: self.free_lists(), rule, in_flight } }
    }

    // ---- starts -----------------------------------------------------------------------------

    fn clear(&self, nr_pages: PageIdx, pageblock_order: u32, types: &[u8]) {
        self.nr_pages.set(nr_pages);
        self.pageblock_order.set(pageblock_order);
        for page in &self.pages {
            page.word.store(0, Relaxed);
            page.prev.store(0, Relaxed);
            page.info.store(0, Relaxed);
        }
        self.lists.init();
        for mt in 0..NR_MIGRATETYPES {
            let register = self.lists.split.load(mt);
            if !register.is_empty() {
                self.lists.split.cas(mt, register, SplitRegister::EMPTY).expect("nobody else is here");
            }
        }
        for (word, mt) in self.types.iter().zip(types.iter().chain(std::iter::repeat(&0))) {
            word.store(*mt, Relaxed);
        }
        self.nr_isolated.store(0, Relaxed);
        self.flags.iter().for_each(InFlightFlag::clear);
    }

    /// Makes a start by running `setup` sequentially on a zone that is one free block.
    pub fn make_start(
        &self,
        nr_pages: PageIdx,
        pageblock_order: u32,
        types: &[u8],
        setup: impl FnOnce(Buddy<'_>) -> (Vec<Vec<(PageIdx, u32)>>, Vec<(PageIdx, u32)>),
    ) -> Start {
        set_hooks(Hooks::default());
        plant(None);
        self.clear(nr_pages, pageblock_order, types);
        let buddy = self.buddy(0);
        let whole = buddy.blocks().get(0).index();
        buddy.put(0, self.top(), whole, pagebuddy_core::free_area::Side::Back);
        let (held, others) = setup(buddy);
        let mut free = Vec::new();
        let mut registers = Vec::new();
        for mt in 0..NR_MIGRATETYPES {
            let register = self.lists.split.load(mt);
            if !register.is_empty() {
                registers.push((mt, register));
            }
            for order in 0..=self.top() {
                let mut list = Vec::new();
                buddy.area.lists.for_each(order, mt, |x| {
                    list.push(x);
                    true
                });
                if register.has(order) {
                    list.remove(0);
                }
                if !list.is_empty() {
                    free.push((order, mt, list));
                }
            }
        }
        Start { nr_pages, pageblock_order, types: types.to_vec(), held, others, free, registers, hints: Vec::new() }
    }

    /// Puts the world into a start state, with the hooks of a schedule on.
    pub fn reset(&self, start: &Start, programs: &[Vec<Op>], planted: Option<Bug>) {
        set_hooks(Hooks::default());
        plant(None);
        self.clear(start.nr_pages, start.pageblock_order, &start.types);
        let lists = self.free_lists();
        for (order, mt, blocks) in &start.free {
            for x in blocks {
                lists.push_back(*x, *order, *mt);
            }
        }
        for (mt, register) in &start.registers {
            self.lists.split.cas(*mt, SplitRegister::EMPTY, *register).expect("nobody else is here");
        }
        for hint in &start.hints {
            match *hint {
                Hint::Tail(order, mt, x) => self.lists.list(order, mt).set_tail_hint(x),
                Hint::Prev(x, prev) => self.pages[x as usize].prev.store(prev, Relaxed),
            }
        }
        let mut ledger = self.ledger.borrow_mut();
        ledger.reset(start.nr_pages, planted);
        for (fiber, blocks) in start.held.iter().enumerate() {
            blocks.iter().for_each(|(x, order)| ledger.hand_out(*x, *order, fiber as u8));
        }
        start.others.iter().for_each(|(x, order)| ledger.hand_out(*x, *order, u8::MAX));
        self.held.borrow_mut().clone_from(&start.held);
        self.programs.borrow_mut().clear();
        self.programs.borrow_mut().extend_from_slice(programs);
        self.nr_accesses.iter().for_each(|n| n.set(0));
        plant(planted);
        set_hooks(Hooks {
            before: Some(before_access),
            after: Some(after_access),
            yielded: Some(|| fiber::suspend(Stop::Yield)),
            zombie: Some(fiber::ask_zombie),
        });
    }

    /// Ends the concurrent part: no hooks, no planted bug, nobody announces anything.
    pub fn quiesce(&self) {
        set_hooks(Hooks::default());
        plant(None);
        self.flags.iter().for_each(InFlightFlag::clear);
    }

    // ---- accesses ---------------------------------------------------------------------------

    /// Forgets which words fibers share.
    pub fn forget_conflicts(&self) {
        let mut map = self.conflicts.borrow_mut();
        map.slots.fill(0);
        map.grown = false;
    }

    /// Did more words turn out to be shared since the last call?
    pub fn conflicts_grew(&self) -> bool {
        std::mem::take(&mut self.conflicts.borrow_mut().grown)
    }

    fn offset<T>(items: &[T], address: usize) -> Option<usize> {
        let offset = address.wrapping_sub(items.as_ptr().addr());
        (offset < size_of_val(items)).then_some(offset)
    }

    fn slot(&self, address: usize) -> usize {
        let lists = MAX_PAGES * 4;
        let flags = lists + size_of::<ZoneLists>() / 4;
        if let Some(offset) = Self::offset(&self.pages, address) {
            offset / 4
        } else if let Some(offset) = Self::offset(std::slice::from_ref(&*self.lists), address) {
            lists + offset / 4
        } else if let Some(offset) = Self::offset(&self.flags, address) {
            flags + offset / FLAG * 2 + usize::from(offset % FLAG != 0)
        } else {
            flags + (MAX_FIBERS + 1) * 2
        }
    }

    fn place(&self, address: usize) -> Place {
        const LIST: usize = 64;
        const NR_LISTS: usize = MAX_ORDER * NR_MIGRATETYPES;
        if let Some(offset) = Self::offset(&self.pages, address) {
            let x = (offset / 16) as PageIdx;
            match offset % 16 {
                0 => Place::Word(x),
                8 => Place::Prev(x),
                _ => Place::Info(x),
            }
        } else if let Some(offset) = Self::offset(std::slice::from_ref(&*self.lists), address) {
            let (list, field) = (offset / LIST, offset % LIST);
            let (order, mt) = ((list % MAX_ORDER) as u32, list / MAX_ORDER);
            match field {
                _ if list >= NR_LISTS => Place::Register((offset - NR_LISTS * LIST) / 8),
                0 => Place::Head(order, mt),
                _ => Place::Tail(order, mt),
            }
        } else if let Some(offset) = Self::offset(&self.flags, address) {
            if offset % FLAG == 0 { Place::Begun(offset / FLAG) } else { Place::Ended(offset / FLAG) }
        } else {
            Place::Other(address)
        }
    }

    fn before(&self, address: usize, is_write: bool) {
        if !fiber::is_running() {
            return;
        }
        let fiber = self.running.get();
        let count = &self.nr_accesses[fiber as usize];
        count.set(count.get() + 1);
        assert!(count.get() < LIVELOCK, "fiber {fiber} does not get anywhere");
        let conflict = {
            let slot = self.slot(address);
            self.conflicts.borrow_mut().touch(slot, fiber, is_write)
        };
        if conflict || !self.filtered.get() || (is_write && self.kill_points.get()) {
            fiber::suspend(Stop::Access { address, is_write });
        }
    }

    fn after(&self, access: Access) {
        if !fiber::is_running() {
            return;
        }
        let place = self.place(access.address);
        if self.trace.borrow().is_some() {
            self.log_access(place, access);
        }
        if access.old == access.new {
            return;
        }
        let fiber = self.running.get();
        let word = |x: PageIdx| PageWord::from_raw(self.pages[x as usize].word.load(Relaxed));
        // Reading words for the ledger must not come back here.
        let hooks_off = HooksOff::new();
        let mut ledger = self.ledger.borrow_mut();
        let result = match place {
            Place::Word(x) => {
                ledger.word_changed(fiber, x, PageWord::from_raw(access.old), PageWord::from_raw(access.new), word)
            }
            Place::Head(..) => {
                ledger.head_changed(fiber, ListHead::from_raw(access.old), ListHead::from_raw(access.new), word)
            }
            Place::Register(_) => {
                ledger.register_changed(fiber, SplitRegister::from_raw(access.old), SplitRegister::from_raw(access.new))
            }
            Place::Begun(_) => {
                ledger.announced(fiber, 1);
                Ok(())
            }
            Place::Ended(_) => {
                ledger.announced(fiber, -1);
                Ok(())
            }
            Place::Prev(_) | Place::Info(_) | Place::Tail(..) | Place::Other(_) => Ok(()),
        };
        drop(ledger);
        drop(hooks_off);
        if let Err(violation) = result {
            panic!("{violation}");
        }
    }

    // ---- traces -----------------------------------------------------------------------------

    /// Starts a trace of all accesses.
    pub fn start_trace(&self) {
        *self.trace.borrow_mut() = Some(String::new());
    }

    /// Adds a line to the trace, if there is one.
    pub fn log(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut *self.trace.borrow_mut() {
            let _ = writeln!(trace, "fiber {}: {}", self.running.get(), line());
        }
    }

    /// Ends the trace.
    pub fn take_trace(&self) -> Option<String> {
        self.trace.borrow_mut().take()
    }

    fn log_access(&self, place: Place, access: Access) {
        let Access { old, new, is_write, .. } = access;
        let describe = |value: u64| match place {
            Place::Word(_) => format!("{:?}", PageWord::from_raw(value)),
            Place::Head(..) => {
                let head = ListHead::from_raw(value);
                let first = head.first();
                if first == NIL { "nil".into() } else { format!("{first} (tag {})", value >> 28) }
            }
            Place::Register(_) => format!("{:?}", SplitRegister::from_raw(value)),
            Place::Prev(_) | Place::Tail(..) if value == u64::from(u32::MAX) => "head".into(),
            _ => format!("{value}"),
        };
        self.log(|| match (is_write, old == new) {
            (false, _) => format!("  {place:?} is {}", describe(old)),
            (true, true) => format!("  {place:?} stays {}", describe(old)),
            (true, false) => format!("  {place:?} {} => {}", describe(old), describe(new)),
        });
    }
}

impl Stage for World {
    fn set_running(&self, fiber: u8) {
        self.running.set(fiber);
    }

    fn nr_accesses(&self, fiber: u8) -> u32 {
        self.nr_accesses[fiber as usize].get()
    }

    fn is_conflict(&self, address: usize) -> bool {
        ConflictMap::is_conflict(self.conflicts.borrow().slots[self.slot(address)])
    }
}

/// Switches the hooks off while the harness itself reads words.
struct HooksOff;

thread_local! {
    static HARNESS_READS: Cell<bool> = const { Cell::new(false) };
}

impl HooksOff {
    fn new() -> Self {
        HARNESS_READS.set(true);
        HooksOff
    }
}

impl Drop for HooksOff {
    fn drop(&mut self) {
        HARNESS_READS.set(false);
    }
}

fn before_access(address: usize, is_write: bool) {
    if !HARNESS_READS.get() {
        WORLD.with(|world| world.before(address, is_write));
    }
}

fn after_access(access: Access) {
    if !HARNESS_READS.get() {
        WORLD.with(|world| world.after(access));
    }
}
