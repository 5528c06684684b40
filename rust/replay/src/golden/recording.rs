//! A whole recording, read up front into typed vectors.

use super::boot_parameters;
use super::op::{Limits, Ops};
use super::record::{
    PolicyInfo, RawEof, RawHeader, RawLate, RawMemblock, RawNode, RawNumastat, RawState, RawTunables, RawZone,
    RawZonelist, RawZonelistKind, RecordKind, RecordTag, RecordedTunables, RecordedZone,
};
use super::scan::Scanner;
use crate::lines::Lines;
use crate::report::{RecordingError, RecordingErrorKind};
use pagebuddy_core::config::Config;
use pagebuddy_core::memblock::Region;
use pagebuddy_core::state::{NodeState, NumaEvents, ZoneRef, Zonelists};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;

/// Value of the header's `format`.
pub const FORMAT: &str = "buddy-golden";
/// Value of the header's `version`.
pub const VERSION: u64 = 1;
/// Most CPUs that a recording may name.
const MAX_CPUS: usize = 1024;

/// What a recording covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The hand-over only.
    Boot,
    /// Operations right after the hand-over.
    Early,
    /// Operations after the start-up.
    Late,
    /// The states around a traced workload.
    Trace,
}

impl Mode {
    /// Name in the header.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Boot => "boot",
            Mode::Early => "early",
            Mode::Late => "late",
            Mode::Trace => "trace",
        }
    }
}

/// The header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Kernel version.
    pub kernel: String,
    /// What the recording covers.
    pub mode: Mode,
    /// Name of the script.
    pub scenario: String,
    /// Seed of the script.
    pub seed: Option<u64>,
    /// Whether the per-cpu lists were drained shortly before the start.
    pub drained: bool,
    /// Whether tasks count as real-time tasks.
    pub rt_task: bool,
    /// Options, boot parameters included.
    pub config: Config,
    /// Node of every present CPU.
    pub cpu_node: Vec<u32>,
    /// Online nodes.
    pub nodes: Vec<u32>,
    /// Distances between the online nodes.
    pub node_distance: Vec<Vec<u32>>,
}

/// A `state` record and its `zstate` records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedState {
    /// Line of the `state` record.
    pub line: u64,
    /// `boot`, `start`, `ckpt`, `sysctl`, `final-live` or `end`.
    pub label: String,
    /// Whether grouping by mobility was off.
    pub page_group_by_mobility_disabled: bool,
    /// `min_free_kbytes`.
    pub min_free_kbytes: u64,
    /// `watermark_scale_factor`.
    pub watermark_scale_factor: u64,
    /// `watermark_boost_factor`.
    pub watermark_boost_factor: u64,
    /// `totalram_pages`.
    pub totalram_pages: u64,
    /// `gfp_allowed_mask`.
    pub gfp_allowed_mask: u32,
    /// Populated zones.
    pub zones: Vec<RecordedZone>,
}

/// One zone of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneDigest {
    /// Which zone.
    pub at: ZoneRef,
    /// Pages on the free lists.
    pub free_pages: u64,
    /// Pages on per-cpu lists.
    pub pcp_pages: u64,
    /// Pages in HighAtomic pageblocks.
    pub highatomic: u64,
    /// Watermark boost.
    pub boost: u64,
    /// Global part of the free page counter.
    pub free_counter: i64,
    /// Hash of the free lists.
    pub hf: u64,
    /// Hash of the per-cpu lists.
    pub hp: u64,
}

/// Something recorded between two operations, to be compared there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Digests of all populated zones.
    Digest(Vec<ZoneDigest>),
    /// A complete state.
    State(Box<RecordedState>),
    /// The tunables.
    Tunables(Box<RecordedTunables>),
    /// The NUMA event counters.
    Numastat(Vec<(ZoneRef, NumaEvents)>),
}

/// An expectation and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Operations performed before.
    pub op: usize,
    /// Line of the recording.
    pub line: u64,
    /// What is expected.
    pub expected: Expectation,
}

