//! Watermarks, reserves, per-cpu list sizes and counter thresholds of every machine that finished
//! its start-up, and their changes when tunables are written.

use crate::source::{config_of, lines, number, numbers, recordings};
use pagebuddy_core::config::Config;
use pagebuddy_core::pcp_sizing::{PagesetCpus, PagesetSizes, normal_threshold};
use pagebuddy_core::types::MAX_NR_ZONES;
use pagebuddy_core::watermark::sizing::{lowmem_reserve, zone_totalreserve, zone_watermarks};
use serde_json::Value;
use std::path::Path;

/// The zones of one full state.
struct Machine {
    config: Config,
    /// Node of every online CPU.
    cpu_node: Vec<u64>,
    zones: Vec<Value>,
}

impl Machine {
    fn managed_total(&self) -> u64 {
        self.zones.iter().map(|zone| number(&zone["managed"])).sum()
    }

    fn cpus_of(&self, zone: &Value) -> PagesetCpus {
        let node = number(&zone["node"]);
        PagesetCpus {
            nr_local: self.cpu_node.iter().filter(|cpu_node| **cpu_node == node).count() as u32,
            nr_online: self.cpu_node.len() as u32,
        }
    }

    fn check_watermarks(&self, tunables: &Value) {
        let min_free_kbytes = number(&tunables["min_free_kbytes"]) as i32;
        let scale = number(&tunables["watermark_scale_factor"]) as u32;
        for zone in &self.zones {
            let managed = number(&zone["managed"]);
            let marks = zone_watermarks(&self.config, min_free_kbytes, scale, managed, self.managed_total());
            assert_eq!(marks.to_vec(), numbers(&zone["wmark"]));
            assert_eq!(number(&zone["boost"]), 0);
        }
    }

    /// Per-cpu list sizes; with `boosted` from the low watermark including its boost.
    fn check_pagesets(&self, high_fraction: u32, boosted: bool) {
        for zone in &self.zones {
            let boost = if boosted { number(&zone["boost"]) } else { 0 };
            let low = number(&zone["wmark"][1]) + boost;
            let managed = number(&zone["managed"]);
            let sizes = PagesetSizes::of_zone(&self.config, managed, low, high_fraction, self.cpus_of(zone));
            let recorded = [&zone["pageset_high"], &zone["pageset_batch"]].map(number);
            assert_eq!([u64::from(sizes.high), u64::from(sizes.batch)], recorded);
        }
    }

    fn check_reserves(&self, ratio: &[u32; MAX_NR_ZONES]) {
        for zone in &self.zones {
            let reserve = self.reserve_of(zone, ratio);
            assert_eq!(reserve[..self.config.nr_zones()], numbers(&zone["lowmem_reserve"]));
        }
    }

    fn reserve_of(&self, zone: &Value, ratio: &[u32; MAX_NR_ZONES]) -> [u64; MAX_NR_ZONES] {
        let mut managed = [0; MAX_NR_ZONES];
        for other in self.zones.iter().filter(|other| other["node"] == zone["node"]) {
            managed[number(&other["zone"]) as usize] = number(&other["managed"]);
        }
        lowmem_reserve(&managed, ratio, self.config.nr_zones())[number(&zone["zone"]) as usize]
    }

    fn check_totalreserve(&self, tunables: &Value) {
        let mut by_node = vec![0; tunables["node_totalreserve"].as_array().expect("a list").len()];
        for zone in &self.zones {
            let high = number(&zone["wmark"][2]) + number(&zone["boost"]);
            let mut reserve = [0; MAX_NR_ZONES];
            let recorded = numbers(&zone["lowmem_reserve"]);
            reserve[..recorded.len()].copy_from_slice(&recorded);
            // Nodes of these recordings are numbered without gaps.
            by_node[number(&zone["node"]) as usize] += zone_totalreserve(number(&zone["managed"]), high, &reserve);
        }
        assert_eq!(by_node, numbers(&tunables["node_totalreserve"]));
        assert_eq!(by_node.iter().sum::<u64>(), number(&tunables["totalreserve_pages"]));
    }

