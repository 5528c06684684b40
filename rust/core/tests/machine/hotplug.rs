//! Memory hotplug (spec 13.14).

use super::*;
use pagebuddy_core::hotplug::HotplugError;
use pagebuddy_core::types::MigrateType;

const SECTION: u64 = 32768;

fn hotplug_machine() -> PageAllocator {
    let config = Config { memory_isolation: true, max_possible_pfn: 16 * SECTION, ..Config::default() };
    machine(&config, 256)
}

#[test]
fn added_sections_end_up_at_the_list_tails_and_can_be_removed() {
    let machine = hotplug_machine();
    let before = machine.state();
    machine.online_pages(CPU0, 4 * SECTION, 2 * SECTION, 0).unwrap();
    let grown = machine.state();
    let zone = grown.zones.last().unwrap();
    let old = before.zones.last().unwrap();
    assert_eq!(zone.managed, old.managed + 2 * SECTION);
    assert_eq!(zone.extent.present, old.extent.present + 2 * SECTION);
    assert_eq!(zone.extent.start_pfn + zone.extent.spanned, 6 * SECTION);
    assert_eq!(zone.nr_isolate_pageblock, 0);
    assert!(zone.wmark[2] > old.wmark[2], "watermarks follow the size");
    let list = zone.free_list(10, MigrateType::Movable);
    let added: Vec<u64> = (4 * SECTION..6 * SECTION).step_by(1024).collect();
    assert!(list.ends_with(&added));
    assert_eq!(nr_free(&machine), nr_free_in(&before) + 2 * SECTION);
    machine.validate().unwrap();

    let pfn = alloc(&machine, Gfp::GFP_KERNEL, 0).unwrap();
    machine.offline_pages(CPU0, 4 * SECTION, 2 * SECTION).unwrap();
    machine.free_pages(CPU0, pfn, 0).unwrap();
    let shrunk = machine.state();
    assert_eq!(shrunk.zones.last().unwrap().extent, old.extent);
    assert_eq!(shrunk.memory, before.memory);
    assert_eq!(shrunk.totalram_pages, before.totalram_pages);
    assert_eq!(nr_free(&machine), nr_free_in(&before));
    machine.validate().unwrap();
}

fn nr_free_in(state: &pagebuddy_core::state::MachineState) -> u64 {
    state.zones.iter().map(|z| z.pages_on_free_lists() + z.pcp.iter().map(|p| p.count).sum::<u64>()).sum()
}

#[test]
fn wrong_ranges_change_nothing() {
    let machine = hotplug_machine();
    let before = machine.state();
    let online = |start, n, nid| machine.online_pages(CPU0, start, n, nid).unwrap_err();
    assert_eq!(online(4 * SECTION + 1, SECTION, 0), HotplugError::Unaligned);
    assert_eq!(online(4 * SECTION, 0, 0), HotplugError::Unaligned);
    assert_eq!(online(u64::MAX - SECTION + 1, SECTION, 0), HotplugError::OutOfRange);
    assert_eq!(online(16 * SECTION, SECTION, 0), HotplugError::OutOfRange);
    assert_eq!(online(SECTION, SECTION, 0), HotplugError::Overlap);
    assert_eq!(online(4 * SECTION, SECTION, 3), HotplugError::NoZone);
    let offline = |start, n| machine.offline_pages(CPU0, start, n).unwrap_err();
    assert_eq!(offline(8 * SECTION, SECTION), HotplugError::Overlap);
    assert_eq!(offline(1, SECTION), HotplugError::Unaligned);
    assert_eq!(machine.state(), before);
    let mut pinned = Vec::new();
    while pinned.last().is_none_or(|pfn| *pfn < SECTION) {
        pinned.push(alloc(&machine, Gfp::GFP_KERNEL, 10).unwrap());
    }
    assert!(matches!(offline(SECTION, SECTION), HotplugError::Busy(_)));
    pinned.into_iter().for_each(|pfn| machine.free_pages(CPU0, pfn, 10).unwrap());
    assert_eq!(nr_free(&machine), nr_free_in(&before));
    machine.validate().unwrap();
    assert_eq!(
        super::machine(&Config::default(), 64).online_pages(CPU0, 4 * SECTION, SECTION, 0),
        Err(HotplugError::NoIsolation)
    );
}
