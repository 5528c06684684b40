//! Made-up texts in the formats of several kernels.

use super::*;
use pagebuddy_core::memblock::{FLAG_DRIVER_MANAGED, FLAG_HOTPLUG, FLAG_MIRROR, FLAG_NOMAP, ListKind, Region};

const IOMEM: &str = "\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
000a0000-000bffff : PCI Bus 0000:00
00100000-7ffdcfff : System RAM
  01000000-01e00e90 : Kernel code
  02000000-0249afff : Kernel rodata
  6d000000-7cffffff : Crash kernel
7ffdd000-7fffffff : Reserved
fd000000-fdffffff : PCI Bus 0000:00
  fd000000-fdffffff : 0000:00:02.0
100000000-17fffffff : System RAM
180000000-1ffffffff : Persistent Memory
  180000000-1bfffffff : dax0.0
    180000000-1bfffffff : System RAM (kmem)
";

const DMESG: &str = "\
[    0.000000] Linux version 5.17.9 (build@host) #1 SMP
[    0.000000] BIOS-provided physical RAM map:
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
[    0.000000] BIOS-e820: [mem 0x000000000009fc00-0x000000000009ffff] reserved
[    0.000000] BIOS-e820: [mem 0x0000000000100000-0x00000000bffdffff] usable
[    0.000000] BIOS-e820: [mem 0x00000000bffe0000-0x00000000bfffffff] ACPI data
[    0.000000] BIOS-e820: [mem 0x0000000100000000-0x000000013fffffff] usable
[    0.000000] BIOS-e820: [mem 0x0000000140000000-0x000000017fffffff] persistent (type 7)
[    0.000000] BIOS-e820: [mem 0x0000000180000000-0x00000001ffffffff] type 20
[    0.000000] NX (Execute Disable) protection: active
[    0.000000] e820: update [mem 0x00000000-0x00000fff] usable ==> reserved
[    0.000000] e820: remove [mem 0x000a0000-0x000fffff] usable
[    0.000000] RAMDISK: [mem 0x36000000-0x36ffffff]
[    0.000000] ACPI: Reserving FACP table memory at [mem 0xbffe1000-0xbffe10f3]
[    0.000000] Reserving 256MB of memory at 592MB for crashkernel (System RAM: 4095MB)
[    0.000000] ACPI: SRAT: Node 0 PXM 0 [mem 0x00000000-0xbfffffff]
[    0.000000] ACPI: SRAT: Node 1 PXM 1 [mem 0x100000000-0x13fffffff] hotplug
[    0.000000] Zone ranges:
[    0.000000]   DMA      [mem 0x0000000000001000-0x0000000000ffffff]
[    0.000000]   Device   empty
[    0.000000] Movable zone start for each node
[    0.000000] Initmem setup node 0 [mem 0x0000000000001000-0x00000000bffdffff]
";

fn region(base: u64, last: u64, nid: Option<u32>, flags: u32) -> Region {
    Region { base, size: last - base + 1, nid, flags }
}

fn dmesg(text: &str) -> Memblock {
    parse_dmesg(text, Geometry::default()).expect("a memory map")
}

#[test]
fn iomem_gives_memory_and_what_lies_in_it() {
    let map = parse_iomem(IOMEM, Geometry::default()).expect("a memory map");
    assert_eq!(
        map.memory(),
        [
            region(0x1000, 0x9fbff, Some(0), 0),
            region(0x10_0000, 0x7ffd_cfff, Some(0), 0),
            region(0x1_0000_0000, 0x1_7fff_ffff, Some(0), 0),
            region(0x1_8000_0000, 0x1_bfff_ffff, Some(0), FLAG_DRIVER_MANAGED),
        ]
    );
    assert_eq!(
        map.reserved(),
        [
            region(0x100_0000, 0x1e0_0e90, None, 0),
            region(0x200_0000, 0x249_afff, None, 0),
            region(0x6d00_0000, 0x7cff_ffff, None, 0),
        ]
    );
}

