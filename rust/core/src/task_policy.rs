//! Memory policies in use: the policy of the task on each cpu, and allocations under a policy
//! (mm/mempolicy.c, `alloc_pages` and its kin).

use crate::allocator::{CpuChoice, PageAllocator};
use crate::blueprint::{put32, put64};
use crate::bulk::{BulkRequest, Slot};
use crate::counters::NumaEvent;
use crate::gfp::Gfp;
use crate::mempolicy::{
    Attempt, Attempts, BulkAttempts, MemPolicy, PolicyContext, PolicyError, PolicyMode, VmaRequest,
};
use crate::page_alloc::{AllocError, AllocRequest};
use crate::pressure::Hooks;
use crate::sync::Relaxed;
use crate::types::{Pfn, ZoneKind};

/// A policy and the interleave position of whoever uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskPolicy {
    /// The policy.
    pub policy: MemPolicy,
    /// Last node interleaving chose (`il_prev`).
    pub il_prev: u32,
}

impl PageAllocator {
    /// Bit mask of the nodes with memory.
    pub fn nodes_with_memory(&self) -> u64 {
        self.node_mask(|_| true)
    }

    /// Bit mask of the nodes with memory outside zone Movable.
    pub fn nodes_with_normal_memory(&self) -> u64 {
        self.node_mask(|kind| kind != ZoneKind::Movable)
    }

    fn node_mask(&self, counts: impl Fn(ZoneKind) -> bool) -> u64 {
        self.zones().filter(|zone| counts(zone.kind())).fold(0, |mask, zone| mask | 1 << zone.node())
    }

    /// The policy of the task on a cpu.
    pub fn task_policy(&self, cpu: usize) -> TaskPolicy {
        let slot = &self.segment.cpus[cpu];
        let mode = PolicyMode::from_number(slot.policy_mode.load(Relaxed)).unwrap_or_default(); // ORDERING(R10)
        let home_node = slot.policy_home.load(Relaxed).checked_sub(1); // ORDERING(R10)
        let nodes = slot.policy_nodes.load(Relaxed); // ORDERING(R10)
        let il_prev = slot.il_prev.load(Relaxed); // ORDERING(R10)
        TaskPolicy { policy: MemPolicy { mode, nodes, home_node }, il_prev }
    }

    /// Sets the policy of the task on a cpu (`do_set_mempolicy`); the old one stays on an error.
    pub fn set_task_policy(&self, cpu: usize, mode: PolicyMode, flags: u32, nodes: u64) -> Result<(), PolicyError> {
        let policy = MemPolicy::new(mode, flags, nodes, self.nodes_with_memory())?;
        let slot = &self.segment.cpus[cpu];
        put32(&slot.policy_mode, policy.mode as u32);
        put64(&slot.policy_nodes, policy.nodes);
        put32(&slot.policy_home, policy.home_node.map_or(0, |nid| nid + 1));
        if policy.mode == PolicyMode::Interleave {
            put32(&slot.il_prev, MemPolicy::initial_il_prev(self.config().max_numnodes));
        }
        Ok(())
    }

    fn policy_context(&self, cpu: CpuChoice) -> PolicyContext {
        PolicyContext {
            local: self.cpu_node(self.cpu_hint(cpu)),
            is_in_interrupt: false,
            allowed_nodes: self.nodes_with_memory(),
            nodes_with_normal_memory: self.nodes_with_normal_memory(),
            policy_zone: self.machine().policy_zone.load(Relaxed) as usize, // ORDERING(R1)
            movable_zone_index: self.config().nr_zones() - 1,
        }
    }

    /// Allocates under the policy of the cpu's task (`alloc_pages`).
    pub fn alloc_pages_task(&self, cpu: CpuChoice, gfp: Gfp, order: u32, hooks: &dyn Hooks) -> Result<Pfn, AllocError> {
        let id = self.cpu_hint(cpu);
        let mut task = self.task_policy(id);
        if !self.config().numa || task.policy.mode == PolicyMode::Default {
            let nid = self.cpu_node(id);
            return self.alloc_pages(cpu, AllocRequest { gfp, order, nid, nodemask: None }, hooks);
        }
        let il_prev = task.il_prev;
        let result = self.alloc_pages_policy(cpu, &mut task, gfp, order, hooks);
        if task.il_prev != il_prev {
            put32(&self.segment.cpus[id].il_prev, task.il_prev);
        }
        result
    }

