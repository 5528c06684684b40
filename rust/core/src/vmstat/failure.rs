//! The report of a failed allocation (mm/page_alloc.c, `warn_alloc`).

use super::MemoryReport;
use crate::allocator::{CpuChoice, PageAllocator};
use crate::gfp::{AllocFlags, Gfp, TaskState};
use crate::page_alloc::AllocRequest;
use crate::pressure;
use crate::sync::Relaxed;
use core::fmt;

/// What the kernel logs about a failed allocation, its call trace apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureReport {
    /// Name of the task.
    pub task: String,
    /// Order of the request.
    pub order: u32,
    /// Flags as the slow path saw them last.
    pub gfp: Gfp,
    /// Nodes the request was bound to at the end; `None` is all.
    pub nodemask: Option<u64>,
    /// Nodes the task may use.
    pub mems_allowed: u64,
    /// State of memory.
    pub memory: MemoryReport,
}

/// A set of nodes as a list of ranges, like "0-1,4" (`%*pbl`).
struct NodeList(u64);

impl fmt::Display for NodeList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut separator = "";
        while rest != 0 {
            let first = rest.trailing_zeros();
            let nr_nodes = (!(rest >> first)).trailing_zeros();
            let last = first + nr_nodes - 1;
            write!(f, "{separator}{first}")?;
            if last != first {
                write!(f, "-{last}")?;
            }
            rest &= u64::MAX.checked_shl(last + 1).unwrap_or(0);
            separator = ",";
        }
        Ok(())
    }
}

impl FailureReport {
    /// The first line.
    pub fn header(&self) -> String {
        let FailureReport { task, order, gfp, .. } = self;
        let nodemask = self.nodemask.map_or("(null)".to_owned(), |nodes| NodeList(nodes).to_string());
        let allowed = NodeList(self.mems_allowed);
        format!(
            "{task}: page allocation failure: order:{order}, mode:{:#x}({gfp}), nodemask={nodemask},cpuset=/,mems_allowed={allowed}",
            gfp.0
        )
    }
}

impl fmt::Display for FailureReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.header())?;
        self.memory.fmt(f)
    }
}

impl PageAllocator {
    /// What the kernel would log if the request of a task on `cpu` failed now (`warn_alloc`).
    ///
    /// `__GFP_NOWARN` and the kernel's rate limit do not matter here: who asks gets a report.
    pub fn failure_report(&self, task: &str, request: AllocRequest, cpu: CpuChoice) -> FailureReport {
        let allowed = Gfp(request.gfp.0 & self.machine().gfp_allowed_mask.load(Relaxed)); // ORDERING(R7)
        let gfp = allowed.in_slow_path();
        let is_memalloc = pressure::is_memalloc();
        let nodemask = request.nodemask.filter(|_| !self.gives_up_nodemask(request, gfp, is_memalloc));
        // A caller that cannot wait, or may use the reserves, is told of all nodes.
        let filters = gfp.contains(Gfp::DIRECT_RECLAIM) && (gfp.contains(Gfp::NOMEMALLOC) || !is_memalloc);
        FailureReport {
            task: task.to_owned(),
            order: request.order,
            gfp,
            nodemask,
            mems_allowed: self.nodes_with_memory(),
            memory: self.memory_report(nodemask.filter(|_| filters), cpu),
        }
    }

    /// Does the slow path go on without the request's nodemask?
    fn gives_up_nodemask(&self, request: AllocRequest, gfp: Gfp, pf_memalloc: bool) -> bool {
        let walk = self.walk(request.nid, gfp, request.nodemask);
        let (migratetype, cma) = (self.migratetype_of(gfp), self.config().cma);
        let flags = AllocFlags::slow_path(gfp, migratetype, cma, false);
        let reserves =
            AllocFlags::reserve_access(gfp, migratetype, cma, TaskState { pf_memalloc, ..TaskState::default() });
        // Without any zone in the mask the slow path ends before it looks wider.
        walk.preferred().is_some() && (!flags.contains(AllocFlags::CPUSET) || reserves.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_lists_have_ranges() {
        let texts = [(0, ""), (1, "0"), (0b11, "0-1"), (0b1011_0111, "0-2,4-5,7"), (1 << 63, "63"), (u64::MAX, "0-63")];
        for (nodes, text) in texts {
            assert_eq!(NodeList(nodes).to_string(), text);
        }
    }
}
