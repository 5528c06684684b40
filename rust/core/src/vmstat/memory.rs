//! The memory report of the kernel's log (lib/show_mem.c, `show_mem`; mm/page_alloc.c,
//! `show_free_areas`).

use crate::allocator::{CpuChoice, PageAllocator};
use crate::mempolicy::nodemask;
use crate::sync::Relaxed;
use crate::types::MigrateType;
use crate::watermark::{WMARK_HIGH, WMARK_LOW, WMARK_MIN};
use crate::zone::Zone;
use core::fmt;

/// Letters for the migratetypes of the lists that hold blocks (`show_migration_types`).
const TYPE_LETTERS: [(MigrateType, char); 6] = [
    (MigrateType::Unmovable, 'U'),
    (MigrateType::Movable, 'M'),
    (MigrateType::Reclaimable, 'E'),
    (MigrateType::HighAtomic, 'H'),
    (MigrateType::Cma, 'C'),
    (MigrateType::Isolate, 'I'),
];

/// A node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeMemory {
    /// Node id.
    pub nid: u32,
    /// kswapd has given up.
    pub all_unreclaimable: bool,
}

/// Free blocks of one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderBlocks {
    /// How many.
    pub nr_free: u64,
    /// Migratetypes of the lists that hold them.
    pub types: Vec<MigrateType>,
}

/// A populated zone; sizes in pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneMemory {
    /// Node id.
    pub nid: u32,
    /// Name of the zone.
    pub zone: &'static str,
    /// Free pages, approximate.
    pub free: u64,
    /// Boost of the watermarks.
    pub boost: u64,
    /// Min watermark, boost included.
    pub min: u64,
    /// Low watermark, boost included.
    pub low: u64,
    /// High watermark, boost included.
    pub high: u64,
    /// Pages in HighAtomic pageblocks.
    pub reserved_highatomic: u64,
    /// Pages that exist.
    pub present: u64,
    /// Pages handed to the allocator.
    pub managed: u64,
    /// Pages on the lists of all online cpus.
    pub free_pcp: u64,
    /// Pages on the lists of the cpu that reports.
    pub local_pcp: u64,
    /// Free pages in CMA areas, approximate.
    pub free_cma: u64,
    /// Pages kept from requests that could use a higher zone, by zone index.
    pub lowmem_reserve: Vec<u64>,
    /// Free blocks by order.
    pub blocks: Vec<OrderBlocks>,
}

/// The whole report; sizes in pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryReport {
    /// log2 of the page size.
    pub page_shift: u32,
    /// Lines of zones begin with their node.
    pub numa: bool,
    /// Lines of nodes count transparent huge pages.
    pub thp: bool,
    /// Free pages of all nodes, approximate.
    pub free: u64,
    /// Pages on the per-cpu lists of the zones that are told.
    pub free_pcp: u64,
    /// Free pages in CMA areas of all nodes, approximate.
    pub free_cma: u64,
    /// Online nodes, as far as they are told.
    pub nodes: Vec<NodeMemory>,
    /// Populated zones, as far as their nodes are told.
    pub zones: Vec<ZoneMemory>,
    /// Pages that exist, in all nodes.
    pub present: u64,
    /// Of those, pages never handed to the allocator.
    pub reserved: u64,
    /// Pages in CMA areas; `None` without CMA.
    pub cma_reserved: Option<u64>,
}

impl MemoryReport {
    /// Kilobytes of a number of pages (`K`).
    fn kb(&self, pages: u64) -> u64 {
        pages << (self.page_shift - 10)
    }

    fn fmt_node(&self, node: NodeMemory, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node {} active_anon:0kB inactive_anon:0kB active_file:0kB inactive_file:0kB", node.nid)?;
        write!(
            f,
            " unevictable:0kB isolated(anon):0kB isolated(file):0kB mapped:0kB dirty:0kB writeback:0kB shmem:0kB"
        )?;
        if self.thp {
            write!(f, " shmem_thp: 0kB shmem_pmdmapped: 0kB anon_thp: 0kB")?;
        }
        let all_unreclaimable = if node.all_unreclaimable { "yes" } else { "no" };
        writeln!(f, " writeback_tmp:0kB kernel_stack:0kB pagetables:0kB all_unreclaimable? {all_unreclaimable}")
    }

    /// The node at the start of a zone's line.
    fn fmt_zone_node(&self, zone: &ZoneMemory, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.numa { write!(f, "Node {} ", zone.nid) } else { Ok(()) }
    }

