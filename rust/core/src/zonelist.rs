//! Zonelists as the walk uses them (mm/mmzone.c, `__next_zones_zonelist`).

/// One zone of a zonelist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number in the zone table.
    pub zone: usize,
    /// Zone index.
    pub index: usize,
    /// Node id.
    pub nid: u32,
    /// The node has memory in zone DMA32.
    pub has_dma32: bool,
}

/// The zones a request may use, in order.
#[derive(Clone, Copy, Debug)]
pub struct Walk<'a> {
    /// The list's entries up to the highest zone index.
    pub list: &'a [Entry],
    /// Highest zone index the request may use.
    pub highest: usize,
    /// Nodes allowed; `None` is all.
    pub nodemask: Option<u64>,
}

impl<'a> Walk<'a> {
    /// May the request use this entry?
    #[inline(always)]
    fn is_suitable(self, entry: &Entry) -> bool {
        self.nodemask.is_none_or(|mask| mask >> (entry.nid & 63) & 1 == 1)
    }

    /// The preferred entry: the first suitable one.
    #[inline(always)]
    pub fn preferred(self) -> Option<&'a Entry> {
        self.zones().next()
    }

    /// All suitable entries.
    #[inline(always)]
    pub fn zones(self) -> impl Iterator<Item = &'a Entry> {
        self.list.iter().filter(move |entry| self.is_suitable(entry))
    }
}
