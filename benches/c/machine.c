/* The whole path: request flags, watermarks, counters, references. */
#include "zone.h"

#define GFP_MOBILITY_SHIFT 3
#define GFP_MOBILITY_MASK 3u
#define GFP_KSWAPD_RECLAIM 0x800u

enum { MARK_MIN, MARK_LOW };

static inline uint32_t resolve_cpu(const struct zone *zone, uint32_t cpu)
{
	if (cpu == PBC_CURRENT_CPU) {
		int current = sched_getcpu();

		return current < 0 ? 0 : (uint32_t)current % zone->nr_cpus;
	}
	return cpu;
}

static inline enum migratetype gfp_type(uint32_t gfp)
{
	unsigned type = gfp >> GFP_MOBILITY_SHIFT & GFP_MOBILITY_MASK;

	return type < NR_PCP_TYPES ? type : UNMOVABLE;
}

static inline bool is_watermark_ok(const struct zone *zone, unsigned order, unsigned mark)
{
	long free = atomic_load_explicit(&zone->nr_free_pages, memory_order_relaxed);
	long needed = (long)(zone->watermark[mark] +
			     atomic_load_explicit(&zone->watermark_boost, memory_order_relaxed) + zone->lowmem_reserve);

	if (free < 0)
		free = 0;
	if (free - ((1l << order) - 1) <= needed)
		return false;
	if (order == 0)
		return true;
	for (unsigned at = order; at < MAX_ORDER; at++) {
		const struct free_area *area = &zone->free_area[at];

		/* As in the kernel, nobody holds the lock here: the lists may change meanwhile. */
		if (area->nr_free == 0)
			continue;
		for (unsigned type = 0; type < NR_PCP_TYPES; type++) {
			if (!list_is_empty(&area->list[type]))
				return true;
		}
	}
	return false;
}

static inline struct page *try_alloc(struct zone *zone, uint32_t cpu, uint32_t gfp, unsigned order, unsigned mark)
{
	struct page *page;

	if (!is_watermark_ok(zone, order, mark))
		return NULL;
	page = pcp_or_zone_take(zone, cpu, order, gfp_type(gfp), gfp & GFP_KSWAPD_RECLAIM);
	if (atomic_load_explicit(&zone->boosted, memory_order_relaxed))
		atomic_store_explicit(&zone->boosted, 0, memory_order_relaxed); /* kswapd would be woken */
	return page;
}

static inline void prepare(struct page *page)
{
	page->order = 0;
	atomic_store_explicit(&page->refcount, 1, memory_order_relaxed);
}

/* Gives up one reference; was it the last? */
static inline bool drop_reference(struct page *page)
{
	return atomic_fetch_sub_explicit(&page->refcount, 1, memory_order_acq_rel) == 1;
}

uint64_t pbc_alloc_pages(struct zone *zone, uint32_t cpu, uint32_t gfp, unsigned order)
{
	struct page *page;

	if (order >= MAX_ORDER)
		return PBC_NO_PAGE;
	cpu = resolve_cpu(zone, cpu);
	page = try_alloc(zone, cpu, gfp, order, MARK_LOW);
	/* The slow path of a request that may not wait looks twice. */
	for (unsigned again = 0; !page && again < 2; again++)
		page = try_alloc(zone, cpu, gfp, order, MARK_MIN);
	if (!page)
		return PBC_NO_PAGE;
	prepare(page);
	return page_pfn(zone, page);
}

void pbc_free_pages(struct zone *zone, uint32_t cpu, uint64_t pfn, unsigned order)
{
	struct page *page = pfn_page(zone, pfn);

	if (!drop_reference(page))
		return;
	pcp_or_zone_put(zone, resolve_cpu(zone, cpu), page, order);
}

