//! Page fragments (spec 13.8).

use super::*;
use pagebuddy_core::page_frag::{FragError, PageFragCache};

#[test]
fn pieces_come_from_the_end_and_a_page_lives_as_long_as_its_pieces() {
    let machine = machine(&Config::default(), 64);
    let before = nr_free(&machine);
    let mut cache = PageFragCache::default();
    let mut cut = |size, align| machine.page_frag_alloc(&mut cache, CPU0, Gfp::GFP_ATOMIC, size, align, &NoHooks);
    let first = cut(1000, 1).unwrap();
    assert_eq!((first.offset, first.size_bytes), (32768 - 1000, 1000));
    let second = cut(100, 64).unwrap();
    assert_eq!(second.offset, (32768 - 1100) / 64 * 64);
    assert_eq!(first.pfn, second.pfn);
    let whole = cut(32768, 1).unwrap();
    assert_ne!(whole.pfn, first.pfn, "the rest of the page is too small, and pieces are out");
    assert_eq!(cut(32769, 1), Err(FragError::Size));
    assert_eq!(cut(8, 3), Err(FragError::Size));
    assert_eq!(nr_free(&machine), before - 16);
    machine.page_frag_free(CPU0, first).unwrap();
    machine.page_frag_free(CPU0, second).unwrap();
    assert_eq!(nr_free(&machine), before - 8, "the last piece frees the page");
    machine.page_frag_drain(&mut cache, CPU0);
    machine.page_frag_free(CPU0, whole).unwrap();
    assert_eq!(nr_free(&machine), before);
    assert!(machine.page_frag_free(CPU0, whole).is_err());
    machine.validate().unwrap();
}

#[test]
fn a_page_without_pieces_is_used_again() {
    let machine = machine(&Config::default(), 64);
    let mut cache = PageFragCache::default();
    let mut pages = Vec::new();
    for _ in 0..10 {
        let frag = machine.page_frag_alloc(&mut cache, CPU0, Gfp::GFP_KERNEL, 20000, 1, &NoHooks).unwrap();
        pages.push(frag.pfn);
        machine.page_frag_free(CPU0, frag).unwrap();
    }
    assert!(pages.iter().all(|pfn| *pfn == pages[0]), "{pages:?}");
    machine.validate().unwrap();
}
