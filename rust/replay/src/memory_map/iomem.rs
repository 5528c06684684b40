//! /proc/iomem.

use super::{MapError, MapErrorKind, Span, empty_map};
use pagebuddy_core::memblock::{FLAG_DRIVER_MANAGED, Geometry, Memblock};

/// Parses /proc/iomem: "System RAM" at any depth is memory, what lies below it is reserved (kernel
/// image, crash kernel and the like). The file knows no nodes, so all memory is on node 0.
///
/// "System RAM (kmem)" and its like, which a driver added, carry `FLAG_DRIVER_MANAGED`.
pub fn parse_iomem(text: &str, geometry: Geometry) -> Result<Memblock, MapError> {
    let mut map = empty_map(geometry)?;
    let mut nr_entries = 0usize;
    let mut all_zero = true;
    // Depth of the System RAM entry whose children are being read.
    let mut ram_depth = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if line.is_empty() {
            continue;
        }
        let entry =
            Entry::parse(line).ok_or_else(|| MapError::bad_line(index + 1, "not a line of /proc/iomem", line))?;
        nr_entries += 1;
        all_zero &= entry.span == Span { base: 0, last: 0 };
        if ram_depth.is_some_and(|depth| entry.depth <= depth) {
            ram_depth = None;
        }
        let Span { base, .. } = entry.span;
        if let Some(variant) = entry.name.strip_prefix("System RAM") {
            let flags = if variant.trim_start().starts_with('(') { FLAG_DRIVER_MANAGED } else { 0 };
            map.add_node(base, entry.span.size(), Some(0), flags)?;
            ram_depth = ram_depth.or(Some(entry.depth));
        } else if ram_depth.is_some() {
            map.reserve(base, entry.span.size())?;
        }
    }
    if nr_entries > 0 && all_zero {
        let message = "all addresses are zero: /proc/iomem shows them only to privileged readers (CAP_SYS_ADMIN)";
        return Err(MapError::new(MapErrorKind::Unprivileged, 0, message));
    }
    if map.memory().is_empty() {
        return Err(MapError::new(MapErrorKind::NoMemory, 0, "there is no \"System RAM\" line in the text"));
    }
    Ok(map)
}

struct Entry<'a> {
    depth: usize,
    span: Span,
    name: &'a str,
}

impl<'a> Entry<'a> {
    fn parse(line: &'a str) -> Option<Entry<'a>> {
        let content = line.trim_start_matches(' ');
        let (range, name) = content.split_once(" : ")?;
        Some(Entry { depth: (line.len() - content.len()) / 2, span: Span::parse(range, "-")?, name: name.trim() })
    }
}
