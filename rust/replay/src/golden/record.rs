//! The object lines of a recording: what they look like, and their typed form.

use pagebuddy_core::config::Config;
use pagebuddy_core::memblock::Region;
use pagebuddy_core::state::{CpuStat, NumaEvents, PcpState, Tunables, ZoneExtent, ZoneRef, ZoneState};
use pagebuddy_core::types::{MIGRATE_PCPTYPES, MigrateType, NR_MIGRATETYPES, Pfn};
use serde::Deserialize;

/// What is wrong with a record.
pub(super) type RecordResult<T> = Result<T, String>;

#[derive(Deserialize)]
pub(super) struct RawHeader {
    pub kernel: String,
    pub mode: String,
    pub scenario: String,
    pub seed: Option<u64>,
    #[serde(default)]
    pub drained: u8,
    #[serde(default)]
    pub rt_task: u8,
    pub config: RawConfig,
    pub online_cpus: usize,
    pub present_cpus: usize,
    pub cpu_node: Vec<u32>,
    pub nodes: Vec<u32>,
    pub node_distance: Vec<Vec<u32>>,
}

#[derive(Deserialize)]
#[allow(non_snake_case, reason = "the recording's names are the kernel's")]
pub(super) struct RawConfig {
    page_shift: u32,
    MAX_ORDER: u32,
    pageblock_order: u32,
    MIGRATE_TYPES: usize,
    MIGRATE_PCPTYPES: usize,
    NR_PCP_LISTS: usize,
    MAX_NR_ZONES: usize,
    MAX_NUMNODES: u32,
    SECTION_SIZE_BITS: u32,
    smp: u8,
    numa: u8,
    thp: u8,
    compaction: u8,
    cma: u8,
    memory_isolation: u8,
    zone_dma: u8,
    zone_dma32: u8,
}

impl RawConfig {
    /// The configuration, without boot parameters.
    pub fn config(&self) -> RecordResult<Config> {
        let flag = |name: &str, value: u8| match value {
            0 | 1 => Ok(value == 1),
            _ => Err(format!("config: {name} must be 0 or 1, not {value}")),
        };
        let config = Config {
            page_shift: self.page_shift,
            max_order: self.MAX_ORDER,
            pageblock_order: self.pageblock_order,
            section_size_bits: self.SECTION_SIZE_BITS,
            smp: flag("smp", self.smp)?,
            numa: flag("numa", self.numa)?,
            thp: flag("thp", self.thp)?,
            compaction: flag("compaction", self.compaction)?,
            cma: flag("cma", self.cma)?,
            memory_isolation: flag("memory_isolation", self.memory_isolation)?,
            zone_dma: flag("zone_dma", self.zone_dma)?,
            zone_dma32: flag("zone_dma32", self.zone_dma32)?,
            max_numnodes: self.MAX_NUMNODES,
            ..Config::default()
        };
        config.validate().map_err(|error| format!("config: {error}"))?;
        for (name, found, wanted) in [
            ("MIGRATE_TYPES", self.MIGRATE_TYPES, config.migrate_types()),
            ("MIGRATE_PCPTYPES", self.MIGRATE_PCPTYPES, MIGRATE_PCPTYPES),
            ("NR_PCP_LISTS", self.NR_PCP_LISTS, config.nr_pcp_lists()),
            ("MAX_NR_ZONES", self.MAX_NR_ZONES, config.nr_zones()),
        ] {
            if found != wanted {
                return Err(format!("config: {name} is {found}, but the options make it {wanted}"));
            }
        }
        Ok(config)
    }
}

/// Kind of an object line behind the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RecordKind {
    Memblock,
    Node,
    Zonelist,
    State,
    Zstate,
    Late,
    Tunables,
    PolicyInfo,
    Numastat,
    Eof,
}

/// The part of an object line that tells its kind.
#[derive(Deserialize)]
pub(super) struct RecordTag {
    pub t: RecordKind,
}

type RawRegion = (u64, u64, i64, u32);

#[derive(Deserialize)]
pub(super) struct RawMemblock {
    memory: Vec<RawRegion>,
    reserved: Vec<RawRegion>,
}