/// A recording.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Name as the caller gave it.
    pub file: String,
    /// The header.
    pub header: Header,
    /// Memory regions before the hand-over.
    pub memory: Vec<Region>,
    /// Reserved regions before the hand-over.
    pub reserved: Vec<Region>,
    /// Online nodes with the zonelists of the hand-over.
    pub nodes: Vec<NodeState>,
    /// Line of the first `node` record, for messages.
    pub nodes_line: u64,
    /// Online CPUs at the start of the operations.
    pub nr_online_cpus: usize,
    /// Zonelists at the late start, by position in `nodes`; empty in other modes.
    pub late_zonelists: Vec<Zonelists>,
    /// The `policy-info` record.
    pub policy_info: Option<PolicyInfo>,
    /// The state after the hand-over.
    pub boot: Box<RecordedState>,
    /// Tunables recorded before the start state.
    pub start_tunables: Option<RecordedTunables>,
    /// NUMA event counters recorded right behind the start state.
    pub start_numa: Vec<(ZoneRef, NumaEvents)>,
    /// The operations.
    pub ops: Ops,
    /// Everything to compare, in file order, from the start state on.
    pub checks: Vec<Check>,
}

impl Recording {
    /// The start state: where the operations begin.
    pub fn start(&self) -> Option<&RecordedState> {
        self.checks.iter().find_map(|check| match &check.expected {
            Expectation::State(state) if state.label == "start" => Some(&**state),
            _ => None,
        })
    }

    /// Reads the recording at `path`, with the boot parameters of its folder. `progress` is called
    /// now and then with the share of the file that has been read; breaking ends the reading with
    /// `Ok(None)`.
    pub fn read(
        path: &Path,
        progress: &mut dyn FnMut(f64) -> ControlFlow<()>,
    ) -> Result<Option<Recording>, RecordingError> {
        let name = path.display().to_string();
        let io_error = |error: io::Error| RecordingError::new(&*name, 0, RecordingErrorKind::Io, error.to_string());
        let file = File::open(path).map_err(io_error)?;
        let size = file.metadata().map_err(io_error)?.len();
        let read = Cell::new(0);
        let counted = Counted { inner: file, read: &read };
        let share = || if size == 0 { 1.0 } else { (read.get() as f64 / size as f64).min(1.0) };
        Recording::parse(counted, &name, Some(path), &mut || progress(share()))
    }

    /// Reads a recording. `path`, if given, is where its boot parameters are looked for.
    pub fn parse(
        reader: impl Read,
        name: &str,
        path: Option<&Path>,
        keep_going: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Option<Recording>, RecordingError> {
        let mut lines = Lines::new(reader, name)?;
        let header = match lines.next_line()?.map(parse_header) {
            Some(Ok(header)) => header,
            Some(Err((kind, message))) => return Err(lines.error(kind, message)),
            None => return Err(lines.error(RecordingErrorKind::Truncated, "the recording is empty")),
        };
        let mut builder = Builder::new(header, name);
        if let Some(path) = path {
            boot_parameters::apply(&mut builder.header.config, path)?;
        }
        while !builder.finished {
            let Some(text) = lines.next_line()? else {
                return Err(lines.error(RecordingErrorKind::Truncated, "the recording ends without its eof record"));
            };
            builder.line += 1;
            if let Err((kind, message)) = builder.add(text) {
                return Err(lines.error(kind, message));
            }
            if builder.line % 4096 == 0 && keep_going().is_break() {
                return Ok(None);
            }
        }
        if lines.next_line()?.is_some() {
            return Err(lines.error(RecordingErrorKind::Record, "the recording goes on after its eof record"));
        }
        builder.finish().map(Some).map_err(|(kind, message)| lines.error(kind, message))
    }
}

/// Counts what passes through.
struct Counted<'a, R> {
    inner: R,
    read: &'a Cell<u64>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.read.set(self.read.get() + n as u64);
        Ok(n)
    }
}

/// What is wrong with a line.
type LineError = (RecordingErrorKind, String);

fn bad(message: impl Into<String>) -> LineError {
    (RecordingErrorKind::Record, message.into())
}

/// Deserialises a line; damaged JSON and JSON of another shape are different errors.
fn record<T: DeserializeOwned>(text: &str) -> Result<T, LineError> {
    serde_json::from_str(text).map_err(|error| {
        let kind = if error.is_data() { RecordingErrorKind::Record } else { RecordingErrorKind::Json };
        (kind, error.to_string().replace(" at line 1 column", " at column"))
    })
}

