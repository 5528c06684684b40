//! The C variant's functions, one set per lock flavour, and a safe owner of one of its zones.

use core::ffi::{CStr, c_char};
use core::marker::PhantomData;
use core::ptr::NonNull;

/// What the C variant returns when it has no page.
pub const NO_PAGE: u64 = u64::MAX;

/// As a cpu number: the one the caller runs on.
pub const CURRENT_CPU: u32 = u32::MAX;

/// `struct pbc_config`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Config {
    /// First pfn of the memory.
    pub start_pfn: u64,
    /// One past its last pfn.
    pub end_pfn: u64,
    /// Min, low and high.
    pub watermark: [u64; 3],
    /// Per-cpu lists.
    pub nr_cpus: u32,
    /// Pages on one cpu's lists that make it give some back.
    pub pcp_high: u32,
    /// Pages of a refill.
    pub pcp_batch: u32,
    /// Largest differential of a counter.
    pub stat_threshold: u32,
    /// In 1/10000 of the high watermark.
    pub watermark_boost_factor: u32,
    /// 1: ask for huge pages below the page descriptors.
    pub huge_pages: u32,
}

/// `struct zone`, of which only C knows the inside.
#[repr(C)]
pub struct RawZone {
    _opaque: [u8; 0],
}

/// Declares the functions of one flavour and implements [`Flavour`] with them.
macro_rules! flavour {
    ($flavour:ident $name:literal; $(fn $function:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)?;)*) => {
        impl Flavour for $flavour {
            const NAME: &'static str = $name;
            $(#[inline(always)]
            unsafe fn $function($($arg: $ty),*) $(-> $ret)? {
                unsafe extern "C" {
                    #[link_name = concat!("pbc_", stringify!($function), "_", $name)]
                    fn $function($($arg: $ty),*) $(-> $ret)?;
                }
                // SAFETY: the caller keeps what the trait's method demands.
                unsafe { $function($($arg),*) }
            })*
        }
    };
}

/// Declares [`Flavour`] and all three flavours from one list of functions.
macro_rules! variant {
    ($($functions:tt)*) => {
        declare! { $($functions)* }
        flavour! { Pause "pause"; $($functions)* }
        flavour! { Yield "yield"; $($functions)* }
        flavour! { Mutex "mutex"; $($functions)* }
    };
}

macro_rules! declare {
    ($(fn $function:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)?;)*) => {
        /// The functions of one build of the variant; c/variant.h describes them.
        #[allow(missing_docs, reason = "c/variant.h documents every function")]
        #[allow(clippy::missing_safety_doc, reason = "c/variant.h documents every function")]
        pub trait Flavour: Send + Sync + 'static {
            const NAME: &'static str;
            $(unsafe fn $function($($arg: $ty),*) $(-> $ret)?;)*
        }
    };
}

/// Spins with pause instructions.
pub struct Pause;
/// Spins, then yields the processor.
pub struct Yield;
/// A pthread mutex.
pub struct Mutex;

variant! {
    fn create(config: *const Config) -> *mut RawZone;
    fn destroy(zone: *mut RawZone);
    fn build() -> *const c_char;
    fn zone_alloc(zone: *mut RawZone, order: u32, migratetype: u32) -> u64;
    fn zone_alloc_any(zone: *mut RawZone, order: u32, migratetype: u32) -> u64;
    fn zone_free(zone: *mut RawZone, pfn: u64, order: u32);
    fn zone_alloc_bulk(zone: *mut RawZone, order: u32, migratetype: u32, n: u32, pfns: *mut u64) -> u32;
    fn zone_free_bulk(zone: *mut RawZone, order: u32, n: u32, pfns: *const u64);
    fn pcp_alloc(zone: *mut RawZone, cpu: u32, order: u32, migratetype: u32) -> u64;
    fn pcp_free(zone: *mut RawZone, cpu: u32, pfn: u64, order: u32);
    fn alloc_pages(zone: *mut RawZone, cpu: u32, gfp: u32, order: u32) -> u64;
    fn free_pages(zone: *mut RawZone, cpu: u32, pfn: u64, order: u32);
    fn alloc_pages_bulk(zone: *mut RawZone, cpu: u32, gfp: u32, n: u32, pfns: *mut u64) -> u32;
    fn free_page_list(zone: *mut RawZone, cpu: u32, n: u32, pfns: *const u64);
    fn drain(zone: *mut RawZone, cpu: u32);
    fn free_list(zone: *const RawZone, order: u32, migratetype: u32, pfns: *mut u64, room: u64) -> u64;
    fn pcp_list(zone: *const RawZone, cpu: u32, index: u32, pfns: *mut u64, room: u64) -> u64;
    fn pcp_free_factor(zone: *const RawZone, cpu: u32) -> u32;
    fn pageblock_type(zone: *const RawZone, pfn: u64) -> u32;
    fn nr_free_pages(zone: *const RawZone) -> i64;
    fn nr_blocks(zone: *const RawZone, order: u32) -> u64;
    fn watermark_boost(zone: *const RawZone) -> u64;
    fn nr_fallbacks(zone: *const RawZone) -> u64;
}

