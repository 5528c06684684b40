/* Falling back to other migratetypes, stealing, the watermark boost. The zone's lock is held. */
#include "zone.h"

static const enum migratetype FALLBACKS[NR_PCP_TYPES][2] = {
	[UNMOVABLE] = { RECLAIMABLE, MOVABLE },
	[MOVABLE] = { RECLAIMABLE, UNMOVABLE },
	[RECLAIMABLE] = { UNMOVABLE, MOVABLE },
};

struct fallback {
	unsigned order;
	enum migratetype type;
	bool is_stealable;
};

static bool find_fallback(const struct zone *zone, unsigned order, enum migratetype wanted, struct fallback *found)
{
	const struct free_area *area = &zone->free_area[order];

	if (area->nr_free == 0)
		return false;
	for (unsigned i = 0; i < 2; i++) {
		enum migratetype type = FALLBACKS[wanted][i];

		if (list_is_empty(&area->list[type]))
			continue;
		found->order = order;
		found->type = type;
		found->is_stealable = order >= PAGEBLOCK_ORDER / 2 || wanted != MOVABLE;
		return true;
	}
	return false;
}

/* x * n / d without overflow, as long as n * d fits. */
static uint64_t mult_frac(uint64_t x, uint64_t n, uint64_t d)
{
	return x / d * n + x % d * n / d;
}

static bool boost_watermark(struct zone *zone)
{
	uint64_t boost = atomic_load_explicit(&zone->watermark_boost, memory_order_relaxed);
	uint64_t max;

	if (zone->watermark_boost_factor == 0 || PAGEBLOCK_NR_PAGES * 4 > zone->managed)
		return false;
	max = mult_frac(zone->watermark[2], zone->watermark_boost_factor, 10000);
	if (max == 0)
		return false;
	if (max < PAGEBLOCK_NR_PAGES)
		max = PAGEBLOCK_NR_PAGES;
	boost += PAGEBLOCK_NR_PAGES;
	atomic_store_explicit(&zone->watermark_boost, boost < max ? boost : max, memory_order_relaxed);
	return true;
}

static bool counts_as_movable(const struct page *page)
{
	return (page->flags & PAGE_LRU) || (page->mapping & MAPPING_BITS) == MAPPING_MOVABLE;
}

/* Moves the free blocks of a pageblock to the lists of `type`; how many pages, and how many of the others can move. */
static uint64_t move_free_blocks(struct zone *zone, struct page *page, enum migratetype type, uint64_t *nr_movable)
{
	uint64_t first = page_index(zone, page) & ~(PAGEBLOCK_NR_PAGES - 1);
	uint64_t last = first + PAGEBLOCK_NR_PAGES - 1;
	uint64_t nr_moved = 0;

	*nr_movable = 0;
	if (zone->base_pfn + last >= zone->end_pfn)
		return 0;
	if (zone->base_pfn + first < zone->start_pfn)
		first = page_index(zone, page);
	for (uint64_t i = first; i <= last;) {
		struct page *at = zone->pages + i;

		if (at->type == PAGE_BUDDY) {
			list_move_to_back(&at->lru, &zone->free_area[at->order].list[type]);
			i += 1ul << at->order;
			nr_moved += 1ul << at->order;
			continue;
		}
		*nr_movable += counts_as_movable(at);
		i++;
	}
	return nr_moved;
}

static void steal(struct zone *zone, struct page *page, const struct fallback *from, enum migratetype wanted,
		  bool wakes_kswapd)
{
	enum migratetype old = pageblock_type(zone, page);

	if (old == HIGHATOMIC)
		goto single;
	if (from->order >= PAGEBLOCK_ORDER) {
		for (uint64_t i = 0; i < 1ul << from->order; i += PAGEBLOCK_NR_PAGES)
			set_pageblock_type(zone, page + i, wanted);
		goto single;
	}
	if (boost_watermark(zone) && wakes_kswapd)
		atomic_store_explicit(&zone->boosted, 1, memory_order_relaxed);
	if (from->is_stealable) {
		uint64_t nr_movable, nr_alike = 0;
		uint64_t nr_moved = move_free_blocks(zone, page, wanted, &nr_movable);

		if (nr_moved == 0)
			goto single;
		if (wanted == MOVABLE)
			nr_alike = nr_movable;
		else if (old == MOVABLE)
			nr_alike = PAGEBLOCK_NR_PAGES - nr_moved - nr_movable;
		if (nr_moved + nr_alike >= PAGEBLOCK_NR_PAGES / 2)
			set_pageblock_type(zone, page, wanted);
		return;
	}
single:
	list_move_to_back(&page->lru, &zone->free_area[from->order].list[wanted]);
}

static __attribute__((noinline, cold)) bool fall_back(struct zone *zone, unsigned order, enum migratetype wanted,
						      bool wakes_kswapd)
{
	struct fallback choice = { .order = order };
	struct page *page;
	unsigned at = MAX_ORDER;

	while (at > order && !find_fallback(zone, at - 1, wanted, &choice))
		at--;
	if (at == order)
		return false;
	if (!choice.is_stealable && wanted == MOVABLE && choice.order > order) {
		/* Not worth stealing: spoil the smallest block that will do. */
		for (at = order; !find_fallback(zone, at, wanted, &choice); at++)
			;
	}
	page = container_of(zone->free_area[choice.order].list[choice.type].next, struct page, lru);
	steal(zone, page, &choice, wanted, wakes_kswapd);
	zone->nr_fallbacks++;
	return true;
}

static inline struct page *take_any(struct zone *zone, unsigned order, enum migratetype type, bool wakes_kswapd)
{
	struct page *page;

	while (!(page = take_smallest(zone, order, type))) {
		if (!fall_back(zone, order, type, wakes_kswapd))
			return NULL;
	}
	return page;
}
