//! /proc/zoneinfo (mm/vmstat.c, `zoneinfo_show_print`).

use super::{Item, NODE_ITEMS, NUMA_ITEMS, ZONE_ITEMS};
use crate::allocator::PageAllocator;
use crate::sync::{AtomicU64, Relaxed};
use crate::types::Pfn;
use crate::watermark::{WMARK_HIGH, WMARK_LOW, WMARK_MIN};
use crate::zone::Zone;
use core::fmt;

/// A zone's lists on one cpu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZonePageset {
    /// Cpu.
    pub cpu: usize,
    /// Pages on the lists.
    pub count: u64,
    /// `high`.
    pub high: u64,
    /// `batch`.
    pub batch: u64,
    /// Threshold of the counter differentials; `None` without SMP.
    pub stat_threshold: Option<i32>,
}

/// What is told of zones with memory only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PopulatedZone {
    /// Zone counters, approximate.
    pub items: Vec<Item>,
    /// NUMA events as far as they are folded; empty without NUMA.
    pub numa: Vec<Item>,
    /// Online cpus, ascending.
    pub pagesets: Vec<ZonePageset>,
    /// kswapd of the node has given up.
    pub node_unreclaimable: bool,
    /// First pfn.
    pub start_pfn: Pfn,
}

/// A zone of a node, with or without memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneinfoZone {
    /// Node id.
    pub nid: u32,
    /// Name of the zone.
    pub zone: &'static str,
    /// The node's counters, told with its first populated zone.
    pub node_stats: Option<Vec<Item>>,
    /// Free pages, approximate.
    pub free: u64,
    /// Boost of the watermarks.
    pub boost: u64,
    /// Min watermark, boost included.
    pub min: u64,
    /// Low watermark, boost included.
    pub low: u64,
    /// High watermark, boost included.
    pub high: u64,
    /// Pages from the first to the last, holes included.
    pub spanned: u64,
    /// Pages that exist.
    pub present: u64,
    /// Pages handed to the allocator.
    pub managed: u64,
    /// Pages in CMA areas.
    pub cma: u64,
    /// Pages kept from requests that could use a higher zone, by zone index.
    pub protection: Vec<u64>,
    /// The rest, if the zone has memory.
    pub populated: Option<PopulatedZone>,
}

/// /proc/zoneinfo: all zones of all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneinfoReport {
    /// Node by node, ascending zone index.
    pub zones: Vec<ZoneinfoZone>,
}

impl fmt::Display for ZoneinfoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.zones.iter().try_for_each(|zone| zone.fmt(f))
    }
}

fn fmt_items(items: &[Item], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    items.iter().try_for_each(|(name, value)| write!(f, "\n      {name:<12} {value}"))
}

impl fmt::Display for ZoneinfoZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node {}, zone {:>8}", self.nid, self.zone)?;
        if let Some(stats) = &self.node_stats {
            write!(f, "\n  per-node stats")?;
            fmt_items(stats, f)?;
        }
        write!(f, "\n  pages free     {}", self.free)?;
        let sizes = [
            ("boost", self.boost),
            ("min", self.min),
            ("low", self.low),
            ("high", self.high),
            ("spanned", self.spanned),
            ("present", self.present),
            ("managed", self.managed),
            ("cma", self.cma),
        ];
        sizes.iter().try_for_each(|(name, value)| write!(f, "\n        {name:<8} {value}"))?;
        let protection: Vec<String> = self.protection.iter().map(u64::to_string).collect();
        write!(f, "\n        protection: ({})", protection.join(", "))?;
        if let Some(populated) = &self.populated {
            populated.fmt(f)?;
        }
        writeln!(f)
    }
}

impl fmt::Display for PopulatedZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_items(&self.items, f)?;
        fmt_items(&self.numa, f)?;
        write!(f, "\n  pagesets")?;
        for ZonePageset { cpu, count, high, batch, stat_threshold } in &self.pagesets {
            write!(f, "\n    cpu: {cpu}\n              count: {count}")?;
            write!(f, "\n              high:  {high}\n              batch: {batch}")?;
            if let Some(threshold) = stat_threshold {
                write!(f, "\n  vm stats threshold: {threshold}")?;
            }
        }
        write!(f, "\n  node_unreclaimable:  {}", u32::from(self.node_unreclaimable))?;
        write!(f, "\n  start_pfn:           {}", self.start_pfn)
    }
}

impl Zone<'_> {
    /// The zone's counters in the kernel's order, with the approximate free counts.
    fn zone_items(self) -> Vec<Item> {
        let value = |name: &str| match name {
            "nr_free_pages" => self.free_pages_approximate() as u64,
            "nr_free_cma" => self.free_cma_approximate() as u64,
            _ => 0,
        };
        ZONE_ITEMS.map(|name| (name, value(name))).to_vec()
    }

    fn numa_items(self) -> Vec<Item> {
        let folded = |word: &AtomicU64| word.load(Relaxed); // ORDERING(R7)
        let items = NUMA_ITEMS.iter().zip(&self.shared.numa_events);
        items.filter(|_| self.config.numa).map(|(name, word)| (*name, folded(word))).collect()
    }

    fn zone_pageset(self, cpu: usize) -> ZonePageset {
        let state = &self.cpu_zones[cpu];
        ZonePageset {
            cpu,
            count: self.pcp_count(cpu),
            high: state.high.load(Relaxed).into(),   // ORDERING(R8)
            batch: state.batch.load(Relaxed).into(), // ORDERING(R8)
            // ORDERING(R8)
            stat_threshold: self.config.smp.then(|| state.stat_threshold.load(Relaxed)),
        }
    }
}

