//! The operations of a recording in compact form, and how they are read.

use super::scan::{ScanError, Scanner};
use pagebuddy_core::tunables::Sysctl;
use std::fmt;

/// A pfn or "none": recordings hold pfns far below this.
pub const NO_PFN: u32 = u32::MAX;
/// Slot of an array bulk allocation that was populated before the call.
pub const SLOT_POPULATED: u32 = u32::MAX - 1;
/// Largest pfn that can be recorded.
pub const MAX_PFN: u32 = u32::MAX - 2;

/// A list of pfns in [`Ops::pool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListId(u32);

/// A recorded operation with its recorded result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the kernel's words; the variants are documented")]
pub enum Op {
    /// `a`: allocate a block.
    Alloc { cpu: u16, order: u8, nid: u8, gfp: u32, pfn: u32, nodemask: Option<u64> },
    /// `f`: free a block.
    Free { cpu: u16, order: u8, pfn: u32 },
    /// `d`: drain the CPU's lists of all zones.
    Drain { cpu: u16 },
    /// `b`: bulk allocation of `n` pages into an empty array.
    Bulk { cpu: u16, nid: u8, gfp: u32, n: u32, pfns: ListId, nodemask: Option<u64> },
    /// `ba`: bulk allocation into an array of which some slots are populated.
    BulkArray { cpu: u16, nid: u8, gfp: u32, slots: ListId, ret: u32, nodemask: Option<u64> },
    /// `bl`: bulk allocation of `n` pages onto a list.
    BulkList { cpu: u16, nid: u8, gfp: u32, n: u32, pfns: ListId, nodemask: Option<u64> },
    /// `e`: exact allocation of `nr_pages` pages.
    Exact { cpu: u16, nid: u8, gfp: u32, nr_pages: u32, pfn: u32 },
    /// `x`: free an exact allocation.
    FreeExact { cpu: u16, pfn: u32, nr_pages: u32 },
    /// `s`: split an allocated block into single pages.
    Split { cpu: u16, order: u8, pfn: u32 },
    /// `g`: free a block whose first page somebody else references.
    FreeReferenced { cpu: u16, order: u8, pfn: u32 },
    /// `l`: free a list of single pages.
    FreeList { cpu: u16, pfns: ListId },
    /// `u`: give back one high-atomic pageblock.
    Unreserve { cpu: u16, nid: u8, gfp: u32, force: bool, ret: bool },
    /// `r`: set or clear the zone's reclaim-active flag.
    ReclaimActive { nid: u8, zone: u8, active: bool },
    /// `y`: write a tunable.
    Sysctl { cpu: u16, tunable: Sysctl, values: ListId, ret: i32 },
    /// `p`: set the memory policy of the CPU's task.
    SetPolicy { cpu: u16, mode: u8, flags: u16, nodes: u64, ret: i32, now: PolicyNow },
    /// `m`: allocate a block under the memory policy of the CPU's task.
    AllocPolicy { cpu: u16, order: u8, gfp: u32, pfn: u32, il: u16 },
    /// `i`: isolate the pageblocks of a range; `mt` is the kernel's number.
    Isolate { cpu: u16, mt: u8, start: u32, end: u32 },
    /// `j`: undo an isolation.
    UndoIsolate { cpu: u16, mt: u8, start: u32, end: u32 },
}

/// Memory policy in force after a `p` operation: index into [`Ops::policies`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyNow(u32);

/// The operations of a recording and the lists they name.
#[derive(Clone, Debug, Default)]
pub struct Ops {
    /// The operations in order.
    pub ops: Vec<Op>,
    /// Line of each operation.
    lines: Vec<u32>,
    /// Elements of all lists.
    pool: Vec<u32>,
    /// End of each list in `pool`; each starts where its predecessor ends.
    ends: Vec<u32>,
    /// Mode and nodes after each `p`.
    policies: Vec<(u8, u64)>,
}