uint32_t pbc_alloc_pages_bulk(struct zone *zone, uint32_t cpu, uint32_t gfp, uint32_t n, uint64_t *pfns)
{
	long free = atomic_load_explicit(&zone->nr_free_pages, memory_order_relaxed);
	uint64_t boost = atomic_load_explicit(&zone->watermark_boost, memory_order_relaxed);
	struct pcp *pcp;
	uint32_t taken = 0;

	cpu = resolve_cpu(zone, cpu);
	pcp = &zone->pcps[cpu];
	if (n > 1 && free > (long)(zone->watermark[MARK_LOW] + boost + n + zone->lowmem_reserve) && lock_try(&pcp->lock)) {
		while (taken < n) {
			struct page *page = pcp_take(zone, cpu, pcp, 0, gfp_type(gfp), false);

			if (!page)
				break;
			prepare(page);
			pfns[taken++] = page_pfn(zone, page);
		}
		pcp->nr_alloc_events += taken;
		pcp->nr_numa_local += taken;
		lock_give(&pcp->lock);
	}
	if (taken == 0) {
		pfns[0] = pbc_alloc_pages(zone, cpu, gfp, 0);
		taken = pfns[0] != PBC_NO_PAGE;
	}
	return taken;
}

void pbc_free_page_list(struct zone *zone, uint32_t cpu, uint32_t n, const uint64_t *pfns)
{
	struct pcp *pcp;

	cpu = resolve_cpu(zone, cpu);
	pcp = &zone->pcps[cpu];
	if (!lock_try(&pcp->lock)) {
		for (uint32_t i = 0; i < n; i++)
			pbc_free_pages(zone, cpu, pfns[i], 0);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		struct page *page = pfn_page(zone, pfns[i]);

		if (drop_reference(page))
			pcp_put(zone, cpu, pcp, page, 0);
	}
	lock_give(&pcp->lock);
}

void pbc_drain(struct zone *zone, uint32_t cpu)
{
	struct pcp *pcp = &zone->pcps[cpu];

	lock_take(&pcp->lock);
	if (pcp->count)
		pcp_free_bulk(zone, cpu, pcp, pcp->count);
	lock_give(&pcp->lock);
}

uint64_t pbc_pcp_alloc(struct zone *zone, uint32_t cpu, unsigned order, unsigned migratetype)
{
	struct page *page = pcp_or_zone_take(zone, cpu, order, migratetype, false);

	return page ? page_pfn(zone, page) : PBC_NO_PAGE;
}

void pbc_pcp_free(struct zone *zone, uint32_t cpu, uint64_t pfn, unsigned order)
{
	pcp_or_zone_put(zone, cpu, pfn_page(zone, pfn), order);
}

uint64_t pbc_zone_alloc(struct zone *zone, unsigned order, unsigned migratetype)
{
	struct page *page;

	lock_take(&zone->lock);
	page = take_smallest(zone, order, migratetype);
	lock_give(&zone->lock);
	return page ? page_pfn(zone, page) : PBC_NO_PAGE;
}

uint64_t pbc_zone_alloc_any(struct zone *zone, unsigned order, unsigned migratetype)
{
	struct page *page;

	lock_take(&zone->lock);
	page = take_any(zone, order, migratetype, false);
	lock_give(&zone->lock);
	return page ? page_pfn(zone, page) : PBC_NO_PAGE;
}

void pbc_zone_free(struct zone *zone, uint64_t pfn, unsigned order)
{
	struct page *page = pfn_page(zone, pfn);
	enum migratetype type = pageblock_type(zone, page);

	lock_take(&zone->lock);
	free_block(zone, page, order, type, false);
	lock_give(&zone->lock);
}

uint32_t pbc_zone_alloc_bulk(struct zone *zone, unsigned order, unsigned migratetype, uint32_t n, uint64_t *pfns)
{
	uint32_t taken = 0;

	lock_take(&zone->lock);
	while (taken < n) {
		struct page *page = take_smallest(zone, order, migratetype);

		if (!page)
			break;
		pfns[taken++] = page_pfn(zone, page);
	}
	lock_give(&zone->lock);
	return taken;
}

void pbc_zone_free_bulk(struct zone *zone, unsigned order, uint32_t n, const uint64_t *pfns)
{
	lock_take(&zone->lock);
	for (uint32_t i = 0; i < n; i++) {
		struct page *page = pfn_page(zone, pfns[i]);

		free_block(zone, page, order, pageblock_type(zone, page), false);
	}
	lock_give(&zone->lock);
}