    fn fmt_zone(&self, zone: &ZoneMemory, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_zone_node(zone, f)?;
        write!(f, "{} free:{}kB boost:{}kB", zone.zone, self.kb(zone.free), self.kb(zone.boost))?;
        write!(f, " min:{}kB low:{}kB high:{}kB", self.kb(zone.min), self.kb(zone.low), self.kb(zone.high))?;
        write!(f, " reserved_highatomic:{}KB", self.kb(zone.reserved_highatomic))?;
        write!(f, " active_anon:0kB inactive_anon:0kB active_file:0kB inactive_file:0kB unevictable:0kB")?;
        write!(f, " writepending:0kB present:{}kB managed:{}kB", self.kb(zone.present), self.kb(zone.managed))?;
        write!(f, " mlocked:0kB bounce:0kB free_pcp:{}kB", self.kb(zone.free_pcp))?;
        writeln!(f, " local_pcp:{}kB free_cma:{}kB", self.kb(zone.local_pcp), self.kb(zone.free_cma))?;
        write!(f, "lowmem_reserve[]:")?;
        zone.lowmem_reserve.iter().try_for_each(|pages| write!(f, " {pages}"))?;
        writeln!(f)
    }

    fn fmt_blocks(&self, zone: &ZoneMemory, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_zone_node(zone, f)?;
        write!(f, "{}: ", zone.zone)?;
        let mut total = 0;
        for (order, blocks) in zone.blocks.iter().enumerate() {
            let size = self.kb(1 << order);
            total += blocks.nr_free * size;
            write!(f, "{}*{size}kB ", blocks.nr_free)?;
            if blocks.nr_free != 0 {
                let letters = TYPE_LETTERS.iter().filter(|(mt, _)| blocks.types.contains(mt));
                write!(f, "({}) ", letters.map(|(_, letter)| letter).collect::<String>())?;
            }
        }
        writeln!(f, "= {total}kB")
    }
}

impl fmt::Display for MemoryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "Mem-Info:\n\
             active_anon:0 inactive_anon:0 isolated_anon:0\n \
             active_file:0 inactive_file:0 isolated_file:0\n \
             unevictable:0 dirty:0 writeback:0\n \
             slab_reclaimable:0 slab_unreclaimable:0\n \
             mapped:0 shmem:0 pagetables:0 bounce:0\n \
             kernel_misc_reclaimable:0\n",
        )?;
        writeln!(f, " free:{} free_pcp:{} free_cma:{}", self.free, self.free_pcp, self.free_cma)?;
        self.nodes.iter().try_for_each(|node| self.fmt_node(*node, f))?;
        self.zones.iter().try_for_each(|zone| self.fmt_zone(zone, f))?;
        self.zones.iter().try_for_each(|zone| self.fmt_blocks(zone, f))?;
        writeln!(f, "0 total pagecache pages")?;
        writeln!(f, "{} pages RAM\n0 pages HighMem/MovableOnly\n{} pages reserved", self.present, self.reserved)?;
        self.cma_reserved.map_or(Ok(()), |pages| writeln!(f, "{pages} pages cma reserved"))
    }
}

impl Zone<'_> {
    fn memory(self, local: usize) -> ZoneMemory {
        let view = self.view();
        let of_order = |order| {
            let mut blocks = OrderBlocks { nr_free: 0, types: Vec::new() };
            for mt in MigrateType::ALL {
                let nr_free = view.nr_blocks(order, mt);
                blocks.nr_free += nr_free;
                blocks.types.extend((nr_free != 0).then_some(mt));
            }
            blocks
        };
        let reserve = self.shared.lowmem_reserve.iter().take(self.config.nr_zones());
        ZoneMemory {
            nid: self.node(),
            zone: self.kind().name(),
            free: self.free_pages_approximate() as u64,
            boost: self.boost(),
            min: self.watermark(WMARK_MIN),
            low: self.watermark(WMARK_LOW),
            high: self.watermark(WMARK_HIGH),
            reserved_highatomic: self.shared.nr_reserved_highatomic.load(Relaxed), // ORDERING(R7)
            present: self.extent().present,
            managed: self.managed(),
            free_pcp: (0..self.cpu_zones.len()).map(|slot| self.pcp_count(slot)).sum(),
            local_pcp: self.pcp_count(local),
            free_cma: self.free_cma_approximate() as u64,
            lowmem_reserve: reserve.map(|word| word.load(Relaxed)).collect(), // ORDERING(R7)
            blocks: (0..self.config.max_order).map(of_order).collect(),
        }
    }
}

impl PageAllocator {
    /// The memory report for a caller on `cpu`. `nodes` leaves out the details of other nodes
    /// (`SHOW_MEM_FILTER_NODES`).
    pub fn memory_report(&self, nodes: Option<u64>, cpu: CpuChoice) -> MemoryReport {
        let is_told = |nid: u32| nodes.is_none_or(|mask| nodemask::contains(mask, nid));
        let local = self.cpu_hint(cpu);
        let config = self.config();
        let told = self.populated_zones().into_iter().filter(|zone| is_told(zone.node()));
        let zones: Vec<ZoneMemory> = told.map(|zone| zone.memory(local)).collect();
        let (mut present, mut managed, mut cma) = (0, 0, 0);
        for zone in self.zones() {
            present += zone.extent().present;
            managed += zone.managed();
            cma += zone.shared.cma_pages.load(Relaxed); // ORDERING(R7)
        }
        let node = |nid| NodeMemory { nid, all_unreclaimable: self.is_unreclaimable(nid) };
        MemoryReport {
            page_shift: config.page_shift,
            numa: config.numa,
            thp: config.thp,
            free: self.zone_item_sum("nr_free_pages"),
            free_pcp: zones.iter().map(|zone| zone.free_pcp).sum(),
            free_cma: self.zone_item_sum("nr_free_cma"),
            nodes: self.node_ids().filter(|nid| is_told(*nid)).map(node).collect(),
            zones,
            present,
            reserved: present.saturating_sub(managed),
            cma_reserved: config.cma.then_some(cma),
        }
    }

