//! The boot log.

use super::e820::{Kind, Table};
use super::{MapError, MapErrorKind, Span, empty_map, hex};
use pagebuddy_core::memblock::{FLAGS_ALL, Geometry, ListKind, Memblock};

/// Parses a boot log, with any prefix before its lines (time stamps, syslog, quoting).
///
/// * Memory and nodes: the "Early memory node ranges"; without them the e820 map, the firmware's or
///   the one it was replaced by, with the kernel's later changes, and nodes from the SRAT lines, else
///   node 0 everywhere.
/// * Reserved: the initial ramdisk, ACPI tables, the crash kernel.
/// * A log written with `memblock=debug` says more: every add, reserve, remove and free, and the
///   "MEMBLOCK configuration", which replaces all that came before it.
///
/// In a log of several boots the last one counts. What the log does not say is not in the result; a
/// plain log knows few reservations.
pub fn parse_dmesg(text: &str, geometry: Geometry) -> Result<Memblock, MapError> {
    let mut log = Log::default();
    for (index, line) in text.lines().enumerate() {
        // syslog may have folded the line breaks of a longer message.
        for part in line.split("#012") {
            let part = part.trim_end();
            log.read(part).ok_or_else(|| MapError::bad_line(index + 1, "a damaged memory line", part))?;
        }
    }
    log.finish(geometry)
}

/// Something that memblock did, or that is known to be reserved.
enum Event {
    Add(Span, Option<u32>, u32),
    Remove(Span),
    Reserve(Span),
    Free(Span),
    /// A dump: everything before it is superseded.
    Dump,
    /// How many regions of a list the dump shows.
    Count(ListKind, usize),
    /// A region of the dump; no range for the dummy of an empty list.
    Dumped(ListKind, Option<Span>, Option<u32>, u32),
}

#[derive(Default)]
struct Log {
    e820: Table,
    /// Lines of the kind that is being printed, so that a second map replaces the first.
    e820_source: Option<&'static str>,
    /// Kernels before 3.5 print ends that are not part of the range.
    exclusive_ends: bool,
    node_ranges: Vec<(Span, u32)>,
    srat: Vec<(Span, u32)>,
    hotplug: Vec<Span>,
    events: Vec<Event>,
}

/// Printers of complete e820 maps; a later one in the log replaces an earlier one.
const MAPS: [&str; 3] = ["BIOS-e820:", "modified: [mem ", "user: [mem "];
/// More ranges than any firmware reports: the kernel keeps 128, and three for each node.
const MAX_E820_ENTRIES: usize = 4096;

impl Log {
    /// Reads a line; `None` if it is about memory but cannot be understood.
    fn read(&mut self, line: &str) -> Option<()> {
        if line.contains("Linux version ") {
            *self = Log::default();
            return Some(());
        }
        for source in MAPS {
            if begins_message(line, source) {
                let name = source.split(':').next()?;
                return self.read_map(source, after(line, name)?.strip_prefix(':')?.trim_start());
            }
        }
        if let Some(change) = after(line, "e820: update ") {
            let (span, kinds) = Span::parse_bracket(change)?;
            let (from, to) = kinds.split_once("==>")?;
            self.e820.update(span, &Kind::parse(from)?, Some(&Kind::parse(to)?));
        } else if let Some(change) = after(line, "e820: remove ") {
            let (span, kind) = Span::parse_bracket(change)?;
            self.e820.update(span, &Kind::parse(kind)?, None);
        } else if let Some(rest) = after(line, "SRAT: Node ") {
            let (nid, rest) = rest.split_once(' ')?;
            let (span, rest) = Span::parse_bracket(rest)?;
            self.srat.push((span, nid.parse().ok()?));
            if rest.split_whitespace().any(|word| word == "hotplug") {
                self.hotplug.push(span);
            }
        } else if let Some(rest) = after(line, "RAMDISK: [") {
            self.events.push(Event::Reserve(Span::parse_bracket(&format!("[{rest}"))?.0));
        } else if line.contains("ACPI: Reserving ") && line.contains("table memory at ") {
            self.events.push(Event::Reserve(Span::parse_bracket(after(line, "table memory at ")?)?.0));
        } else if line.contains("for crashkernel") || line.contains("crashkernel reserved: ") {
            self.events.push(Event::Reserve(crash_kernel(line)?));
        } else if line.ends_with("MEMBLOCK configuration:") {
            self.events.push(Event::Dump);
        } else if let Some(event) = self.read_debug(line) {
            self.events.push(event?);
        } else if let Some(rest) = node_range(line) {
            let (nid, range) = rest.split_once(':')?;
            self.node_ranges.push((Span::parse_bracket(range)?.0, nid.trim().parse().ok()?));
        }
        Some(())
    }

