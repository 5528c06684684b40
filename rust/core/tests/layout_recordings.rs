//! Nodes, zones, zonelists and initial pageblock types of every recorded machine.
//!
//! Recordings are looked for in `tests/data/recordings` of the checkout, in the directory that
//! `PAGEBUDDY_RECORDINGS` names, and in `../shared/goldens` beside the checkout.

use flate2::read::GzDecoder;
use pagebuddy_core::config::{Config, CoreSize};
use pagebuddy_core::layout::{Layout, PfnRange, Topology, ZoneRef, plan};
use pagebuddy_core::memblock::Region;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Every recording with the machine's memory map, and the boot parameter that it had.
fn recordings() -> Vec<(PathBuf, Option<String>)> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate lies in rust/core");
    let mut folders = vec![checkout.join("tests/data/recordings"), checkout.join("../shared/goldens")];
    folders.extend(std::env::var_os("PAGEBUDDY_RECORDINGS").map(PathBuf::from));
    let mut found = BTreeMap::new();
    for folder in folders {
        collect(&folder, &mut found);
    }
    found.into_values().collect()
}

/// Adds a folder's recordings and those of its sub-folders, by real path.
fn collect(folder: &Path, found: &mut BTreeMap<PathBuf, (PathBuf, Option<String>)>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let parameters = fs::read_to_string(folder.join("boot-parameters.json")).unwrap_or_else(|_| "{}".into());
    let parameters: BTreeMap<String, String> = serde_json::from_str(&parameters).expect("boot-parameters.json");
    for path in entries.map(|entry| entry.expect("a readable folder").path()) {
        if path.is_dir() {
            collect(&path, found);
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let records_machine =
            name.ends_with(".jsonl.gz") && lines(&path).next().is_some_and(|header| header["format"] == "buddy-golden");
        if records_machine {
            let real = path.canonicalize().expect("an existing file");
            found.insert(real, (path.clone(), parameters.get(name).cloned()));
        }
    }
}

fn lines(path: &Path) -> impl Iterator<Item = Value> {
    let file = File::open(path).expect("a readable recording");
    BufReader::new(GzDecoder::new(file))
        .lines()
        .map(|line| serde_json::from_str(&line.expect("a readable recording")).expect("a JSON line"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no array")).iter().map(number).collect()
}

fn pairs(value: &Value) -> Vec<(u64, u64)> {
    value.as_array().expect("an array").iter().map(|pair| (number(&pair[0]), number(&pair[1]))).collect()
}

fn core_size(text: &str) -> CoreSize {
    if let Some(percent) = text.strip_suffix('%') {
        return CoreSize::Percent(percent.parse().expect("a percentage"));
    }
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    CoreSize::Pages((digits.parse::<u64>().expect("a size") << shift) >> 12)
}

fn config_of(header: &Value, parameter: Option<&str>) -> Config {
    let recorded = &header["config"];
    let flag = |name: &str| number(&recorded[name]) != 0;
    let value = |name: &str| number(&recorded[name]) as u32;
    let mut config = Config {
        page_shift: value("page_shift"),
        max_order: value("MAX_ORDER"),
        pageblock_order: value("pageblock_order"),
        section_size_bits: value("SECTION_SIZE_BITS"),
        smp: flag("smp"),
        numa: flag("numa"),
        thp: flag("thp"),
        compaction: flag("compaction"),
        cma: flag("cma"),
        memory_isolation: flag("memory_isolation"),
        zone_dma: flag("zone_dma"),
        zone_dma32: flag("zone_dma32"),
        max_numnodes: value("MAX_NUMNODES"),
        ..Config::default()
    };
    match parameter.map(|text| text.split_once('=').expect("name=value")) {
        Some(("kernelcore", "mirror")) => config.kernelcore_mirror = true,
        Some(("kernelcore", size)) => config.kernelcore = core_size(size),
        Some(("movablecore", size)) => config.movablecore = core_size(size),
        Some((name, _)) => panic!("unknown boot parameter {name}"),
        None => {}
    }
    config
}

fn topology_of(header: &Value) -> Topology {
    let small = |value: &Value| numbers(value).into_iter().map(|n| n as u32).collect::<Vec<u32>>();
    Topology {
        nodes: small(&header["nodes"]),
        cpu_node: small(&header["cpu_node"]),
        distance: header["node_distance"].as_array().expect("a table").iter().map(small).collect(),
    }
}

fn regions_of(list: &Value) -> Vec<Region> {
    let region = |entry: &Value| Region {
        base: number(&entry[0]),
        size: number(&entry[1]),
        nid: entry[2].as_u64().map(|nid| nid as u32),
        flags: number(&entry[3]) as u32,
    };
    list.as_array().expect("a region list").iter().map(region).collect()
}

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