    /// The kernel's memory report, as `show_mem` logs it.
    pub fn show_free_areas(&self, nodes: Option<u64>, cpu: CpuChoice) -> String {
        self.memory_report(nodes, cpu).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(counts: [(u64, &[MigrateType]); 11]) -> Vec<OrderBlocks> {
        counts.map(|(nr_free, types)| OrderBlocks { nr_free, types: types.to_vec() }).to_vec()
    }

    fn report() -> MemoryReport {
        const U: &[MigrateType] = &[MigrateType::Unmovable];
        const M: &[MigrateType] = &[MigrateType::Movable];
        const NONE: (u64, &[MigrateType]) = (0, &[]);
        let zone = ZoneMemory {
            nid: 0,
            zone: "DMA",
            free: 3840,
            boost: 0,
            min: 63,
            low: 78,
            high: 93,
            reserved_highatomic: 512,
            present: 3998,
            managed: 3840,
            free_pcp: 3,
            local_pcp: 1,
            free_cma: 0,
            lowmem_reserve: vec![0, 2955, 2884, 2884, 2884],
            blocks: blocks([NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, (1, U), (1, M), (3, M)]),
        };
        MemoryReport {
            page_shift: 12,
            numa: true,
            thp: true,
            free: 3840,
            free_pcp: 3,
            free_cma: 0,
            nodes: vec![NodeMemory { nid: 0, all_unreclaimable: false }],
            zones: vec![zone],
            present: 3998,
            reserved: 158,
            cma_reserved: None,
        }
    }

    #[test]
    fn text_is_the_kernels() {
        let text = "\
Mem-Info:
active_anon:0 inactive_anon:0 isolated_anon:0
 active_file:0 inactive_file:0 isolated_file:0
 unevictable:0 dirty:0 writeback:0
 slab_reclaimable:0 slab_unreclaimable:0
 mapped:0 shmem:0 pagetables:0 bounce:0
 kernel_misc_reclaimable:0
 free:3840 free_pcp:3 free_cma:0
Node 0 active_anon:0kB inactive_anon:0kB active_file:0kB inactive_file:0kB unevictable:0kB isolated(anon):0kB \
isolated(file):0kB mapped:0kB dirty:0kB writeback:0kB shmem:0kB shmem_thp: 0kB shmem_pmdmapped: 0kB anon_thp: 0kB \
writeback_tmp:0kB kernel_stack:0kB pagetables:0kB all_unreclaimable? no
Node 0 DMA free:15360kB boost:0kB min:252kB low:312kB high:372kB reserved_highatomic:2048KB active_anon:0kB \
inactive_anon:0kB active_file:0kB inactive_file:0kB unevictable:0kB writepending:0kB present:15992kB managed:15360kB \
mlocked:0kB bounce:0kB free_pcp:12kB local_pcp:4kB free_cma:0kB
lowmem_reserve[]: 0 2955 2884 2884 2884
Node 0 DMA: 0*4kB 0*8kB 0*16kB 0*32kB 0*64kB 0*128kB 0*256kB 0*512kB 1*1024kB (U) 1*2048kB (M) 3*4096kB (M) = 15360kB
0 total pagecache pages
3998 pages RAM
0 pages HighMem/MovableOnly
158 pages reserved
";
        assert_eq!(report().to_string(), text);
    }

    #[test]
    fn the_configuration_decides_variants() {
        let mut report = MemoryReport { numa: false, thp: false, cma_reserved: Some(4096), ..report() };
        report.nodes[0].all_unreclaimable = true;
        let types = vec![
            MigrateType::Isolate,
            MigrateType::Cma,
            MigrateType::HighAtomic,
            MigrateType::Reclaimable,
            MigrateType::Movable,
            MigrateType::Unmovable,
        ];
        report.zones[0].blocks[0] = OrderBlocks { nr_free: 6, types };
        let text = report.to_string();
        assert!(text.contains("\nDMA free:15360kB ") && text.contains("\nDMA: 6*4kB (UMEHCI) 0*8kB "), "{text}");
        assert!(text.contains(" shmem:0kB writeback_tmp:0kB ") && text.contains("all_unreclaimable? yes\n"), "{text}");
        assert!(text.ends_with("= 15384kB\n0 total pagecache pages\n3998 pages RAM\n0 pages HighMem/MovableOnly\n158 pages reserved\n4096 pages cma reserved\n"), "{text}");
    }
}
