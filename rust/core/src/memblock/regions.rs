//! A sorted list of disjoint regions, as `struct memblock_type` keeps it.
//!
//! The kernel stores an empty list as one all-zero dummy region. Here an empty list is empty, and
//! the few places where the dummy shows (capacity, some walks, the dump) say so.

use super::{Geometry, ListImage, MemblockError, Region};
use core::ops::Range;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RegionList {
    regions: Vec<Region>,
    /// Regions the kernel's array has room for.
    pub(super) capacity: usize,
    /// The kernel's own size counter, modulo 2^64; it can differ from the sum of the sizes.
    pub(super) total_size: u64,
    /// Physical address of the array, once it has been grown.
    pub(super) array: Option<u64>,
    /// Whether neighbours exist that could be merged.
    unmerged: bool,
    /// Node of the dummy region of the empty list: 0 at first, "no node" once emptied.
    dummy_nid: Option<u32>,
}

impl RegionList {
    pub(super) fn new(capacity: usize) -> RegionList {
        RegionList { regions: Vec::new(), capacity, total_size: 0, array: None, unmerged: false, dummy_nid: Some(0) }
    }

    /// Takes regions over as they are; room is made by doubling.
    pub(super) fn replace(&mut self, regions: Vec<Region>) -> Result<(), MemblockError> {
        let fits = |region: &Region| region.size > 0 && region.base.checked_add(region.size).is_some();
        if !regions.iter().all(fits) || !regions.is_sorted_by(|a, b| a.end() <= b.base) {
            return Err(MemblockError::BadRegions);
        }
        while self.capacity < regions.len() {
            self.capacity *= 2;
        }
        self.total_size = regions.iter().fold(0u64, |sum, region| sum.wrapping_add(region.size));
        self.regions = regions;
        self.note_unmerged();
        Ok(())
    }

    fn note_unmerged(&mut self) {
        self.unmerged = self.regions.windows(2).any(|pair| pair[0].continues_in(&pair[1]));
    }

    pub(super) fn to_image(&self) -> ListImage {
        ListImage {
            regions: self.regions.clone(),
            capacity: self.capacity,
            total_size: self.total_size,
            array: self.array,
            was_emptied: self.dummy_nid.is_none(),
        }
    }

    pub(super) fn from_image(image: ListImage, geometry: &Geometry) -> Result<RegionList, MemblockError> {
        let ListImage { regions, capacity, total_size, array, was_emptied } = image;
        // Capacities come about by doubling; discarding a list of 2^32 regions would take 2^25 pages.
        let by_doubling = capacity % geometry.init_regions == 0 && (capacity / geometry.init_regions).is_power_of_two();
        let array_fits = array.is_none_or(|addr| addr % geometry.page_size() == 0);
        if !by_doubling || !array_fits || capacity < regions.len() || capacity > 1 << 32 {
            return Err(MemblockError::BadRegions);
        }
        let mut list = RegionList::new(capacity);
        list.replace(regions)?;
        list.total_size = total_size;
        list.array = array;
        if was_emptied {
            list.dummy_nid = None;
        }
        Ok(list)
    }

    pub(super) fn as_slice(&self) -> &[Region] {
        &self.regions
    }

