//! Reads /proc files back into the plain data they are printed from; anything unexpected panics.

use pagebuddy_core::types::{MigrateType, ZoneKind};
use pagebuddy_core::vmstat::{
    BuddyinfoReport, Item, NODE_ITEMS, NUMA_ITEMS, NodePagetypes, PagetypeinfoReport, PopulatedZone, ZONE_ITEMS,
    ZoneBlocks, ZonePageset, ZonePagetypes, ZoneinfoReport, ZoneinfoZone,
};
use std::iter::Peekable;
use std::str::{FromStr, Lines};

type Input<'a> = Peekable<Lines<'a>>;

fn number<T: FromStr>(text: &str) -> T {
    text.trim().parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().map(number).collect()
}

fn zone_name(text: &str) -> &'static str {
    let kinds = (0..4).filter_map(ZoneKind::from_index);
    kinds.map(ZoneKind::name).find(|name| *name == text.trim()).unwrap_or_else(|| panic!("{text:?} is no zone"))
}

fn type_name(text: &str) -> &'static str {
    MigrateType::ALL.map(MigrateType::name).into_iter().find(|name| *name == text.trim()).expect("a migratetype")
}

/// Node, zone and the rest of a line that begins with them.
fn node_and_zone(line: &str) -> (u32, &'static str, &str) {
    let rest = line.strip_prefix("Node").expect("a node");
    let (nid, rest) = rest.split_once(", zone").expect("a zone");
    // The name fills eight columns behind a space.
    let (name, rest) = rest.split_at(9);
    (number(nid), zone_name(name), rest)
}

pub fn buddyinfo(text: &str) -> BuddyinfoReport {
    let zones = text.lines().map(|line| {
        let (nid, zone, counts) = node_and_zone(line);
        ZoneBlocks { nid, zone, nr_free: numbers(counts) }
    });
    BuddyinfoReport { zones: zones.collect() }
}

pub fn pagetypeinfo(text: &str) -> PagetypeinfoReport {
    let mut lines = text.lines().peekable();
    let mut report = PagetypeinfoReport { pageblock_order: 0, nr_orders: 0, types: Vec::new(), nodes: Vec::new() };
    while let Some(line) = lines.next() {
        report.pageblock_order = number(line.strip_prefix("Page block order:").expect("the pageblock order"));
        let pages: u64 = number(lines.next().and_then(|line| line.strip_prefix("Pages per block:")).expect("pages"));
        assert_eq!(pages, 1 << report.pageblock_order);
        assert_eq!(lines.next(), Some(""));
        let title = lines.next().and_then(|line| line.strip_prefix("Free pages count per migrate type at order"));
        report.nr_orders = numbers(title.expect("the title")).len() as u32;
        let mut node = NodePagetypes { nid: 0, zones: Vec::new() };
        let mut types = Vec::new();
        while let Some(line) = lines.next().filter(|line| !line.is_empty()) {
            let (nid, zone, rest) = node_and_zone(line);
            let (name, counts) = rest.strip_prefix(", type ").expect("a type").split_at(13);
            let counts = numbers(&counts.replace('>', ""));
            if node.zones.last().is_none_or(|last| last.zone != zone) {
                types.clear();
                node.zones.push(ZonePagetypes { zone, free_blocks: Vec::new(), pageblocks: Vec::new() });
            }
            node.nid = nid;
            types.push(type_name(name));
            node.zones.last_mut().expect("a zone").free_blocks.push(counts);
        }
        let title = lines.next().and_then(|line| line.strip_prefix("Number of blocks type")).expect("the second title");
        assert_eq!(title.split_whitespace().collect::<Vec<_>>(), types);
        report.types = types;
        for zone in &mut node.zones {
            let (nid, name, counts) = node_and_zone(lines.next().expect("a zone"));
            assert_eq!((nid, name), (node.nid, zone.zone));
            zone.pageblocks = numbers(counts);
        }
        report.nodes.push(node);
    }
    report
}

pub fn zoneinfo(text: &str) -> ZoneinfoReport {
    let mut lines = text.lines().peekable();
    let mut zones = Vec::new();
    while lines.peek().is_some() {
        zones.push(zoneinfo_zone(&mut lines));
    }
    ZoneinfoReport { zones }
}

/// The value behind a name at the start of the next line.
fn value<T: FromStr>(lines: &mut Input<'_>, name: &str) -> T {
    let line = lines.next().expect("a line");
    number(line.trim_start().strip_prefix(name).unwrap_or_else(|| panic!("{name} expected, got {line:?}")))
}

fn items(lines: &mut Input<'_>, names: &[&'static str]) -> Vec<Item> {
    names.iter().map(|name| (*name, value(lines, name))).collect()
}

fn zoneinfo_zone(lines: &mut Input<'_>) -> ZoneinfoZone {
    let (nid, zone, rest) = node_and_zone(lines.next().expect("a zone"));
    assert_eq!(rest, "");
    let node_stats = lines.next_if_eq(&"  per-node stats").map(|_| items(lines, &NODE_ITEMS));
    ZoneinfoZone {
        nid,
        zone,
        node_stats,
        free: value(lines, "pages free"),
        boost: value(lines, "boost"),
        min: value(lines, "min"),
        low: value(lines, "low"),
        high: value(lines, "high"),
        spanned: value(lines, "spanned"),
        present: value(lines, "present"),
        managed: value(lines, "managed"),
        cma: value(lines, "cma"),
        protection: {
            let line = lines.next().expect("the protection");
            let list = line.trim_start().strip_prefix("protection: (").and_then(|rest| rest.strip_suffix(')'));
            list.expect("a list").split(", ").map(number).collect()
        },
        populated: lines.next_if(|line| line.starts_with("      ")).map(|first| {
            let mut zone_items = vec![(ZONE_ITEMS[0], number(first.trim_start().strip_prefix(ZONE_ITEMS[0]).unwrap()))];
            zone_items.extend(items(lines, &ZONE_ITEMS[1..]));
            populated_zone(lines, zone_items)
        }),
    }
}

fn populated_zone(lines: &mut Input<'_>, items_of_zone: Vec<Item>) -> PopulatedZone {
    let has_numa = lines.peek().is_some_and(|line| line.trim_start().starts_with(NUMA_ITEMS[0]));
    let numa = if has_numa { items(lines, &NUMA_ITEMS) } else { Vec::new() };
    assert_eq!(lines.next(), Some("  pagesets"));
    let mut pagesets = Vec::new();
    while let Some(cpu) = lines.next_if(|line| line.starts_with("    cpu: ")) {
        let mut pageset = ZonePageset {
            cpu: number(&cpu[9..]),
            count: value(lines, "count:"),
            high: value(lines, "high:"),
            batch: value(lines, "batch:"),
            stat_threshold: None,
        };
        let threshold = lines.next_if(|line| line.starts_with("  vm stats threshold: "));
        pageset.stat_threshold = threshold.map(|line| number(&line[22..]));
        pagesets.push(pageset);
    }
    PopulatedZone {
        items: items_of_zone,
        numa,
        pagesets,
        node_unreclaimable: value::<u32>(lines, "node_unreclaimable:") != 0,
        start_pfn: value(lines, "start_pfn:"),
    }
}
