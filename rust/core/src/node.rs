//! What a process keeps of a node: its zonelists, cut for every highest zone index.

use crate::config::Config;
use crate::segment::{NodeShared, Segment};
use crate::sync::{AcqRel, Acquire, AtomicU32, Relaxed, Release};
use crate::types::{MAX_NR_ZONES, ZoneKind};
use crate::zonelist::Entry;

/// A zonelist, and its parts for requests with each highest zone index.
#[derive(Debug)]
pub struct ListUpTo {
    /// All entries.
    pub all: Vec<Entry>,
    up_to: [Box<[Entry]>; MAX_NR_ZONES],
}

impl ListUpTo {
    fn new(all: Vec<Entry>) -> Self {
        let up_to = core::array::from_fn(|highest| all.iter().filter(|e| e.index <= highest).copied().collect());
        ListUpTo { all, up_to }
    }

    /// Entries with at most this zone index.
    #[inline(always)]
    pub fn up_to(&self, highest: usize) -> &[Entry] {
        &self.up_to[highest]
    }
}

/// A node's id and zonelists.
#[derive(Debug)]
pub struct NodeParts {
    /// Node id.
    pub nid: u32,
    /// Zones of all nodes.
    pub fallback: ListUpTo,
    /// Zones of this node alone.
    pub thisnode: ListUpTo,
}

impl NodeParts {
    /// Reads a node's tables; `None` if they contradict each other.
    pub fn new(segment: &Segment, config: &Config, node: &NodeShared) -> Option<NodeParts> {
        let dma32 = config.zone_index(ZoneKind::Dma32);
        let has_dma32 = |nid: u32| {
            segment.zones.iter().any(|zone| {
                let index = zone.index.load(Relaxed) as usize; // ORDERING(R1)
                let present = zone.present.load(Relaxed); // ORDERING(R1)
                zone.node.load(Relaxed) == nid && present != 0 && Some(index) == dma32 // ORDERING(R1)
            })
        };
        let list = |start: u32, len: u32| -> Option<ListUpTo> {
            let range = start as usize..(start as usize).checked_add(len as usize)?;
            let entries = segment.zonelists.get(range)?.iter().map(|entry| {
                let number = entry.zone.load(Relaxed) as usize; // ORDERING(R1)
                let zone = segment.zones.get(number)?;
                let index = zone.index.load(Relaxed) as usize; // ORDERING(R1)
                let nid = zone.node.load(Relaxed); // ORDERING(R1)
                let fits = index < config.nr_zones() && nid < 64;
                fits.then(|| Entry { zone: number, index, nid, has_dma32: has_dma32(nid) })
            });
            entries.collect::<Option<Vec<Entry>>>().map(ListUpTo::new)
        };
        Some(NodeParts {
            nid: node.nid.load(Relaxed), // ORDERING(R1)
            fallback: list(node.fallback_start.load(Relaxed), node.fallback_len.load(Relaxed))?, // ORDERING(R1)
            thisnode: list(node.thisnode_start.load(Relaxed), node.thisnode_len.load(Relaxed))?, // ORDERING(R1)
        })
    }
}

/// The right to do kswapd's work for a node, until it is dropped: one at a time has it, and nobody
/// waits for it.
#[derive(Debug)]
pub struct KswapdRun<'a>(&'a AtomicU32);

impl<'a> KswapdRun<'a> {
    /// Takes the right, unless somebody has it.
    pub fn begin(running: &'a AtomicU32) -> Option<Self> {
        // ORDERING(P9): Acquire, sees what the last run wrote.
        running.compare_exchange(0, 1, AcqRel, Acquire).ok().map(|_| KswapdRun(running))
    }
}

impl Drop for KswapdRun<'_> {
    fn drop(&mut self) {
        self.0.store(0, Release); // ORDERING(P9)
    }
}
