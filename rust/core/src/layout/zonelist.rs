//! The order in which zones are tried for each node.

use super::{NodeLayout, Topology};
use crate::config::Config;

/// An entry of a zonelist (include/linux/mmzone.h, `struct zoneref`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ZoneRef {
    /// Node id.
    pub node: u32,
    /// Zone index.
    pub index: usize,
}

/// Fills in both zonelists of every node.
///
/// Source: mm/page_alloc.c, `__build_all_zonelists`, `build_zonelists`.
pub(super) fn build(config: &Config, topology: &Topology, nodes: &mut [NodeLayout]) {
    let has_memory: Vec<bool> = nodes.iter().map(|node| node.present != 0).collect();
    // While the machine boots no node's CPU mask has been filled in yet.
    let has_cpus = vec![false; nodes.len()];
    let orders = if config.numa {
        fallback_node_orders(config, topology, &has_memory, &has_cpus)
    } else {
        let nr_nodes = nodes.len();
        (0..nr_nodes).map(|local| (local..nr_nodes).chain(0..local).collect()).collect()
    };
    let own: Vec<Vec<ZoneRef>> = nodes.iter().map(own_zones).collect();
    for (position, node) in nodes.iter_mut().enumerate() {
        node.fallback = orders[position].iter().flat_map(|&position| own[position].iter().copied()).collect();
        node.thisnode = if config.numa { own[position].clone() } else { node.fallback.clone() };
    }
}

/// A node's zones with memory, highest index first (`build_zonerefs_node`).
fn own_zones(node: &NodeLayout) -> Vec<ZoneRef> {
    let zones = node.zones.iter().rev().filter(|zone| zone.is_populated());
    zones.map(|zone| ZoneRef { node: zone.node, index: zone.index }).collect()
}

/// For every online node the order in which nodes are tried, all as positions among the online
/// nodes.
///
/// The nearest nodes come first; the load term spreads the second choice among equals. Nodes with
/// CPUs are slightly penalised, which plays no part at boot because no node has any then.
/// Source: mm/page_alloc.c, `build_zonelists`, `find_next_best_node`.
pub fn fallback_node_orders(
    config: &Config,
    topology: &Topology,
    has_memory: &[bool],
    has_cpus: &[bool],
) -> Vec<Vec<usize>> {
    let nr_nodes = topology.nodes.len();
    let weight = nr_nodes as u64 * u64::from(config.max_numnodes);
    let mut node_load = vec![0u64; nr_nodes];
    let mut orders = Vec::with_capacity(nr_nodes);
    for local in 0..nr_nodes {
        let distance = |node| topology.distance_between(local, node);
        let mut is_used = vec![false; nr_nodes];
        let mut order = Vec::with_capacity(nr_nodes);
        let mut load = nr_nodes as u64;
        let mut previous = local;
        let mut next = Some(local);
        while let Some(node) = next {
            is_used[node] = true;
            if distance(node) != distance(previous) {
                node_load[node] += load;
            }
            order.push(node);
            previous = node;
            load -= 1;
            let cost = |node: &usize| {
                let penalty = u64::from(*node < local) + u64::from(has_cpus[*node]);
                (u64::from(distance(*node)) + penalty) * weight + node_load[*node]
            };
            // The first of equals wins, as min_by_key returns it.
            next = (0..nr_nodes).filter(|node| has_memory[*node] && !is_used[*node]).min_by_key(cost);
        }
        orders.push(order);
    }
    orders
}
