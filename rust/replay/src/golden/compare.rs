//! Comparison of what was recorded with what a machine holds.

use super::digest;
use super::record::{PolicyInfo, RecordedTunables, RecordedZone};
use super::recording::{RecordedState, ZoneDigest};
use pagebuddy_core::config::Config;
use pagebuddy_core::state::{MachineState, NodeState, NumaEvents, PcpState, Tunables, ZoneRef, ZoneState, Zonelists};
use pagebuddy_core::types::MigrateType;
use std::fmt::{Debug, Display};

/// A difference: the field, what was recorded, what the machine holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The field.
    pub what: String,
    /// What was recorded.
    pub expected: String,
    /// What the machine holds.
    pub got: String,
}

/// Elements shown on each side of the first difference between two lists.
const SURROUNDINGS: usize = 4;

fn field<T: PartialEq + Debug>(what: impl Display, expected: &T, got: &T) -> Result<(), Difference> {
    if expected == got {
        return Ok(());
    }
    Err(Difference { what: what.to_string(), expected: format!("{expected:?}"), got: format!("{got:?}") })
}

/// Compares two lists; the difference shows the surroundings of the first different element.
fn list<T: PartialEq>(
    what: impl Display,
    expected: &[T],
    got: &[T],
    show: impl Fn(&T) -> String,
) -> Result<(), Difference> {
    let Some(at) = first_difference(expected, got) else { return Ok(()) };
    Err(Difference {
        what: format!("{what}, element {at}"),
        expected: surroundings(expected, at, &show),
        got: surroundings(got, at, &show),
    })
}

/// The surroundings of the first difference in both lists, if there is one.
pub(super) fn list_difference<T: PartialEq + Display>(expected: &[T], got: &[T]) -> Option<(String, String)> {
    let at = first_difference(expected, got)?;
    Some((surroundings(expected, at, T::to_string), surroundings(got, at, T::to_string)))
}

fn first_difference<T: PartialEq>(expected: &[T], got: &[T]) -> Option<usize> {
    let common = expected.iter().zip(got).position(|(expected, got)| expected != got);
    common.or_else(|| (expected.len() != got.len()).then_some(expected.len().min(got.len())))
}

fn surroundings<T>(list: &[T], at: usize, show: impl Fn(&T) -> String) -> String {
    let (from, to) = (at.saturating_sub(SURROUNDINGS), (at + 1 + SURROUNDINGS).min(list.len()));
    let mut text: Vec<String> = Vec::new();
    text.extend((from > 0).then(|| "…".to_owned()));
    text.extend((from..to).map(|i| if i == at { format!(">{}<", show(&list[i])) } else { show(&list[i]) }));
    text.extend((to < list.len()).then(|| "…".to_owned()));
    text.extend((at >= list.len()).then(|| ">end<".to_owned()));
    format!("[{}] ({} elements)", text.join(", "), list.len())
}

/// Compares two lists of records element by element with `each`, after their keys.
fn keyed<T, K: PartialEq + Debug>(
    what: impl Display,
    expected: &[T],
    got: &[T],
    key: impl Fn(&T) -> K,
    mut each: impl FnMut(&T, &T) -> Result<(), Difference>,
) -> Result<(), Difference> {
    let keys = |list: &[T]| list.iter().map(&key).collect::<Vec<_>>();
    field(what, &keys(expected), &keys(got))?;
    expected.iter().zip(got).try_for_each(|(expected, got)| each(expected, got))
}

/// A zone in words.
fn zone_name(zone: &ZoneState) -> String {
    format!("node {} zone {}", zone.at.nid, zone.kind.name())
}

