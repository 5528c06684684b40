//! What the threads of a measurement do.

use crate::engines::{Hand, Level, MOVABLE};
use crate::ffi::NO_PAGE;
use crate::stopwatch::{Stopwatch, Timer, Until};

/// Largest order.
const TOP: u32 = 10;

/// Percent of a zone's pages that the workload with fallback keeps out.
const FALLBACK_FILL: usize = 95;

/// Its largest order. Small, so that free memory becomes scattered: what is stolen lasts only for
/// a few requests.
const FALLBACK_TOP: u32 = 2;

/// Pages of its average block: half of them have one page, a quarter two, a quarter four.
const FALLBACK_MEAN: usize = 2;

/// Migratetypes of ordinary requests.
const NR_TYPES: u32 = 3;

/// What one thread does, over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Takes a block and gives it back.
    Pair {
        /// Order of the block.
        order: u32,
    },
    /// Replaces a random one of the blocks it holds.
    Ring {
        /// Order of the blocks.
        order: u32,
        /// How many it holds.
        len: usize,
    },
    /// Takes that many single pages and gives them back in the same order.
    Burst {
        /// How many.
        len: usize,
    },
    /// Replaces a random one of its blocks by one of a random order, small ones more often.
    Mixed {
        /// How many it holds.
        len: usize,
    },
    /// The same with random migratetypes and a zone that is nearly full, so that requests fall
    /// back to other types all the time.
    Fallback,
    /// Takes its share of all single pages and gives them back in random order.
    AllRandom,
    /// Takes that many single pages by one call and gives them back by one call.
    Bulk {
        /// How many.
        len: usize,
    },
}

impl Pattern {
    /// As tables show it.
    pub fn name(self) -> String {
        match self {
            Pattern::Pair { order } => format!("order {order} pair"),
            Pattern::Ring { order, .. } => format!("order {order} random ring"),
            Pattern::Burst { len } => format!("order 0 burst of {len}"),
            Pattern::Mixed { .. } => "mixed orders, random ring".to_owned(),
            Pattern::Fallback => "mixed migratetypes, nearly full".to_owned(),
            Pattern::AllRandom => "all pages, freed in random order".to_owned(),
            Pattern::Bulk { len } => format!("bulk of {len}, per page"),
        }
    }
}

/// One row of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// How deep it cuts in.
    pub level: Level,
    /// What the threads do.
    pub pattern: Pattern,
}

impl Work {
    /// As tables show it.
    pub fn name(self) -> String {
        format!("{}: {}", self.level.name(), self.pattern.name())
    }

    /// Stands for its kind: latencies are measured and the picture of scaling shows it.
    pub fn is_highlight(self) -> bool {
        let order_0 = Pattern::Pair { order: 0 };
        match self.level {
            Level::Pcp => matches!(self.pattern, Pattern::Ring { .. }),
            Level::Fixed | Level::Current | Level::Remote => self.pattern == order_0,
            Level::Local => false,
            Level::Zone => matches!(self.pattern, Pattern::Ring { order: 0 | 9, .. } | Pattern::Mixed { .. }),
            Level::Steal => true,
        }
    }

    /// Mebibytes of the machine it runs on.
    pub fn mib(self, quick: bool) -> u64 {
        match self.pattern {
            Pattern::Fallback => 256,
            Pattern::AllRandom if quick => 128,
            Pattern::AllRandom => 1024,
            _ if quick => 1024,
            _ => 4096,
        }
    }
}

