//! What the threads of a measurement do.

use crate::engines::{Hand, Level, MOVABLE};
use crate::ffi::NO_PAGE;
use crate::stopwatch::Stopwatch;

/// Largest order.
const TOP: u32 = 10;

/// Percent of a zone's pages that the workload with fallback keeps out.
const FALLBACK_FILL: u64 = 88;

/// Pages of an average block of random order: each order is half as likely as the one below.
const MEAN_MIXED_PAGES: u64 = 6;

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
            Pattern::Fallback => "mixed orders and migratetypes, nearly full".to_owned(),
            Pattern::AllRandom => "all pages, freed in random order".to_owned(),
            Pattern::Bulk { len } => format!("bulk of {len}, per page"),
        }
    }
}

/// One row of the tables.
#[derive(Clone, Copy, Debug)]
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

    /// Mebibytes of the machine it runs on.
    pub fn mib(self, quick: bool) -> u64 {
        match self.pattern {
            Pattern::Fallback => 256,
            Pattern::AllRandom if quick => 128,
            Pattern::AllRandom => 1024,
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
    works
}

/// What a thread needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Operations to do, roughly.
    pub nr_ops: u64,
    /// Pages it may have at a time when it takes all.
    pub nr_pages: u64,
    /// Its random numbers.
    pub seed: u64,
}

/// A random order, each half as likely as the one below.
#[inline(always)]
fn random_order(random: &mut fastrand::Rng) -> u32 {
    random.u32(..).trailing_zeros().min(TOP)
}

/// Runs a pattern on one thread. All pages are given back at the end, outside the timed segments.
pub fn run<H: Hand>(hand: &H, pattern: Pattern, share: Share, watch: &mut Stopwatch<'_>) {
    match pattern {
        Pattern::Pair { order } => pair(hand, order, share, watch),
        Pattern::Ring { order, len } => {
            let slots = vec![(NO_PAGE, order); len];
            ring(hand, slots, share, watch, |_| (order, MOVABLE));
        }
        Pattern::Burst { len } => burst(hand, len, share, watch),
        Pattern::Mixed { len } => {
            ring(hand, vec![(NO_PAGE, 0); len], share, watch, |random| (random_order(random), MOVABLE));
        }
        Pattern::Fallback => {
            let len = share.nr_pages * FALLBACK_FILL / 100 / MEAN_MIXED_PAGES;
            let request = |random: &mut fastrand::Rng| (random_order(random), random.u32(0..3));
            ring(hand, vec![(NO_PAGE, 0); len as usize], share, watch, request);
        }
        Pattern::AllRandom => all_random(hand, share, watch),
        Pattern::Bulk { len } => bulk(hand, len, share, watch),
    }
}

fn pair<H: Hand>(hand: &H, order: u32, share: Share, watch: &mut Stopwatch<'_>) {
    watch.segment(|timer| {
        for _ in 0..share.nr_ops / 2 {
            let pfn = timer.time(|| hand.alloc(order, MOVABLE));
            if pfn != NO_PAGE {
                timer.time(|| hand.free(pfn, order));
            }
        }
    });
}

fn ring<H: Hand>(
    hand: &H,
    mut slots: Vec<(u64, u32)>,
    share: Share,
    watch: &mut Stopwatch<'_>,
    request: impl Fn(&mut fastrand::Rng) -> (u32, u32),
) {
    let mut random = fastrand::Rng::with_seed(share.seed);
    for slot in &mut slots {
        let (order, mt) = request(&mut random);
        *slot = (hand.alloc(order, mt), order);
    }
    watch.segment(|timer| {
        for _ in 0..share.nr_ops / 2 {
            let number = random.usize(0..slots.len());
            let slot = &mut slots[number];
            if slot.0 != NO_PAGE {
                let (pfn, order) = *slot;
                timer.time(|| hand.free(pfn, order));
            }
            let (order, mt) = request(&mut random);
            *slot = (timer.time(|| hand.alloc(order, mt)), order);
        }
    });
    for (pfn, order) in slots {
        if pfn != NO_PAGE {
            hand.free(pfn, order);
        }
    }
}

fn burst<H: Hand>(hand: &H, len: usize, share: Share, watch: &mut Stopwatch<'_>) {
    let mut pfns = vec![NO_PAGE; len];
    watch.segment(|timer| {
        for _ in 0..share.nr_ops / (2 * len as u64) {
            for pfn in &mut pfns {
                *pfn = timer.time(|| hand.alloc(0, MOVABLE));
            }
            for &pfn in pfns.iter().filter(|&&pfn| pfn != NO_PAGE) {
                timer.time(|| hand.free(pfn, 0));
            }
        }
    });
}

fn all_random<H: Hand>(hand: &H, share: Share, watch: &mut Stopwatch<'_>) {
    let mut random = fastrand::Rng::with_seed(share.seed);
    let mut pfns = Vec::with_capacity(share.nr_pages as usize);
    watch.segment(|timer| {
        while pfns.len() < share.nr_pages as usize {
            let pfn = timer.time(|| hand.alloc(0, MOVABLE));
            if pfn == NO_PAGE {
                break;
            }
            pfns.push(pfn);
        }
    });
    random.shuffle(&mut pfns);
    watch.segment(|timer| {
        for &pfn in &pfns {
            timer.time(|| hand.free(pfn, 0));
        }
    });
}

fn bulk<H: Hand>(hand: &H, len: usize, share: Share, watch: &mut Stopwatch<'_>) {
    let mut pfns = vec![NO_PAGE; len];
    watch.segment(|timer| {
        for _ in 0..share.nr_ops / (2 * len as u64) {
            let taken = timer.time_many(|| hand.alloc_bulk(&mut pfns), |taken| *taken as u64);
            timer.time_many(|| hand.free_bulk(&pfns[..taken]), |()| taken as u64);
        }
    });
}
