//! kswapd and direct reclaim as far as the allocator knows them (mm/vmscan.c): when the shrinkers
//! are called, with what arguments, and what happens to zones around the calls.
//!
//! There is no kswapd thread: where the kernel wakes it, its work is done at once by the caller,
//! with the watermarks it works for and the effects it has on per-cpu lists, counters and boosts.

use crate::allocator::{CpuChoice, PageAllocator};
use crate::gfp::{AllocFlags, Gfp};
use crate::node::KswapdRun;
use crate::pressure::{Hooks, PressureEvent, Request, Scan, as_memalloc, is_memalloc};
use crate::segment::NodeShared;
use crate::state::ZONE_FLAG_RECLAIM_ACTIVE;
use crate::sync::{AtomicU64, Relaxed};
use crate::watermark::{WMARK_HIGH, WatermarkTest};
use crate::zone::Zone;

/// Priority of the first, gentle scan (`DEF_PRIORITY`).
const DEF_PRIORITY: u32 = 12;
/// Pages one round wants at least (`SWAP_CLUSTER_MAX`).
const SWAP_CLUSTER_MAX: u64 = 32;
/// Runs without success after which kswapd is hopeless (`MAX_RECLAIM_RETRIES`).
pub(crate) const MAX_FAILURES: u32 = 16;

/// Raises a word to at least `value`.
fn raise(word: &crate::sync::AtomicU32, value: u32) {
    let mut seen = word.load(Relaxed); // ORDERING(R7)
    while seen < value {
        // ORDERING(R7)
        match word.compare_exchange(seen, value, Relaxed, Relaxed) {
            Ok(_) => return,
            Err(now) => seen = now,
        }
    }
}

/// Lowers a word by `amount`, not below 0.
fn lower(word: &AtomicU64, amount: u64) {
    let mut seen = word.load(Relaxed); // ORDERING(R7)
    // ORDERING(R7)
    while let Err(now) = word.compare_exchange(seen, seen.saturating_sub(amount), Relaxed, Relaxed) {
        seen = now;
    }
}

impl PageAllocator {
    /// Direct reclaim (`try_to_free_pages`): pages freed.
    pub(crate) fn direct_reclaim(&self, cpu: CpuChoice, request: Request, hooks: &dyn Hooks) -> u64 {
        if let Some(slot) = self.segment.cpus.get(self.cpu_hint(cpu)) {
            slot.allocstall[request.highest_zone].fetch_add(1, Relaxed); // ORDERING(R7)
        }
        hooks.event(PressureEvent::DirectReclaim(request));
        if !hooks.has_shrinkers() {
            return 0;
        }
        let mut reclaimed = 0u64;
        for priority in (0..=DEF_PRIORITY).rev() {
            let scan = Scan { nid: None, request, priority, nr_to_reclaim: SWAP_CLUSTER_MAX };
            reclaimed = reclaimed.saturating_add(self.scan(scan, hooks));
            if reclaimed >= SWAP_CLUSTER_MAX {
                break;
            }
        }
        reclaimed
    }

    /// Calls the shrinkers: pages they freed. A claim counts only as far as there really is more
    /// free memory than before, so that a wrong answer cannot make reclaim go round for ever.
    fn scan(&self, scan: Scan, hooks: &dyn Hooks) -> u64 {
        let before = self.nr_free_everywhere();
        let claimed = as_memalloc(|| hooks.scan(scan));
        claimed.min(self.nr_free_everywhere().saturating_sub(before))
    }

    /// Free pages of all zones, those on per-cpu lists included.
    fn nr_free_everywhere(&self) -> u64 {
        self.zones()
            .map(|zone| {
                let on_lists: u64 = zone.cpu_zones.iter().map(|cz| u64::from(cz.count.load(Relaxed))).sum(); // ORDERING(R8)
                zone.free_pages_snapshot().max(0) as u64 + on_lists
            })
            .sum()
    }

    /// kswapd is asked to run for a zone whose watermarks were boosted.
    pub(crate) fn wake_kswapd_boosted(&self, zone: Zone<'_>, hooks: &dyn Hooks) {
        hooks.event(PressureEvent::Boosted { nid: zone.node(), zone: zone.index() });
        let request = Request { gfp: Gfp::NONE, order: 0, highest_zone: zone.index(), nodemask: None };
        self.run_kswapd(zone, request, hooks);
    }

    /// `wakeup_kswapd`.
    pub(crate) fn wake_kswapd(&self, zone: Zone<'_>, request: Request, hooks: &dyn Hooks) {
        if zone.managed() == 0 {
            return;
        }
        hooks.event(PressureEvent::WakeKswapd { nid: zone.node(), zone: zone.index(), request });
        self.run_kswapd(zone, request, hooks);
    }