    fn read_map(&mut self, source: &'static str, entry: &str) -> Option<()> {
        if self.e820_source != Some(source) {
            self.e820.clear();
            self.e820_source = Some(source);
        }
        if self.e820.len() >= MAX_E820_ENTRIES {
            return None;
        }
        if entry.starts_with('[') {
            let (span, kind) = Span::parse_bracket(entry)?;
            self.e820.add(span, Kind::parse(kind)?);
        } else {
            // 0000000000000000 - 000000000009fc00 (usable)
            self.exclusive_ends = true;
            let (range, kind) = entry.split_once('(')?;
            let (base, end) = range.split_once(" - ")?;
            let kind = Kind::parse(kind)?;
            if let Some(span) = Span::new(hex(base)?, hex(end)?.checked_sub(1)?) {
                self.e820.add(span, kind);
            }
        }
        Some(())
    }

    /// Lines of `memblock=debug`; the inner `None` is a damaged one.
    fn read_debug(&self, line: &str) -> Option<Option<Event>> {
        type Make = fn(Span, &str) -> Option<Event>;
        let calls: [(&str, Make); 6] = [
            ("memblock_add_node: [", |span, rest| {
                let nid = after(rest, "nid=")?.split_whitespace().next()?.parse().ok();
                let flags = after(rest, "flags=").and_then(|text| hex(text.split_whitespace().next()?));
                Some(Event::Add(span, nid, u32::try_from(flags.unwrap_or(0)).ok()? & FLAGS_ALL))
            }),
            ("memblock_add: [", |span, _| Some(Event::Add(span, None, 0))),
            ("memblock_remove: [", |span, _| Some(Event::Remove(span))),
            ("memblock_reserve: [", |span, _| Some(Event::Reserve(span))),
            ("memblock_free: [", |span, _| Some(Event::Free(span))),
            ("memblock_phys_free: [", |span, _| Some(Event::Free(span))),
        ];
        for (name, make) in calls {
            if let Some(rest) = after(line, name) {
                return Some(self.bracket(rest).and_then(|(span, rest)| make(span, rest)));
            }
        }
        for list in [ListKind::Memory, ListKind::Reserved] {
            // " memory.cnt  = 0x2", then " memory[0x0]\t[0x...-0x...], 0x... bytes on node 0 flags: 0x0"
            if let Some(rest) = after(line, &format!(" {}.cnt  = ", list.name())) {
                let count = hex(rest).and_then(|count| usize::try_from(count).ok());
                return Some(count.map(|count| Event::Count(list, count)));
            }
            if let Some(rest) = after(line, &format!(" {}[0x", list.name())) {
                return Some(dumped(list, rest));
            }
        }
        None
    }

    /// A range after its opening bracket, and the text behind it.
    fn bracket<'a>(&self, text: &'a str) -> Option<(Span, &'a str)> {
        let (range, rest) = text.split_once(']')?;
        let (base, end) = range.split_once('-')?;
        let (base, end) = (hex(base)?, hex(end)?);
        let last = if self.exclusive_ends { end.checked_sub(1)? } else { end };
        Some((Span::new(base, last)?, rest))
    }

    fn finish(mut self, geometry: Geometry) -> Result<Memblock, MapError> {
        let mut map = empty_map(geometry)?;
        self.check_dump()?;
        for span in self.e820.usable() {
            map.add(span.base, span.size())?;
        }
        for event in &self.events {
            apply(&mut map, event)?;
        }
        if !self.events.iter().any(|event| matches!(event, Event::Dump)) {
            self.set_nodes(&mut map)?;
        }
        if map.memory().is_empty() {
            let message = "the log has no memory map: no BIOS-e820, node range or memblock=debug lines";
            return Err(MapError::new(MapErrorKind::NoMemory, 0, message));
        }
        if map.memory().iter().all(|region| region.nid.is_none()) {
            map.set_node(0, u64::MAX, ListKind::Memory, Some(0))?;
        }
        Ok(map)
    }

    /// Nodes and hotpluggable memory. The node ranges are the whole memory list, in pages, as it was
    /// when zones were set up: memory outside them is dropped (partial pages, at least).
    fn set_nodes(&mut self, map: &mut Memblock) -> Result<(), MapError> {
        self.node_ranges.sort_unstable_by_key(|(span, _)| span.base);
        let mut end_of_nodes = 0;
        for (span, nid) in &self.node_ranges {
            map.remove(end_of_nodes, span.base.saturating_sub(end_of_nodes))?;
            map.add_node(span.base, span.size(), Some(*nid), 0)?;
            end_of_nodes = end_of_nodes.max(span.last.saturating_add(1));
        }
        if !self.node_ranges.is_empty() {
            map.remove(end_of_nodes, u64::MAX)?;
        }
        let nodes = if self.node_ranges.is_empty() { &self.srat } else { &self.node_ranges };
        for (span, nid) in nodes {
            map.set_node(span.base, span.size(), ListKind::Memory, Some(*nid))?;
        }
        for span in &self.hotplug {
            map.mark_hotplug(span.base, span.size())?;
        }
        Ok(())
    }

    /// Whether the last dump is complete.
    fn check_dump(&self) -> Result<(), MapError> {
        let last = self.events.iter().rposition(|event| matches!(event, Event::Dump));
        let events = last.map_or(&[][..], |dump| &self.events[dump..]);
        for list in [ListKind::Memory, ListKind::Reserved] {
            let count = events.iter().find_map(|event| match event {
                Event::Count(counted, count) if *counted == list => Some(*count),
                _ => None,
            });
            let shown = events.iter().filter(|e| matches!(e, Event::Dumped(kind, ..) if *kind == list)).count();
            if last.is_some() && count != Some(shown) {
                let count = count.map_or("an unknown number".to_owned(), |count| count.to_string());
                let message = format!("the MEMBLOCK configuration shows {shown} of {count} {} regions", list.name());
                return Err(MapError::new(MapErrorKind::BadLine, 0, message));
            }
        }
        Ok(())
    }
}

