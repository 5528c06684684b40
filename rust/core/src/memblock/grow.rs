//! Capacity of the lists and growth of their arrays.

use super::{ListKind, Memblock, MemblockError, Region, round_up_wrapping};

/// What happens when a list is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// The operation fails, as in the kernel before `memblock_allow_resize`.
    Refused,
    /// The list's array moves to free memory and is reserved there, as in the kernel afterwards.
    InMemory,
    /// The list grows and takes no memory, as if its array came from the slab allocator.
    Elsewhere,
}

/// A list's array was moved to a larger place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrayGrowth {
    /// The list.
    pub list: ListKind,
    /// Regions it has room for now.
    pub capacity: usize,
    /// Physical address of the new array.
    pub addr: u64,
    /// Its size, in whole pages.
    pub size_bytes: u64,
}

impl Memblock {
    /// All array growths so far, in the order in which places were found.
    pub fn array_growths(&self) -> &[ArrayGrowth] {
        &self.growths
    }

    /// Grows a list until it has room for `nr_more` regions. `(base, end)` is the range operated on;
    /// the reserved list's new array tries to stay clear of it.
    pub(super) fn make_room(
        &mut self,
        list: ListKind,
        base: u64,
        end: u64,
        nr_more: usize,
    ) -> Result<(), MemblockError> {
        while self.list(list).count() + nr_more > self.list(list).capacity {
            self.double_array(list, base, end)?;
        }
        Ok(())
    }

    /// `memblock_double_array`.
    fn double_array(&mut self, list: ListKind, base: u64, end: u64) -> Result<(), MemblockError> {
        let capacity = self.list(list).capacity.checked_mul(2).ok_or(MemblockError::NoMemory)?;
        match self.resize {
            Resize::Refused => return Err(MemblockError::NoMemory),
            Resize::InMemory => {}
            Resize::Elsewhere => {
                self.list_mut(list).capacity = capacity;
                return Ok(());
            }
        }
        let old_bytes = self.array_bytes(self.list(list).capacity).ok_or(MemblockError::NoMemory)?;
        let size_bytes = self.array_bytes(capacity).ok_or(MemblockError::NoMemory)?;
        let limit = self.current_limit;
        let addr = match list {
            ListKind::Memory => self.find_for_array(0, limit, size_bytes),
            ListKind::Reserved => self
                .find_for_array(end, limit, size_bytes)
                .or_else(|| self.find_for_array(0, base.min(limit), size_bytes)),
        }
        .ok_or(MemblockError::NoMemory)?;

        // Only needed where the kernel would stop with a BUG; growth is rare enough to afford it.
        let before = (self.memory.clone(), self.reserved.clone(), self.growths.len());
        self.growths.push(ArrayGrowth { list, capacity, addr, size_bytes });
        let old_array = self.list_mut(list).array.replace(addr);
        self.list_mut(list).capacity = capacity;
        if let Some(old) = old_array {
            // The kernel ignores the result here too. It frees before it reserves, so that a reserved
            // list that has to grow for the freeing can choose the place found above once more.
            let _ = self.remove_range(ListKind::Reserved, old, old_bytes);
        }
        self.add_range(ListKind::Reserved, addr, size_bytes, None, 0).map_err(|_| {
            let (memory, reserved, nr_growths) = before;
            self.memory = memory;
            self.reserved = reserved;
            self.growths.truncate(nr_growths);
            MemblockError::ArrayReservation
        })
    }

    fn find_for_array(&self, start: u64, end: u64, size: u64) -> Option<u64> {
        self.find_in_range(start, end, size, self.geometry.page_size())
    }

    /// Bytes of an array, in whole pages.
    pub(super) fn array_bytes(&self, capacity: usize) -> Option<u64> {
        let bytes = self.geometry.region_bytes.checked_mul(capacity as u64)?;
        let page_size = self.geometry.page_size();
        bytes.checked_add(page_size - 1).map(|_| round_up_wrapping(bytes, page_size))
    }

    /// Place of a list's array if it has been grown.
    pub(super) fn grown_array(&self, list: ListKind) -> Option<Region> {
        let base = self.list(list).array?;
        let size = self.array_bytes(self.list(list).capacity)?;
        Some(Region { base, size, nid: None, flags: 0 })
    }
}
