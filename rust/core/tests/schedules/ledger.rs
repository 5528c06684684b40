//! Who owns which page, derived from the accesses themselves.
//!
//! The ledger watches every change of a page word, a list head and a split register, and knows at
//! each instant whether a page is free, handed out, or in flight in the hands of one fiber. It is
//! an oracle independent of the engine: it never asks the engine what is free.

use pagebuddy_core::sync::Bug;
use pagebuddy_core::types::MAX_ORDER;
use pagebuddy_core::word::list_head::ListHead;
use pagebuddy_core::word::page_word::{Kind, PageWord};
use pagebuddy_core::word::split_register::SplitRegister;
use pagebuddy_core::word::{NIL, PageIdx};

/// Most fibers of a schedule.
pub const MAX_FIBERS: usize = 4;

/// Owner of one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// In a list or a split register.
    Free,
    /// Handed out to the program of this fiber.
    Held(u8),
    /// In the middle of an operation of this fiber.
    InFlight(u8),
}

/// See the module's comment.
#[derive(Debug)]
pub struct Ledger {
    owner: Vec<Owner>,
    nr_free: i32,
    nr_in_flight: [i32; MAX_FIBERS],
    /// Announcements that the fiber has not ended.
    announced: [i32; MAX_FIBERS],
    /// Pages that the fiber's current operation will keep of what it takes.
    keeps: [i32; MAX_FIBERS],
    /// Least number of pages that were free or on their way back, since the fiber's last reset.
    least: [i32; MAX_FIBERS],
    /// Blocks each fiber made free in its current operation.
    given: [Vec<(PageIdx, u32)>; MAX_FIBERS],
    planted: Option<Bug>,
}

/// A rule that was broken.
pub type Violation = String;

impl Ledger {
    /// All pages free.
    pub fn new(nr_pages: PageIdx) -> Self {
        Ledger {
            owner: vec![Owner::Free; nr_pages as usize],
            nr_free: nr_pages as i32,
            nr_in_flight: [0; MAX_FIBERS],
            announced: [0; MAX_FIBERS],
            keeps: [0; MAX_FIBERS],
            least: [0; MAX_FIBERS],
            given: Default::default(),
            planted: None,
        }
    }

    /// Forgets everything; all pages are free.
    pub fn reset(&mut self, nr_pages: PageIdx, planted: Option<Bug>) {
        self.owner.clear();
        self.owner.resize(nr_pages as usize, Owner::Free);
        self.nr_free = nr_pages as i32;
        self.nr_in_flight = [0; MAX_FIBERS];
        self.announced = [0; MAX_FIBERS];
        self.keeps = [0; MAX_FIBERS];
        self.least = [0; MAX_FIBERS];
        self.given.iter_mut().for_each(Vec::clear);
        self.planted = planted;
    }

    /// Owner of a page.
    pub fn owner(&self, x: PageIdx) -> Owner {
        self.owner[x as usize]
    }

    /// Blocks the fiber made free in its last operation.
    pub fn given(&self, fiber: u8) -> &[(PageIdx, u32)] {
        &self.given[fiber as usize]
    }

    /// The setup hands block (x, order) to a fiber's program.
    pub fn hand_out(&mut self, x: PageIdx, order: u32, fiber: u8) {
        for page in x..x + (1 << order) {
            self.owner[page as usize] = Owner::Held(fiber);
        }
        self.nr_free -= 1 << order;
    }

    // ---- operations of programs -------------------------------------------------------------

    /// A fiber begins an operation that will keep `keeps` pages of what it takes.
    pub fn begin(&mut self, fiber: u8, keeps: i32) {
        self.keeps[fiber as usize] = keeps;
        self.given[fiber as usize].clear();
        self.least[fiber as usize] = i32::MAX;
        self.note_least();
    }

    /// A program gives block (x, order) to the operation it begins.
    pub fn give_up(&mut self, fiber: u8, x: PageIdx, order: u32) -> Result<(), Violation> {
        self.change(x, order, Owner::Held(fiber), Owner::InFlight(fiber), "frees a block it does not hold")
    }

    /// An operation returned block (x, order) to the program.
    pub fn receive(&mut self, fiber: u8, x: PageIdx, order: u32) -> Result<(), Violation> {
        self.change(x, order, Owner::InFlight(fiber), Owner::Held(fiber), "was given a block it did not take")
    }

    /// The operation is over: nothing may be in flight any more.
    pub fn end(&mut self, fiber: u8) -> Result<(), Violation> {
        let slot = fiber as usize;
        self.keeps[slot] = 0;
        if self.nr_in_flight[slot] != 0 {
            return Err(format!("fiber {fiber} lost pages: {:?}", self.pages_of(Owner::InFlight(fiber))));
        }
        self.note_least();
        Ok(())
    }

    /// Least number of pages available to this fiber (free, or announced and on their way back)
    /// at any instant of its current operation.
    pub fn least_available(&self, fiber: u8) -> i32 {
        self.least[fiber as usize]
    }

    /// The pages of one owner.
    pub fn pages_of(&self, owner: Owner) -> Vec<PageIdx> {
        (0..self.owner.len() as PageIdx).filter(|x| self.owner(*x) == owner).collect()
    }