/// What the numbers of an operation must respect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub nr_cpus: usize,
    pub max_order: u32,
    pub max_numnodes: u32,
    pub online_nodes: u64,
    pub nr_zones: usize,
    pub migrate_types: usize,
}

impl Ops {
    /// Elements of a list.
    pub fn list(&self, id: ListId) -> &[u32] {
        let index = id.0 as usize;
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.pool[start..self.ends[index] as usize]
    }

    /// Mode and nodes in force after a `p` operation.
    pub fn policy(&self, now: PolicyNow) -> (u8, u64) {
        self.policies[now.0 as usize]
    }

    /// Line of the recording of operation `index`.
    pub fn line(&self, index: usize) -> u64 {
        self.lines.get(index).copied().map_or(0, u64::from)
    }

    /// The operation `index` in readable form, without its result.
    pub fn describe(&self, index: usize) -> String {
        self.ops.get(index).map_or_else(String::new, |op| Described { ops: self, op: *op }.to_string())
    }

    pub(super) fn len(&self) -> usize {
        self.ops.len()
    }

    pub(super) fn shrink(&mut self) {
        self.ops.shrink_to_fit();
        self.lines.shrink_to_fit();
        self.pool.shrink_to_fit();
    }

    fn push_list(
        &mut self,
        scan: &mut Scanner<'_>,
        mut element: impl FnMut(&mut Scanner<'_>) -> Result<u32, ScanError>,
    ) -> Result<ListId, ScanError> {
        let pool = &mut self.pool;
        scan.array(|scan| {
            pool.push(element(scan)?);
            Ok(())
        })?;
        let Ok(end) = u32::try_from(self.pool.len()) else {
            return scan.error("the recording's lists are too long");
        };
        self.ends.push(end);
        Ok(ListId((self.ends.len() - 1) as u32))
    }

    fn push_pfns(&mut self, scan: &mut Scanner<'_>) -> Result<ListId, ScanError> {
        self.push_list(scan, |scan| pfn(scan, "pfn"))
    }

    /// Reads the rest of an operation line behind its name; `None` for an unknown name.
    pub(super) fn scan(
        &mut self,
        name: &str,
        scan: &mut Scanner<'_>,
        limits: &Limits,
        line: u64,
    ) -> Result<Option<()>, ScanError> {
        let op = match name {
            "a" => {
                let cpu = limits.cpu(scan)?;
                let gfp = gfp(scan)?;
                let order = limits.order(scan)?;
                let nid = limits.nid(scan)?;
                let nodemask = nodemask(scan)?;
                Op::Alloc { cpu, order, nid, gfp, nodemask, pfn: result_pfn(scan)? }
            }
            "f" => Op::Free { cpu: limits.cpu(scan)?, pfn: next_pfn(scan)?, order: limits.order(scan)? },
            "d" => Op::Drain { cpu: limits.cpu(scan)? },
            "b" | "bl" => {
                let (cpu, gfp, nid, nodemask, n) = self.bulk_request(scan, limits)?;
                let pfns = self.push_pfns(scan)?;
                if self.list(pfns).len() > n as usize {
                    return scan.error(format!("more pages than the {n} requested"));
                }
                match name {
                    "b" => Op::Bulk { cpu, nid, gfp, n, pfns, nodemask },
                    _ => Op::BulkList { cpu, nid, gfp, n, pfns, nodemask },
                }
            }
            "ba" => {
                let (cpu, gfp, nid, nodemask, n) = self.bulk_request(scan, limits)?;
                let slots = self.push_list(scan, |scan| {
                    Ok(match scan.int("slot", -2, i64::from(MAX_PFN))? {
                        -2 => SLOT_POPULATED,
                        -1 => NO_PFN,
                        pfn => pfn as u32,
                    })
                })?;
                if self.list(slots).len() != n as usize {
                    return scan.error(format!("the array must have {n} slots"));
                }
                scan.comma()?;
                Op::BulkArray { cpu, nid, gfp, slots, ret: scan.uint("ret", u64::from(n))? as u32, nodemask }
            }
            "e" => {
                let cpu = limits.cpu(scan)?;
                let gfp = gfp(scan)?;
                let nr_pages = limits.nr_pages(scan)?;
                Op::Exact { cpu, gfp, nr_pages, nid: limits.nid(scan)?, pfn: result_pfn(scan)? }
            }
            "x" => Op::FreeExact { cpu: limits.cpu(scan)?, pfn: next_pfn(scan)?, nr_pages: limits.nr_pages(scan)? },
            "s" => Op::Split { cpu: limits.cpu(scan)?, pfn: next_pfn(scan)?, order: limits.order(scan)? },
            "g" => Op::FreeReferenced { cpu: limits.cpu(scan)?, pfn: next_pfn(scan)?, order: limits.order(scan)? },
            "l" => {
                let cpu = limits.cpu(scan)?;
                scan.comma()?;
                Op::FreeList { cpu, pfns: self.push_pfns(scan)? }
            }
            "u" => Op::Unreserve {
                cpu: limits.cpu(scan)?,
                gfp: gfp(scan)?,
                nid: limits.nid(scan)?,
                force: flag(scan, "force")?,
                ret: flag(scan, "ret")?,
            },
            "r" => Op::ReclaimActive {
                nid: limits.nid(scan)?,
                zone: next(scan, "zone", limits.nr_zones as u64 - 1)? as u8,
                active: flag(scan, "v")?,
            },
            "y" => self.sysctl(scan, limits)?,
            "p" => {
                let cpu = limits.cpu(scan)?;
                let mode = next(scan, "mode", 5)? as u8;
                let flags = next(scan, "flags", u64::from(u16::MAX))? as u16;
                let nodes = next(scan, "nodes", u64::MAX)?;
                let ret = errno(scan)?;
                self.policies.push((next(scan, "mode_now", 5)? as u8, next(scan, "nodes_now", u64::MAX)?));
                Op::SetPolicy { cpu, mode, flags, nodes, ret, now: PolicyNow((self.policies.len() - 1) as u32) }
            }
            "m" => Op::AllocPolicy {
                cpu: limits.cpu(scan)?,
                gfp: gfp(scan)?,
                order: limits.order(scan)?,
                pfn: result_pfn(scan)?,
                il: next(scan, "il", u64::from(limits.max_numnodes))? as u16,
            },
            "i" => {
                let (cpu, mt, start, end) = isolation(scan, limits)?;
                next(scan, "result", 0)?;
                Op::Isolate { cpu, mt, start, end }
            }
            "j" => {
                let (cpu, mt, start, end) = isolation(scan, limits)?;
                Op::UndoIsolate { cpu, mt, start, end }
            }
            _ => return Ok(None),
        };
        self.ops.push(op);
        self.lines.push(line as u32);
        Ok(Some(()))
    }

    #[allow(clippy::type_complexity, reason = "the first five elements of three operations, used once")]
    fn bulk_request(
        &mut self,
        scan: &mut Scanner<'_>,
        limits: &Limits,
    ) -> Result<(u16, u32, u8, Option<u64>, u32), ScanError> {
        let cpu = limits.cpu(scan)?;
        let gfp = gfp(scan)?;
        let nid = limits.nid(scan)?;
        let nodemask = nodemask(scan)?;
        let n = next(scan, "n", u64::from(MAX_PFN))? as u32;
        scan.comma()?;
        Ok((cpu, gfp, nid, nodemask, n))
    }

    fn sysctl(&mut self, scan: &mut Scanner<'_>, limits: &Limits) -> Result<Op, ScanError> {
        let cpu = limits.cpu(scan)?;
        scan.comma()?;
        let name = scan.string()?;
        let Some(tunable) = Sysctl::ALL.into_iter().find(|tunable| tunable.name() == name) else {
            return scan.error(format!("`{name}` is not a tunable of the page allocator"));
        };
        scan.comma()?;
        // The kernel parses an int and the bit pattern is kept.
        let values =
            self.push_list(scan, |scan| Ok(scan.int("value", i64::from(i32::MIN), i64::from(i32::MAX))? as u32))?;
        let wanted = if tunable == Sysctl::LowmemReserveRatio { limits.nr_zones } else { 1 };
        if self.list(values).len() != wanted {
            return scan.error(format!("{name} takes {wanted} values"));
        }
        Ok(Op::Sysctl { cpu, tunable, values, ret: errno(scan)? })
    }
}

impl Limits {
    #[inline]
    fn cpu(&self, scan: &mut Scanner<'_>) -> Result<u16, ScanError> {
        Ok(next(scan, "cpu", self.nr_cpus as u64 - 1)? as u16)
    }