/// All rows.
pub fn all() -> Vec<Work> {
    let mut works = Vec::new();
    let mut add = |level, patterns: &[Pattern]| works.extend(patterns.iter().map(|&pattern| Work { level, pattern }));
    let ring = |order: u32| Pattern::Ring { order, len: [1024, 0, 0, 512, 256, 0, 0, 0, 0, 16, 8][order as usize] };
    let order_0 = [Pattern::Pair { order: 0 }, ring(0), Pattern::Burst { len: 256 }];
    let bulks = [Pattern::Bulk { len: 64 }, Pattern::Bulk { len: 512 }];
    add(Level::Pcp, &order_0);
    add(Level::Pcp, &[Pattern::AllRandom]);
    for order in [0, 3, 4, 9, 10] {
        add(Level::Zone, &[Pattern::Pair { order }, ring(order)]);
    }
    add(Level::Zone, &[Pattern::Mixed { len: 256 }, Pattern::AllRandom]);
    add(Level::Steal, &[Pattern::Fallback]);
    add(Level::Zone, &bulks);
    add(Level::Fixed, &order_0);
    for order in [3, 4, 9, 10] {
        add(Level::Fixed, &[Pattern::Pair { order }]);
    }
    add(Level::Fixed, &[Pattern::Mixed { len: 256 }, Pattern::AllRandom, Pattern::Fallback]);
    add(Level::Fixed, &bulks);
    add(Level::Current, &order_0);
    add(Level::Current, &[Pattern::Mixed { len: 256 }]);
    add(Level::Local, &[Pattern::Pair { order: 0 }, ring(0)]);
    add(Level::Remote, &[Pattern::Pair { order: 0 }, ring(0)]);
    works
}

/// How many times a thread goes round before it asks whether it is done.
const ROUNDS: usize = 16;

/// What a thread needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Pages it may have at a time when it takes all.
    pub nr_pages: usize,
    /// Its random numbers.
    pub seed: u64,
}

/// A random order, each half as likely as the one below.
#[inline(always)]
fn random_order(random: &mut fastrand::Rng) -> u32 {
    random.u32(..).trailing_zeros().min(TOP)
}

/// What a thread holds.
pub struct State {
    random: fastrand::Rng,
    /// Blocks replaced so far.
    nr_done: usize,
    /// Blocks of a ring: first pfn and order.
    slots: Vec<(u64, u32)>,
    /// Single pages.
    pfns: Vec<u64>,
    /// In which order they are freed.
    order: Vec<u32>,
}

impl Pattern {
    /// Order and migratetype of the next block of a ring. With several migratetypes one is
    /// favoured, and another one each time the ring was replaced once: memory has to change sides.
    #[inline(always)]
    fn request(self, random: &mut fastrand::Rng, nr_done: usize, nr_slots: usize) -> (u32, u32) {
        match self {
            Pattern::Ring { order, .. } => (order, MOVABLE),
            Pattern::Fallback => {
                let favourite = (nr_done / nr_slots.max(1)) as u32 % NR_TYPES;
                let mt = if random.u32(0..8) == 0 { random.u32(0..NR_TYPES) } else { favourite };
                (random_order(random).min(FALLBACK_TOP), mt)
            }
            _ => (random_order(random), MOVABLE),
        }
    }

    /// What the thread holds before it begins. Not done by the thread itself: filling rings in
    /// competition would take long with some locks, and is not what is measured.
    pub fn prepare<H: Hand>(self, hand: &H, share: Share) -> State {
        let mut random = fastrand::Rng::with_seed(share.seed);
        let nr_slots = match self {
            Pattern::Ring { len, .. } | Pattern::Mixed { len } => len,
            Pattern::Fallback => share.nr_pages * FALLBACK_FILL / 100 / FALLBACK_MEAN,
            _ => 0,
        };
        let nr_pages = match self {
            Pattern::Burst { len } | Pattern::Bulk { len } => len,
            Pattern::AllRandom => share.nr_pages,
            _ => 0,
        };
        let fill = |_| {
            let (order, mt) = self.request(&mut random, 0, nr_slots);
            (hand.alloc(order, mt), order)
        };
        let slots = (0..nr_slots).map(fill).collect();
        let mut order: Vec<u32> = (0..nr_pages as u32).collect();
        random.shuffle(&mut order);
        State { random, nr_done: 0, slots, pfns: vec![NO_PAGE; nr_pages], order }
    }

