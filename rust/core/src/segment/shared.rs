//! Typed, bounds-checked access to a mapping.

use super::Mapping;
use super::geometry::Table;
use core::ops::Deref;
use core::ptr::NonNull;
use std::sync::Arc;

/// Types that may live in a segment.
///
/// # Safety
/// The type is `repr(C)` or `repr(transparent)`, consists of atomics (or arrays of them) only, and
/// every bit pattern, all zero included, is a valid value.
pub unsafe trait Shared: Sync {}

// SAFETY: one atomic each.
unsafe impl Shared for crate::sync::AtomicU8 {}
// SAFETY: as above.
unsafe impl Shared for crate::sync::AtomicU16 {}
// SAFETY: repr(C) struct of three atomics without padding.
unsafe impl Shared for crate::page_array::PageDesc {}
// SAFETY: repr(C) struct of one atomic; alignment padding is never read.
unsafe impl Shared for crate::in_flight::InFlightFlag {}

/// A table of a segment; keeps the mapping alive.
#[derive(Debug)]
pub struct SharedSlice<T: Shared> {
    ptr: NonNull<T>,
    len: usize,
    _map: Arc<Mapping>,
}

// SAFETY: it is a `&[T]` of `Sync` items into memory kept alive by the Arc.
unsafe impl<T: Shared> Send for SharedSlice<T> {}
// SAFETY: as above.
unsafe impl<T: Shared> Sync for SharedSlice<T> {}

impl<T: Shared> SharedSlice<T> {
    /// The table at `table.offset` with `table.len` items, if the mapping holds it.
    pub fn new(map: &Arc<Mapping>, table: Table) -> Option<Self> {
        let bytes = table.len.checked_mul(size_of::<T>())?;
        let end = table.offset.checked_add(bytes)?;
        if end > map.len() || table.offset % align_of::<T>() != 0 {
            return None;
        }
        // SAFETY: the offset is within the mapping (checked above), so the result is in bounds of
        // the same allocation.
        let ptr = unsafe { map.base().add(table.offset) };
        Some(SharedSlice { ptr: ptr.cast(), len: table.len, _map: map.clone() })
    }
}

impl<T: Shared> SharedSlice<T> {
    /// The same table for another owner.
    pub fn share(&self) -> Self {
        SharedSlice { ptr: self.ptr, len: self.len, _map: self._map.clone() }
    }

    /// The table with a lifetime of the caller's choice.
    ///
    /// # Safety
    /// The result is used only while this handle, or another one of the same mapping, exists.
    pub(super) unsafe fn detached<'s>(&self) -> &'s [T] {
        // SAFETY: as for `deref`; that the mapping lives long enough is up to the caller.
        unsafe { core::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }

    /// A part of the table, if the range lies inside.
    pub fn part(&self, range: core::ops::Range<usize>) -> Option<Self> {
        if range.start > range.end || range.end > self.len {
            return None;
        }
        // SAFETY: the start is within the table or just behind it, hence within the mapping.
        let ptr = unsafe { self.ptr.add(range.start) };
        Some(SharedSlice { ptr, len: range.end - range.start, _map: self._map.clone() })
    }
}

impl<T: Shared> Deref for SharedSlice<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: (1) in bounds and aligned (checked in `new`; mappings are page aligned);
        // (2) the Arc keeps the memory mapped; (3) T: Shared, so every bit pattern is valid and
        // all mutation goes through atomics.
        unsafe { core::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

/// One item of a segment.
#[derive(Debug)]
pub struct SharedRef<T: Shared>(SharedSlice<T>);

impl<T: Shared> SharedRef<T> {
    /// The first item of a table, if the mapping holds it.
    pub fn new(map: &Arc<Mapping>, table: Table) -> Option<Self> {
        SharedSlice::new(map, table).and_then(Self::first_of)
    }

    /// The first item of a table, if there is one.
    pub fn first_of(table: SharedSlice<T>) -> Option<Self> {
        if table.is_empty() { None } else { Some(SharedRef(table)) }
    }

    /// The same item for another owner.
    pub fn share(&self) -> Self {
        SharedRef(self.0.share())
    }
}

impl<T: Shared> Deref for SharedRef<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: `first_of` made sure that there is at least one item; the rest is as for
        // `SharedSlice::deref`.
        unsafe { self.0.ptr.as_ref() }
    }
}
