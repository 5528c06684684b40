//! Sets of nodes as 64-bit masks (include/linux/nodemask.h).

/// The first node of a set.
pub fn first_node(nodes: u64) -> Option<u32> {
    (nodes != 0).then(|| nodes.trailing_zeros())
}

/// The node belongs to the set.
pub fn contains(nodes: u64, nid: u32) -> bool {
    nodes.checked_shr(nid).unwrap_or(0) & 1 != 0
}

/// The set's next node after `previous`, the first one again after the last (`next_node_in`).
pub fn next_node_in(nodes: u64, previous: u32) -> Option<u32> {
    let later = previous.checked_add(1).and_then(|from| u64::MAX.checked_shl(from)).unwrap_or(0);
    first_node(nodes & later).or(first_node(nodes))
}

/// The set's n-th node in ascending order, counted from 0.
pub fn nth_node(nodes: u64, n: u32) -> Option<u32> {
    let mut rest = nodes;
    for _ in 0..n {
        rest &= rest.wrapping_sub(1);
    }
    first_node(rest)
}

/// The nodes of `allowed` at the positions that `relative` names, modulo their number.
///
/// Source: mm/mempolicy.c, `mpol_relative_nodemask`.
pub fn onto(relative: u64, allowed: u64) -> u64 {
    let nr_allowed = allowed.count_ones();
    if nr_allowed == 0 {
        return 0;
    }
    let positions = (0..u64::BITS).filter(|position| contains(relative, *position));
    let nodes = positions.filter_map(|position| nth_node(allowed, position % nr_allowed));
    nodes.fold(0, |nodes, nid| nodes | 1 << nid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_wrap() {
        assert_eq!(
            [0, 1, 2, 5, 7, 63, u32::MAX].map(|nid| next_node_in(0b10100110, nid).unwrap()),
            [1, 2, 5, 7, 1, 1, 1]
        );
        assert_eq!(next_node_in(1 << 63, 62), Some(63));
        assert_eq!(next_node_in(1 << 63, 63), Some(63));
        assert_eq!(next_node_in(0, 3), None);
        assert_eq!([0, 1, 2, 3].map(|n| nth_node(0b10100010, n)), [Some(1), Some(5), Some(7), None]);
        assert_eq!((first_node(0), first_node(1 << 63)), (None, Some(63)));
        assert!(contains(1 << 63, 63) && !contains(u64::MAX, 64));
    }

    #[test]
    fn relative_sets() {
        assert_eq!(onto(0b0101, 0b11100000), 0b10100000);
        assert_eq!(onto(0b1001, 0b11100000), 0b00100000, "position 3 is position 0 again");
        assert_eq!(onto(u64::MAX, 0b101), 0b101);
        assert_eq!((onto(0, 0b101), onto(1, 0)), (0, 0));
    }
}