#[test]
fn iomem_errors_are_precise() {
    let error = |text: &str| parse_iomem(text, Geometry::default()).expect_err("no memory map");
    let zeros = "00000000-00000000 : Reserved\n00000000-00000000 : System RAM\n  00000000-00000000 : Kernel code\n";
    let unprivileged = error(zeros);
    assert_eq!(unprivileged.kind, MapErrorKind::Unprivileged);
    assert!(unprivileged.to_string().contains("CAP_SYS_ADMIN"));
    assert_eq!(error("").kind, MapErrorKind::NoMemory);
    assert_eq!(error("00000000-00000fff : Reserved\n").kind, MapErrorKind::NoMemory);
    for (line, number) in [
        ("what", 2),
        ("00100000 : System RAM", 2),
        ("00200000-00100000 : System RAM", 2),
        ("+0100000-00200000 : System RAM", 2),
        ("0010000z-00200000 : System RAM", 2),
        ("11111111100100000-11111111100200000 : System RAM", 2),
        ("-", 2),
        ("é-ü : ", 2),
    ] {
        let bad = error(&format!("00001000-00001fff : System RAM\n{line}\n"));
        assert_eq!((bad.kind, bad.line), (MapErrorKind::BadLine, number), "{line}: {bad}");
    }
}

#[test]
fn dmesg_follows_the_e820_map_and_its_changes() {
    let map = dmesg(DMESG);
    assert_eq!(
        map.memory(),
        [
            region(0x1000, 0x9fbff, Some(0), 0),
            region(0x10_0000, 0xbffd_ffff, Some(0), 0),
            region(0x1_0000_0000, 0x1_3fff_ffff, Some(1), FLAG_HOTPLUG),
        ]
    );
    assert_eq!(
        map.reserved(),
        [
            region(592 << 20, (848 << 20) - 1, None, 0),
            region(0x3600_0000, 0x36ff_ffff, None, 0),
            region(0xbffe_1000, 0xbffe_10f3, None, 0),
        ]
    );
}

#[test]
fn dmesg_prefixes_do_not_matter() {
    let expected = dmesg(DMESG);
    let bare: Vec<&str> = DMESG.lines().map(|line| &line[15..]).collect();
    for prefix in ["", "> ", "Sep 25 08:15:00 host kernel: ", "Sep 25 08:15:00 host kernel: [    0.000000] ", "\t"] {
        let text: String = bare.iter().map(|line| format!("{prefix}{line}\r\n")).collect();
        assert_eq!(dmesg(&text), expected, "{prefix:?}");
    }
    assert_eq!(dmesg(&bare.join("#012")), expected);
    let quoted: String = DMESG.lines().map(|line| format!("> {line}\n")).collect();
    assert_eq!(dmesg(&quoted), expected);
}

#[test]
fn node_ranges_beat_srat_and_stand_in_for_e820() {
    let ranges = "\
[    0.000000] Early memory node ranges
[    0.000000]   node   0: [mem 0x0000000000001000-0x000000000009efff]
[    0.000000]   node  12: [mem 0x0000000000100000-0x00000000bffdffff]
";
    let map = dmesg(ranges);
    let node12 = region(0x10_0000, 0xbffd_ffff, Some(12), 0);
    assert_eq!(map.memory(), [region(0x1000, 0x9efff, Some(0), 0), node12]);
    let both = dmesg(&format!("{DMESG}{ranges}"));
    // Partial pages and what no node has are gone, the SRAT's hotplug range marks nothing.
    assert_eq!(both.memory(), map.memory());
}

#[test]
fn later_maps_and_boots_replace_earlier_ones() {
    let user = "e820: user-defined physical RAM map:\nuser: [mem 0x0000000000000000-0x0000000000ffffff] usable\n";
    assert_eq!(dmesg(&format!("{DMESG}{user}")).memory().len(), 1);
    let other = DMESG
        .replace("0x000000013fffffff] usable", "0x000000014fffffff] usable")
        .replace("persistent (type 7)", "soft reserved");
    assert_eq!(dmesg(&format!("{other}{DMESG}")), dmesg(DMESG));
}

#[test]
fn old_kernels_print_exclusive_ends() {
    let old = "\
 BIOS-e820: 0000000000000000 - 000000000009fc00 (usable)
 BIOS-e820: 0000000000100000 - 00000000c0000000 (usable)
 BIOS-e820: 00000000c0000000 - 00000000c0001000 (ACPI NVS)
    memblock_reserve: [0x00000001000000-0x00000001800000] TEXT DATA BSS
";
    let map = dmesg(old);
    assert_eq!(map.memory(), [region(0, 0x9fbff, Some(0), 0), region(0x10_0000, 0xbfff_ffff, Some(0), 0)]);
    assert_eq!(map.reserved(), [region(0x100_0000, 0x17f_ffff, None, 0)]);
}

