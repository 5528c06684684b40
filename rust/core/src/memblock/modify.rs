//! Operations that change the lists.

use super::{
    FLAG_HOTPLUG, FLAG_MIRROR, FLAG_NOMAP, ListKind, Memblock, MemblockError, Region, capped_end, regions::RegionList,
};
use core::ops::Range;

/// `-ENOMEM` in the kernel: the list was full and could not grow; the lists are as before, except
/// for growth that did succeed.
type ListResult = Result<(), MemblockError>;

impl Memblock {
    /// Adds memory without a node (`memblock_add`).
    pub fn add(&mut self, base: u64, size: u64) -> ListResult {
        self.add_node(base, size, None, 0)
    }

    /// Adds memory (`memblock_add_node`). What is already covered keeps its node and flags.
    pub fn add_node(&mut self, base: u64, size: u64, nid: Option<u32>, flags: u32) -> ListResult {
        self.check_open()?;
        self.add_range(ListKind::Memory, base, size, nid, flags)
    }

    /// Reserves a range, whether or not memory is there (`memblock_reserve`).
    pub fn reserve(&mut self, base: u64, size: u64) -> ListResult {
        self.check_open()?;
        self.add_range(ListKind::Reserved, base, size, None, 0)
    }

    /// Reserves a range for a node at once. The kernel reserves, then sets the node when it learns
    /// about nodes; what is already reserved keeps its node here.
    pub fn reserve_node(&mut self, base: u64, size: u64, nid: Option<u32>) -> ListResult {
        self.check_open()?;
        self.add_range(ListKind::Reserved, base, size, nid, 0)
    }

    /// Removes memory (`memblock_remove`).
    pub fn remove(&mut self, base: u64, size: u64) -> ListResult {
        self.check_open()?;
        self.remove_range(ListKind::Memory, base, size)
    }

    /// Ends a reservation (`memblock_phys_free`).
    pub fn phys_free(&mut self, base: u64, size: u64) -> ListResult {
        self.check_open()?;
        self.remove_range(ListKind::Reserved, base, size)
    }

    /// Like [`Memblock::phys_free`], by the pointer an allocation returned (`memblock_free`). A null
    /// pointer is ignored, and so is a full list, as in the kernel.
    pub fn free(&mut self, addr: Option<u64>, size: u64) -> ListResult {
        self.check_open()?;
        match addr.map(|base| self.remove_range(ListKind::Reserved, base, size)) {
            Some(Err(error)) if error != MemblockError::NoMemory => Err(error),
            _ => Ok(()),
        }
    }

    /// `memblock_mark_hotplug`.
    pub fn mark_hotplug(&mut self, base: u64, size: u64) -> ListResult {
        self.set_flag(base, size, FLAG_HOTPLUG)
    }

    /// `memblock_clear_hotplug`.
    pub fn clear_hotplug(&mut self, base: u64, size: u64) -> ListResult {
        self.clear_flag(base, size, FLAG_HOTPLUG)
    }

    /// `memblock_mark_mirror`. From here on mirrored memory is preferred, even if nothing could be
    /// marked; 5.17 has no way back.
    pub fn mark_mirror(&mut self, base: u64, size: u64) -> ListResult {
        self.check_open()?;
        self.some_mirror = true;
        self.set_flag(base, size, FLAG_MIRROR)
    }

    /// `memblock_mark_nomap`.
    pub fn mark_nomap(&mut self, base: u64, size: u64) -> ListResult {
        self.set_flag(base, size, FLAG_NOMAP)
    }

    /// `memblock_clear_nomap`.
    pub fn clear_nomap(&mut self, base: u64, size: u64) -> ListResult {
        self.clear_flag(base, size, FLAG_NOMAP)
    }

    /// Sets the node of a range, in either list (`memblock_set_node`).
    pub fn set_node(&mut self, base: u64, size: u64, list: ListKind, nid: Option<u32>) -> ListResult {
        self.change_range(list, base, size, |region| region.nid = nid)
    }

    /// Clears any flags of a range of memory.
    pub fn clear_flag(&mut self, base: u64, size: u64, flags: u32) -> ListResult {
        self.change_range(ListKind::Memory, base, size, |region| region.flags &= !flags)
    }

    fn set_flag(&mut self, base: u64, size: u64, flag: u32) -> ListResult {
        self.change_range(ListKind::Memory, base, size, |region| region.flags |= flag)
    }

    fn change_range(&mut self, list: ListKind, base: u64, size: u64, change: impl Fn(&mut Region)) -> ListResult {
        self.check_open()?;
        // Even for an empty range the list is merged afterwards.
        let inside = match capped_end(base, size) {
            Some(end) => self.isolate_range(list, base, end)?,
            None => 0..0,
        };
        self.list_mut(list).change(inside, change);
        Ok(())
    }

    /// `memblock_add_range`.
    pub(super) fn add_range(
        &mut self,
        list: ListKind,
        base: u64,
        size: u64,
        nid: Option<u32>,
        flags: u32,
    ) -> ListResult {
        let Some(end) = capped_end(base, size) else { return Ok(()) };
        if !self.list(list).as_slice().is_empty() {
            // Counted once: growing the reserved list can itself cover part of the range.
            let nr_new = self.list(list).nr_uncovered(base, end);
            if nr_new == 0 {
                return Ok(());
            }
            self.make_room(list, base, end, nr_new)?;
        }
        self.list_mut(list).insert_uncovered(base, end, nid, flags);
        Ok(())
    }

    /// `memblock_remove_range`.
    pub(super) fn remove_range(&mut self, list: ListKind, base: u64, size: u64) -> ListResult {
        if let Some(end) = capped_end(base, size) {
            let inside = self.isolate_range(list, base, end)?;
            self.list_mut(list).delete(inside);
        }
        Ok(())
    }

    /// Makes room for two more regions, needed or not, then splits at the boundaries.
    pub(super) fn isolate_range(&mut self, list: ListKind, base: u64, end: u64) -> Result<Range<usize>, MemblockError> {
        self.make_room(list, base, end, 2)?;
        Ok(RegionList::isolate(self.list_mut(list), base, end))
    }
}
