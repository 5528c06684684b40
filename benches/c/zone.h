/* Pages, zones and per-cpu lists. */
#ifndef PBC_ZONE_H
#define PBC_ZONE_H

#include "list.h"
#include "lock.h"
#include "variant.h"

#define MAX_ORDER 11
#define PAGEBLOCK_ORDER 9
#define PAGEBLOCK_NR_PAGES (1ul << PAGEBLOCK_ORDER)
#define PCP_MAX_SMALL_ORDER 3
#define CACHE_LINE 64

enum migratetype {
	UNMOVABLE,
	MOVABLE,
	RECLAIMABLE,
	NR_PCP_TYPES,
	HIGHATOMIC = NR_PCP_TYPES,
	ISOLATE,
	NR_MIGRATETYPES
};

/* Orders 0 to 3 and the pageblock order, three types each. */
#define NR_PCP_LISTS (NR_PCP_TYPES * (PCP_MAX_SMALL_ORDER + 2))

#define PAGE_LRU 1ul
#define MAPPING_MOVABLE 2ul
#define MAPPING_BITS 3ul

enum page_type { PAGE_USED, PAGE_BUDDY };

struct page {
	unsigned long flags;
	struct list_head lru;
	unsigned long mapping;
	unsigned long pcp_type; /* the migratetype it returns to when it leaves a per-cpu list */
	unsigned long order;    /* of a free block, in its first page */
	unsigned type;
	atomic_int refcount;
	unsigned long owner;
};
_Static_assert(sizeof(struct page) == 64, "the kernel's struct page takes 64 bytes");

struct free_area {
	struct list_head list[NR_MIGRATETYPES];
	unsigned long nr_free;
};

struct pcp {
	struct lock lock;
	int count;
	int high;
	int batch;
	int free_factor;
	struct list_head list[NR_PCP_LISTS];
	/* Events counted by whoever holds the lock. */
	uint64_t nr_alloc_events;
	uint64_t nr_free_events;
	uint64_t nr_numa_local;
} __attribute__((aligned(CACHE_LINE)));

/* One cpu's part of the zone's free-page counter; changed under the zone's lock. */
struct zone_stat {
	int8_t threshold;
	int8_t nr_free_pages;
} __attribute__((aligned(CACHE_LINE)));

struct zone {
	/* Hardly ever written. */
	struct page *pages; /* page of pfn 0 of the array, which begins at base_pfn */
	uint64_t base_pfn;
	uint64_t nr_pages;
	uint64_t start_pfn;
	uint64_t end_pfn;
	uint64_t managed;
	uint64_t watermark[3];
	uint64_t lowmem_reserve;
	uint8_t *pageblock_types;
	struct pcp *pcps;
	struct zone_stat *stats;
	uint32_t nr_cpus;
	uint32_t watermark_boost_factor;
	size_t pages_bytes;

	/* The lock and what it protects. */
	struct free_area free_area[MAX_ORDER] __attribute__((aligned(CACHE_LINE)));
	struct lock lock;
	uint64_t nr_alloc_events;
	uint64_t nr_free_events;
	uint64_t nr_fallbacks;

	/* Read without the lock. */
	atomic_ulong watermark_boost __attribute__((aligned(CACHE_LINE)));
	atomic_uint boosted;
	atomic_long nr_free_pages;
};

static inline uint64_t page_index(const struct zone *zone, const struct page *page)
{
	return (uint64_t)(page - zone->pages);
}

static inline uint64_t page_pfn(const struct zone *zone, const struct page *page)
{
	return zone->base_pfn + page_index(zone, page);
}

static inline struct page *pfn_page(const struct zone *zone, uint64_t pfn)
{
	return zone->pages + (pfn - zone->base_pfn);
}

static inline enum migratetype pageblock_type(const struct zone *zone, const struct page *page)
{
	return zone->pageblock_types[page_index(zone, page) >> PAGEBLOCK_ORDER];
}

static inline void set_pageblock_type(struct zone *zone, const struct page *page, enum migratetype type)
{
	zone->pageblock_types[page_index(zone, page) >> PAGEBLOCK_ORDER] = (uint8_t)type;
}

#endif
