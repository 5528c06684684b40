/* The buddy core: split, merge, smallest fit. The zone's lock is held throughout. */
#include "zone.h"

static inline bool is_free_block(const struct page *page, unsigned order)
{
	return page->type == PAGE_BUDDY && page->order == order;
}

static inline void mark_free(struct zone *zone, struct page *page, unsigned order)
{
	page->type = PAGE_BUDDY;
	page->order = order;
	zone->free_area[order].nr_free++;
}

static inline void take_off_list(struct zone *zone, struct page *page, unsigned order)
{
	list_remove(&page->lru);
	page->type = PAGE_USED;
	page->order = 0;
	zone->free_area[order].nr_free--;
}

static inline struct page *buddy_of(const struct zone *zone, const struct page *page, unsigned order)
{
	return zone->pages + (page_index(zone, page) ^ (1ul << order));
}

/* Is the buddy of the parent free as a whole, so that another merge is likely soon? */
static inline bool is_merge_likely(const struct zone *zone, const struct page *page, unsigned order)
{
	uint64_t parent = page_index(zone, page) & ~(1ul << order);

	if (order >= MAX_ORDER - 2)
		return false;
	return is_free_block(zone->pages + (parent ^ (2ul << order)), order + 1);
}

static inline void free_block(struct zone *zone, struct page *page, unsigned order, enum migratetype type,
			      bool to_back)
{
	struct list_head *list;

	while (order < MAX_ORDER - 1) {
		struct page *buddy = buddy_of(zone, page, order);

		if (!is_free_block(buddy, order))
			break;
		take_off_list(zone, buddy, order);
		if (buddy < page)
			page = buddy;
		order++;
	}
	mark_free(zone, page, order);
	list = &zone->free_area[order].list[type];
	if (to_back || is_merge_likely(zone, page, order))
		list_push_back(&page->lru, list);
	else
		list_push_front(&page->lru, list);
}

static inline struct page *take_smallest(struct zone *zone, unsigned order, enum migratetype type)
{
	for (unsigned found = order; found < MAX_ORDER; found++) {
		struct list_head *list = &zone->free_area[found].list[type];
		struct page *page;

		if (list_is_empty(list))
			continue;
		page = container_of(list->next, struct page, lru);
		take_off_list(zone, page, found);
		while (found > order) {
			struct page *rest = page + (1ul << --found);

			mark_free(zone, rest, found);
			list_push_front(&rest->lru, &zone->free_area[found].list[type]);
		}
		page->pcp_type = type;
		return page;
	}
	return NULL;
}
