//! Memory policies: on which nodes a task's requests are tried.
//!
//! Pure functions: a policy turns a request into one or two calls of the allocator. Source:
//! mm/mempolicy.c.

pub mod nodemask;

use crate::gfp::Gfp;
use core::fmt;
use nodemask::{contains, first_node, next_node_in, nth_node, onto};

/// The given nodes are meant as they are (`MPOL_F_STATIC_NODES`).
pub const MPOL_F_STATIC_NODES: u32 = 1 << 15;
/// The given nodes are positions among the allowed ones (`MPOL_F_RELATIVE_NODES`).
pub const MPOL_F_RELATIVE_NODES: u32 = 1 << 14;

/// Nodes smaller than this do not take part in the interleaving at boot.
const MIN_BOOT_INTERLEAVE_BYTES: u64 = 16 << 20;

/// What a policy does (include/uapi/linux/mempolicy.h, `MPOL_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum PolicyMode {
    /// No policy: the local node, then the others.
    #[default]
    Default = 0,
    /// One node, then the others.
    Preferred = 1,
    /// Only the given nodes.
    Bind = 2,
    /// The given nodes in turn.
    Interleave = 3,
    /// The local node, then the others.
    Local = 4,
    /// The given nodes, then the others.
    PreferredMany = 5,
}

impl PolicyMode {
    /// All modes by number.
    pub const ALL: [PolicyMode; 6] = [
        PolicyMode::Default,
        PolicyMode::Preferred,
        PolicyMode::Bind,
        PolicyMode::Interleave,
        PolicyMode::Local,
        PolicyMode::PreferredMany,
    ];

    /// The mode with the kernel's number.
    pub fn from_number(number: u32) -> Option<PolicyMode> {
        Self::ALL.get(number as usize).copied()
    }

    /// Name as /proc/PID/numa_maps prints it.
    pub const fn name(self) -> &'static str {
        match self {
            PolicyMode::Default => "default",
            PolicyMode::Preferred => "prefer",
            PolicyMode::Bind => "bind",
            PolicyMode::Interleave => "interleave",
            PolicyMode::Local => "local",
            PolicyMode::PreferredMany => "prefer (many)",
        }
    }
}

/// Why a policy is refused; the kernel says -EINVAL to all of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyError {
    /// Flags other than static and relative nodes.
    UnknownFlags,
    /// Static and relative nodes at once.
    StaticAndRelative,
    /// The mode takes no nodes.
    UnexpectedNodes,
    /// The mode takes no flags without nodes.
    UnexpectedFlags,
    /// The mode needs nodes.
    NoNodes,
    /// None of the nodes has memory that the task may use.
    NoUsableNode,
    /// The mode takes no home node.
    UnexpectedHomeNode,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PolicyError::UnknownFlags => "only MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES are policy flags",
            PolicyError::StaticAndRelative => "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other",
            PolicyError::UnexpectedNodes => "this policy mode takes no nodes",
            PolicyError::UnexpectedFlags => "this policy mode takes no flags without nodes",
            PolicyError::NoNodes => "this policy mode needs at least one node",
            PolicyError::NoUsableNode => "none of the policy's nodes has memory that may be used",
            PolicyError::UnexpectedHomeNode => "only bind and preferred-many policies have a home node",
        })
    }
}

impl std::error::Error for PolicyError {}

/// A memory policy (`struct mempolicy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MemPolicy {
    /// What it does.
    pub mode: PolicyMode,
    /// Its nodes after derivation; exactly one for preferred, none for default and local.
    pub nodes: u64,
    /// The node to start at, for bind and preferred-many; otherwise the local node.
    pub home_node: Option<u32>,
}

/// What a policy's effect depends on, besides the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyContext {
    /// Node of the CPU that asks.
    pub local: u32,
    /// Running in an interrupt: the task's policy does not count.
    pub is_in_interrupt: bool,
    /// Nodes that the task may use (`cpuset_current_mems_allowed`).
    pub allowed_nodes: u64,
    /// Nodes with memory outside zone Movable.
    pub nodes_with_normal_memory: u64,
    /// Lowest zone index to which bind applies.
    pub policy_zone: usize,
    /// Index of zone Movable.
    pub movable_zone_index: usize,
}