    fn note_least(&mut self) {
        let surplus = |slot: usize| match self.announced[slot] {
            0 => 0,
            _ => (self.nr_in_flight[slot] - self.keeps[slot]).max(0),
        };
        let total = self.nr_free + (0..MAX_FIBERS).map(surplus).sum::<i32>();
        for slot in 0..MAX_FIBERS {
            self.least[slot] = self.least[slot].min(total - surplus(slot));
        }
    }

    fn change(&mut self, x: PageIdx, order: u32, from: Owner, to: Owner, what: &str) -> Result<(), Violation> {
        for page in x..x + (1 << order) {
            let Some(owner) = self.owner.get_mut(page as usize) else {
                return Err(format!("block ({x}, {order}) outside the zone: {to:?} {what}"));
            };
            if *owner != from {
                return Err(format!("page {page} of block ({x}, {order}): {owner:?}, but {to:?} {what}"));
            }
            *owner = to;
        }
        let size = 1 << order;
        match from {
            Owner::Free => self.nr_free -= size,
            Owner::InFlight(f) => self.nr_in_flight[f as usize] -= size,
            Owner::Held(_) => {}
        }
        match to {
            Owner::Free => self.nr_free += size,
            Owner::InFlight(f) => self.nr_in_flight[f as usize] += size,
            Owner::Held(_) => {}
        }
        self.note_least();
        Ok(())
    }

    fn take(&mut self, fiber: u8, x: PageIdx, order: u32) -> Result<(), Violation> {
        self.change(x, order, Owner::Free, Owner::InFlight(fiber), "takes it")?;
        self.check_announced(fiber)
    }

    /// The fiber just took something: if some of it will come back, that must be announced by now.
    fn check_announced(&self, fiber: u8) -> Result<(), Violation> {
        let slot = fiber as usize;
        if self.announced[slot] == 0 && self.nr_in_flight[slot] > self.keeps[slot] {
            return Err(format!("fiber {fiber} takes more than it keeps and did not announce it"));
        }
        Ok(())
    }

    fn give(&mut self, fiber: u8, x: PageIdx, order: u32) -> Result<(), Violation> {
        self.given[fiber as usize].push((x, order));
        self.change(x, order, Owner::InFlight(fiber), Owner::Free, "makes it free")
    }

    // ---- accesses ---------------------------------------------------------------------------

    /// The fiber began (1) or ended (-1) an announcement.
    pub fn announced(&mut self, fiber: u8, change: i32) {
        self.announced[fiber as usize] += change;
        self.note_least();
    }

    /// A page word changed. `word` reads the words as they are now.
    pub fn word_changed(
        &mut self,
        fiber: u8,
        x: PageIdx,
        old: PageWord,
        new: PageWord,
        word: impl Fn(PageIdx) -> PageWord,
    ) -> Result<(), Violation> {
        if old.kind() == Kind::Free && new.kind() == Kind::Claimed {
            return self.take(fiber, x, old.order());
        }
        if old.kind() == Kind::Free && new.kind() != Kind::Free && self.planted.is_none() {
            return Err(format!("fiber {fiber} changes page {x} from {old:?} to {new:?} without a claim"));
        }
        if new.kind() == Kind::Free && old.kind() == Kind::Free && old.next() != new.next() {
            return self.linked(fiber, new.next(), word);
        }
        Ok(())
    }

    /// A list head changed.
    pub fn head_changed(
        &mut self,
        fiber: u8,
        old: ListHead,
        new: ListHead,
        word: impl Fn(PageIdx) -> PageWord,
    ) -> Result<(), Violation> {
        let was = old.first();
        if self.planted == Some(Bug::PopWithoutClaim) && was != NIL && new.first() != was {
            // The bug takes the top by this change alone.
            let top = word(was);
            if top.kind() == Kind::Free && top.next() == new.first() && self.owner(was) == Owner::Free {
                self.take(fiber, was, top.order())?;
            }
        }
        self.linked(fiber, new.first(), word)
    }

    /// `x` was written into a link: if it is a block being published, it is free from now on.
    fn linked(&mut self, fiber: u8, x: PageIdx, word: impl Fn(PageIdx) -> PageWord) -> Result<(), Violation> {
        if x == NIL || x as usize >= self.owner.len() || self.owner(x) != Owner::InFlight(fiber) {
            return Ok(());
        }
        let published = word(x);
        match published.kind() {
            Kind::Pend | Kind::Free => self.give(fiber, x, published.order()),
            Kind::Used | Kind::Claimed => Ok(()),
        }
    }

    /// A split register changed.
    pub fn register_changed(&mut self, fiber: u8, old: SplitRegister, new: SplitRegister) -> Result<(), Violation> {
        let mut taken = self.elements(old);
        let mut given = self.elements(new);
        taken.retain(|element| match given.iter().position(|other| other == element) {
            Some(same) => {
                given.swap_remove(same);
                false
            }
            None => true,
        });
        for (x, order) in taken {
            self.change(x, order, Owner::Free, Owner::InFlight(fiber), "takes it")?;
        }
        for (x, order) in given {
            self.give(fiber, x, order)?;
        }
        self.check_announced(fiber)
    }

    fn elements(&self, register: SplitRegister) -> Vec<(PageIdx, u32)> {
        (0..MAX_ORDER as u32).filter(|o| register.has(*o)).map(|o| (register.element(o), o)).collect()
    }
}