    #[inline]
    fn order(&self, scan: &mut Scanner<'_>) -> Result<u8, ScanError> {
        Ok(next(scan, "order", u64::from(self.max_order) - 1)? as u8)
    }

    #[inline]
    fn nr_pages(&self, scan: &mut Scanner<'_>) -> Result<u32, ScanError> {
        Ok(next(scan, "npages", 1 << (self.max_order - 1))? as u32)
    }

    #[inline]
    fn nid(&self, scan: &mut Scanner<'_>) -> Result<u8, ScanError> {
        let nid = next(scan, "node", u64::from(self.max_numnodes) - 1)?;
        if self.online_nodes >> nid & 1 == 0 {
            return scan.error(format!("node {nid} is not online"));
        }
        Ok(nid as u8)
    }
}

#[inline]
fn next(scan: &mut Scanner<'_>, what: &str, max: u64) -> Result<u64, ScanError> {
    scan.comma()?;
    scan.uint(what, max)
}

#[inline]
fn pfn(scan: &mut Scanner<'_>, what: &str) -> Result<u32, ScanError> {
    Ok(scan.uint(what, u64::from(MAX_PFN))? as u32)
}

#[inline]
fn next_pfn(scan: &mut Scanner<'_>) -> Result<u32, ScanError> {
    scan.comma()?;
    pfn(scan, "pfn")
}

#[inline]
fn result_pfn(scan: &mut Scanner<'_>) -> Result<u32, ScanError> {
    scan.comma()?;
    Ok(match scan.int("pfn", -1, i64::from(MAX_PFN))? {
        -1 => NO_PFN,
        pfn => pfn as u32,
    })
}

#[inline]
fn gfp(scan: &mut Scanner<'_>) -> Result<u32, ScanError> {
    Ok(next(scan, "gfp", u64::from(u32::MAX))? as u32)
}

#[inline]
fn nodemask(scan: &mut Scanner<'_>) -> Result<Option<u64>, ScanError> {
    scan.comma()?;
    scan.optional_uint("nodemask", u64::MAX)
}

fn flag(scan: &mut Scanner<'_>, what: &str) -> Result<bool, ScanError> {
    Ok(next(scan, what, 1)? == 1)
}

fn errno(scan: &mut Scanner<'_>) -> Result<i32, ScanError> {
    scan.comma()?;
    Ok(scan.int("ret", -4095, 0)? as i32)
}

fn isolation(scan: &mut Scanner<'_>, limits: &Limits) -> Result<(u16, u8, u32, u32), ScanError> {
    let cpu = limits.cpu(scan)?;
    let start = next_pfn(scan)?;
    let end = next_pfn(scan)?;
    if end <= start {
        return scan.error(format!("the range {start}..{end} is empty"));
    }
    let mt = next(scan, "migratetype", limits.migrate_types as u64 - 1)? as u8;
    Ok((cpu, mt, start, end))
}

struct Described<'a> {
    ops: &'a Ops,
    op: Op,
}