impl PageAllocator {
    /// Sizes, watermarks, reserves, counters and per-cpu lists of every zone.
    pub fn zoneinfo_report(&self) -> ZoneinfoReport {
        let kinds: Vec<_> = self.config().zone_kinds().collect();
        let mut zones = Vec::new();
        for nid in self.node_ids() {
            let mut is_first = true;
            for (index, kind) in kinds.iter().enumerate() {
                let zone = self.zone_at(nid, index);
                let mut report = match zone {
                    Some(zone) => self.zoneinfo_zone(zone),
                    None => ZoneinfoZone::without_memory(nid, kind.name(), kinds.len()),
                };
                if report.populated.is_some() && is_first {
                    report.node_stats = Some(NODE_ITEMS.map(|name| (name, 0)).to_vec());
                    is_first = false;
                }
                zones.push(report);
            }
        }
        ZoneinfoReport { zones }
    }

    /// The text of /proc/zoneinfo. NUMA events that no reader of /proc/vmstat has folded are not in
    /// it.
    pub fn zoneinfo(&self) -> String {
        self.zoneinfo_report().to_string()
    }

    fn zoneinfo_zone(&self, zone: Zone<'_>) -> ZoneinfoZone {
        let extent = zone.extent();
        let reserve = zone.shared.lowmem_reserve.iter().take(self.config().nr_zones());
        ZoneinfoZone {
            nid: zone.node(),
            zone: zone.kind().name(),
            node_stats: None,
            free: zone.free_pages_approximate() as u64,
            boost: zone.boost(),
            min: zone.watermark(WMARK_MIN),
            low: zone.watermark(WMARK_LOW),
            high: zone.watermark(WMARK_HIGH),
            spanned: extent.spanned,
            present: extent.present,
            managed: zone.managed(),
            cma: zone.shared.cma_pages.load(Relaxed), // ORDERING(R7)
            protection: reserve.map(|word| word.load(Relaxed)).collect(), // ORDERING(R7)
            populated: zone.is_populated().then(|| PopulatedZone {
                items: zone.zone_items(),
                numa: zone.numa_items(),
                pagesets: zone.online_cpus().map(|cpu| zone.zone_pageset(cpu)).collect(),
                node_unreclaimable: self.is_unreclaimable(zone.node()),
                start_pfn: extent.start_pfn,
            }),
        }
    }
}

impl ZoneinfoZone {
    fn without_memory(nid: u32, zone: &'static str, nr_zones: usize) -> ZoneinfoZone {
        ZoneinfoZone {
            nid,
            zone,
            node_stats: None,
            free: 0,
            boost: 0,
            min: 0,
            low: 0,
            high: 0,
            spanned: 0,
            present: 0,
            managed: 0,
            cma: 0,
            protection: vec![0; nr_zones],
            populated: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_the_kernels() {
        let zone = ZoneinfoZone {
            node_stats: Some(vec![("nr_mapped", 400), ("nr_inactive_anon", 48)]),
            free: 3840,
            min: 63,
            low: 78,
            high: 93,
            spanned: 4095,
            present: 3998,
            managed: 3840,
            protection: vec![0, 2988, 3964, 3964, 3964],
            populated: Some(PopulatedZone {
                items: vec![("nr_mlock", 0), ("nr_zone_active_anon", 7)],
                numa: vec![("numa_hit", 1)],
                pagesets: vec![ZonePageset { cpu: 0, count: 0, high: 19, batch: 1, stat_threshold: Some(6) }],
                node_unreclaimable: false,
                start_pfn: 1,
            }),
            ..ZoneinfoZone::without_memory(0, "DMA", 5)
        };
        let text = "\
Node 0, zone      DMA
  per-node stats
      nr_mapped    400
      nr_inactive_anon 48
  pages free     3840
        boost    0
        min      63
        low      78
        high     93
        spanned  4095
        present  3998
        managed  3840
        cma      0
        protection: (0, 2988, 3964, 3964, 3964)
      nr_mlock     0
      nr_zone_active_anon 7
      numa_hit     1
  pagesets
    cpu: 0
              count: 0
              high:  19
              batch: 1
  vm stats threshold: 6
  node_unreclaimable:  0
  start_pfn:           1
";
        assert_eq!(zone.to_string(), text);
        let empty = ZoneinfoZone::without_memory(3, "Movable", 4).to_string();
        assert!(empty.starts_with("Node 3, zone  Movable\n  pages free     0\n"), "{empty}");
        assert!(empty.ends_with("        cma      0\n        protection: (0, 0, 0, 0)\n"), "{empty}");
    }
}