/// A zone of the C variant.
///
/// The C code trusts its arguments; the methods pass on what the benchmarks need and check what
/// would read or write outside the zone.
pub struct CZone<F: Flavour> {
    raw: NonNull<RawZone>,
    /// What it was made of.
    pub config: Config,
    flavour: PhantomData<F>,
}

// SAFETY: the zone is heap memory that any thread may use; its locks order the accesses.
unsafe impl<F: Flavour> Send for CZone<F> {}
// SAFETY: as above.
unsafe impl<F: Flavour> Sync for CZone<F> {}

impl<F: Flavour> CZone<F> {
    /// A fresh zone; `None` if the operating system has no memory for it.
    pub fn new(config: Config) -> Option<Self> {
        assert!(config.start_pfn < config.end_pfn && config.nr_cpus > 0, "{config:?}");
        assert!(config.stat_threshold <= 125, "{config:?}");
        // SAFETY: the configuration is valid (above) and is only read during the call.
        let raw = unsafe { F::create(&config) };
        Some(CZone { raw: NonNull::new(raw)?, config, flavour: PhantomData })
    }

    /// How this flavour's object file was compiled.
    pub fn build() -> String {
        // SAFETY: takes nothing.
        let text = unsafe { F::build() };
        // SAFETY: C returns a string literal.
        let text = unsafe { CStr::from_ptr(text) };
        text.to_string_lossy().into_owned()
    }

    fn check(&self, order: u32, migratetype: u32) {
        debug_assert!(order < 11 && migratetype < 3, "{order} {migratetype}");
    }

    fn check_block(&self, pfn: u64, order: u32) {
        debug_assert!(order < 11 && pfn >= self.config.start_pfn && pfn + (1 << order) <= self.config.end_pfn);
    }

    fn check_cpu(&self, cpu: u32) {
        debug_assert!(cpu == CURRENT_CPU || cpu < self.config.nr_cpus);
    }

    /// Smallest fit on one migratetype's lists.
    #[inline(always)]
    pub fn zone_alloc(&self, order: u32, migratetype: u32) -> u64 {
        self.check(order, migratetype);
        // SAFETY: the zone lives; order and type are in range.
        unsafe { F::zone_alloc(self.raw.as_ptr(), order, migratetype) }
    }

    /// The same, falling back to other migratetypes.
    #[inline(always)]
    pub fn zone_alloc_any(&self, order: u32, migratetype: u32) -> u64 {
        self.check(order, migratetype);
        // SAFETY: the zone lives; order and type are in range.
        unsafe { F::zone_alloc_any(self.raw.as_ptr(), order, migratetype) }
    }

    /// Frees a block to the zone.
    #[inline(always)]
    pub fn zone_free(&self, pfn: u64, order: u32) {
        self.check_block(pfn, order);
        // SAFETY: the zone lives; the block is inside it and the caller's.
        unsafe { F::zone_free(self.raw.as_ptr(), pfn, order) }
    }

    /// Several single pages under one lock; how many.
    #[inline(always)]
    pub fn zone_alloc_bulk(&self, migratetype: u32, pfns: &mut [u64]) -> usize {
        self.check(0, migratetype);
        // SAFETY: the zone lives; C writes at most `len` entries.
        unsafe { F::zone_alloc_bulk(self.raw.as_ptr(), 0, migratetype, pfns.len() as u32, pfns.as_mut_ptr()) as usize }
    }

    /// Frees several single pages under one lock.
    #[inline(always)]
    pub fn zone_free_bulk(&self, pfns: &[u64]) {
        // SAFETY: the zone lives; the pages are the caller's.
        unsafe { F::zone_free_bulk(self.raw.as_ptr(), 0, pfns.len() as u32, pfns.as_ptr()) }
    }

    /// From the per-cpu lists, without the rest of the path.
    #[inline(always)]
    pub fn pcp_alloc(&self, cpu: u32, order: u32, migratetype: u32) -> u64 {
        self.check(order, migratetype);
        self.check_cpu(cpu);
        // SAFETY: the zone lives; the arguments are in range.
        unsafe { F::pcp_alloc(self.raw.as_ptr(), cpu, order, migratetype) }
    }

    /// To the per-cpu lists.
    #[inline(always)]
    pub fn pcp_free(&self, cpu: u32, pfn: u64, order: u32) {
        self.check_block(pfn, order);
        self.check_cpu(cpu);
        // SAFETY: the zone lives; the block is inside it and the caller's.
        unsafe { F::pcp_free(self.raw.as_ptr(), cpu, pfn, order) }
    }