fn compare_zone(recorded: &RecordedZone, actual: &ZoneState, config: &Config) -> Result<(), Difference> {
    let expected = &recorded.zone;
    let name = zone_name(expected);
    let what = |field: &str| format!("{name}: {field}");
    field(what("name"), &expected.kind.name(), &actual.kind.name())?;
    field(what("start_pfn"), &expected.extent.start_pfn, &actual.extent.start_pfn)?;
    field(what("spanned"), &expected.extent.spanned, &actual.extent.spanned)?;
    field(what("present"), &expected.extent.present, &actual.extent.present)?;
    field(what("managed"), &expected.managed, &actual.managed)?;
    compare_free_lists(&name, expected, actual, config)?;
    keyed(
        what("pcp cpus"),
        &expected.pcp,
        &actual.pcp,
        |pcp| pcp.cpu,
        |expected, got| compare_pcp(&format!("{name}: pcp of cpu {}", expected.cpu), expected, got),
    )?;
    field(what("free"), &expected.nr_free_pages, &actual.nr_free_pages)?;
    field(what("free_cma"), &expected.nr_free_cma, &actual.nr_free_cma)?;
    keyed(
        what("cpustat cpus"),
        &expected.cpustat,
        &actual.cpustat,
        |stat| stat.cpu,
        |expected, got| {
            let what = |field: &str| format!("{name}: cpustat of cpu {}: {field}", expected.cpu);
            field(what("pending delta of the free counter"), &expected.free_delta, &got.free_delta)?;
            field(what("stat threshold"), &expected.threshold, &got.threshold)?;
            field(what("pending delta of the free CMA counter"), &expected.free_cma_delta, &got.free_cma_delta)
        },
    )?;
    field(what("wmark"), &expected.wmark, &actual.wmark)?;
    field(what("boost"), &expected.boost, &actual.boost)?;
    field(what("lowmem_reserve"), &expected.lowmem_reserve, &actual.lowmem_reserve)?;
    field(what("highatomic"), &expected.nr_reserved_highatomic, &actual.nr_reserved_highatomic)?;
    field(what("flags"), &expected.flags, &actual.flags)?;
    field(what("contiguous"), &expected.contiguous, &actual.contiguous)?;
    field(what("drift_mark"), &expected.percpu_drift_mark, &actual.percpu_drift_mark)?;
    field(what("pageset_high"), &expected.pageset_high, &actual.pageset_high)?;
    field(what("pageset_batch"), &expected.pageset_batch, &actual.pageset_batch)?;
    if recorded.has_nr_isolate_pageblock {
        field(what("nr_isolate_pageblock"), &expected.nr_isolate_pageblock, &actual.nr_isolate_pageblock)?;
    }
    field(what("blocks_start"), &expected.blocks_start, &actual.blocks_start)?;
    list(what("blocks"), &expected.blocks, &actual.blocks, |mt| mt.map_or("no memory map", MigrateType::name).into())?;
    if recorded.has_movable_in_use {
        list(what("lru"), &expected.movable_in_use, &actual.movable_in_use, u64::to_string)?;
    }
    Ok(())
}

fn compare_free_lists(name: &str, expected: &ZoneState, actual: &ZoneState, config: &Config) -> Result<(), Difference> {
    for order in 0..config.max_order as usize {
        for mt in MigrateType::ALL {
            let what = format!("{name}: free list of order {order}, {}", mt.name());
            list(what, expected.free_list(order, mt), actual.free_list(order, mt), u64::to_string)?;
        }
        let what = format!("{name}: nr_free of order {order}");
        field(what, &expected.nr_free.get(order), &actual.nr_free.get(order))?;
    }
    Ok(())
}

fn compare_pcp(name: &str, expected: &PcpState, got: &PcpState) -> Result<(), Difference> {
    field(format!("{name}: number of lists"), &expected.lists.len(), &got.lists.len())?;
    for (index, (expected, got)) in expected.lists.iter().zip(&got.lists).enumerate() {
        list(format!("{name}: list {index}"), expected, got, u64::to_string)?;
    }
    field(format!("{name}: count"), &expected.count, &got.count)?;
    field(format!("{name}: high"), &expected.high, &got.high)?;
    field(format!("{name}: batch"), &expected.batch, &got.batch)?;
    field(format!("{name}: free_factor"), &expected.free_factor, &got.free_factor)?;
    let show = |(pfn, mt): &(u64, MigrateType)| format!("{pfn} {}", mt.name());
    list(format!("{name}: mt"), &expected.remembered, &got.remembered, show)
}