    /// Does kswapd's work for the node of a zone, unless it is not needed, hopeless, or done by
    /// somebody else already.
    fn run_kswapd(&self, zone: Zone<'_>, request: Request, hooks: &dyn Hooks) {
        if zone.managed() == 0 || !hooks.has_shrinkers() || is_memalloc() {
            return;
        }
        let nid = zone.node();
        let Some(node) = self.segment.nodes.iter().find(|node| node.nid.load(Relaxed) == nid) else { return }; // ORDERING(R1)
        raise(&node.kswapd_highest_zone, request.highest_zone as u32 + 1);
        raise(&node.kswapd_order, request.order);
        let is_boosted = self.zones_up_to(nid, request.highest_zone).any(|zone| zone.boost() != 0);
        // ORDERING(R7)
        if node.kswapd_failures.load(Relaxed) >= MAX_FAILURES
            || (self.is_balanced(nid, request.order, request.highest_zone) && !is_boosted)
        {
            return;
        }
        let Some(_run) = KswapdRun::begin(&node.kswapd_running) else { return };
        self.set_percpu_threshold(nid, true);
        self.balance_node(node, nid, hooks);
        self.set_percpu_threshold(nid, false);
    }

    /// Managed zones of a node up to a zone index.
    fn zones_up_to(&self, nid: u32, highest: usize) -> impl Iterator<Item = Zone<'_>> {
        self.zones().filter(move |zone| zone.node() == nid && zone.index() <= highest && zone.managed() != 0)
    }

    /// `pgdat_balanced`: some zone passes its high watermark, or there is none at all.
    pub fn is_balanced(&self, nid: u32, order: u32, highest: usize) -> bool {
        let mut any_zone = false;
        for zone in self.zones_up_to(nid, highest) {
            any_zone = true;
            let lists = |o, mt| zone.has_free(o, mt);
            let test = WatermarkTest { config: self.config(), marks: &zone.marks(), lists: &lists };
            let drift_mark = zone.shared.percpu_drift_mark.load(Relaxed); // ORDERING(R7)
            let approximate = zone.free_pages_approximate();
            let mark = zone.watermark(WMARK_HIGH);
            if test.is_ok_safe(order, mark, highest, approximate, drift_mark, || zone.free_pages_snapshot()) {
                return true;
            }
        }
        !any_zone
    }

    /// `balance_pgdat`: scans harder and harder until the node is balanced.
    fn balance_node(&self, node: &NodeShared, nid: u32, hooks: &dyn Hooks) {
        let highest = (node.kswapd_highest_zone.load(Relaxed) as usize).saturating_sub(1); // ORDERING(R7)
        let order = node.kswapd_order.load(Relaxed); // ORDERING(R7)
        // The boost seen now is what this run pays off.
        let boosts: Vec<(Zone<'_>, u64)> = self.zones_up_to(nid, highest).map(|zone| (zone, zone.boost())).collect();
        let mut boost_left: u64 = boosts.iter().map(|(_, boost)| boost).sum();
        for (zone, _) in &boosts {
            zone.shared.flags.fetch_or(ZONE_FLAG_RECLAIM_ACTIVE, Relaxed); // ORDERING(R7)
        }
        let request = Request { gfp: Gfp::GFP_KERNEL, order, highest_zone: highest, nodemask: Some(1 << nid) };
        let mut reclaimed = 0u64;
        let mut priority = DEF_PRIORITY;
        loop {
            let balanced = self.is_balanced(nid, order, highest);
            if balanced && boost_left == 0 {
                break;
            }
            if !balanced {
                boost_left = 0; // real pressure: boosting is no longer the aim
            }
            let high: u64 = boosts.iter().map(|(zone, _)| zone.watermark(WMARK_HIGH).max(SWAP_CLUSTER_MAX)).sum();
            let scan = Scan { nid: Some(nid), request, priority, nr_to_reclaim: high };
            let freed = self.scan(scan, hooks);
            reclaimed = reclaimed.saturating_add(freed);
            boost_left = boost_left.saturating_sub(freed);
            // Enough was freed at this priority: go on gently. Else look harder.
            if freed < SWAP_CLUSTER_MAX {
                if priority <= 1 {
                    break;
                }
                priority -= 1;
            }
        }
        for (zone, boost) in &boosts {
            zone.shared.flags.fetch_and(!ZONE_FLAG_RECLAIM_ACTIVE, Relaxed); // ORDERING(R7)
            lower(&zone.shared.watermark_boost, *boost);
        }
        if reclaimed == 0 {
            node.kswapd_failures.fetch_add(1, Relaxed); // ORDERING(R7)
        } else {
            node.kswapd_failures.store(0, Relaxed); // ORDERING(R7)
        }
        node.kswapd_order.store(0, Relaxed); // ORDERING(R7)
        node.kswapd_highest_zone.store(0, Relaxed); // ORDERING(R7)
    }

    /// Runs in a row in which kswapd of a node freed nothing.
    pub fn kswapd_failures(&self, nid: u32) -> u32 {
        let node = self.segment.nodes.iter().find(|node| node.nid.load(Relaxed) == nid); // ORDERING(R1)
        node.map_or(0, |node| node.kswapd_failures.load(Relaxed)) // ORDERING(R7)
    }
}

const _: () = assert!(AllocFlags::WMARK_HIGH.0 as usize == WMARK_HIGH);
