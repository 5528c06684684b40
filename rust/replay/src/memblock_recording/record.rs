//! Records of a memblock-golden file.

use super::operation::Operation;
use super::{LineError, bad};
use crate::report::RecordingErrorKind;
use pagebuddy_core::memblock::{ArrayGrowth, Geometry, ListKind, Memblock, Region};
use serde::Deserialize;
use serde_json::Value;

/// Name and version of the format.
/// Value of the header's `format`.
pub const FORMAT: &str = "memblock-golden";
const VERSION: u64 = 1;

/// The first line.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) scenario: String,
    pub(super) seed: u64,
    pub(super) config: HeaderConfig,
}

#[derive(Debug, Deserialize)]
pub(super) struct HeaderConfig {
    phys_addr_bits: u32,
    page_shift: u32,
    #[serde(rename = "MAX_NUMNODES")]
    pub(super) max_numnodes: u32,
    pub(super) init_regions: u32,
    region_bytes: u64,
    smp_cache_bytes: u64,
    low_address_limit: u64,
    #[serde(rename = "MAX_ORDER")]
    max_order: u32,
}

impl Header {
    pub(super) fn parse(text: &str) -> Result<Header, LineError> {
        let value: Value = serde_json::from_str(text).map_err(json_error)?;
        match value.get("format").and_then(Value::as_str) {
            Some(FORMAT) => {}
            Some(other) => {
                return Err((RecordingErrorKind::Format, format!("the format is {other:?}, not {FORMAT:?}")));
            }
            None => {
                return Err((RecordingErrorKind::Format, format!("this is not the header of a {FORMAT} recording")));
            }
        }
        if value.get("version").and_then(Value::as_u64) != Some(VERSION) {
            let version = value.get("version").unwrap_or(&Value::Null);
            let message = format!("version {version} of {FORMAT} is not known, only {VERSION} is");
            return Err((RecordingErrorKind::Version, message));
        }
        let header: Header = serde_json::from_value(value).map_err(|e| bad(format!("the header is wrong: {e}")))?;
        if header.config.phys_addr_bits != 64 {
            let message = format!("addresses of {} bits are not supported", header.config.phys_addr_bits);
            return Err((RecordingErrorKind::Unsupported, message));
        }
        Ok(header)
    }
}

impl HeaderConfig {
    pub(super) fn geometry(&self) -> Geometry {
        Geometry {
            page_shift: self.page_shift,
            init_regions: self.init_regions as usize,
            region_bytes: self.region_bytes,
            smp_cache_bytes: self.smp_cache_bytes,
            low_address_limit: self.low_address_limit,
            max_order: self.max_order,
        }
    }
}

/// Any line but the first.
#[derive(Debug)]
pub(super) enum Line {
    State(Box<State>),
    Operation(Operation),
    Array(Growth),
    Change(ListKind, Change),
    Eof { ops: u64 },
}

impl Line {
    pub(super) fn parse(text: &str, max_numnodes: u32) -> Result<Line, LineError> {
        match serde_json::from_str(text).map_err(json_error)? {
            Value::Object(object) => match object.get("t").and_then(Value::as_str) {
                Some("state") => {
                    let raw: RawState = serde_json::from_value(Value::Object(object))
                        .map_err(|error| bad(format!("the state is wrong: {error}")))?;
                    raw.finish(max_numnodes).map(|state| Line::State(Box::new(state)))
                }
                Some("eof") => match object.get("ops").and_then(Value::as_u64) {
                    Some(ops) => Ok(Line::Eof { ops }),
                    None => Err(bad("the eof record has no operation count")),
                },
                _ => Err(bad("unknown record")),
            },
            Value::Array(mut items) => {
                let code = items.first().and_then(Value::as_str).unwrap_or_default().to_owned();
                match code.as_str() {
                    "op" => {
                        items.remove(0);
                        Operation::new(items).map(Line::Operation).map_err(bad)
                    }
                    "array" => Growth::parse(&items).map(Line::Array),
                    "mem" => Change::parse(&items, max_numnodes).map(|change| Line::Change(ListKind::Memory, change)),
                    "res" => Change::parse(&items, max_numnodes).map(|change| Line::Change(ListKind::Reserved, change)),
                    _ => Err(bad("unknown record")),
                }
            }
            _ => Err(bad("the line is neither a record nor an operation")),
        }
    }
}

fn json_error(error: serde_json::Error) -> LineError {
    let kind = if error.is_eof() { RecordingErrorKind::Truncated } else { RecordingErrorKind::Json };
    (kind, format!("the line is not JSON: {error}"))
}

/// A list according to the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListState {
    pub(super) regions: Vec<Region>,
    pub(super) capacity: u64,
    pub(super) total: u64,
}

impl ListState {
    pub(super) fn empty(capacity: u32) -> ListState {
        ListState { regions: Vec::new(), capacity: capacity.into(), total: 0 }
    }

    pub(super) fn apply(&mut self, change: Change) -> Result<(), String> {
        let Change { index, removed, regions, capacity, total } = change;
        let end = index.checked_add(removed).filter(|&end| end <= self.regions.len());
        let end = end.ok_or_else(|| format!("the list has only {} regions", self.regions.len()))?;
        self.regions.splice(index..end, regions);
        (self.capacity, self.total) = (capacity, total);
        Ok(())
    }
}