/// The first difference between a recorded state and a machine, if there is one.
pub fn compare_state(recorded: &RecordedState, actual: &MachineState) -> Option<Difference> {
    let compared = || {
        let got: Vec<ZoneRef> = actual.zones.iter().map(|zone| zone.at).collect();
        let expected: Vec<ZoneRef> = recorded.zones.iter().map(|zone| zone.zone.at).collect();
        list("populated zones", &expected, &got, zone_ref_text)?;
        for (expected, got) in recorded.zones.iter().zip(&actual.zones) {
            compare_zone(expected, got, &actual.config)?;
        }
        field(
            "page_group_by_mobility_disabled",
            &recorded.page_group_by_mobility_disabled,
            &actual.page_group_by_mobility_disabled,
        )?;
        let tunables = &actual.tunables;
        field("min_free_kbytes", &recorded.min_free_kbytes, &tunables.min_free_kbytes)?;
        field("watermark_scale_factor", &recorded.watermark_scale_factor, &tunables.watermark_scale_factor)?;
        field("watermark_boost_factor", &recorded.watermark_boost_factor, &tunables.watermark_boost_factor)?;
        field("totalram_pages", &recorded.totalram_pages, &actual.totalram_pages)?;
        field("gfp_allowed_mask", &recorded.gfp_allowed_mask, &actual.gfp_allowed_mask)
    };
    compared().err()
}

fn zone_ref_text(at: &ZoneRef) -> String {
    format!("{}:{}", at.nid, at.zone)
}

/// The first difference between recorded digests and the machine's zones.
pub fn compare_digests(recorded: &[ZoneDigest], zones: &[ZoneState], config: &Config) -> Option<Difference> {
    let compared = || {
        let got: Vec<ZoneRef> = zones.iter().map(|zone| zone.at).collect();
        let expected: Vec<ZoneRef> = recorded.iter().map(|digest| digest.at).collect();
        list("populated zones", &expected, &got, zone_ref_text)?;
        for (expected, zone) in recorded.iter().zip(zones) {
            let got = digest::digest(zone, config);
            let name = zone_name(zone);
            let what = |field: &str| format!("{name}: {field}");
            field(what("free_pages"), &expected.free_pages, &got.free_pages)?;
            field(what("pcp_pages"), &expected.pcp_pages, &got.pcp_pages)?;
            field(what("highatomic"), &expected.highatomic, &got.highatomic)?;
            field(what("boost"), &expected.boost, &got.boost)?;
            field(what("free_counter"), &expected.free_counter, &got.free_counter)?;
            let hash = |hash: u64| format!("{hash:016x}");
            field(what("hash of the free lists"), &hash(expected.hf), &hash(got.hf))?;
            field(what("hash of the per-cpu lists"), &hash(expected.hp), &hash(got.hp))?;
        }
        Ok(())
    };
    compared().err()
}

/// The first difference between recorded tunables and a machine's.
pub fn compare_tunables(recorded: &RecordedTunables, actual: &MachineState) -> Option<Difference> {
    let compared = || {
        let (expected, got): (&Tunables, &Tunables) = (&recorded.tunables, &actual.tunables);
        field("min_free_kbytes", &expected.min_free_kbytes, &got.min_free_kbytes)?;
        field("user_min_free_kbytes", &expected.user_min_free_kbytes, &got.user_min_free_kbytes)?;
        field("watermark_scale_factor", &expected.watermark_scale_factor, &got.watermark_scale_factor)?;
        field("watermark_boost_factor", &expected.watermark_boost_factor, &got.watermark_boost_factor)?;
        field("lowmem_reserve_ratio", &expected.lowmem_reserve_ratio, &got.lowmem_reserve_ratio)?;
        let fraction = |tunables: &Tunables| tunables.percpu_pagelist_high_fraction;
        field("percpu_pagelist_high_fraction", &fraction(expected), &fraction(got))?;
        field("totalreserve_pages", &Some(recorded.totalreserve_pages), &actual.totalreserve_pages)?;
        field("node_totalreserve", &Some(&recorded.node_totalreserve), &actual.node_totalreserve.as_ref())
    };
    compared().err()
}

