//! A zone's buddy allocator as each cpu's holder sees it, made once per process, so that a call
//! passes one pointer.

use super::{Mapping, Segment, ZoneShared};
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

/// One buddy allocator per cpu slot, and one for those without a lease. All refer to the same
/// lists; they differ in who announces blocks in flight.
pub struct Buddies {
    by_cpu: Box<[Buddy<'static>]>,
    view: Buddy<'static>,
    /// What the references lead into.
    _map: Arc<Mapping>,
}

impl Buddies {
    /// As the holder of a cpu's lease sees it.
    #[inline(always)]
    pub fn of_cpu(&self, cpu: usize) -> &Buddy<'_> {
        &self.by_cpu[cpu]
    }

    /// As somebody without a lease sees it.
    #[inline(always)]
    pub fn view(&self) -> &Buddy<'_> {
        &self.view
    }
}

impl fmt::Debug for Buddies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buddies of {} cpus", self.by_cpu.len())
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
        let nr_cpus = self.cpus.len();
        Some(Buddies {
            by_cpu: all.iter().take(nr_cpus).map(|own| buddy(Some(own))).collect(),
            view: buddy(None),
            _map: self.map.clone(),
        })
    }
}