/// A region of a dump, from its index on.
fn dumped(list: ListKind, rest: &str) -> Option<Event> {
    let (index, rest) = rest.split_once(']')?;
    hex(index)?;
    let (_, from) = rest.split_once('[')?;
    let (range, attributes) = from.split_once("], ")?;
    let (size, attributes) = attributes.split_once(" bytes")?;
    let flags = after(attributes, "flags: ").map_or(Some(0), hex)?;
    let nid = match after(attributes, "on node ") {
        Some(text) => Some(text.split_whitespace().next()?.parse().ok()?),
        None => None,
    };
    let (base, size) = (hex(range.split_once('-')?.0)?, hex(size)?);
    let span = match size.checked_sub(1) {
        Some(reach) => Some(Span::new(base, base.checked_add(reach)?)?),
        None => None,
    };
    Some(Event::Dumped(list, span, nid, u32::try_from(flags).ok()? & FLAGS_ALL))
}

/// "Reserving 256MB of \[low \]memory at 592MB for crashkernel" or, since 6.6,
/// "crashkernel reserved: 0x25000000 - 0x35000000 (256 MB)", whose end is exclusive.
fn crash_kernel(line: &str) -> Option<Span> {
    if let Some(range) = after(line, "crashkernel reserved: ") {
        let (base, rest) = range.split_once(" - ")?;
        return Span::new(hex(base)?, hex(rest.split_whitespace().next()?)?.checked_sub(1)?);
    }
    let mib = |text: &str| text.split_once("MB")?.0.parse::<u64>().ok()?.checked_mul(1 << 20);
    let (base, size) = (mib(after(line, "memory at ")?)?, mib(after(line, "Reserving ")?)?);
    Span::new(base, base.checked_add(size)?.checked_sub(1)?)
}

fn apply(map: &mut Memblock, event: &Event) -> Result<(), MapError> {
    match *event {
        Event::Add(span, nid, flags) => map.add_node(span.base, span.size(), nid, flags)?,
        Event::Remove(span) => map.remove(span.base, span.size())?,
        Event::Reserve(span) => map.reserve(span.base, span.size())?,
        Event::Free(span) => map.phys_free(span.base, span.size())?,
        Event::Dump => {
            map.remove(0, u64::MAX)?;
            map.phys_free(0, u64::MAX)?;
        }
        Event::Count(..) | Event::Dumped(_, None, ..) => {}
        Event::Dumped(ListKind::Memory, Some(span), nid, flags) => map.add_node(span.base, span.size(), nid, flags)?,
        Event::Dumped(ListKind::Reserved, Some(span), nid, _) => map.reserve_node(span.base, span.size(), nid)?,
    }
    Ok(())
}

/// The text after the first occurrence of a marker.
fn after<'a>(line: &'a str, marker: &str) -> Option<&'a str> {
    line.split_once(marker).map(|(_, rest)| rest)
}

/// Whether a marker begins a message: at the start of the line or behind a prefix, not in a word.
fn begins_message(line: &str, marker: &str) -> bool {
    line.split_once(marker).is_some_and(|(before, _)| ends_prefix(before))
}

/// Whether what stands before a message can be a prefix.
fn ends_prefix(before: &str) -> bool {
    before.is_empty() || before.ends_with([' ', '\t', ']', '>'])
}

/// The part behind "node" of "  node   0: [mem 0x...-0x...]".
fn node_range(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("node ")?;
    let (nid, range) = rest.split_once(':')?;
    let is_range = range.trim_start().starts_with("[mem ") && nid.trim().bytes().all(|b| b.is_ascii_digit());
    (is_range && ends_prefix(before)).then_some(rest)
}
