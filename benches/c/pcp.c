/* Per-cpu lists: whoever gets their lock uses them, everybody else goes to the zone. */
#include "zone.h"

static inline bool is_pcp_order(unsigned order)
{
	return order <= PCP_MAX_SMALL_ORDER || order == PAGEBLOCK_ORDER;
}

static inline unsigned pcp_index(unsigned order, enum migratetype type)
{
	unsigned row = order <= PCP_MAX_SMALL_ORDER ? order : PCP_MAX_SMALL_ORDER + 1;

	return NR_PCP_TYPES * row + type;
}

static inline unsigned pcp_order(unsigned index)
{
	unsigned row = index / NR_PCP_TYPES;

	return row <= PCP_MAX_SMALL_ORDER ? row : PAGEBLOCK_ORDER;
}

/* The zone's free-page counter, with the zone's lock held. */
static inline void mod_free_pages(struct zone *zone, uint32_t cpu, long delta)
{
	struct zone_stat *stat = &zone->stats[cpu];
	long sum = stat->nr_free_pages + delta;

	if (sum > stat->threshold || sum < -stat->threshold) {
		atomic_fetch_add_explicit(&zone->nr_free_pages, sum, memory_order_relaxed);
		sum = 0;
	}
	stat->nr_free_pages = (int8_t)sum;
}

/* The direct path of an allocation. */
static inline struct page *zone_take(struct zone *zone, uint32_t cpu, unsigned order, enum migratetype type,
				     bool wakes_kswapd)
{
	struct page *page;

	lock_take(&zone->lock);
	page = take_any(zone, order, type, wakes_kswapd);
	if (page) {
		mod_free_pages(zone, cpu, -(1l << order));
		zone->nr_alloc_events += 1ul << order;
	}
	lock_give(&zone->lock);
	return page;
}

/* The direct path of a free. */
static inline void zone_put(struct zone *zone, uint32_t cpu, struct page *page, unsigned order)
{
	enum migratetype type = pageblock_type(zone, page);

	lock_take(&zone->lock);
	mod_free_pages(zone, cpu, 1l << order);
	free_block(zone, page, order, type, false);
	zone->nr_free_events += 1ul << order;
	lock_give(&zone->lock);
}

static __attribute__((noinline)) void pcp_refill(struct zone *zone, uint32_t cpu, struct pcp *pcp, unsigned order,
						 enum migratetype type, bool wakes_kswapd)
{
	struct list_head *list = &pcp->list[pcp_index(order, type)];
	int wanted = pcp->batch, taken = 0;

	if (wanted > 1)
		wanted = wanted >> order > 2 ? wanted >> order : 2;
	lock_take(&zone->lock);
	while (taken < wanted) {
		struct page *page = take_any(zone, order, type, wakes_kswapd);

		if (!page)
			break;
		list_push_back(&page->lru, list);
		taken++;
	}
	mod_free_pages(zone, cpu, -((long)taken << order));
	lock_give(&zone->lock);
	pcp->count += taken << order;
}

/* The lists' lock is held. */
static inline struct page *pcp_take(struct zone *zone, uint32_t cpu, struct pcp *pcp, unsigned order,
				    enum migratetype type, bool wakes_kswapd)
{
	struct list_head *list = &pcp->list[pcp_index(order, type)];
	struct page *page;

	if (list_is_empty(list)) {
		pcp_refill(zone, cpu, pcp, order, type, wakes_kswapd);
		if (list_is_empty(list))
			return NULL;
	}
	page = container_of(list->next, struct page, lru);
	list_remove(&page->lru);
	pcp->count -= 1 << order;
	return page;
}

/* Returns `n` pages or a few more to the zone: round robin over the lists, from their tails. */
static __attribute__((noinline)) void pcp_free_bulk(struct zone *zone, uint32_t cpu, struct pcp *pcp, int n)
{
	struct list_head work;
	unsigned index = 0;
	long quota = 0;
	int left = n < pcp->count ? n : pcp->count, taken = 0;

	list_init(&work);
	while (left > 0) {
		struct list_head *list;
		unsigned order;

		do {
			quota++;
			if (++index == NR_PCP_LISTS)
				index = 0;
			list = &pcp->list[index];
		} while (list_is_empty(list));
		if (quota == NR_PCP_LISTS)
			quota = left; /* the only list with pages */
		order = pcp_order(index);
		do {
			struct page *page = container_of(list->prev, struct page, lru);

			list_move_to_back(&page->lru, &work);
			page->order = order;
			left -= 1 << order;
			taken += 1 << order;
		} while (left > 0 && --quota && !list_is_empty(list));
	}
	pcp->count -= taken;
	lock_take(&zone->lock);
	while (!list_is_empty(&work)) {
		struct page *page = container_of(work.next, struct page, lru);
		unsigned order = (unsigned)page->order;

		list_remove(&page->lru);
		mod_free_pages(zone, cpu, 1l << order);
		free_block(zone, page, order, page->pcp_type, false);
	}
	lock_give(&zone->lock);
}

/* How many pages a list that is too long gives back; more each time in a row. */
static inline int pcp_nr_to_free(struct pcp *pcp)
{
	int most = pcp->high - pcp->batch, nr;

	if (pcp->high < pcp->batch)
		return 1;
	nr = pcp->batch << pcp->free_factor;
	if (nr < most)
		pcp->free_factor++;
	if (nr < pcp->batch)
		nr = pcp->batch;
	return nr < most ? nr : most;
}

/* The lists' lock is held. */
static inline void pcp_put(struct zone *zone, uint32_t cpu, struct pcp *pcp, struct page *page, unsigned order)
{
	enum migratetype type = pageblock_type(zone, page);

	page->pcp_type = type;
	pcp->nr_free_events++;
	list_push_front(&page->lru, &pcp->list[pcp_index(order, type < NR_PCP_TYPES ? type : MOVABLE)]);
	pcp->count += 1 << order;
	if (pcp->count >= pcp->high)
		pcp_free_bulk(zone, cpu, pcp, pcp_nr_to_free(pcp));
}

static inline struct page *pcp_or_zone_take(struct zone *zone, uint32_t cpu, unsigned order, enum migratetype type,
					    bool wakes_kswapd)
{
	struct pcp *pcp = &zone->pcps[cpu];
	struct page *page;

	if (!is_pcp_order(order) || !lock_try(&pcp->lock))
		return zone_take(zone, cpu, order, type, wakes_kswapd);
	pcp->free_factor >>= 1;
	page = pcp_take(zone, cpu, pcp, order, type, wakes_kswapd);
	if (page) {
		pcp->nr_alloc_events++;
		pcp->nr_numa_local++;
	}
	lock_give(&pcp->lock);
	return page;
}

static inline void pcp_or_zone_put(struct zone *zone, uint32_t cpu, struct page *page, unsigned order)
{
	struct pcp *pcp = &zone->pcps[cpu];

	if (!is_pcp_order(order) || !lock_try(&pcp->lock)) {
		zone_put(zone, cpu, page, order);
		return;
	}
	pcp_put(zone, cpu, pcp, page, order);
	lock_give(&pcp->lock);
}
