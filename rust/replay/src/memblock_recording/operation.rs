//! Operations of a memblock-golden file: arguments, execution, comparison of results.

use super::record::parse_list;
use pagebuddy_core::memblock::{FreeRange, ListKind, Memblock, MemblockError, PfnRange};
use serde_json::{Value, json};
use std::fmt;

/// One recorded operation.
#[derive(Debug)]
pub(super) struct Operation {
    name: String,
    args: Vec<Value>,
    result: Value,
}

/// What the replay of an operation produced.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The operation returns nothing.
    Nothing,
    /// A result to be compared as a whole.
    Value(Value),
    /// A hand-over up to this pfn; its blocks are compared one by one, never stored.
    HandOver(u64),
    /// An error that the recorded kernel cannot report.
    Refused(MemblockError),
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name)?;
        for (index, arg) in self.args.iter().enumerate() {
            write!(f, "{}{arg}", if index == 0 { "" } else { ", " })?;
        }
        f.write_str(")")
    }
}

/// How often each operation's arguments may be read as what.
#[derive(Clone, Copy)]
enum Arg {
    /// An unsigned number.
    Number,
    /// A node id, -1, or MAX_NUMNODES.
    Node,
    /// A list's name.
    List,
    /// An address or null.
    Pointer,
}

/// Arguments of every operation, in order.
fn signature(name: &str) -> Option<&'static [Arg]> {
    use Arg::{List, Node, Number, Pointer};
    Some(match name {
        "reset"
        | "memblock_allow_resize"
        | "memblock_discard"
        | "memblock_phys_mem_size"
        | "memblock_reserved_size"
        | "memblock_start_of_DRAM"
        | "memblock_end_of_DRAM"
        | "for_each_mem_range"
        | "for_each_mem_range_rev"
        | "for_each_reserved_mem_range" => &[],
        "memblock_add"
        | "memblock_reserve"
        | "memblock_remove"
        | "memblock_phys_free"
        | "memblock_mark_hotplug"
        | "memblock_clear_hotplug"
        | "memblock_mark_mirror"
        | "memblock_mark_nomap"
        | "memblock_clear_nomap"
        | "memblock_phys_alloc"
        | "memblock_alloc"
        | "memblock_alloc_raw"
        | "memblock_alloc_low"
        | "memblock_cap_memory_range"
        | "memblock_is_region_memory"
        | "memblock_is_region_reserved" => &[Number, Number],
        "memblock_add_node" => &[Number, Number, Node, Number],
        "memblock_free" => &[Pointer, Number],
        "memblock_set_node" => &[Number, Number, List, Node],
        "memblock_find_in_range_node" => &[Number, Number, Number, Number, Node, Number],
        "memblock_phys_alloc_range" => &[Number, Number, Number, Number],
        "memblock_phys_alloc_try_nid" | "memblock_alloc_node" => &[Number, Number, Node],
        "memblock_alloc_range_nid" => &[Number, Number, Number, Number, Node, Number],
        "memblock_alloc_exact_nid_raw" | "memblock_alloc_try_nid_raw" | "memblock_alloc_try_nid" => {
            &[Number, Number, Number, Number, Node]
        }
        "memblock_alloc_from" => &[Number, Number, Number],
        "memblock_overlaps_region" => &[List, Number, Number],
        "for_each_free_mem_range" | "for_each_free_mem_range_reverse" => &[Node, Number],
        "for_each_mem_pfn_range" => &[Node],
        "memblock_set_bottom_up"
        | "memblock_set_current_limit"
        | "set_movable_node"
        | "memblock_enforce_memory_limit"
        | "memblock_mem_limit_remove_map"
        | "memblock_trim_memory"
        | "memblock_is_memory"
        | "memblock_is_reserved"
        | "memblock_is_map_memory"
        | "memblock_search_pfn_nid"
        | "memblock_free_all" => &[Number],
        _ => return None,
    })
}

impl Operation {
    /// From `[name, args..., result]`.
    pub(super) fn new(mut items: Vec<Value>) -> Result<Operation, String> {
        let result = items.pop();
        let name = if items.is_empty() { None } else { items.remove(0).as_str().map(str::to_owned) };
        match (name, result) {
            (Some(name), Some(result)) => Ok(Operation { name, args: items, result }),
            _ => Err("an operation is [\"op\", name, arguments..., result]".to_owned()),
        }
    }

    /// Checks name, number and types of the arguments.
    pub(super) fn check(&self, max_numnodes: u32) -> Result<(), String> {
        let Some(signature) = signature(&self.name) else { return Err(format!("unknown operation {:?}", self.name)) };
        if signature.len() != self.args.len() {
            return Err(format!("{} has {} arguments, not {}", self.name, signature.len(), self.args.len()));
        }
        for (index, (kind, value)) in signature.iter().zip(&self.args).enumerate() {
            let fits = match kind {
                Arg::Number => value.is_u64(),
                Arg::Node => value.as_i64().is_some_and(|nid| (-1..=i64::from(max_numnodes)).contains(&nid)),
                Arg::List => parse_list(value).is_some(),
                Arg::Pointer => value.is_u64() || value.is_null(),
            };
            if !fits {
                return Err(format!("{}: argument {} cannot be {value}", self.name, index + 1));
            }
        }
        Ok(())
    }