    /// Regions as the kernel's array holds them: an empty list has its dummy.
    pub(super) fn with_dummy(&self) -> impl DoubleEndedIterator<Item = Region> + '_ {
        let dummy = Region { base: 0, size: 0, nid: self.dummy_nid, flags: 0 };
        self.regions.is_empty().then_some(dummy).into_iter().chain(self.regions.iter().copied())
    }

    /// Array elements in use; the dummy counts.
    pub(super) fn count(&self) -> usize {
        self.regions.len().max(1)
    }

    /// Index of the first region that ends above the address.
    pub(super) fn first_ending_above(&self, addr: u64) -> usize {
        self.regions.partition_point(|r| r.end() <= addr)
    }

    /// Indices of the regions that share at least one byte with `[base, end)`.
    fn overlapping(&self, base: u64, end: u64) -> Range<usize> {
        let start = self.first_ending_above(base);
        start..self.regions.partition_point(|r| r.base < end).max(start)
    }

    /// The region that contains the address (`memblock_search`).
    pub(super) fn search(&self, addr: u64) -> Option<&Region> {
        self.regions.get(self.first_ending_above(addr)).filter(|r| r.contains(addr))
    }

    /// Whether a region overlaps `[base, end)`; for `base == end`: contains it strictly inside.
    pub(super) fn overlaps(&self, base: u64, end: u64) -> bool {
        self.regions.get(self.first_ending_above(base)).is_some_and(|r| r.base < end)
    }

    /// Number of pieces of `[base, end)` that no region covers.
    pub(super) fn nr_uncovered(&self, base: u64, end: u64) -> usize {
        let mut cursor = base;
        let mut nr = 0;
        for region in &self.regions[self.overlapping(base, end)] {
            nr += usize::from(region.base > cursor);
            cursor = region.end();
        }
        nr + usize::from(cursor < end)
    }

    /// Fills the uncovered pieces of `[base, end)` with the node and flags, then merges.
    pub(super) fn insert_uncovered(&mut self, base: u64, end: u64, nid: Option<u32>, flags: u32) {
        if self.regions.is_empty() {
            // The dummy becomes the region, and the counter is set, not added to.
            self.regions.push(Region { base, size: end - base, nid, flags });
            self.total_size = end - base;
            return;
        }
        let window = self.overlapping(base, end);
        let mut filled = Vec::with_capacity(2 * window.len() + 1);
        let mut cursor = base;
        let mut added = 0u64;
        let mut fill = |filled: &mut Vec<Region>, from: u64, to: u64| {
            if from < to {
                filled.push(Region { base: from, size: to - from, nid, flags });
                added += to - from;
            }
        };
        for &region in &self.regions[window.clone()] {
            fill(&mut filled, cursor, region.base);
            filled.push(region);
            cursor = region.end();
        }
        fill(&mut filled, cursor, end);
        self.total_size = self.total_size.wrapping_add(added);
        let changed = window.start..window.start + filled.len();
        self.regions.splice(window, filled);
        self.merge(changed);
    }

    /// Splits the regions that cross a boundary of `[base, end)` and returns the indices of those
    /// inside (`memblock_isolate_range`). The caller deletes them or merges.
    pub(super) fn isolate(&mut self, base: u64, end: u64) -> Range<usize> {
        let mut inside = self.overlapping(base, end);
        if inside.is_empty() {
            return inside;
        }
        if self.regions[inside.start].base < base {
            self.split(inside.start, base);
            inside = inside.start + 1..inside.end + 1;
        }
        if self.regions[inside.end - 1].end() > end {
            self.split(inside.end - 1, end);
        }
        inside
    }

    /// Cuts a region in two at an address strictly inside it.
    fn split(&mut self, index: usize, at: u64) {
        let whole = self.regions[index];
        self.regions[index].size = at - whole.base;
        self.regions.insert(index + 1, Region { base: at, size: whole.end() - at, ..whole });
    }

    /// Deletes regions (`memblock_remove_region`).
    pub(super) fn delete(&mut self, doomed: Range<usize>) {
        if doomed.is_empty() {
            return;
        }
        let removed = self.regions.drain(doomed).fold(0u64, |sum, r| sum.wrapping_add(r.size));
        self.note_deleted(removed);
    }

    /// Deletes the regions outside the indices that the predicate does not keep. The kept ones may
    /// be left in pieces that could be merged.
    pub(super) fn delete_outside(&mut self, inside: Range<usize>, keep: impl Fn(&Region) -> bool) {
        let mut index = 0;
        let mut removed = 0u64;
        self.regions.retain(|region| {
            let stays = inside.contains(&index) || keep(region);
            index += 1;
            if !stays {
                removed = removed.wrapping_add(region.size);
            }
            stays
        });
        self.note_deleted(removed);
        self.note_unmerged();
    }

    /// Replaces every region by what the function makes of it; `None` deletes it. As in the kernel
    /// the counter is reduced by the regions deleted, not by what the others lost.
    pub(super) fn shrink_each(&mut self, shrink: impl Fn(&Region) -> Option<(u64, u64)>) {
        let mut removed = 0u64;
        self.regions.retain_mut(|region| match shrink(region) {
            Some((base, end)) => {
                region.base = base;
                region.size = end - base;
                true
            }
            None => {
                removed = removed.wrapping_add(region.size);
                false
            }
        });
        self.note_deleted(removed);
    }

    fn note_deleted(&mut self, removed: u64) {
        self.total_size = self.total_size.wrapping_sub(removed);
        if self.regions.is_empty() {
            self.dummy_nid = None;
        }
    }

    /// Changes the regions at the indices, then merges.
    pub(super) fn change(&mut self, inside: Range<usize>, change: impl Fn(&mut Region)) {
        self.regions[inside.clone()].iter_mut().for_each(change);
        self.merge(inside);
    }

    /// Makes one region of neighbours that touch and agree in node and flags
    /// (`memblock_merge_regions`).
    ///
    /// The kernel always looks at the whole list. Looking around the changed indices gives the same
    /// result unless an operation left unmerged neighbours elsewhere.
    fn merge(&mut self, changed: Range<usize>) {
        let (start, end) = if self.unmerged {
            (0, self.regions.len())
        } else {
            (changed.start.saturating_sub(1), (changed.end + 1).min(self.regions.len()))
        };
        self.unmerged = false;
        if start >= end {
            return;
        }
        let mut last = start;
        for index in start + 1..end {
            if self.regions[last].continues_in(&self.regions[index]) {
                self.regions[last].size += self.regions[index].size;
            } else {
                last += 1;
                self.regions[last] = self.regions[index];
            }
        }
        self.regions.drain(last + 1..end);
    }
}