impl RawMemblock {
    pub fn regions(self, config: &Config) -> RecordResult<(Vec<Region>, Vec<Region>)> {
        let convert = |list: Vec<RawRegion>, name: &str| -> RecordResult<Vec<Region>> {
            let mut end = 0;
            let regions = list.into_iter().map(|(base, size, nid, flags)| {
                let nid = match nid {
                    -1 => None,
                    nid => match u32::try_from(nid) {
                        Ok(nid) if nid < config.max_numnodes => Some(nid),
                        _ => return Err(format!("{name}: node {nid} is not between -1 and MAX_NUMNODES-1")),
                    },
                };
                if size == 0 || base < end {
                    return Err(format!("{name}: the region at {base} is empty or not above its predecessor"));
                }
                end = base.checked_add(size).ok_or_else(|| format!("{name}: the region at {base} ends beyond 2^64"))?;
                Ok(Region { base, size, nid, flags })
            });
            regions.collect()
        };
        Ok((convert(self.memory, "memory")?, convert(self.reserved, "reserved")?))
    }
}

#[derive(Deserialize)]
pub(super) struct RawNode {
    pub node: u32,
    pub start_pfn: Pfn,
    pub spanned: u64,
    pub present: u64,
    zones: Vec<(Pfn, u64, u64)>,
}

impl RawNode {
    pub fn extents(&self, config: &Config) -> RecordResult<Vec<ZoneExtent>> {
        if self.zones.len() != config.nr_zones() {
            return Err(format!("{} zones instead of MAX_NR_ZONES = {}", self.zones.len(), config.nr_zones()));
        }
        let extent = |&(start_pfn, spanned, present)| ZoneExtent { start_pfn, spanned, present };
        Ok(self.zones.iter().map(extent).collect())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawZonelistKind {
    Fallback,
    Thisnode,
}

#[derive(Deserialize)]
pub(super) struct RawZonelist {
    pub node: u32,
    pub kind: RawZonelistKind,
    zones: Vec<(u32, u32)>,
}

impl RawZonelist {
    pub fn refs(&self, config: &Config) -> RecordResult<Vec<ZoneRef>> {
        self.zones.iter().map(|&(nid, zone)| zone_ref(nid, zone, config)).collect()
    }
}

fn zone_ref(nid: u32, zone: u32, config: &Config) -> RecordResult<ZoneRef> {
    if nid >= config.max_numnodes {
        return Err(format!("node {nid} is not below MAX_NUMNODES {}", config.max_numnodes));
    }
    if zone as usize >= config.nr_zones() {
        return Err(format!("zone {zone} is not below MAX_NR_ZONES {}", config.nr_zones()));
    }
    Ok(ZoneRef { nid, zone })
}

#[derive(Deserialize)]
pub(super) struct RawState {
    pub label: String,
    pub op: u64,
    pub zones: usize,
    pub page_group_by_mobility_disabled: u8,
    pub min_free_kbytes: u64,
    pub watermark_scale_factor: u64,
    pub watermark_boost_factor: u64,
    pub totalram_pages: u64,
    pub gfp_allowed_mask: u32,
}

#[derive(Deserialize)]
pub(super) struct RawLate {
    pub online_cpus: usize,
    pub cpu_node: Vec<u32>,
}

#[derive(Deserialize)]
pub(super) struct RawTunables {
    pub op: u64,
    min_free_kbytes: u64,
    user_min_free_kbytes: i64,
    watermark_scale_factor: u64,
    watermark_boost_factor: u64,
    lowmem_reserve_ratio: Vec<u64>,
    percpu_pagelist_high_fraction: u64,
    totalreserve_pages: u64,
    node_totalreserve: Vec<u64>,
}

/// A `tunables` record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedTunables {
    /// The values in force.
    pub tunables: Tunables,
    /// `totalreserve_pages`.
    pub totalreserve_pages: u64,
    /// The same sum per online node.
    pub node_totalreserve: Vec<u64>,
}

impl RawTunables {
    pub fn convert(self, config: &Config, nr_nodes: usize) -> RecordResult<RecordedTunables> {
        if self.lowmem_reserve_ratio.len() != config.nr_zones() {
            return Err(format!("lowmem_reserve_ratio must have {} values", config.nr_zones()));
        }
        if self.node_totalreserve.len() != nr_nodes {
            return Err(format!("node_totalreserve must have {nr_nodes} values"));
        }
        let user_min_free_kbytes = match self.user_min_free_kbytes {
            -1 => None,
            value => Some(u64::try_from(value).map_err(|_| format!("user_min_free_kbytes {value} is below -1"))?),
        };
        Ok(RecordedTunables {
            tunables: Tunables {
                min_free_kbytes: self.min_free_kbytes,
                user_min_free_kbytes,
                watermark_scale_factor: self.watermark_scale_factor,
                watermark_boost_factor: self.watermark_boost_factor,
                lowmem_reserve_ratio: self.lowmem_reserve_ratio,
                percpu_pagelist_high_fraction: self.percpu_pagelist_high_fraction,
            },
            totalreserve_pages: self.totalreserve_pages,
            node_totalreserve: self.node_totalreserve,
        })
    }
}

/// A `policy-info` record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct PolicyInfo {
    /// Lowest zone index to which a bind policy applies.
    pub policy_zone: u32,
    /// Nodes with memory.
    pub n_memory: u64,
    /// Nodes with memory below zone Movable.
    pub n_normal_memory: u64,
}