/// The first difference between recorded NUMA event counters and a machine's.
pub fn compare_numa_events(recorded: &[(ZoneRef, NumaEvents)], actual: &MachineState) -> Option<Difference> {
    let compared = || {
        let got: Vec<(ZoneRef, NumaEvents)> = actual.zones.iter().map(|zone| (zone.at, zone.numa)).collect();
        keyed(
            "zones of numastat",
            recorded,
            &got,
            |(at, _)| *at,
            |(at, expected), (_, got)| {
                let what = |field: &str| format!("node {} zone {}: numastat {field}", at.nid, at.zone);
                field(what("hit"), &expected.hit, &got.hit)?;
                field(what("miss"), &expected.miss, &got.miss)?;
                field(what("foreign"), &expected.foreign, &got.foreign)?;
                field(what("interleave_hit"), &expected.interleave_hit, &got.interleave_hit)?;
                field(what("local"), &expected.local, &got.local)?;
                field(what("other"), &expected.other, &got.other)
            },
        )
    };
    compared().err()
}

/// The first difference between what policies see of the nodes and what was recorded; `actual` is
/// the policy zone, the nodes with memory and those with memory below zone Movable.
pub fn compare_policy_info(recorded: &PolicyInfo, actual: (Option<u32>, (u64, u64))) -> Option<Difference> {
    let (policy_zone, (nodes, normal_nodes)) = actual;
    let compared = || {
        field("policy_zone", &Some(recorded.policy_zone), &policy_zone)?;
        field("nodes with memory", &recorded.n_memory, &nodes)?;
        field("nodes with memory below zone Movable", &recorded.n_normal_memory, &normal_nodes)
    };
    compared().err()
}

/// The first difference between recorded nodes and zonelists and a machine's.
pub fn compare_nodes(recorded: &[NodeState], actual: &[NodeState]) -> Option<Difference> {
    let compared = || {
        keyed(
            "online nodes",
            recorded,
            actual,
            |node| node.nid,
            |expected, got| {
                let what = |field: &str| format!("node {}: {field}", expected.nid);
                field(what("start_pfn"), &expected.start_pfn, &got.start_pfn)?;
                field(what("spanned"), &expected.spanned, &got.spanned)?;
                field(what("present"), &expected.present, &got.present)?;
                for (index, (expected, got)) in expected.zones.iter().zip(&got.zones).enumerate() {
                    field(what(&format!("zone {index} start_pfn, spanned, present")), expected, got)?;
                }
                field(what("number of zones"), &expected.zones.len(), &got.zones.len())?;
                compare_zonelists(expected.nid, &expected.zonelists, &got.zonelists)
            },
        )
    };
    compared().err()
}

fn compare_zonelists(nid: u32, expected: &Zonelists, got: &Zonelists) -> Result<(), Difference> {
    list(format!("node {nid}: zonelist fallback"), &expected.fallback, &got.fallback, zone_ref_text)?;
    list(format!("node {nid}: zonelist thisnode"), &expected.thisnode, &got.thisnode, zone_ref_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_show_the_surroundings_of_the_first_difference() {
        let expected: Vec<u64> = (0..20).collect();
        let mut got = expected.clone();
        assert_eq!(list("l", &expected, &got, u64::to_string), Ok(()));
        got[10] = 99;
        let difference = list("l", &expected, &got, u64::to_string).expect_err("different");
        assert_eq!(difference.what, "l, element 10");
        assert_eq!(difference.expected, "[…, 6, 7, 8, 9, >10<, 11, 12, 13, 14, …] (20 elements)");
        assert_eq!(difference.got, "[…, 6, 7, 8, 9, >99<, 11, 12, 13, 14, …] (20 elements)");
        let shorter = list("l", &expected, &expected[..19], u64::to_string).expect_err("different");
        assert_eq!(shorter.got, "[…, 15, 16, 17, 18, >end<] (19 elements)");
        assert_eq!(list("l", &[], &[1u64], u64::to_string).expect_err("different").expected, "[>end<] (0 elements)");
    }
}