    pub(super) fn is_reset(&self) -> bool {
        self.name == "reset"
    }

    /// Performs a checked operation.
    pub(super) fn perform(&self, m: &mut Memblock, max_numnodes: u32) -> Outcome {
        let n = |index: usize| self.args[index].as_u64().unwrap_or_default();
        let flags = |index: usize| u32::try_from(n(index)).unwrap_or(u32::MAX);
        let nid = |index: usize| {
            self.args[index].as_u64().and_then(|nid| u32::try_from(nid).ok()).filter(|&nid| nid != max_numnodes)
        };
        let list = |index: usize| parse_list(&self.args[index]).unwrap_or(ListKind::Memory);
        let value = |value: Value| Outcome::Value(value);
        let node = |nid: Option<u32>| nid.unwrap_or(max_numnodes);
        let free = |range: FreeRange| json!([range.start, range.end, node(range.nid)]);
        let pages = |range: PfnRange| json!([range.start, range.end, node(range.nid)]);
        let bytes = |(start, end): (u64, u64)| json!([start, end]);
        match self.name.as_str() {
            "memblock_add" => code(m.add(n(0), n(1))),
            "memblock_add_node" => code(m.add_node(n(0), n(1), nid(2), flags(3))),
            "memblock_reserve" => code(m.reserve(n(0), n(1))),
            "memblock_remove" => code(m.remove(n(0), n(1))),
            "memblock_phys_free" => code(m.phys_free(n(0), n(1))),
            "memblock_free" => nothing(m.free(self.args[0].as_u64(), n(1))),
            "memblock_mark_hotplug" => code(m.mark_hotplug(n(0), n(1))),
            "memblock_clear_hotplug" => code(m.clear_hotplug(n(0), n(1))),
            "memblock_mark_mirror" => code(m.mark_mirror(n(0), n(1))),
            "memblock_mark_nomap" => code(m.mark_nomap(n(0), n(1))),
            "memblock_clear_nomap" => code(m.clear_nomap(n(0), n(1))),
            "memblock_set_node" => code(m.set_node(n(0), n(1), list(2), nid(3))),
            "memblock_find_in_range_node" => match m.find_in_range_node(n(0), n(1), n(2), n(3), nid(4), flags(5)) {
                Ok(found) => value(json!(found.unwrap_or(0))),
                Err(error) => Outcome::Refused(error),
            },
            "memblock_phys_alloc_range" => addr(m.phys_alloc_range(n(0), n(1), n(2), n(3))),
            "memblock_phys_alloc_try_nid" => addr(m.phys_alloc_try_nid(n(0), n(1), nid(2))),
            "memblock_phys_alloc" => addr(m.phys_alloc(n(0), n(1))),
            "memblock_alloc_range_nid" => addr(m.alloc_range_nid(n(0), n(1), n(2), n(3), nid(4), n(5) != 0)),
            "memblock_alloc_exact_nid_raw" => addr(m.alloc_exact_nid_raw(n(0), n(1), n(2), n(3), nid(4))),
            "memblock_alloc_try_nid" | "memblock_alloc_try_nid_raw" => {
                addr(m.alloc_try_nid(n(0), n(1), n(2), n(3), nid(4)))
            }
            "memblock_alloc" | "memblock_alloc_raw" => addr(m.alloc(n(0), n(1))),
            "memblock_alloc_from" => addr(m.alloc_from(n(0), n(1), n(2))),
            "memblock_alloc_low" => addr(m.alloc_low(n(0), n(1))),
            "memblock_alloc_node" => addr(m.alloc_node(n(0), n(1), nid(2))),
            "memblock_set_bottom_up" => nothing(m.set_bottom_up(n(0) != 0)),
            "memblock_set_current_limit" => nothing(m.set_current_limit(n(0))),
            "memblock_allow_resize" => nothing(m.allow_resize()),
            "set_movable_node" => nothing(m.set_movable_node(n(0) != 0)),
            "memblock_enforce_memory_limit" => nothing(m.enforce_memory_limit(n(0))),
            "memblock_cap_memory_range" => nothing(m.cap_memory_range(n(0), n(1))),
            "memblock_mem_limit_remove_map" => nothing(m.mem_limit_remove_map(n(0))),
            "memblock_trim_memory" => nothing(m.trim_memory(n(0))),
            "memblock_is_memory" => truth(m.is_memory(n(0))),
            "memblock_is_reserved" => truth(m.is_reserved(n(0))),
            "memblock_is_map_memory" => truth(m.is_map_memory(n(0))),
            "memblock_is_region_memory" => truth(m.is_region_memory(n(0), n(1))),
            "memblock_is_region_reserved" => truth(m.is_region_reserved(n(0), n(1))),
            "memblock_overlaps_region" => truth(m.overlaps_region(list(0), n(1), n(2))),
            "memblock_search_pfn_nid" => match m.search_pfn_nid(n(0)) {
                Some(range) => value(json!([node(range.nid), range.start, range.end])),
                None => Outcome::Nothing,
            },
            "memblock_phys_mem_size" => value(json!(m.phys_mem_size())),
            "memblock_reserved_size" => value(json!(m.reserved_size())),
            "memblock_start_of_DRAM" => value(json!(m.start_of_dram())),
            "memblock_end_of_DRAM" => value(json!(m.end_of_dram())),
            "for_each_free_mem_range" => value(m.for_each_free_mem_range(nid(0), flags(1)).map(free).collect()),
            "for_each_free_mem_range_reverse" => {
                value(m.for_each_free_mem_range_reverse(nid(0), flags(1)).map(free).collect())
            }
            "for_each_mem_range" => value(m.for_each_mem_range().map(bytes).collect()),
            "for_each_mem_range_rev" => value(m.for_each_mem_range().rev().map(bytes).collect()),
            "for_each_reserved_mem_range" => value(m.for_each_reserved_mem_range().map(bytes).collect()),
            "for_each_mem_pfn_range" => value(m.for_each_mem_pfn_range(nid(0)).map(pages).collect()),
            "memblock_free_all" => match m.free_all(n(0)) {
                Ok(_) => Outcome::HandOver(n(0)),
                Err(error) => Outcome::Refused(error),
            },
            "memblock_discard" => match m.discard() {
                Ok(pages) => value(json!(pages)),
                Err(error) => Outcome::Refused(error),
            },
            _ => Outcome::Nothing,
        }
    }

