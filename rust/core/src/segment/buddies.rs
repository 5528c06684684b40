//! A zone as each cpu's holder sees it: its buddy allocator, and the cpu's own words. Made once per
//! process, so that a call passes one pointer.

use super::{CpuSlot, CpuZone, Mapping, NR_PCP_LISTS, PcpWindow, Segment, ZoneShared};
use crate::buddy::Buddy;
use crate::config::Config;
use crate::free_area::{FreeArea, MergeRule};
use crate::free_list::FreeLists;
use crate::in_flight::{InFlight, InFlightFlag};
use crate::page_array::PageArray;
use crate::pageblock::Pageblocks;
use crate::types::Pfn;
use core::fmt;
use std::sync::Arc;

/// What the holder of a cpu's lease works with in one zone.
pub struct Desk<'a> {
    /// The cpu's slot.
    pub slot: &'a CpuSlot,
    /// The cpu's lists and counters.
    pub state: &'a CpuZone,
    /// The windows of the cpu's lists.
    pub windows: &'a [PcpWindow; NR_PCP_LISTS],
    /// The zone's buddy allocator; what is in flight is announced in the cpu's name.
    pub buddy: Buddy<'a>,
}

/// One desk per cpu slot, and a buddy allocator for those without a lease. All refer to the same
/// lists; they differ in who announces blocks in flight.
pub struct Buddies {
    by_slot: Box<[Desk<'static>]>,
    view: Buddy<'static>,
    /// What the references lead into.
    _map: Arc<Mapping>,
}

impl Buddies {
    /// As the holder of a slot's lease sees it.
    #[inline(always)]
    pub fn of_slot(&self, slot: usize) -> &Desk<'_> {
        &self.by_slot[slot]
    }

    /// As somebody without a lease sees it.
    #[inline(always)]
    pub fn view(&self) -> &Buddy<'_> {
        &self.view
    }
}

impl fmt::Debug for Buddies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buddies of {} slots", self.by_slot.len())
    }
}

impl Segment {
    /// The buddy allocators of a zone whose page index 0 is `base_pfn`.
    pub fn buddies(&self, number: usize, config: &Config, base_pfn: Pfn) -> Option<Buddies> {
        let (zone, pages, heads) = (self.zones.get(number)?, self.pages.get(number)?, self.heads.get(number)?);
        let types = self.pageblocks_from(base_pfn, config.pageblock_order)?;
        // SAFETY: it lies in the mapping, which the result keeps as long as the references; it hands
        // them out with its own lifetime only.
        let zone: &'static ZoneShared = unsafe { &*core::ptr::from_ref(zone) };
        // SAFETY: as above.
        let pages = unsafe { pages.detached() };
        // SAFETY: as above.
        let heads = unsafe { heads.detached() };
        // SAFETY: as above.
        let types = unsafe { types.detached() };
        let states = self.cpu_zones_of(number)?;
        // SAFETY: as above.
        let states = unsafe { states.detached() };
        let per_zone = self.slots.len() * NR_PCP_LISTS;
        let windows = self.pcp_windows.part(number * per_zone..(number + 1) * per_zone)?;
        // SAFETY: as above.
        let windows = unsafe { windows.detached() };
        // SAFETY: as above.
        let slots = unsafe { self.slots.detached() };
        // SAFETY: as above.
        let all = unsafe { self.in_flight.detached() };
        let pages = PageArray::new(pages, heads)?;
        let buddy = |own: Option<&'static InFlightFlag>| Buddy {
            area: FreeArea {
                lists: FreeLists { lists: &zone.lists, pages },
                rule: MergeRule {
                    top: config.max_order - 1,
                    blocks: Pageblocks::new(types, config.pageblock_order),
                    nr_isolated: &zone.nr_isolate_pageblock,
                    has_isolation: config.memory_isolation,
                },
                in_flight: InFlight { own, all },
            },
        };
        let desks = slots.iter().zip(states).zip(windows.chunks_exact(NR_PCP_LISTS)).zip(all);
        let by_slot = desks.map(|(((slot, state), windows), own)| {
            Some(Desk { slot, state, windows: windows.try_into().ok()?, buddy: buddy(Some(own)) })
        });
        Some(Buddies { by_slot: by_slot.collect::<Option<_>>()?, view: buddy(None), _map: self.map.clone() })
    }
}