#[derive(Deserialize)]
struct Signature {
    format: Option<serde_json::Value>,
    version: Option<serde_json::Value>,
}

fn parse_header(text: &str) -> Result<Header, LineError> {
    let signature: Signature = record(text).map_err(|(kind, message)| match kind {
        RecordingErrorKind::Record => (RecordingErrorKind::Format, "the first line is not a header".to_owned()),
        _ => (kind, message),
    })?;
    if signature.format.as_ref().and_then(|format| format.as_str()) != Some(FORMAT) {
        return Err((RecordingErrorKind::Format, format!("the first line is not the header of a {FORMAT} recording")));
    }
    if signature.version.as_ref().and_then(serde_json::Value::as_u64) != Some(VERSION) {
        let found = signature.version.map_or_else(|| "no version".to_owned(), |version| format!("version {version}"));
        return Err((RecordingErrorKind::Version, format!("{found} of {FORMAT}, only version {VERSION} is known")));
    }
    let raw: RawHeader = record(text)?;
    let mode = [Mode::Boot, Mode::Early, Mode::Late, Mode::Trace].into_iter().find(|mode| mode.name() == raw.mode);
    let Some(mode) = mode else {
        return Err(bad(format!("mode `{}` is not boot, early, late or trace", raw.mode)));
    };
    let config = raw.config.config().map_err(bad)?;
    if raw.online_cpus != 1 {
        return Err(bad(format!("{} online CPUs in the header, there is always one", raw.online_cpus)));
    }
    if !(1..=MAX_CPUS).contains(&raw.present_cpus) || raw.cpu_node.len() != raw.present_cpus {
        return Err(bad(format!("present_cpus {} does not fit cpu_node", raw.present_cpus)));
    }
    let ascending = raw.nodes.windows(2).all(|pair| pair[0] < pair[1]);
    if raw.nodes.is_empty() || !ascending || raw.nodes.iter().any(|nid| *nid >= config.max_numnodes) {
        return Err(bad("nodes must be ascending and below MAX_NUMNODES"));
    }
    if let Some(nid) = raw.cpu_node.iter().find(|nid| !raw.nodes.contains(nid)) {
        return Err(bad(format!("cpu_node names node {nid}, which is not online")));
    }
    let nr_nodes = raw.nodes.len();
    if raw.node_distance.len() != nr_nodes || raw.node_distance.iter().any(|row| row.len() != nr_nodes) {
        return Err(bad(format!("node_distance must have {nr_nodes} rows of {nr_nodes}")));
    }
    if raw.drained > 1 || raw.rt_task > 1 {
        return Err(bad("drained and rt_task must be 0 or 1"));
    }
    Ok(Header {
        kernel: raw.kernel,
        mode,
        scenario: raw.scenario,
        seed: raw.seed,
        drained: raw.drained == 1,
        rt_task: raw.rt_task == 1,
        config,
        cpu_node: raw.cpu_node,
        nodes: raw.nodes,
        node_distance: raw.node_distance,
    })
}

/// Collects the lines behind the header.
struct Builder {
    header: Header,
    file: String,
    /// Line added last.
    line: u64,
    finished: bool,
    limits: Limits,
    regions: Option<(Vec<Region>, Vec<Region>)>,
    nodes: Vec<NodeState>,
    nodes_line: u64,
    late: Option<RawLate>,
    late_zonelists: Vec<Zonelists>,
    policy_info: Option<PolicyInfo>,
    boot: Option<Box<RecordedState>>,
    start_tunables: Option<RecordedTunables>,
    start_numa: Option<Vec<(ZoneRef, NumaEvents)>>,
    started: bool,
    /// A state whose `zstate` records are still to come, and how many.
    open: Option<(Box<RecordedState>, usize)>,
    ops: Ops,
    checks: Vec<Check>,
}

impl Builder {
    fn new(header: Header, file: &str) -> Builder {
        let config = &header.config;
        let limits = Limits {
            nr_cpus: 1,
            max_order: config.max_order,
            max_numnodes: config.max_numnodes,
            online_nodes: header.nodes.iter().fold(0, |mask, nid| mask | 1 << nid),
            nr_zones: config.nr_zones(),
            migrate_types: config.migrate_types(),
        };
        let late_zonelists = vec![Zonelists::default(); header.nodes.len()];
        Builder {
            header,
            file: file.to_owned(),
            line: 1,
            finished: false,
            limits,
            regions: None,
            nodes: Vec::new(),
            nodes_line: 0,
            late: None,
            late_zonelists,
            policy_info: None,
            boot: None,
            start_tunables: None,
            start_numa: None,
            started: false,
            open: None,
            ops: Ops::default(),
            checks: Vec::new(),
        }
    }

