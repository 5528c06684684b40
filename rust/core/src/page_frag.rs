//! Page fragments: small pieces of a page, each holding a reference (mm/page_alloc.c,
//! `page_frag_alloc_align`).

use crate::allocator::{CpuChoice, PageAllocator};
use crate::error::BadPage;
use crate::gfp::Gfp;
use crate::page_alloc::{AllocError, AllocRequest};
use crate::pressure::Hooks;
use crate::types::Pfn;

/// Largest cache page in bytes (`PAGE_FRAG_CACHE_MAX_SIZE`).
const MAX_SIZE: u64 = 32 * 1024;
/// References taken in advance, so that handing out a piece costs none.
const BIAS: u32 = MAX_SIZE as u32 + 1;

/// The page that pieces are cut from at the moment (`struct page_frag_cache`).
#[derive(Debug, Default)]
pub struct PageFragCache {
    page: Option<CachePage>,
}

#[derive(Clone, Copy, Debug)]
struct CachePage {
    pfn: Pfn,
    size_bytes: u64,
    offset: u64,
    bias: u32,
    pfmemalloc: bool,
}

/// One piece of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFrag {
    /// First page of the block the piece lies in; also what is freed.
    pub pfn: Pfn,
    /// Where it starts, in bytes from the start of the block.
    pub offset: u64,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// Why there is no piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FragError {
    /// No page could be allocated.
    Alloc(AllocError),
    /// The piece is larger than a cache page, or its alignment is not a power of two.
    Size,
}

impl PageAllocator {
    /// Cuts `size_bytes` from the cache's page, refilling it if needed.
    pub fn page_frag_alloc(
        &self,
        cache: &mut PageFragCache,
        cpu: CpuChoice,
        gfp: Gfp,
        size_bytes: u64,
        align: u64,
        hooks: &dyn Hooks,
    ) -> Result<PageFrag, FragError> {
        if size_bytes == 0 || size_bytes > MAX_SIZE || !align.is_power_of_two() {
            return Err(FragError::Size);
        }
        loop {
            let mut page = match cache.page {
                Some(page) => page,
                None => self.page_frag_refill(cpu, gfp, hooks).map_err(FragError::Alloc)?,
            };
            if size_bytes > page.size_bytes {
                // Only an order-0 page was to be had. The kernel would hand out a bad offset.
                cache.page = Some(page);
                return Err(FragError::Size);
            }
            if page.offset < size_bytes {
                // Used up. If nobody holds a piece any more, it can be used again.
                cache.page = None;
                match self.put_references(page.pfn, page.bias) {
                    Ok(0) if !page.pfmemalloc => {
                        let _ = self.set_references(page.pfn, BIAS);
                        page = CachePage { offset: page.size_bytes, bias: BIAS, ..page };
                    }
                    Ok(0) => {
                        let _ = self.set_references(page.pfn, 1);
                        let _ = self.put_page(cpu, page.pfn);
                        continue;
                    }
                    _ => continue,
                }
            }
            page.bias -= 1;
            page.offset = (page.offset - size_bytes) & !(align - 1);
            cache.page = Some(page);
            return Ok(PageFrag { pfn: page.pfn, offset: page.offset, size_bytes });
        }
    }

    /// A compound page of 32 KiB, or a single page.
    fn page_frag_refill(&self, cpu: CpuChoice, gfp: Gfp, hooks: &dyn Hooks) -> Result<CachePage, AllocError> {
        let page_size = self.config().page_size();
        let order = (MAX_SIZE / page_size).max(1).ilog2().min(self.config().max_order - 1);
        let nid = self.cpu_node(self.cpu_hint(cpu));
        let eager = gfp | Gfp::COMP | Gfp::NOWARN | Gfp::NORETRY | Gfp::NOMEMALLOC;
        let request = |gfp, order| AllocRequest { gfp, order, nid, nodemask: None };
        let (pfn, order) = match self.alloc_pages(cpu, request(eager, order), hooks) {
            Ok(pfn) => (pfn, order),
            Err(_) => (self.alloc_pages(cpu, request(gfp, 0), hooks)?, 0),
        };
        let size_bytes = page_size << order;
        let _ = self.set_references(pfn, BIAS);
        Ok(CachePage { pfn, size_bytes, offset: size_bytes, bias: BIAS, pfmemalloc: self.is_pfmemalloc(pfn) })
    }

    /// Gives one piece back (`page_frag_free`).
    pub fn page_frag_free(&self, cpu: CpuChoice, frag: PageFrag) -> Result<(), BadPage> {
        self.put_page(cpu, frag.pfn)
    }

    /// Gives the cache's own references back (`__page_frag_cache_drain`); pieces stay valid.
    pub fn page_frag_drain(&self, cache: &mut PageFragCache, cpu: CpuChoice) {
        let Some(page) = cache.page.take() else { return };
        // All but one at once; the last one through the ordinary path, which frees.
        if page.bias > 1 {
            let _ = self.put_references(page.pfn, page.bias - 1);
        }
        let _ = self.put_page(cpu, page.pfn);
    }
}