    /// Does it, until the stopwatch says that it is enough.
    pub fn run<H: Hand>(self, hand: &H, state: &mut State, watch: &mut Stopwatch<'_>) {
        let State { random, nr_done, slots, pfns, order } = state;
        watch.measure(|timer| {
            loop {
                match self {
                    Pattern::Pair { order } => pair(hand, order, timer),
                    Pattern::Ring { .. } | Pattern::Mixed { .. } | Pattern::Fallback => {
                        let nr_slots = slots.len();
                        replace(hand, slots, random, timer, |random| self.request(random, *nr_done, nr_slots));
                        *nr_done += ROUNDS;
                    }
                    Pattern::Burst { .. } => burst(hand, pfns, timer),
                    Pattern::AllRandom => all_random(hand, pfns, order, timer),
                    Pattern::Bulk { .. } => bulk(hand, pfns, timer),
                }
                // Asked last: whoever began has measured something, however late it was.
                if timer.is_done() {
                    break;
                }
            }
        });
        if self != Pattern::AllRandom {
            pfns.fill(NO_PAGE); // all are free again
        }
    }
}

impl State {
    /// Gives everything back.
    pub fn clean_up<H: Hand>(self, hand: &H) {
        let pages = self.pfns.into_iter().map(|pfn| (pfn, 0));
        for (pfn, order) in self.slots.into_iter().chain(pages).filter(|block| block.0 != NO_PAGE) {
            hand.free(pfn, order);
        }
    }
}

#[inline(always)]
fn pair<H: Hand>(hand: &H, order: u32, timer: &mut Timer<'_>) {
    for _ in 0..ROUNDS {
        let pfn = timer.time(|| hand.alloc(order, MOVABLE));
        if pfn != NO_PAGE {
            timer.time(|| hand.free(pfn, order));
        }
    }
}

#[inline(always)]
fn replace<H: Hand>(
    hand: &H,
    slots: &mut [(u64, u32)],
    random: &mut fastrand::Rng,
    timer: &mut Timer<'_>,
    request: impl Fn(&mut fastrand::Rng) -> (u32, u32),
) {
    for _ in 0..ROUNDS {
        let slot = &mut slots[random.usize(0..slots.len())];
        if slot.0 != NO_PAGE {
            let (pfn, order) = *slot;
            timer.time(|| hand.free(pfn, order));
        }
        let (order, mt) = request(random);
        *slot = (timer.time(|| hand.alloc(order, mt)), order);
    }
}

#[inline(always)]
fn burst<H: Hand>(hand: &H, pfns: &mut [u64], timer: &mut Timer<'_>) {
    for pfn in &mut *pfns {
        *pfn = timer.time(|| hand.alloc(0, MOVABLE));
    }
    for &pfn in pfns.iter().filter(|&&pfn| pfn != NO_PAGE) {
        timer.time(|| hand.free(pfn, 0));
    }
}

#[inline(always)]
fn all_random<H: Hand>(hand: &H, pfns: &mut [u64], order: &[u32], timer: &mut Timer<'_>) {
    for pages in pfns.chunks_mut(ROUNDS) {
        pages.iter_mut().for_each(|pfn| *pfn = timer.time(|| hand.alloc(0, MOVABLE)));
        if is_told(timer) {
            break;
        }
    }
    for numbers in order.chunks(ROUNDS) {
        for &number in numbers {
            let pfn = core::mem::replace(&mut pfns[number as usize], NO_PAGE);
            if pfn != NO_PAGE {
                timer.time(|| hand.free(pfn, 0));
            }
        }
        if is_told(timer) {
            break;
        }
    }
}

/// Was the thread told to stop? (A number of operations is looked at between whole rounds only.)
#[inline(always)]
fn is_told(timer: &Timer<'_>) -> bool {
    matches!(timer.until, Until::Told(_)) && timer.is_done()
}

#[inline(always)]
fn bulk<H: Hand>(hand: &H, pfns: &mut [u64], timer: &mut Timer<'_>) {
    let taken = timer.time_many(|| hand.alloc_bulk(pfns), |taken| *taken as u64);
    timer.time_many(|| hand.free_bulk(&pfns[..taken]), |()| taken as u64);
}