/// One call of `__alloc_pages`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Flags of the call.
    pub gfp: Gfp,
    /// Preferred node.
    pub nid: u32,
    /// Nodes allowed; `None` is all.
    pub nodemask: Option<u64>,
}

/// The calls that a policy makes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// Made first.
    pub first: Attempt,
    /// Made if the first one fails.
    pub second: Option<Attempt>,
    /// A page that comes from the preferred node counts as numa_interleave.
    pub is_interleaved: bool,
}

impl Attempts {
    fn once(gfp: Gfp, nid: u32, nodemask: Option<u64>) -> Attempts {
        Attempts { first: Attempt { gfp, nid, nodemask }, second: None, is_interleaved: false }
    }
}

/// Where a page is wanted in a mapping (`struct vm_area_struct` and an address in it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedAt {
    /// Offset of the mapping in its file, in pages (`vm_pgoff`).
    pub vm_pgoff: u64,
    /// Offset of the page in the mapping, in bytes.
    pub offset_bytes: u64,
}

impl MemPolicy {
    /// A policy as a task sets it: checked, and its nodes reduced to usable ones.
    ///
    /// `allowed` are the nodes with memory that the task may use. Preferred keeps the first usable
    /// node only; preferred without nodes is local. Source: mm/mempolicy.c, `mpol_new`,
    /// `mpol_set_nodemask`.
    pub fn new(mode: PolicyMode, flags: u32, nodes: u64, allowed: u64) -> Result<MemPolicy, PolicyError> {
        if flags & !(MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES) != 0 {
            return Err(PolicyError::UnknownFlags);
        }
        if flags == MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES {
            return Err(PolicyError::StaticAndRelative);
        }
        let without_nodes = |mode| Ok(MemPolicy { mode, ..MemPolicy::default() });
        match (mode, nodes) {
            (PolicyMode::Default, 0) => return without_nodes(mode),
            (PolicyMode::Preferred | PolicyMode::Local, 0) if flags != 0 => return Err(PolicyError::UnexpectedFlags),
            (PolicyMode::Preferred | PolicyMode::Local, 0) => return without_nodes(PolicyMode::Local),
            (PolicyMode::Default | PolicyMode::Local, _) => return Err(PolicyError::UnexpectedNodes),
            (_, 0) => return Err(PolicyError::NoNodes),
            _ => {}
        }
        let usable = if flags == MPOL_F_RELATIVE_NODES { onto(nodes, allowed) } else { nodes & allowed };
        let Some(first) = first_node(usable) else {
            return Err(PolicyError::NoUsableNode);
        };
        let nodes = if mode == PolicyMode::Preferred { 1 << first } else { usable };
        Ok(MemPolicy { mode, nodes, home_node: None })
    }

    /// The policy with another home node (`set_mempolicy_home_node`).
    pub fn with_home_node(self, home_node: Option<u32>) -> Result<MemPolicy, PolicyError> {
        match self.mode {
            PolicyMode::Bind | PolicyMode::PreferredMany => Ok(MemPolicy { home_node, ..self }),
            _ => Err(PolicyError::UnexpectedHomeNode),
        }
    }

    /// Interleaving policy of the boot task: nodes with at least 16 MiB, or the largest one.
    ///
    /// `nodes` are the nodes with memory and their present pages. Source: mm/mempolicy.c,
    /// `numa_policy_init`.
    pub fn boot_interleave(nodes: impl IntoIterator<Item = (u32, u64)>, page_shift: u32) -> MemPolicy {
        let (mut mask, mut largest) = (0u64, (0, 0));
        for (nid, present) in nodes {
            if present > largest.1 {
                largest = (nid, present);
            }
            if present >= MIN_BOOT_INTERLEAVE_BYTES >> page_shift {
                mask |= 1 << nid;
            }
        }
        let nodes = if mask == 0 { 1 << largest.0 } else { mask };
        MemPolicy { mode: PolicyMode::Interleave, nodes, home_node: None }
    }

    /// Interleave position of a task that has just set an interleave policy: before the first node.
    pub fn initial_il_prev(max_numnodes: u32) -> u32 {
        max_numnodes - 1
    }

    /// The node whose zonelist is walked.
    ///
    /// Source: mm/mempolicy.c, `policy_node`.
    pub fn policy_node(&self, local: u32) -> u32 {
        match self.mode {
            PolicyMode::Preferred => first_node(self.nodes).unwrap_or(local),
            PolicyMode::Bind | PolicyMode::PreferredMany => self.home_node.unwrap_or(local),
            PolicyMode::Default | PolicyMode::Interleave | PolicyMode::Local => local,
        }
    }

