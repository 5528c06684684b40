//! Booting a machine from its memory map (mm/memblock.c, `memblock_free_all`; init/main.c).

use crate::allocator::{CpuChoice, PageAllocator};
use crate::blueprint::{Blueprint, NodeSpec, Range, ZoneSpec, put32, put64};
use crate::config::Config;
use crate::error::BootError;
use crate::free_area::Side;
use crate::gfp::Gfp;
use crate::layout::{self, Layout, Topology};
use crate::memblock::{FreeBlocks, Memblock, Region};
use crate::segment::BOOT_PAGESET_HIGH;
use crate::state::{ZoneExtent, ZoneRef, Zonelists};
use crate::sync::Relaxed;
use crate::types::MigrateType;
use crate::watermark::sizing;

impl PageAllocator {
    /// Boots a machine up to the hand-over of all free memory ("early"): boot pagesets with high 0
    /// and batch 1, watermarks 0, exact counters. Memblock is sealed afterwards.
    pub fn boot_early(
        config: &Config,
        topology: &Topology,
        memblock: &mut Memblock,
    ) -> Result<PageAllocator, BootError> {
        let geometry = memblock.geometry();
        if geometry.page_shift != config.page_shift {
            return Err(BootError::MemoryMap("memblock was made for another page size"));
        }
        if memblock.is_discarded() {
            return Err(BootError::MemoryMap("memblock was handed over already"));
        }
        let layout = layout::plan(config, memblock.memory(), memblock.reserved(), topology)?;
        let allocator = blueprint(config, topology, &layout, memblock.memory()).build()?;
        allocator.set_boot_values();
        for range in &layout.movable_pageblocks {
            for block in range.start..range.end {
                if let Some(entry) = allocator.segment.pageblocks.get(block as usize) {
                    entry.store(MigrateType::Movable as u8, Relaxed); // ORDERING(R1)
                }
            }
        }
        allocator.free_all(config, layout.max_low_pfn, memblock)?;
        allocator.segment.header.publish();
        Ok(allocator)
    }

    /// Boots a machine completely ("late"): everything of [`Self::boot_early`], then real pagesets,
    /// all cpus online, watermarks, reserves and thresholds.
    pub fn boot_late(
        config: &Config,
        topology: &Topology,
        memblock: &mut Memblock,
    ) -> Result<PageAllocator, BootError> {
        let allocator = Self::boot_early(config, topology, memblock)?;
        allocator.finish_boot();
        Ok(allocator)
    }

    /// Tunables and pagesets as they are before any initcall.
    fn set_boot_values(&self) {
        let machine = self.machine();
        put32(&machine.gfp_allowed_mask, Gfp::BOOT_MASK.0);
        machine.min_free_kbytes.store(sizing::INITIAL_MIN_FREE_KBYTES.into(), Relaxed); // ORDERING(R1)
        machine.user_min_free_kbytes.store(sizing::USER_MIN_FREE_KBYTES_UNSET.into(), Relaxed); // ORDERING(R1)
        put64(&machine.watermark_scale_factor, sizing::DEFAULT_WATERMARK_SCALE_FACTOR.into());
        put64(&machine.watermark_boost_factor, sizing::DEFAULT_WATERMARK_BOOST_FACTOR.into());
        for (ratio, default) in
            machine.lowmem_reserve_ratio.iter().zip(sizing::default_lowmem_reserve_ratio(self.config()))
        {
            put64(ratio, default.into());
        }
        for zone in self.zones() {
            put32(&zone.shared.pageset_high, BOOT_PAGESET_HIGH);
            put32(&zone.shared.pageset_batch, 1);
            for state in zone.own_cpu_zones() {
                put32(&state.high, BOOT_PAGESET_HIGH);
                put32(&state.batch, 1);
            }
        }
        for (id, cpu) in self.segment.cpus.iter().enumerate() {
            put32(&cpu.online, (id == 0).into());
        }
    }

    /// `memblock_free_all`: every free range, cut into blocks, ascending, to the list tails.
    fn free_all(&self, config: &Config, max_low_pfn: u64, memblock: &mut Memblock) -> Result<(), BootError> {
        let sealed = |_| BootError::MemoryMap("memblock was handed over already");
        let cpu = self.enter(CpuChoice::Fixed(0));
        let mut totalram = 0;
        for span in memblock.free_all(max_low_pfn).map_err(sealed)?.free_spans() {
            totalram += span.end - span.start;
            for (pfn, order) in FreeBlocks::new(span, config.max_order) {
                let Some(zone) = self.zone_of(pfn) else { continue };
                let x = zone.idx(pfn);
                let managed = &zone.shared.managed;
                put64(managed, managed.load(Relaxed) + (1 << order)); // ORDERING(R1)
                zone.count_pgfree(&cpu, 1 << order);
                zone.free_one_page(&cpu, x, order, zone.blocks().get(x), Side::Back);
            }
        }
        put64(&self.machine().totalram_pages, totalram);
        memblock.discard().map_err(sealed)?;
        Ok(())
    }
}

/// The segment of a planned machine.
fn blueprint(config: &Config, topology: &Topology, layout: &Layout, memory: &[Region]) -> Blueprint {
    let to_ref = |at: &layout::ZoneRef| ZoneRef { nid: at.node, zone: at.index as u32 };
    let flags_of = |pfn: u64| {
        let addr = pfn << config.page_shift;
        memory.iter().find(|r| r.contains(addr)).map_or((None, 0), |r| (r.nid, r.flags))
    };
    let default_nid = topology.nodes.first().copied().unwrap_or(0);
    Blueprint {
        config: *config,
        nodes: layout
            .nodes
            .iter()
            .enumerate()
            .map(|(position, node)| NodeSpec {
                nid: node.nid,
                start_pfn: node.start_pfn,
                spanned: node.spanned,
                present: node.present,
                zonelists: Zonelists {
                    fallback: node.fallback.iter().map(to_ref).collect(),
                    thisnode: node.thisnode.iter().map(to_ref).collect(),
                },
                distance: (0..layout.nodes.len()).map(|to| topology.distance_between(position, to)).collect(),
            })
            .collect(),
        zones: layout
            .populated_zones()
            .map(|zone| ZoneSpec {
                at: ZoneRef { nid: zone.node, zone: zone.index as u32 },
                kind: zone.kind,
                extent: ZoneExtent { start_pfn: zone.start_pfn, spanned: zone.spanned, present: zone.present },
            })
            .collect(),
        cpu_node: if topology.cpu_node.is_empty() { vec![default_nid] } else { topology.cpu_node.clone() },
        memory: layout
            .memory
            .iter()
            .map(|range| {
                let (nid, flags) = flags_of(range.start);
                Range { start: range.start, end: range.end, nid: nid.unwrap_or(default_nid), flags }
            })
            .collect(),
        reserved: layout
            .reserved
            .iter()
            .map(|range| Range { start: range.start, end: range.end, nid: u32::MAX, flags: 0 })
            .collect(),
        policy_zone: layout.policy_zone as u32,
        mobility_disabled: layout.page_group_by_mobility_disabled,
    }
}