#[test]
fn debug_logs_are_followed_and_dumps_replace() {
    let debug = "\
[    0.000000] memblock_add_node: [0x0000000000000000-0x000000000fffffff] nid=1 flags=1 caller+0x4a/0x52
[    0.000000] memblock_add: [0x0000000080000000-0x00000000bfffffff] caller+0x4a/0x52
[    0.000000] memblock_reserve: [0x0000000000000000-0x0000000000ffffff] caller+0x4a/0x52
[    0.000000] memblock_phys_free: [0x0000000000010000-0x000000000001ffff] caller+0x4a/0x52
[    0.000000] memblock_remove: [0x00000000a0000000-0x00000000bfffffff] caller+0x4a/0x52
[    0.000000] memblock_alloc_try_nid: 4096 bytes align=0x1000 nid=-1 from=0x0 max_addr=0x0 caller+0x4a/0x52
";
    let map = dmesg(debug);
    assert_eq!(map.memory(), [region(0, 0xfff_ffff, Some(1), FLAG_HOTPLUG), region(0x8000_0000, 0x9fff_ffff, None, 0)]);
    assert_eq!(map.reserved(), [region(0, 0xffff, None, 0), region(0x2_0000, 0xff_ffff, None, 0)]);

    let mut dumped = Memblock::new();
    dumped.add_node(0x1000, 0x2000, Some(3), FLAG_NOMAP).expect("room");
    dumped.add(0x8000, 0x2000).expect("room");
    dumped.reserve(0x1000, 0x10).expect("room");
    let with_dump = dmesg(&format!("{debug}{dumped}memblock_reserve: [0x9000-0x9fff] late+0x1/0x2\n"));
    assert_eq!(with_dump.memory(), dumped.memory());
    assert_eq!(with_dump.reserved(), [dumped.reserved()[0], region(0x9000, 0x9fff, None, 0)]);

    let text = dumped.to_string();
    let cut = &text[..text.find(" memory[0x1]").expect("two regions")];
    let error = parse_dmesg(cut, Geometry::default()).expect_err("a cut dump");
    assert_eq!(error.to_string(), "the MEMBLOCK configuration shows 1 of 2 memory regions");
    let empty = parse_dmesg(&Memblock::new().to_string(), Geometry::default()).expect_err("no memory");
    assert_eq!(empty.kind, MapErrorKind::NoMemory);
}

#[test]
fn damaged_memory_lines_are_located() {
    for damaged in [
        "BIOS-e820: [mem 0x0000000000000000-0x000000000009fb",
        "BIOS-e820: [mem 0x0000000000100000-0x000000000009fbff] usable",
        "BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usab",
        "BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff]",
        "BIOS-e820:",
        "BIOS-e820: [mem 0x00000000000000000000000000-0x0000000000000000000009fbff1111111111] usable",
        "e820: update [mem 0x00000000-0x00000fff] usable ==> ",
        "e820: remove [mem 0x00000000] usable",
        "RAMDISK: [mem 0x36000000-",
        "ACPI: SRAT: Node x PXM 0 [mem 0x00000000-0xbfffffff]",
        "  node   0: [mem 0x0000000000001000-0x0000",
        "memblock_add: [0x0-",
        "memblock_add_node: [0x1000-0x1fff] flags=0",
        " memory[0x0]\t[0x0000000000001000-0x0000000000001fff], 0x00",
        " memory.cnt  = two",
        "crashkernel reserved: 0x25000000 - ",
    ] {
        let error = parse_dmesg(&format!("one\n{damaged}\nthree\n"), Geometry::default()).expect_err(damaged);
        assert_eq!((error.kind, error.line), (MapErrorKind::BadLine, 2), "{damaged}: {error}");
    }
    let nothing = parse_dmesg("[    0.000000] hello\n", Geometry::default()).expect_err("no map");
    assert_eq!(nothing.kind, MapErrorKind::NoMemory);
    let flood: String =
        (0..10_000u64).map(|i| format!("BIOS-e820: [mem {:#x}-{:#x}] usable\n", i * 8, i * 8 + 3)).collect();
    assert_eq!(parse_dmesg(&flood, Geometry::default()).expect_err("too many").line, 4097);
}