    /// The nodes that the walk is confined to; `None` is all.
    ///
    /// Source: mm/mempolicy.c, `policy_nodemask`, `apply_policy_zone`.
    pub fn policy_nodemask(&self, context: &PolicyContext, highest_zone_index: usize) -> Option<u64> {
        match self.mode {
            PolicyMode::Bind => {
                let has_normal_memory = self.nodes & context.nodes_with_normal_memory != 0;
                let lowest = if has_normal_memory { context.policy_zone } else { context.movable_zone_index };
                let applies = highest_zone_index >= lowest && self.nodes & context.allowed_nodes != 0;
                applies.then_some(self.nodes)
            }
            PolicyMode::PreferredMany => Some(self.nodes),
            PolicyMode::Default | PolicyMode::Preferred | PolicyMode::Interleave | PolicyMode::Local => None,
        }
    }

    /// Calls for a request without a mapping, under the task's policy.
    ///
    /// `il_prev` is the task's interleave position; it advances whether or not the calls succeed.
    /// Source: mm/mempolicy.c, `alloc_pages`.
    pub fn alloc_pages(
        &self,
        context: &PolicyContext,
        il_prev: &mut u32,
        gfp: Gfp,
        highest_zone_index: usize,
    ) -> Attempts {
        if context.is_in_interrupt || gfp.contains(Gfp::THISNODE) {
            return Attempts::once(gfp, context.local, None);
        }
        match self.mode {
            PolicyMode::Interleave => self.interleaved(gfp, self.next_interleave_node(context.local, il_prev)),
            PolicyMode::PreferredMany => self.preferred_then_any(gfp, context.local),
            _ => self.confined(context, gfp, highest_zone_index),
        }
    }

    /// Calls for a page of a mapping, under the policy that is effective there.
    ///
    /// Without `at` interleaving goes by the task's position. `hugepage` asks for a transparent huge
    /// page, which is wanted nearby or not at all at first. Source: mm/mempolicy.c,
    /// `alloc_pages_vma`.
    pub fn alloc_pages_vma(
        &self,
        context: &PolicyContext,
        il_prev: &mut u32,
        request: VmaRequest,
        highest_zone_index: usize,
    ) -> Attempts {
        let gfp = request.gfp;
        match self.mode {
            PolicyMode::Interleave => {
                let nid = match request.at {
                    Some(at) => self.node_by_offset(context.local, at, request.order, request.page_shift),
                    None => self.next_interleave_node(context.local, il_prev),
                };
                return self.interleaved(gfp, nid);
            }
            PolicyMode::PreferredMany => return self.preferred_then_any(gfp, context.local),
            _ => {}
        }
        if request.hugepage {
            let nid = if self.mode == PolicyMode::Preferred { self.policy_node(context.local) } else { context.local };
            let nodemask = self.policy_nodemask(context, highest_zone_index);
            if nodemask.is_none_or(|nodes| contains(nodes, nid)) {
                let nearby = Attempts::once(gfp | Gfp::THISNODE | Gfp::NORETRY, nid, None);
                let anywhere = Attempt { gfp, nid, nodemask };
                return Attempts { second: gfp.contains(Gfp::DIRECT_RECLAIM).then_some(anywhere), ..nearby };
            }
        }
        self.confined(context, gfp, highest_zone_index)
    }

    fn interleaved(&self, gfp: Gfp, nid: u32) -> Attempts {
        Attempts { is_interleaved: true, ..Attempts::once(gfp, nid, None) }
    }

    /// First within the policy's nodes without trying hard, then anywhere.
    ///
    /// Source: mm/mempolicy.c, `alloc_pages_preferred_many`.
    fn preferred_then_any(&self, gfp: Gfp, local: u32) -> Attempts {
        let nid = self.policy_node(local);
        let second = Some(Attempt { gfp, nid, nodemask: None });
        Attempts { second, ..Attempts::once(without_effort(gfp), nid, Some(self.nodes)) }
    }

    fn confined(&self, context: &PolicyContext, gfp: Gfp, highest_zone_index: usize) -> Attempts {
        let nodemask = self.policy_nodemask(context, highest_zone_index);
        Attempts::once(gfp, self.policy_node(context.local), nodemask)
    }