struct Mask(Option<u64>);

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(mask) => write!(f, ", nodemask {mask:#x}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.op {
            Op::Alloc { cpu, order, nid, gfp, nodemask, .. } => {
                write!(f, "alloc_pages(gfp {gfp:#x}, order {order}, node {nid}{}) on cpu {cpu}", Mask(nodemask))
            }
            Op::Free { cpu, order, pfn } => write!(f, "free_pages(pfn {pfn}, order {order}) on cpu {cpu}"),
            Op::Drain { cpu } => write!(f, "drain on cpu {cpu}"),
            Op::Bulk { cpu, nid, gfp, n, nodemask, .. } => {
                write!(f, "alloc_pages_bulk_array(gfp {gfp:#x}, node {nid}{}, {n} pages) on cpu {cpu}", Mask(nodemask))
            }
            Op::BulkArray { cpu, nid, gfp, slots, nodemask, .. } => {
                let slots = self.ops.list(slots);
                let populated = slots.iter().filter(|slot| **slot == SLOT_POPULATED).count();
                write!(
                    f,
                    "alloc_pages_bulk_array(gfp {gfp:#x}, node {nid}{}, {} slots of which {populated} are populated) on cpu {cpu}",
                    Mask(nodemask),
                    slots.len()
                )
            }
            Op::BulkList { cpu, nid, gfp, n, nodemask, .. } => {
                write!(f, "alloc_pages_bulk_list(gfp {gfp:#x}, node {nid}{}, {n} pages) on cpu {cpu}", Mask(nodemask))
            }
            Op::Exact { cpu, nid, gfp, nr_pages, .. } => {
                write!(f, "alloc_pages_exact(gfp {gfp:#x}, {nr_pages} pages, node {nid}) on cpu {cpu}")
            }
            Op::FreeExact { cpu, pfn, nr_pages } => {
                write!(f, "free_pages_exact(pfn {pfn}, {nr_pages} pages) on cpu {cpu}")
            }
            Op::Split { cpu, order, pfn } => write!(f, "split_page(pfn {pfn}, order {order}) on cpu {cpu}"),
            Op::FreeReferenced { cpu, order, pfn } => {
                write!(f, "free_pages(pfn {pfn}, order {order}) with an extra reference on cpu {cpu}")
            }
            Op::FreeList { cpu, pfns } => {
                write!(f, "free_unref_page_list({} pages) on cpu {cpu}", self.ops.list(pfns).len())
            }
            Op::Unreserve { cpu, nid, gfp, force, .. } => write!(
                f,
                "unreserve_highatomic_pageblock(gfp {gfp:#x}, node {nid}, force {}) on cpu {cpu}",
                u8::from(force)
            ),
            Op::ReclaimActive { nid, zone, active } => {
                write!(f, "reclaim-active flag of node {nid} zone {zone} = {}", u8::from(active))
            }
            Op::Sysctl { cpu, tunable, values, .. } => {
                write!(f, "{} =", tunable.name())?;
                for value in self.ops.list(values) {
                    write!(f, " {}", *value as i32)?;
                }
                write!(f, " on cpu {cpu}")
            }
            Op::SetPolicy { cpu, mode, flags, nodes, .. } => {
                write!(f, "set_mempolicy(mode {mode}, flags {flags:#x}, nodes {nodes:#x}) on cpu {cpu}")
            }
            Op::AllocPolicy { cpu, order, gfp, .. } => {
                write!(f, "alloc_pages(gfp {gfp:#x}, order {order}) by policy on cpu {cpu}")
            }
            Op::Isolate { cpu, mt, start, end } => {
                write!(f, "start_isolate_page_range({start}, {end}, migratetype {mt}) on cpu {cpu}")
            }
            Op::UndoIsolate { cpu, mt, start, end } => {
                write!(f, "undo_isolate_page_range({start}, {end}, migratetype {mt}) on cpu {cpu}")
            }
        }
    }
}