    fn add(&mut self, text: &str) -> Result<(), LineError> {
        if text.starts_with('[') && self.open.is_none() {
            return self.add_array(text);
        }
        let kind = record::<RecordTag>(text)?.t;
        if let Some((_, missing)) = &self.open {
            if kind != RecordKind::Zstate {
                return Err(bad(format!("the state before still misses {missing} zstate records")));
            }
            return self.add_zone(record(text)?);
        }
        match kind {
            RecordKind::Zstate => Err(bad("a zstate record outside a state")),
            RecordKind::Memblock => self.add_memblock(record(text)?),
            RecordKind::Node => self.add_node(record(text)?),
            RecordKind::Zonelist => self.add_zonelist(record(text)?),
            RecordKind::State => self.add_state(record(text)?),
            RecordKind::Late => self.add_late(record(text)?),
            RecordKind::Tunables => self.add_tunables(record(text)?),
            RecordKind::PolicyInfo => self.add_policy_info(record(text)?),
            RecordKind::Numastat => self.add_numastat(record(text)?),
            RecordKind::Eof => self.add_eof(record(text)?),
        }
    }

    fn add_array(&mut self, text: &str) -> Result<(), LineError> {
        let mut scan = Scanner::new(text);
        let scanned = (|| {
            scan.open()?;
            let name = scan.string()?;
            if name == "c" {
                self.scan_digest(&mut scan)?;
            } else if self.ops.scan(name, &mut scan, &self.limits, self.line)?.is_none() {
                return scan.error(format!("`{name}` is not an operation"));
            }
            scan.close()?;
            scan.end()
        })();
        if let Err(error) = scanned {
            // Only a damaged line is worth the question whether it is JSON at all.
            record::<serde::de::IgnoredAny>(text)?;
            return Err(bad(format!("{} at column {}", error.message, error.column)));
        }
        if !self.started || self.finished {
            return Err(bad("an operation or digest outside the operations"));
        }
        Ok(())
    }

    fn scan_digest(&mut self, scan: &mut Scanner<'_>) -> Result<(), super::scan::ScanError> {
        scan.comma()?;
        let op = scan.uint("op", u64::MAX)?;
        if op != self.ops.len() as u64 {
            return scan.error(format!("a digest of operation {op} after {} operations", self.ops.len()));
        }
        scan.comma()?;
        let limits = self.limits;
        let mut zones = Vec::new();
        scan.array(|scan| {
            scan.open()?;
            let nid = scan.uint("node", u64::from(limits.max_numnodes) - 1)? as u32;
            scan.comma()?;
            let zone = scan.uint("zone", limits.nr_zones as u64 - 1)? as u32;
            let mut next = |what| {
                scan.comma()?;
                scan.uint(what, u64::MAX)
            };
            let (free_pages, pcp_pages) = (next("free_pages")?, next("pcp_pages")?);
            let (highatomic, boost) = (next("highatomic")?, next("boost")?);
            scan.comma()?;
            let free_counter = scan.int("free_counter", i64::MIN, i64::MAX)?;
            let mut hash = || {
                scan.comma()?;
                let text = scan.string()?;
                match u64::from_str_radix(text, 16) {
                    Ok(hash) if text.len() == 16 && !text.starts_with('+') => Ok(hash),
                    _ => scan.error(format!("`{text}` is not a hash of 16 hexadecimal digits")),
                }
            };
            let (hf, hp) = (hash()?, hash()?);
            let at = ZoneRef { nid, zone };
            zones.push(ZoneDigest { at, free_pages, pcp_pages, highatomic, boost, free_counter, hf, hp });
            scan.close()
        })?;
        self.check(Expectation::Digest(zones));
        Ok(())
    }

    fn check(&mut self, expected: Expectation) {
        self.checks.push(Check { op: self.ops.len(), line: self.line, expected });
    }

