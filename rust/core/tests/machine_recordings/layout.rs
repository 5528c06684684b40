//! Nodes, zones, zonelists and initial pageblock types of every recorded machine.

use crate::source::{config_of, lines, number, numbers, pairs, recordings, regions_of, topology_of};
use pagebuddy_core::config::Config;
use pagebuddy_core::layout::{Layout, PfnRange, ZoneRef, plan};
use serde_json::Value;
use std::path::Path;

fn contains(ranges: &[PfnRange], number: u64) -> bool {
    ranges.iter().any(|range| (range.start..range.end).contains(&number))
}

/// A zone's pageblock types as the recordings print them.
fn blocks_text(config: &Config, layout: &Layout, start_pfn: u64, nr_blocks: usize) -> String {
    let first = start_pfn >> config.pageblock_order;
    (first..first + nr_blocks as u64)
        .map(|block| {
            if layout.memmap_of(block << config.pageblock_order).is_none() {
                '.'
            } else if contains(&layout.movable_pageblocks, block) {
                '1'
            } else {
                '0'
            }
        })
        .collect()
}

fn check_node(layout: &Layout, record: &Value) {
    let node = layout.node(number(&record["node"]) as u32).expect("a planned node");
    let recorded = ["start_pfn", "spanned", "present"].map(|name| number(&record[name]));
    assert_eq!([node.start_pfn, node.spanned, node.present], recorded);
    let zones: Vec<Vec<u64>> = node.zones.iter().map(|z| vec![z.start_pfn, z.spanned, z.present]).collect();
    let recorded: Vec<Vec<u64>> = record["zones"].as_array().expect("an array").iter().map(numbers).collect();
    assert_eq!(zones, recorded);
}

fn check_zonelist(layout: &Layout, record: &Value) {
    let node = layout.node(number(&record["node"]) as u32).expect("a planned node");
    let list = match record["kind"].as_str() {
        Some("fallback") => &node.fallback,
        Some("thisnode") => &node.thisnode,
        kind => panic!("unknown zonelist kind {kind:?}"),
    };
    let planned: Vec<(u64, u64)> = list.iter().map(|zone| (u64::from(zone.node), zone.index as u64)).collect();
    assert_eq!(planned, pairs(&record["zones"]));
}

fn check_boot_zone(config: &Config, layout: &Layout, record: &Value) {
    let place = ZoneRef { node: number(&record["node"]) as u32, index: number(&record["zone"]) as usize };
    let zone = layout.zone(place).expect("a planned zone");
    assert_eq!(record["name"], zone.kind.name());
    let recorded = ["start_pfn", "spanned", "present"].map(|name| number(&record[name]));
    assert_eq!([zone.start_pfn, zone.spanned, zone.present], recorded);
    let blocks = record["blocks"].as_str().expect("a string of types");
    assert_eq!(blocks_text(config, layout, number(&record["blocks_start"]), blocks.len()), blocks, "{place:?}");
}

fn check_policy_info(layout: &Layout, record: &Value) {
    assert_eq!(layout.policy_zone as u64, number(&record["policy_zone"]));
    assert_eq!(layout.nodes_with_memory(), number(&record["n_memory"]));
    assert_eq!(layout.nodes_with_normal_memory(), number(&record["n_normal_memory"]));
}

/// Checks one recording up to its first operation; returns how many records were compared.
fn check_recording(path: &Path, parameter: Option<&str>) -> usize {
    let mut lines = lines(path);
    let header = lines.next().expect("a header");
    let config = config_of(&header, parameter);
    let memblock = lines.next().expect("a memblock record");
    assert_eq!(memblock["t"], "memblock");
    let (memory, reserved) = (regions_of(&memblock["memory"]), regions_of(&memblock["reserved"]));
    let layout = plan(&config, &memory, &reserved, &topology_of(&header)).expect("a plan");

    let (mut nr_checked, mut in_boot_state, mut nr_boot_zones) = (0, false, 0);
    for record in lines {
        match record["t"].as_str() {
            Some("node") => check_node(&layout, &record),
            Some("zonelist") => check_zonelist(&layout, &record),
            Some("state") => {
                in_boot_state = record["label"] == "boot";
                let disabled = number(&record["page_group_by_mobility_disabled"]) != 0;
                assert_eq!(layout.page_group_by_mobility_disabled, disabled);
                if in_boot_state {
                    assert_eq!(layout.populated_zones().count() as u64, number(&record["zones"]));
                }
            }
            Some("zstate") if in_boot_state => {
                check_boot_zone(&config, &layout, &record);
                nr_boot_zones += 1;
            }
            Some("policy-info") => check_policy_info(&layout, &record),
            Some(_) => continue,
            None => break,
        }
        nr_checked += 1;
    }
    assert_eq!(nr_boot_zones, layout.populated_zones().count(), "the boot state is complete");
    nr_checked
}

#[test]
fn recorded_machines_are_laid_out_as_the_kernel_did() {
    let recordings = recordings();
    let mut nr_checked = 0;
    for (path, parameter) in &recordings {
        println!("{}", path.display());
        nr_checked += check_recording(path, parameter.as_deref());
    }
    println!("{} recordings, {nr_checked} records", recordings.len());
    assert!(nr_checked > 0, "no recordings were found");
}