    fn check_thresholds(&self) {
        for zone in &self.zones {
            let threshold = normal_threshold(&self.config, number(&zone["managed"]), self.cpu_node.len() as u32);
            for cpu in zone["cpustat"].as_array().expect("a list") {
                assert_eq!(number(&cpu[2]), u64::from(threshold));
            }
        }
    }
}

fn ratio_of(list: &Value) -> [u32; MAX_NR_ZONES] {
    let mut ratio = [0; MAX_NR_ZONES];
    for (slot, value) in ratio.iter_mut().zip(numbers(list)) {
        *slot = value as u32;
    }
    ratio
}

/// Checks the state after start-up.
///
/// Freed init memory has enlarged zones since their watermarks were set, so those are compared only
/// after writes to tunables.
fn check_start(machine: &Machine) {
    machine.check_thresholds();
    machine.check_pagesets(0, false);
}

fn check_write(machine: &Machine, write: &Value, before: &Value, tunables: &Value) {
    let fraction = number(&tunables["percpu_pagelist_high_fraction"]) as u32;
    if write[4] != 0 {
        assert_eq!(without_op(tunables), without_op(before), "a rejected value changes nothing");
        return;
    }
    match write[2].as_str().expect("a name") {
        "min_free_kbytes" | "watermark_scale_factor" => {
            machine.check_watermarks(tunables);
            machine.check_pagesets(fraction, false);
            machine.check_totalreserve(tunables);
        }
        "lowmem_reserve_ratio" => {
            machine.check_reserves(&ratio_of(&tunables["lowmem_reserve_ratio"]));
            machine.check_totalreserve(tunables);
        }
        "percpu_pagelist_high_fraction" => {
            if before["percpu_pagelist_high_fraction"] != tunables["percpu_pagelist_high_fraction"] {
                machine.check_pagesets(fraction, true);
            }
        }
        "watermark_boost_factor" => assert_eq!(write[3][0], tunables["watermark_boost_factor"]),
        name => panic!("unknown tunable {name}"),
    }
}

fn without_op(tunables: &Value) -> Value {
    let mut tunables = tunables.clone();
    tunables["op"] = Value::Null;
    tunables
}

/// Checks one recording; returns how many states were compared.
fn check_recording(path: &Path) -> usize {
    let mut lines = lines(path);
    let header = lines.next().expect("a header");
    let (is_late, is_sysctl) = (header["mode"] == "late", header["scenario"] == "sysctl");
    if !is_late {
        return 0;
    }
    let mut machine = Machine { config: config_of(&header, None), cpu_node: Vec::new(), zones: Vec::new() };
    let (mut nr_checked, mut nr_zones, mut label) = (0, 0, Value::Null);
    let (mut before, mut tunables, mut write) = (Value::Null, Value::Null, Value::Null);
    for record in lines {
        match record["t"].as_str() {
            Some("late") => machine.cpu_node = numbers(&record["cpu_node"]),
            Some("tunables") => before = std::mem::replace(&mut tunables, record),
            Some("state") => {
                nr_zones = number(&record["zones"]) as usize;
                label = record["label"].clone();
                machine.zones.clear();
            }
            Some("zstate") => {
                machine.zones.push(record);
                if machine.zones.len() < nr_zones {
                    continue;
                }
                if label == "start" {
                    check_start(&machine);
                    nr_checked += 1;
                } else if label == "sysctl" {
                    check_write(&machine, &write, &before, &tunables);
                    nr_checked += 1;
                }
            }
            None if !is_sysctl => break,
            None if record[0] == "y" => write = record,
            _ => {}
        }
    }
    nr_checked
}

#[test]
fn recorded_machines_are_sized_as_the_kernel_did() {
    let mut nr_checked = 0;
    for (path, _) in recordings() {
        println!("{}", path.display());
        nr_checked += check_recording(&path);
    }
    println!("{nr_checked} states");
    assert!(nr_checked > 0, "no recordings were found");
}
