//! The machine description from which a recording's operations begin.

use super::recording::Recording;
use pagebuddy_core::state::{MachineState, NodeState, Topology, Tunables, ZoneState};
use pagebuddy_core::types::ZoneKind;

/// Divisor of a zone kind's reserve before anybody changes it (mm/page_alloc.c,
/// `sysctl_lowmem_reserve_ratio`).
const fn default_lowmem_reserve_ratio(kind: ZoneKind) -> u64 {
    match kind {
        ZoneKind::Dma | ZoneKind::Dma32 => 256,
        ZoneKind::Normal => 32,
        ZoneKind::Movable => 0,
    }
}

impl Recording {
    /// The recorded nodes and CPUs as the operations find them.
    pub fn topology(&self) -> Topology {
        let mut nodes = self.nodes.clone();
        for (node, zonelists) in nodes.iter_mut().zip(&self.late_zonelists) {
            node.zonelists = zonelists.clone();
        }
        Topology {
            nodes,
            cpu_node: self.header.cpu_node.clone(),
            nr_online_cpus: self.nr_online_cpus,
            node_distance: self.header.node_distance.clone(),
        }
    }

    /// Nodes whose zonelists are those of the late start.
    pub fn late_nodes(&self) -> Vec<NodeState> {
        self.topology().nodes
    }

    /// The machine at the start state; `None` for a recording of the hand-over alone.
    pub fn start_machine(&self) -> Option<MachineState> {
        let start = self.start()?;
        let config = self.header.config;
        let tunables = match &self.start_tunables {
            Some(recorded) => recorded.tunables.clone(),
            None => Tunables {
                min_free_kbytes: start.min_free_kbytes,
                user_min_free_kbytes: None,
                watermark_scale_factor: start.watermark_scale_factor,
                watermark_boost_factor: start.watermark_boost_factor,
                lowmem_reserve_ratio: config.zone_kinds().map(default_lowmem_reserve_ratio).collect(),
                percpu_pagelist_high_fraction: 0,
            },
        };
        let zones = start.zones.iter().map(|recorded| {
            let numa = self.start_numa.iter().find(|(at, _)| *at == recorded.zone.at);
            ZoneState { numa: numa.map(|(_, events)| *events).unwrap_or_default(), ..recorded.zone.clone() }
        });
        Some(MachineState {
            config,
            topology: self.topology(),
            memory: self.memory.clone(),
            reserved: self.reserved.clone(),
            tunables,
            totalreserve_pages: self.start_tunables.as_ref().map(|recorded| recorded.totalreserve_pages),
            node_totalreserve: self.start_tunables.as_ref().map(|recorded| recorded.node_totalreserve.clone()),
            totalram_pages: start.totalram_pages,
            gfp_allowed_mask: start.gfp_allowed_mask,
            page_group_by_mobility_disabled: start.page_group_by_mobility_disabled,
            rt_task: self.header.rt_task,
            policy_zone: self.policy_info.map(|info| info.policy_zone),
            zones: zones.collect(),
        })
    }
}