#[derive(Deserialize)]
pub(super) struct RawNumastat {
    pub op: u64,
    zones: Vec<RawNumaEvents>,
}

/// Node, zone, hit, miss, foreign, interleave_hit, local, other.
type RawNumaEvents = (u32, u32, u64, u64, u64, u64, u64, u64);

impl RawNumastat {
    pub fn convert(self, config: &Config) -> RecordResult<Vec<(ZoneRef, NumaEvents)>> {
        let convert = |(nid, zone, hit, miss, foreign, interleave_hit, local, other): RawNumaEvents| {
            let events = NumaEvents { hit, miss, foreign, interleave_hit, local, other };
            Ok((zone_ref(nid, zone, config)?, events))
        };
        self.zones.into_iter().map(convert).collect()
    }
}

#[derive(Deserialize)]
pub(super) struct RawEof {
    pub ops: u64,
}

#[derive(Deserialize)]
pub(super) struct RawZone {
    node: u32,
    zone: u32,
    name: String,
    start_pfn: Pfn,
    spanned: u64,
    present: u64,
    managed: u64,
    wmark: [u64; 3],
    boost: u64,
    lowmem_reserve: Vec<u64>,
    highatomic: u64,
    flags: u32,
    contiguous: u8,
    free: i64,
    drift_mark: u64,
    pageset_high: u64,
    pageset_batch: u64,
    nr_isolate_pageblock: Option<u64>,
    free_cma: i64,
    lru: Option<Vec<Pfn>>,
    cpustat: Vec<(usize, i32, i32, i32)>,
    free_area: Vec<(u64, Vec<Vec<Pfn>>)>,
    pcp: Vec<RawPcp>,
    blocks_start: Pfn,
    blocks: String,
}

#[derive(Deserialize)]
struct RawPcp {
    cpu: usize,
    count: u64,
    high: u64,
    batch: u64,
    free_factor: u32,
    lists: Vec<Vec<Pfn>>,
    mt: Vec<(Pfn, usize)>,
}

/// A `zstate` record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedZone {
    /// Line of the recording.
    pub line: u64,
    /// The zone; fields that were not recorded are 0 or empty.
    pub zone: ZoneState,
    /// Whether `nr_isolate_pageblock` was recorded.
    pub has_nr_isolate_pageblock: bool,
    /// Whether the movable pages in use (`lru`) were recorded.
    pub has_movable_in_use: bool,
}

