//! Finds and reads recordings.

use flate2::read::GzDecoder;
use pagebuddy_core::config::{Config, CoreSize};
use pagebuddy_core::layout::Topology;
use pagebuddy_core::memblock::Region;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Every recording with the machine's memory map, and the boot parameter that it had.
pub fn recordings() -> Vec<(PathBuf, Option<String>)> {
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

pub fn lines(path: &Path) -> impl Iterator<Item = Value> {
    let file = File::open(path).expect("a readable recording");
    BufReader::new(GzDecoder::new(file))
        .lines()
        .map(|line| serde_json::from_str(&line.expect("a readable recording")).expect("a JSON line"))
}

pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

pub fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no array")).iter().map(number).collect()
}

pub fn pairs(value: &Value) -> Vec<(u64, u64)> {
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

pub fn config_of(header: &Value, parameter: Option<&str>) -> Config {
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

pub fn topology_of(header: &Value) -> Topology {
    let small = |value: &Value| numbers(value).into_iter().map(|n| n as u32).collect::<Vec<u32>>();
    Topology {
        nodes: small(&header["nodes"]),
        cpu_node: small(&header["cpu_node"]),
        distance: header["node_distance"].as_array().expect("a table").iter().map(small).collect(),
    }
}

pub fn regions_of(list: &Value) -> Vec<Region> {
    let region = |entry: &Value| Region {
        base: number(&entry[0]),
        size: number(&entry[1]),
        nid: entry[2].as_u64().map(|nid| nid as u32),
        flags: number(&entry[3]) as u32,
    };
    list.as_array().expect("a region list").iter().map(region).collect()
}