    /// The next node in turn (`interleave_nodes`).
    fn next_interleave_node(&self, local: u32, il_prev: &mut u32) -> u32 {
        match next_node_in(self.nodes, *il_prev) {
            Some(nid) => {
                *il_prev = nid;
                nid
            }
            None => local,
        }
    }

    /// The node of a page by its place in the mapped object (`interleave_nid`, `offset_il_node`).
    fn node_by_offset(&self, local: u32, at: MappedAt, order: u32, page_shift: u32) -> u32 {
        let in_object = at.vm_pgoff.checked_shr(order).unwrap_or(0);
        let in_mapping = at.offset_bytes.checked_shr(order.saturating_add(page_shift)).unwrap_or(0);
        let n = in_object.wrapping_add(in_mapping);
        let nr_nodes = u64::from(self.nodes.count_ones());
        n.checked_rem(nr_nodes).and_then(|n| nth_node(self.nodes, n as u32)).unwrap_or(local)
    }

    /// Calls of the bulk allocator for `nr_pages` pages: each call's part, to be made in order.
    ///
    /// Interleaving shares the pages out, the first nodes in turn taking one more; what a node
    /// lacks is not made up for. Otherwise the second part, if any, takes what the first left.
    /// Source: mm/mempolicy.c, `alloc_pages_bulk_array_mempolicy`.
    pub fn alloc_pages_bulk(
        &self,
        context: &PolicyContext,
        il_prev: &mut u32,
        gfp: Gfp,
        highest_zone_index: usize,
        nr_pages: u64,
    ) -> BulkAttempts {
        match self.mode {
            PolicyMode::Interleave => {
                let nr_nodes = u64::from(self.nodes.count_ones()).max(1);
                let (base, extra) = (nr_pages / nr_nodes, nr_pages % nr_nodes);
                let mut share = |turn| {
                    let nid = self.next_interleave_node(context.local, il_prev);
                    (Attempt { gfp, nid, nodemask: None }, base + u64::from(turn < extra))
                };
                BulkAttempts::Shares((0..nr_nodes).map(&mut share).collect())
            }
            PolicyMode::PreferredMany => {
                let first = Attempt { gfp: without_effort(gfp), nid: context.local, nodemask: Some(self.nodes) };
                let rest = Attempt { gfp, nid: context.local, nodemask: None };
                BulkAttempts::UntilFull(first, Some(rest))
            }
            _ => BulkAttempts::UntilFull(self.confined(context, gfp, highest_zone_index).first, None),
        }
    }

    /// Node for a slab page under the task's policy.
    ///
    /// `first_in` finds the first node among the given ones that has a zone up to Normal in the local
    /// fallback list. Source: mm/mempolicy.c, `mempolicy_slab_node`.
    pub fn slab_node(
        &self,
        context: &PolicyContext,
        il_prev: &mut u32,
        first_in: impl FnOnce(u64) -> Option<u32>,
    ) -> u32 {
        if context.is_in_interrupt {
            return context.local;
        }
        match self.mode {
            PolicyMode::Default | PolicyMode::Local => context.local,
            PolicyMode::Preferred => self.policy_node(context.local),
            PolicyMode::Interleave => self.next_interleave_node(context.local, il_prev),
            PolicyMode::Bind | PolicyMode::PreferredMany => first_in(self.nodes).unwrap_or(context.local),
        }
    }
}

/// A request for a page of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmaRequest {
    /// Flags.
    pub gfp: Gfp,
    /// Order.
    pub order: u32,
    /// Where the page is wanted; `None` without a mapping.
    pub at: Option<MappedAt>,
    /// A transparent huge page.
    pub hugepage: bool,
    /// log2 of the page size.
    pub page_shift: u32,
}

/// Calls of the bulk allocator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BulkAttempts {
    /// Each call asks for its own number of pages.
    Shares(Vec<(Attempt, u64)>),
    /// The second call, if any, asks for what the first one did not get.
    UntilFull(Attempt, Option<Attempt>),
}

/// Flags of an attempt that need not succeed.
fn without_effort(gfp: Gfp) -> Gfp {
    (gfp | Gfp::NOWARN).without(Gfp::DIRECT_RECLAIM | Gfp::NOFAIL)
}

#[cfg(test)]
mod tests;