impl RawZone {
    pub fn convert(self, config: &Config, line: u64) -> RecordResult<RecordedZone> {
        let at = zone_ref(self.node, self.zone, config)?;
        let Some(kind) = config.zone_kinds().nth(self.zone as usize).filter(|kind| kind.name() == self.name) else {
            return Err(format!("zone {} cannot be named `{}` with these options", self.zone, self.name));
        };
        expect_len("lowmem_reserve", self.lowmem_reserve.len(), config.nr_zones())?;
        if self.contiguous > 1 {
            return Err("contiguous must be 0 or 1".into());
        }
        let has_movable_in_use = self.lru.is_some();
        let has_nr_isolate_pageblock = self.nr_isolate_pageblock.is_some();
        let (nr_free, free_lists) = free_lists(self.free_area, config)?;
        let cpustat = self.cpustat.into_iter().map(|(cpu, free_delta, threshold, free_cma_delta)| CpuStat {
            cpu,
            free_delta,
            threshold,
            free_cma_delta,
        });
        let zone = ZoneState {
            at,
            kind,
            extent: ZoneExtent { start_pfn: self.start_pfn, spanned: self.spanned, present: self.present },
            managed: self.managed,
            wmark: self.wmark,
            boost: self.boost,
            lowmem_reserve: self.lowmem_reserve,
            nr_reserved_highatomic: self.highatomic,
            flags: self.flags,
            contiguous: self.contiguous == 1,
            nr_free_pages: self.free,
            nr_free_cma: self.free_cma,
            percpu_drift_mark: self.drift_mark,
            pageset_high: self.pageset_high,
            pageset_batch: self.pageset_batch,
            nr_isolate_pageblock: self.nr_isolate_pageblock.unwrap_or(0),
            cpustat: cpustat.collect(),
            nr_free,
            free_lists,
            pcp: self.pcp.into_iter().map(|pcp| pcp.convert(config)).collect::<RecordResult<_>>()?,
            blocks_start: self.blocks_start,
            blocks: blocks(&self.blocks, config)?,
            movable_in_use: self.lru.unwrap_or_default(),
            numa: NumaEvents::default(),
        };
        Ok(RecordedZone { line, zone, has_nr_isolate_pageblock, has_movable_in_use })
    }
}

fn expect_len(what: &str, found: usize, wanted: usize) -> RecordResult<()> {
    if found == wanted { Ok(()) } else { Err(format!("{what} has {found} entries instead of {wanted}")) }
}

fn migratetype(number: usize, config: &Config) -> RecordResult<MigrateType> {
    config.migratetype_from_number(number).ok_or_else(|| format!("migratetype {number} is not below MIGRATE_TYPES"))
}

/// Counts per order, and the lists at the indices of [`ZoneState::free_list_index`].
fn free_lists(area: Vec<(u64, Vec<Vec<Pfn>>)>, config: &Config) -> RecordResult<(Vec<u64>, Vec<Vec<Pfn>>)> {
    expect_len("free_area", area.len(), config.max_order as usize)?;
    let mut nr_free = Vec::with_capacity(area.len());
    let mut lists = vec![Vec::new(); area.len() * NR_MIGRATETYPES];
    for (order, (count, recorded)) in area.into_iter().enumerate() {
        expect_len(&format!("free_area of order {order}"), recorded.len(), config.migrate_types())?;
        nr_free.push(count);
        for (number, list) in recorded.into_iter().enumerate() {
            lists[ZoneState::free_list_index(order, migratetype(number, config)?)] = list;
        }
    }
    Ok((nr_free, lists))
}

fn blocks(digits: &str, config: &Config) -> RecordResult<Vec<Option<MigrateType>>> {
    let block = |byte: u8| match byte {
        b'.' => Ok(None),
        b'0'..=b'9' => migratetype(usize::from(byte - b'0'), config).map(Some),
        _ => Err(format!("blocks: `{}` is not a migratetype", byte.escape_ascii())),
    };
    digits.bytes().map(block).collect()
}

impl RawPcp {
    fn convert(self, config: &Config) -> RecordResult<PcpState> {
        expect_len("pcp lists", self.lists.len(), config.nr_pcp_lists())?;
        let remembered = self.mt.into_iter().map(|(pfn, number)| Ok((pfn, migratetype(number, config)?)));
        Ok(PcpState {
            cpu: self.cpu,
            count: self.count,
            high: self.high,
            batch: self.batch,
            free_factor: self.free_factor,
            remembered: remembered.collect::<RecordResult<_>>()?,
            lists: self.lists,
        })
    }
}