#[test]
fn debugfs_of_both_kinds() {
    let old = "   0: 0x0000000000001000..0x000000000009efff\n   1: 0x0000000000100000..0x00000000bffdffff\n";
    let reserved = "   0: 0x0000000000000000..0x0000000000000fff\n";
    let map = parse_debugfs(old, reserved, Geometry::default()).expect("a memory map");
    assert_eq!(map.memory(), [region(0x1000, 0x9efff, Some(0), 0), region(0x10_0000, 0xbffd_ffff, Some(0), 0)]);
    assert_eq!(map.reserved(), [region(0, 0xfff, None, 0)]);

    let new = "\
   0: 0x0000000000001000..0x000000000009efff    0 NONE
   1: 0x0000000000100000..0x00000000001fffff    1 HOTPLUG
   2: 0x0000000000200000..0x00000000002fffff    1 MIRROR
   3: 0x0000000000300000..0x00000000003fffff    x NOMAP
   4: 0x0000000000400000..0x00000000004fffff    1 DRV_MNG
   5: 0x0000000000500000..0x00000000005fffff    1 NOMAP|MIRROR
";
    let reserved = "   0: 0x0000000000200000..0x00000000002fffff    1 RSV_NIT\n   1: 0x0000000000300000..0x0000000000300fff    x NONE\n";
    let map = parse_debugfs(new, reserved, Geometry::default()).expect("a memory map");
    let flags: Vec<u32> = map.memory().iter().map(|r| r.flags).collect();
    assert_eq!(flags, [0, FLAG_HOTPLUG, FLAG_MIRROR, FLAG_NOMAP, FLAG_DRIVER_MANAGED, FLAG_NOMAP | FLAG_MIRROR]);
    assert_eq!(map.memory()[3].nid, None);
    assert_eq!((map.reserved()[0].nid, map.reserved()[0].flags), (Some(1), 0));
    let many: String = (0..500u64).map(|i| format!("{i}: {:#x}..{:#x}\n", i * 0x2000, i * 0x2000 + 0xfff)).collect();
    let map = parse_debugfs(new, &many, Geometry::default()).expect("a memory map");
    assert_eq!((map.reserved().len(), map.capacity(ListKind::Reserved)), (500, 512));
    let dummy = "   0: 0x0000000000000000..0xffffffffffffffff\n";
    assert!(parse_debugfs(new, dummy, Geometry::default()).expect("nothing reserved").reserved().is_empty());
}

#[test]
fn debugfs_errors_are_precise() {
    let good = "   0: 0x0000000000001000..0x000000000009efff    0 NONE\n";
    for damaged in [
        "   1: 0x0000000000100000",
        "   1: 0x0000000000100000..0x00000000000fffff",
        "   1: 0x0000000000001000..0x0000000000001fff",
        "   1: 0x0000000000100000..0x00000000001fffff    q NONE",
        "   1: 0x0000000000100000..0x00000000001fffff    0 FANCY",
        "0x0000000000100000..0x00000000001fffff",
        "   y: 0x0000000000100000..0x00000000001fffff",
    ] {
        let error = parse_debugfs(&format!("{good}{damaged}\n"), "", Geometry::default()).expect_err(damaged);
        assert_eq!((error.kind, error.line), (MapErrorKind::BadLine, 2), "{damaged}: {error}");
        assert!(error.message.contains("memory list"), "{error}");
    }
    assert_eq!(parse_debugfs("", good, Geometry::default()).expect_err("no memory").kind, MapErrorKind::NoMemory);
    let geometry = Geometry { page_shift: 3, ..Geometry::default() };
    assert_eq!(parse_debugfs(good, "", geometry).expect_err("page size").kind, MapErrorKind::Geometry);
}

#[test]
fn no_damage_panics() {
    let geometry = Geometry::default();
    let text = format!("{DMESG}{IOMEM}{}memblock_add_node: [0x0-0xfff] nid=1 flags=1 x\n", dmesg(DMESG));
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    for _ in 0..3000 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..6 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let at = (seed >> 8) as usize % bytes.len();
            bytes[at] = b"0f-:[]() \nx\xff"[seed as usize % 12];
        }
        let damaged = String::from_utf8_lossy(&bytes);
        let outcomes = [
            parse_dmesg(&damaged, geometry),
            parse_iomem(&damaged, geometry),
            parse_debugfs(&damaged, &damaged, geometry),
        ];
        for error in outcomes.into_iter().filter_map(Result::err) {
            assert!(!error.message.is_empty());
        }
    }
}