    fn add_memblock(&mut self, raw: RawMemblock) -> Result<(), LineError> {
        if self.regions.is_some() {
            return Err(bad("a second memblock record"));
        }
        self.regions = Some(raw.regions(&self.header.config).map_err(bad)?);
        Ok(())
    }

    fn add_node(&mut self, raw: RawNode) -> Result<(), LineError> {
        if self.boot.is_some() {
            return Err(bad("a node record after the boot state"));
        }
        match self.header.nodes.get(self.nodes.len()) {
            Some(nid) if *nid == raw.node => {}
            Some(nid) => return Err(bad(format!("node {} where node {nid} is next", raw.node))),
            None => return Err(bad(format!("node {} is not online", raw.node))),
        }
        if self.nodes.is_empty() {
            self.nodes_line = self.line;
        }
        self.nodes.push(NodeState {
            nid: raw.node,
            start_pfn: raw.start_pfn,
            spanned: raw.spanned,
            present: raw.present,
            zones: raw.extents(&self.header.config).map_err(bad)?,
            zonelists: Zonelists::default(),
        });
        Ok(())
    }

    fn add_zonelist(&mut self, raw: RawZonelist) -> Result<(), LineError> {
        let refs = raw.refs(&self.header.config).map_err(bad)?;
        let position = self.header.nodes.iter().position(|nid| *nid == raw.node);
        if self.nodes.len() != self.header.nodes.len() || self.started || (self.boot.is_some() && self.late.is_none()) {
            return Err(bad("a zonelist record where none can stand"));
        }
        let Some(position) = position else {
            return Err(bad(format!("node {} is not online", raw.node)));
        };
        let lists =
            if self.late.is_some() { &mut self.late_zonelists[position] } else { &mut self.nodes[position].zonelists };
        let list = match raw.kind {
            RawZonelistKind::Fallback => &mut lists.fallback,
            RawZonelistKind::Thisnode => &mut lists.thisnode,
        };
        if !list.is_empty() {
            return Err(bad(format!("a second zonelist of this kind for node {}", raw.node)));
        }
        *list = refs;
        Ok(())
    }

    fn add_late(&mut self, raw: RawLate) -> Result<(), LineError> {
        if !matches!(self.header.mode, Mode::Late | Mode::Trace) || self.boot.is_none() || self.late.is_some() {
            return Err(bad("a late record where none can stand"));
        }
        let present = &self.header.cpu_node;
        if raw.online_cpus == 0 || raw.online_cpus > present.len() || raw.cpu_node != present[..raw.online_cpus] {
            return Err(bad("online_cpus and cpu_node do not fit the present CPUs"));
        }
        self.limits.nr_cpus = raw.online_cpus;
        self.late = Some(raw);
        Ok(())
    }

    fn add_state(&mut self, raw: RawState) -> Result<(), LineError> {
        if self.regions.is_none() || self.nodes.len() != self.header.nodes.len() {
            return Err(bad("a state before the memblock and node records"));
        }
        if raw.op != self.ops.len() as u64 {
            return Err(bad(format!("a state of operation {} after {} operations", raw.op, self.ops.len())));
        }
        let needs_late = matches!(self.header.mode, Mode::Late | Mode::Trace);
        let fits = match &*raw.label {
            "boot" => self.boot.is_none(),
            "start" => {
                self.boot.is_some()
                    && !self.started
                    && needs_late == self.late.is_some()
                    && self.header.mode != Mode::Boot
            }
            _ => self.started,
        };
        if !fits {
            return Err(bad(format!("a state `{}` where none can stand", raw.label)));
        }
        if raw.page_group_by_mobility_disabled > 1 {
            return Err(bad("page_group_by_mobility_disabled must be 0 or 1"));
        }
        let populated = self.nodes.iter().flat_map(|node| &node.zones).filter(|zone| zone.present != 0).count();
        if raw.zones != populated {
            return Err(bad(format!("a state of {} zones, but {populated} zones are populated", raw.zones)));
        }
        let state = Box::new(RecordedState {
            line: self.line,
            label: raw.label,
            page_group_by_mobility_disabled: raw.page_group_by_mobility_disabled == 1,
            min_free_kbytes: raw.min_free_kbytes,
            watermark_scale_factor: raw.watermark_scale_factor,
            watermark_boost_factor: raw.watermark_boost_factor,
            totalram_pages: raw.totalram_pages,
            gfp_allowed_mask: raw.gfp_allowed_mask,
            zones: Vec::with_capacity(populated),
        });
        self.open = Some((state, populated));
        if populated == 0 { self.close_state() } else { Ok(()) }
    }

