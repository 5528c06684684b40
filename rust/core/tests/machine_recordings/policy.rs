//! Memory policies as recorded tasks set them, and their interleave positions.

use crate::source::{config_of, lines, number, numbers, recordings};
use pagebuddy_core::config::Config;
use pagebuddy_core::gfp::{Gfp, GfpZoneTable};
use pagebuddy_core::mempolicy::{MemPolicy, PolicyContext, PolicyMode};
use pagebuddy_core::types::ZoneKind;
use serde_json::Value;
use std::path::Path;

/// Policy and interleave position of the task on each CPU.
struct Machine {
    config: Config,
    zones: GfpZoneTable,
    cpu_node: Vec<u64>,
    info: Value,
    tasks: Vec<(MemPolicy, u32)>,
}

impl Machine {
    /// Sets a policy as the record says.
    fn set(&mut self, record: &Value) {
        let cpu = number(&record[1]) as usize;
        let mode = PolicyMode::from_number(number(&record[2]) as u32).expect("a mode");
        let (flags, nodes) = (number(&record[3]) as u32, number(&record[4]));
        let task = &mut self.tasks[cpu];
        let set = MemPolicy::new(mode, flags, nodes, number(&self.info["n_memory"]));
        assert_eq!(set.is_err(), record[5] == -22, "{record}: {set:?}");
        if let Ok(policy) = set {
            task.0 = policy;
            if policy.mode == PolicyMode::Interleave {
                task.1 = MemPolicy::initial_il_prev(self.config.max_numnodes);
            }
        }
        assert_eq!([task.0.mode as u64, task.0.nodes], [number(&record[6]), number(&record[7])], "{record}");
    }

    /// Advances the interleave position as a request through the policy does.
    fn request(&mut self, cpu: usize, gfp: Gfp) {
        let context = PolicyContext {
            local: self.cpu_node[cpu] as u32,
            is_in_interrupt: false,
            allowed_nodes: number(&self.info["n_memory"]),
            nodes_with_normal_memory: number(&self.info["n_normal_memory"]),
            policy_zone: number(&self.info["policy_zone"]) as usize,
            movable_zone_index: self.config.zone_index(ZoneKind::Movable).expect("zone Movable"),
        };
        let (policy, il_prev) = &mut self.tasks[cpu];
        policy.alloc_pages(&context, il_prev, gfp, self.zones.highest_zone_index(gfp));
    }

    fn check_position(&self, record: &Value) {
        assert_eq!(u64::from(self.tasks[number(&record[1]) as usize].1), number(&record[5]), "{record}");
    }
}

/// Checks one recording; returns how many policies and positions were compared.
fn check_recording(path: &Path) -> usize {
    let mut lines = lines(path);
    let header = lines.next().expect("a header");
    if header["scenario"] != "policy" {
        return 0;
    }
    let config = config_of(&header, None);
    let mut machine = Machine {
        config,
        zones: GfpZoneTable::new(&config),
        cpu_node: Vec::new(),
        info: Value::Null,
        tasks: Vec::new(),
    };
    let mut nr_checked = 0;
    for record in lines {
        match record["t"].as_str() {
            Some("late") => {
                machine.cpu_node = numbers(&record["cpu_node"]);
                machine.tasks = vec![(MemPolicy::default(), 0); machine.cpu_node.len()];
            }
            Some("policy-info") => machine.info = record,
            Some(_) => {}
            None => match record[0].as_str() {
                Some("p") => {
                    machine.set(&record);
                    nr_checked += 1;
                }
                Some("m") => {
                    machine.request(number(&record[1]) as usize, Gfp(number(&record[2]) as u32));
                    machine.check_position(&record);
                    nr_checked += 1;
                }
                // An exact allocation goes through the policy too.
                Some("e") => machine.request(number(&record[1]) as usize, Gfp(number(&record[2]) as u32)),
                _ => {}
            },
        }
    }
    nr_checked
}

#[test]
fn recorded_policies_are_derived_as_the_kernel_did() {
    let mut nr_checked = 0;
    for (path, _) in recordings() {
        nr_checked += check_recording(&path);
    }
    println!("{nr_checked} policies and positions");
    assert!(nr_checked > 0, "no recordings of policies were found");
}
