//! /sys/kernel/debug/memblock/memory and reserved.

use super::{MapError, MapErrorKind, Span};
use pagebuddy_core::memblock::{
    FLAG_DRIVER_MANAGED, FLAG_HOTPLUG, FLAG_MIRROR, FLAG_NOMAP, Geometry, Memblock, Region, Resize,
};

/// Parses the two files, of kernels that print `index: base..end` (6.1) or a node and flags behind
/// it (6.12). Without nodes in the file, memory is on node 0.
///
/// The lists are taken over as they stand. Flags that 5.17 does not have (`RSV_NIT` and later ones,
/// about struct pages or users of a reservation) are left out.
pub fn parse_debugfs(memory: &str, reserved: &str, geometry: Geometry) -> Result<Memblock, MapError> {
    let mut memory = parse_list(memory, "memory")?;
    let reserved = parse_list(reserved, "reserved")?;
    if memory.is_empty() {
        return Err(MapError::new(MapErrorKind::NoMemory, 0, "the memory list is empty"));
    }
    if memory.iter().all(|region| region.nid.is_none()) {
        memory.iter_mut().for_each(|region| region.nid = Some(0));
    }
    let mut map = Memblock::from_regions(geometry, memory, reserved)?;
    map.set_resize(Resize::Elsewhere)?;
    Ok(map)
}

fn parse_list(text: &str, list: &str) -> Result<Vec<Region>, MapError> {
    let mut regions: Vec<Region> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let bad = |what: &str| MapError::bad_line(index + 1, &format!("{what} ({list} list)"), line);
        let region = parse_region(line).ok_or_else(|| bad("not a line of debugfs memblock"))?;
        // An empty list shows its dummy.
        let Some(region) = region else { continue };
        if regions.last().is_some_and(|last| last.end() > region.base) {
            return Err(bad("the region overlaps the one before it or is out of order"));
        }
        regions.push(region);
    }
    Ok(regions)
}

/// The region of a line; `Some(None)` for the dummy of an empty list.
fn parse_region(line: &str) -> Option<Option<Region>> {
    let (index, rest) = line.split_once(':')?;
    index.trim().parse::<u32>().ok()?;
    let mut words = rest.split_whitespace();
    let range = words.next()?;
    if let Some((base, last)) = range.split_once("..") {
        // Size 0: the end lies before the base.
        if super::hex(base)? == 0 && super::hex(last)? == u64::MAX {
            return Some(None);
        }
    }
    let span = Span::parse(range, "..")?;
    let nid = match words.next() {
        None | Some("x") => None,
        Some(word) => Some(word.parse::<u32>().ok()?),
    };
    let mut flags = 0;
    for name in words.flat_map(|word| word.split('|')) {
        flags |= flag(name)?;
    }
    let size = span.size().min(u64::MAX - span.base);
    Some((size > 0).then_some(Region { base: span.base, size, nid, flags }))
}

fn flag(name: &str) -> Option<u32> {
    match name {
        "NONE" | "UNKNOWN" => Some(0),
        "HOTPLUG" => Some(FLAG_HOTPLUG),
        "MIRROR" => Some(FLAG_MIRROR),
        "NOMAP" => Some(FLAG_NOMAP),
        "DRV_MNG" => Some(FLAG_DRIVER_MANAGED),
        _ => name.starts_with("RSV_").then_some(0),
    }
}