    fn add_zone(&mut self, raw: RawZone) -> Result<(), LineError> {
        let zone = raw.convert(&self.header.config, self.line).map_err(bad)?;
        let Some((state, missing)) = &mut self.open else {
            return Err(bad("a zstate record outside a state"));
        };
        if state.zones.last().is_some_and(|before| before.zone.at >= zone.zone.at) {
            return Err(bad("zstate records must ascend by node and zone"));
        }
        state.zones.push(zone);
        *missing -= 1;
        if *missing == 0 { self.close_state() } else { Ok(()) }
    }

    fn close_state(&mut self) -> Result<(), LineError> {
        let Some((state, _)) = self.open.take() else { return Ok(()) };
        match &*state.label {
            "boot" => self.boot = Some(state),
            label => {
                self.started |= label == "start";
                let line = state.line;
                self.checks.push(Check { op: self.ops.len(), line, expected: Expectation::State(state) });
            }
        }
        Ok(())
    }

    fn add_tunables(&mut self, raw: RawTunables) -> Result<(), LineError> {
        self.expect_op("tunables", raw.op)?;
        let tunables = raw.convert(&self.header.config, self.header.nodes.len()).map_err(bad)?;
        if self.started {
            self.check(Expectation::Tunables(Box::new(tunables)));
        } else if self.start_tunables.replace(tunables).is_some() {
            return Err(bad("a second tunables record before the start"));
        }
        Ok(())
    }

    fn add_numastat(&mut self, raw: RawNumastat) -> Result<(), LineError> {
        self.expect_op("numastat", raw.op)?;
        if !self.started {
            return Err(bad("a numastat record before the start"));
        }
        let events = raw.convert(&self.header.config).map_err(bad)?;
        if self.start_numa.is_none() && self.ops.len() == 0 {
            self.start_numa = Some(events);
        } else {
            self.check(Expectation::Numastat(events));
        }
        Ok(())
    }

    fn expect_op(&self, what: &str, op: u64) -> Result<(), LineError> {
        let performed = self.ops.len();
        if op == performed as u64 {
            return Ok(());
        }
        Err(bad(format!("a {what} record of operation {op} after {performed} operations")))
    }

    fn add_policy_info(&mut self, info: PolicyInfo) -> Result<(), LineError> {
        if self.started || self.late.is_none() || self.policy_info.is_some() {
            return Err(bad("a policy-info record where none can stand"));
        }
        if info.policy_zone as usize >= self.limits.nr_zones {
            return Err(bad(format!("policy_zone {} is not below MAX_NR_ZONES", info.policy_zone)));
        }
        self.policy_info = Some(info);
        Ok(())
    }

    fn add_eof(&mut self, raw: RawEof) -> Result<(), LineError> {
        if self.boot.is_none() || self.started == (self.header.mode == Mode::Boot) {
            return Err(bad(format!("a recording of mode {} ends too early", self.header.mode.name())));
        }
        if raw.ops != self.ops.len() as u64 {
            return Err(bad(format!("eof counts {} operations, the recording holds {}", raw.ops, self.ops.len())));
        }
        self.finished = true;
        Ok(())
    }

    fn finish(mut self) -> Result<Recording, LineError> {
        let (Some((memory, reserved)), Some(boot)) = (self.regions, self.boot) else {
            return Err(bad("the memblock record or the boot state is missing"));
        };
        self.ops.shrink();
        Ok(Recording {
            file: self.file,
            memory,
            reserved,
            nodes: self.nodes,
            nodes_line: self.nodes_line,
            nr_online_cpus: self.limits.nr_cpus,
            late_zonelists: if self.late.is_some() { self.late_zonelists } else { Vec::new() },
            policy_info: self.policy_info,
            boot,
            start_tunables: self.start_tunables,
            start_numa: self.start_numa.unwrap_or_default(),
            ops: self.ops,
            checks: self.checks,
            header: self.header,
        })
    }
}