    /// The whole path.
    #[inline(always)]
    pub fn alloc_pages(&self, cpu: u32, gfp: u32, order: u32) -> u64 {
        self.check_cpu(cpu);
        // SAFETY: the zone lives; the cpu exists, C checks the order.
        unsafe { F::alloc_pages(self.raw.as_ptr(), cpu, gfp, order) }
    }

    /// The whole path back.
    #[inline(always)]
    pub fn free_pages(&self, cpu: u32, pfn: u64, order: u32) {
        self.check_block(pfn, order);
        self.check_cpu(cpu);
        // SAFETY: the zone lives; the block is inside it and the caller's.
        unsafe { F::free_pages(self.raw.as_ptr(), cpu, pfn, order) }
    }

    /// Single pages by one call; how many.
    #[inline(always)]
    pub fn alloc_pages_bulk(&self, cpu: u32, gfp: u32, pfns: &mut [u64]) -> usize {
        self.check_cpu(cpu);
        assert!(!pfns.is_empty());
        // SAFETY: the zone lives; C writes at most `len` entries, at least room for one.
        unsafe { F::alloc_pages_bulk(self.raw.as_ptr(), cpu, gfp, pfns.len() as u32, pfns.as_mut_ptr()) as usize }
    }

    /// Frees single pages by one call.
    #[inline(always)]
    pub fn free_page_list(&self, cpu: u32, pfns: &[u64]) {
        self.check_cpu(cpu);
        // SAFETY: the zone lives; the pages are the caller's.
        unsafe { F::free_page_list(self.raw.as_ptr(), cpu, pfns.len() as u32, pfns.as_ptr()) }
    }

    /// Gives all pages of a cpu's lists back.
    pub fn drain(&self, cpu: u32) {
        assert!(cpu < self.config.nr_cpus);
        // SAFETY: the zone lives; the cpu exists.
        unsafe { F::drain(self.raw.as_ptr(), cpu) }
    }

    fn copied(&self, copy: impl Fn(*mut u64, u64) -> u64) -> Vec<u64> {
        let mut pfns = vec![0; (self.config.end_pfn - self.config.start_pfn) as usize];
        let n = copy(pfns.as_mut_ptr(), pfns.len() as u64);
        pfns.truncate(n as usize);
        pfns
    }

    /// A free list, head first. Nobody may change the zone meanwhile; the same holds below.
    pub fn free_list(&self, order: u32, migratetype: u32) -> Vec<u64> {
        assert!(order < 11 && migratetype < 5);
        // SAFETY: the zone lives; C writes at most `room` entries.
        self.copied(|pfns, room| unsafe { F::free_list(self.raw.as_ptr(), order, migratetype, pfns, room) })
    }

    /// One of a cpu's lists, head first.
    pub fn pcp_list(&self, cpu: u32, index: u32) -> Vec<u64> {
        assert!(cpu < self.config.nr_cpus && index < 15);
        // SAFETY: the zone lives; C writes at most `room` entries.
        self.copied(|pfns, room| unsafe { F::pcp_list(self.raw.as_ptr(), cpu, index, pfns, room) })
    }

    /// How much more than a batch a cpu's lists give back next time, as a shift.
    pub fn pcp_free_factor(&self, cpu: u32) -> u32 {
        assert!(cpu < self.config.nr_cpus);
        // SAFETY: the zone lives; the cpu exists.
        unsafe { F::pcp_free_factor(self.raw.as_ptr(), cpu) }
    }

    /// The type of a page's pageblock.
    pub fn pageblock_type(&self, pfn: u64) -> u32 {
        assert!((self.config.start_pfn..self.config.end_pfn).contains(&pfn));
        // SAFETY: the zone lives; the page is inside it.
        unsafe { F::pageblock_type(self.raw.as_ptr(), pfn) }
    }

    /// Free pages by the counters, differentials included.
    pub fn nr_free_pages(&self) -> i64 {
        // SAFETY: the zone lives.
        unsafe { F::nr_free_pages(self.raw.as_ptr()) }
    }

    /// Free blocks of an order by the counter.
    pub fn nr_blocks(&self, order: u32) -> u64 {
        assert!(order < 11);
        // SAFETY: the zone lives; the order exists.
        unsafe { F::nr_blocks(self.raw.as_ptr(), order) }
    }

    /// The watermark boost.
    pub fn watermark_boost(&self) -> u64 {
        // SAFETY: the zone lives.
        unsafe { F::watermark_boost(self.raw.as_ptr()) }
    }

    /// How often a request fell back to another migratetype.
    pub fn nr_fallbacks(&self) -> u64 {
        // SAFETY: the zone lives.
        unsafe { F::nr_fallbacks(self.raw.as_ptr()) }
    }
}

impl<F: Flavour> Drop for CZone<F> {
    fn drop(&mut self) {
        // SAFETY: made by `create`, not destroyed before, and nobody else uses it any more.
        unsafe { F::destroy(self.raw.as_ptr()) }
    }
}