/// How an operation changed a list.
#[derive(Debug)]
pub(super) struct Change {
    index: usize,
    removed: usize,
    regions: Vec<Region>,
    capacity: u64,
    total: u64,
}

impl Change {
    fn parse(items: &[Value], max_numnodes: u32) -> Result<Change, LineError> {
        let wrong = || bad("a list change is [list, index, removed, regions, capacity, total]");
        let [_, index, removed, Value::Array(regions), capacity, total] = items else { return Err(wrong()) };
        let number = |value: &Value| value.as_u64().ok_or_else(wrong);
        Ok(Change {
            index: usize::try_from(number(index)?).map_err(|_| wrong())?,
            removed: usize::try_from(number(removed)?).map_err(|_| wrong())?,
            regions: regions.iter().map(|value| parse_region(value, max_numnodes)).collect::<Result<_, _>>()?,
            capacity: number(capacity)?,
            total: number(total)?,
        })
    }
}

fn parse_region(value: &Value, max_numnodes: u32) -> Result<Region, LineError> {
    let numbers: Option<Vec<u64>> = value.as_array().and_then(|items| items.iter().map(Value::as_u64).collect());
    let wrong = || bad(format!("a region is [base, size, nid, flags], not {value}"));
    let [base, size, nid, flags] = numbers.ok_or_else(wrong)?[..] else { return Err(wrong()) };
    let nid = u32::try_from(nid).map_err(|_| wrong())?;
    let flags = u32::try_from(flags).map_err(|_| wrong())?;
    Ok(Region { base, size, nid: (nid != max_numnodes).then_some(nid), flags })
}

/// A region in messages.
pub(super) fn show(region: &Region) -> String {
    let Region { base, size, nid, flags } = region;
    let node = nid.map_or("no node".to_owned(), |nid| format!("node {nid}"));
    format!("base {base} size {size} {node} flags {flags}")
}

/// An array growth.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Growth {
    list: &'static str,
    capacity: u64,
    addr: u64,
    bytes: u64,
}

impl Growth {
    fn parse(items: &[Value]) -> Result<Growth, LineError> {
        let wrong = || bad("an array growth is [\"array\", list, capacity, address, bytes]");
        let [_, list, capacity, addr, bytes] = items else { return Err(wrong()) };
        let number = |value: &Value| value.as_u64().ok_or_else(wrong);
        Ok(Growth {
            list: parse_list(list).ok_or_else(wrong)?.name(),
            capacity: number(capacity)?,
            addr: number(addr)?,
            bytes: number(bytes)?,
        })
    }
}

impl From<&ArrayGrowth> for Growth {
    fn from(growth: &ArrayGrowth) -> Growth {
        let ArrayGrowth { list, capacity, addr, size_bytes } = *growth;
        Growth { list: list.name(), capacity: capacity as u64, addr, bytes: size_bytes }
    }
}

pub(super) fn parse_list(value: &Value) -> Option<ListKind> {
    [ListKind::Memory, ListKind::Reserved].into_iter().find(|list| value.as_str() == Some(list.name()))
}

#[derive(Deserialize)]
struct RawState {
    label: String,
    op: u64,
    memory: Vec<Value>,
    memory_max: u64,
    memory_total: u64,
    reserved: Vec<Value>,
    reserved_max: u64,
    reserved_total: u64,
    bottom_up: u64,
    current_limit: u64,
    can_resize: u64,
    some_mirror: u64,
    movable_node: u64,
}

impl RawState {
    fn finish(self, max_numnodes: u32) -> Result<State, LineError> {
        let regions = |values: Vec<Value>| {
            values.iter().map(|value| parse_region(value, max_numnodes)).collect::<Result<Vec<_>, _>>()
        };
        Ok(State {
            label: self.label,
            op: self.op,
            memory: ListState { regions: regions(self.memory)?, capacity: self.memory_max, total: self.memory_total },
            reserved: ListState {
                regions: regions(self.reserved)?,
                capacity: self.reserved_max,
                total: self.reserved_total,
            },
            switches: [
                ("bottom_up", self.bottom_up),
                ("current_limit", self.current_limit),
                ("can_resize", self.can_resize),
                ("some_mirror", self.some_mirror),
                ("movable_node", self.movable_node),
            ],
        })
    }
}

/// A complete state.
#[derive(Debug)]
pub(super) struct State {
    pub(super) label: String,
    pub(super) op: u64,
    pub(super) memory: ListState,
    pub(super) reserved: ListState,
    switches: [(&'static str, u64); 5],
}

impl State {
    pub(super) fn switch_difference(&self, memblock: &Memblock) -> Option<(&'static str, String, String)> {
        let got = [
            u64::from(memblock.bottom_up()),
            memblock.current_limit(),
            u64::from(memblock.can_resize()),
            u64::from(memblock.some_mirror()),
            u64::from(memblock.movable_node()),
        ];
        let different = self.switches.iter().zip(got).find(|((_, expected), got)| expected != got);
        different.map(|(&(name, expected), got)| (name, expected.to_string(), got.to_string()))
    }
}
