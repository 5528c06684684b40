//! Which nodes exist, where the CPUs are and how far nodes are from each other.

use crate::config::Config;
use crate::error::BootError;
use crate::memblock::Region;
use crate::types::MAX_NR_CPUS;

/// Distance of a node to itself (include/linux/topology.h, `LOCAL_DISTANCE`).
const LOCAL_DISTANCE: u32 = 10;
/// Distance between nodes when firmware says nothing (`REMOTE_DISTANCE`).
const REMOTE_DISTANCE: u32 = 20;
/// Firmware tables hold distances in a byte.
const MAX_DISTANCE: u32 = 255;

/// Nodes, CPUs and distances of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Ids of the online nodes, ascending. Nodes without memory are allowed.
    pub nodes: Vec<u32>,
    /// Node of every CPU; CPU 0 boots the machine. Without any, the first node does.
    pub cpu_node: Vec<u32>,
    /// `distance[i][j]` from the i-th to the j-th online node. Empty: 10 to itself, 20 to others.
    pub distance: Vec<Vec<u32>>,
}

impl Topology {
    /// One node, with `nr_cpus` CPUs.
    pub fn single_node(nr_cpus: usize) -> Topology {
        Topology { nodes: vec![0], cpu_node: vec![0; nr_cpus], distance: Vec::new() }
    }

    /// The topology of a machine with this memory: its nodes are those of memory and cpus.
    ///
    /// Cpus of which nobody says where they are go round the nodes (arch/x86/mm/numa.c,
    /// `numa_init_array`). Without NUMA everything is on node 0.
    pub fn of_machine(
        config: &Config,
        memory: &[Region],
        nr_cpus: usize,
        cpu_node: Option<Vec<u32>>,
        distance: Vec<Vec<u32>>,
    ) -> Result<Topology, BootError> {
        if !(1..=MAX_NR_CPUS).contains(&nr_cpus) {
            return Err(BootError::Topology("a machine has 1 to 4096 cpus"));
        }
        if cpu_node.as_ref().is_some_and(|cpu_node| cpu_node.len() != nr_cpus) {
            return Err(BootError::Topology("cpu_node must name one node per cpu"));
        }
        let of_memory = memory.iter().map(|region| region.nid.unwrap_or(0));
        let of_cpus = cpu_node.iter().flatten().copied();
        let mut nodes: Vec<u32> = of_memory.chain(of_cpus).collect();
        nodes.sort_unstable();
        nodes.dedup();
        if nodes.is_empty() || !config.numa {
            nodes = vec![0];
        }
        let round_robin = || nodes.iter().copied().cycle().take(nr_cpus).collect();
        let topology = Topology { cpu_node: cpu_node.unwrap_or_else(round_robin), nodes, distance };
        topology.validate(config)?;
        Ok(topology)
    }

    /// Checks the parts against each other and against the configuration.
    pub fn validate(&self, config: &Config) -> Result<(), BootError> {
        let fail = |what| Err(BootError::Topology(what));
        if self.nodes.is_empty() {
            return fail("at least one node must be online");
        }
        if !self.nodes.is_sorted_by(|a, b| a < b) {
            return fail("online nodes must be in ascending order without repetition");
        }
        if self.nodes.iter().any(|nid| *nid >= config.max_numnodes) {
            return fail("a node id is not below max_numnodes");
        }
        if self.cpu_node.iter().any(|nid| self.position(*nid).is_none()) {
            return fail("a CPU is on a node that is not online");
        }
        if self.distance.is_empty() {
            return Ok(());
        }
        let nr_nodes = self.nodes.len();
        if self.distance.len() != nr_nodes || self.distance.iter().any(|row| row.len() != nr_nodes) {
            return fail("the distance table must have one row and one column per online node");
        }
        if self.distance.iter().flatten().any(|distance| !(LOCAL_DISTANCE..=MAX_DISTANCE).contains(distance)) {
            return fail("a node distance must be 10 to 255");
        }
        if (0..nr_nodes).any(|i| self.distance[i][i] != LOCAL_DISTANCE) {
            return fail("the distance of a node to itself must be 10");
        }
        Ok(())
    }

    /// Index of a node among the online ones.
    pub fn position(&self, nid: u32) -> Option<usize> {
        self.nodes.binary_search(&nid).ok()
    }

    /// Distance between two online nodes given by position.
    pub fn distance_between(&self, from: usize, to: usize) -> u32 {
        match self.distance.get(from) {
            Some(row) => row[to],
            None if from == to => LOCAL_DISTANCE,
            None => REMOTE_DISTANCE,
        }
    }

    /// Position of the node that CPU 0 is on.
    pub(super) fn boot_node_position(&self) -> usize {
        self.cpu_node.first().and_then(|nid| self.position(*nid)).unwrap_or(0)
    }
}