    /// Expected and produced result, if they differ.
    pub(super) fn difference(&self, outcome: &Outcome, m: &Memblock) -> Option<(String, String)> {
        let got = match outcome {
            Outcome::Nothing if self.result.is_null() => return None,
            Outcome::Nothing => "null".to_owned(),
            Outcome::Value(value) if *value == self.result => return None,
            Outcome::Value(value) => value.to_string(),
            Outcome::HandOver(max_low_pfn) => return self.hand_over_difference(m, *max_low_pfn),
            Outcome::Refused(error) => format!("refused: {error}"),
        };
        Some((self.result.to_string(), got))
    }

    fn hand_over_difference(&self, m: &Memblock, max_low_pfn: u64) -> Option<(String, String)> {
        let plan = m.hand_over(max_low_pfn);
        let reserved = plan.reserved_ranges().map(|(start, end)| [start, end]);
        let blocks = plan.free_blocks().map(|(pfn, order)| [pfn, order.into()]);
        pairs_difference(&self.result["reserved"], reserved)
            .or_else(|| pairs_difference(&self.result["free"], blocks))
            .or_else(|| {
                let pages = plan.nr_pages();
                let expected = &self.result["pages"];
                (expected.as_u64() != Some(pages)).then(|| (format!("{expected} pages"), format!("{pages} pages")))
            })
    }
}

/// First difference between a recorded list of pairs and a produced one.
fn pairs_difference(expected: &Value, mut got: impl Iterator<Item = [u64; 2]>) -> Option<(String, String)> {
    let Some(expected) = expected.as_array() else { return Some(("no list".to_owned(), "a list".to_owned())) };
    for (index, expected) in expected.iter().enumerate() {
        match got.next() {
            Some(pair) if *expected == json!(pair) => {}
            Some(pair) => return Some((format!("[{index}] {expected}"), format!("[{index}] {pair:?}"))),
            None => return Some((format!("[{index}] {expected}"), format!("only {index} entries"))),
        }
    }
    got.next().map(|pair| (format!("only {} entries", expected.len()), format!("[{}] {pair:?}", expected.len())))
}

fn code(result: Result<(), MemblockError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Value(json!(0)),
        Err(MemblockError::NoMemory) => Outcome::Value(json!(-12)),
        Err(error) => Outcome::Refused(error),
    }
}

fn nothing(result: Result<(), MemblockError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Nothing,
        Err(error) => Outcome::Refused(error),
    }
}

fn addr(result: Result<u64, MemblockError>) -> Outcome {
    match result {
        Ok(found) => Outcome::Value(json!(found)),
        Err(MemblockError::NoMemory) => Outcome::Value(json!(0)),
        Err(error) => Outcome::Refused(error),
    }
}

fn truth(fact: bool) -> Outcome {
    Outcome::Value(json!(u8::from(fact)))
}
