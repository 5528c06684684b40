//! A trace as columns.

use super::{Event, Trace};
use crate::config::Config;

/// One value per event in every column. What an event does not have is -1, or 0 in `gfp`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceColumns {
    /// Nanoseconds, or numbers.
    pub time: Vec<u64>,
    /// Cpus.
    pub cpu: Vec<u32>,
    /// Indices into [`Event::NAMES`].
    pub event: Vec<u8>,
    /// Pages; all ones for a failed allocation.
    pub pfn: Vec<u64>,
    /// Orders; of fallbacks those of the requests.
    pub order: Vec<i8>,
    /// Engine numbers of requested migratetypes, or of lists.
    pub migratetype: Vec<i8>,
    /// Flags of requests.
    pub gfp: Vec<u32>,
    /// 1 where the kernel says that a page was taken for a per-cpu list.
    pub percpu_refill: Vec<i8>,
    /// Orders of blocks that fallbacks found.
    pub fallback_order: Vec<i8>,
    /// Engine numbers of the types of lists that fallbacks took from.
    pub fallback_migratetype: Vec<i8>,
    /// 1 where a fallback broke a pageblock up.
    pub fragmenting: Vec<i8>,
    /// 1 where a pageblock is of the requested type after a fallback.
    pub change_ownership: Vec<i8>,
}

impl Trace {
    /// The events as columns.
    pub fn columns(&self, config: &Config) -> TraceColumns {
        let mut columns = TraceColumns::default();
        for record in &self.records {
            let event = &record.event;
            columns.time.push(record.time);
            columns.cpu.push(record.cpu);
            columns.event.push(event.index() as u8);
            columns.pfn.push(event.pfn().unwrap_or(u64::MAX));
            columns.order.push(event.order() as i8);
            columns.migratetype.push(event.migratetype().map_or(-1, |mt| mt as i8));
            columns.gfp.push(if let Event::Alloc { gfp, .. } = *event { gfp } else { 0 });
            let is_refill = matches!(event, Event::AllocZoneLocked { .. }).then_some((event.order() == 0).into());
            columns.percpu_refill.push(is_refill.unwrap_or(-1));
            let fallback = match *event {
                Event::AllocExtfrag { fallback_order, fallback_migratetype, change_ownership, .. } => [
                    fallback_order as i8,
                    fallback_migratetype as i8,
                    (fallback_order < config.pageblock_order).into(),
                    change_ownership.into(),
                ],
                _ => [-1; 4],
            };
            columns.fallback_order.push(fallback[0]);
            columns.fallback_migratetype.push(fallback[1]);
            columns.fragmenting.push(fallback[2]);
            columns.change_ownership.push(fallback[3]);
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Record, TraceClock};
    use super::*;

    #[test]
    fn columns_hold_every_field() {
        let events = [
            Event::Alloc { pfn: None, order: 3, gfp: 0xcc0, migratetype: 2 },
            Event::AllocZoneLocked { pfn: 7, order: 0, migratetype: 1 },
            Event::AllocExtfrag {
                pfn: 0x400,
                alloc_order: 1,
                fallback_order: 8,
                alloc_migratetype: 0,
                fallback_migratetype: 1,
                change_ownership: false,
            },
            Event::FreeBatched { pfn: 9 },
        ];
        let records = events.map(|event| Record { time: 5, cpu: 2, event }).to_vec();
        let trace = Trace { clock: TraceClock::Mono, records, nr_written: 4, ..Trace::default() };
        let expected = TraceColumns {
            time: vec![5; 4],
            cpu: vec![2; 4],
            event: vec![0, 1, 2, 4],
            pfn: vec![u64::MAX, 7, 0x400, 9],
            order: vec![3, 0, 1, 0],
            migratetype: vec![2, 1, 0, -1],
            gfp: vec![0xcc0, 0, 0, 0],
            percpu_refill: vec![-1, 1, -1, -1],
            fallback_order: vec![-1, -1, 8, -1],
            fallback_migratetype: vec![-1, -1, 1, -1],
            fragmenting: vec![-1, -1, 1, -1],
            change_ownership: vec![-1, -1, 0, -1],
        };
        assert_eq!(trace.columns(&Config::default()), expected);
    }
}