    /// Allocates under a policy of the caller's own.
    pub fn alloc_pages_policy(
        &self,
        cpu: CpuChoice,
        task: &mut TaskPolicy,
        gfp: Gfp,
        order: u32,
        hooks: &dyn Hooks,
    ) -> Result<Pfn, AllocError> {
        let context = self.policy_context(cpu);
        let attempts = task.policy.alloc_pages(&context, &mut task.il_prev, gfp, self.highest_zone(gfp));
        self.make_attempts(cpu, attempts, order, hooks)
    }

    /// Allocates a page of a mapping under the policy that is effective there (`alloc_pages_vma`).
    pub fn alloc_pages_vma(
        &self,
        cpu: CpuChoice,
        task: &mut TaskPolicy,
        request: VmaRequest,
        hooks: &dyn Hooks,
    ) -> Result<Pfn, AllocError> {
        let context = self.policy_context(cpu);
        let highest = self.highest_zone(request.gfp);
        let attempts = task.policy.alloc_pages_vma(&context, &mut task.il_prev, request, highest);
        self.make_attempts(cpu, attempts, request.order, hooks)
    }

    fn make_attempts(
        &self,
        cpu: CpuChoice,
        attempts: Attempts,
        order: u32,
        hooks: &dyn Hooks,
    ) -> Result<Pfn, AllocError> {
        let alloc = |Attempt { gfp, nid, nodemask }: Attempt| {
            self.alloc_pages(cpu, AllocRequest { gfp, order, nid, nodemask }, hooks)
        };
        let result = alloc(attempts.first);
        match (result, attempts.second) {
            (Ok(pfn), _) => {
                if attempts.is_interleaved {
                    self.count_interleave_hit(cpu, pfn, attempts.first.nid);
                }
                Ok(pfn)
            }
            (Err(AllocError::NoMemory), Some(second)) => alloc(second),
            (error, _) => error,
        }
    }

    /// An interleaved page that came from the wanted node counts as numa_interleave.
    fn count_interleave_hit(&self, cpu: CpuChoice, pfn: Pfn, nid: u32) {
        // ORDERING(R7)
        if self.machine().numa_stat.load(Relaxed) == 0 {
            return;
        }
        if let Some(zone) = self.zone_of(pfn).filter(|zone| zone.node() == nid) {
            zone.count_numa(&self.enter(cpu), NumaEvent::InterleaveHit, 1);
        }
    }

    /// Bulk allocation under a policy (`alloc_pages_bulk_array_mempolicy`): fills the slots and
    /// returns how many.
    pub fn alloc_pages_bulk_policy<S: Slot>(
        &self,
        cpu: CpuChoice,
        task: &mut TaskPolicy,
        gfp: Gfp,
        slots: &mut [S],
        hooks: &dyn Hooks,
    ) -> usize {
        let context = self.policy_context(cpu);
        let highest = self.highest_zone(gfp);
        let plan = task.policy.alloc_pages_bulk(&context, &mut task.il_prev, gfp, highest, slots.len() as u64);
        let bulk = |Attempt { gfp, nid, nodemask }: Attempt, slots: &mut [S]| {
            self.alloc_pages_bulk_array(cpu, BulkRequest { gfp, nid, nodemask }, slots, hooks)
        };
        match plan {
            BulkAttempts::Shares(shares) => {
                let mut filled = 0;
                for (attempt, n) in shares {
                    let end = (filled + n as usize).min(slots.len());
                    filled += bulk(attempt, &mut slots[filled..end]);
                }
                filled
            }
            BulkAttempts::UntilFull(first, second) => {
                let filled = bulk(first, slots);
                match second {
                    Some(second) if filled < slots.len() => filled + bulk(second, &mut slots[filled..]),
                    _ => filled,
                }
            }
        }
    }
}
