/* Making a zone and looking at it. */
#include "zone.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ROUND_UP(x, to) (((x) + (to)-1) / (to) * (to))
#define MAX_BLOCK (1ul << (MAX_ORDER - 1))

static void *cache_aligned_zeroes(size_t bytes)
{
	void *memory = aligned_alloc(CACHE_LINE, ROUND_UP(bytes, CACHE_LINE));

	if (memory)
		memset(memory, 0, bytes);
	return memory;
}

/* Hands the memory over: the largest aligned blocks that fit, ascending, to the ends of the lists. */
static void free_all(struct zone *zone)
{
	uint64_t pfn = zone->start_pfn;

	while (pfn < zone->end_pfn) {
		unsigned order = MAX_ORDER - 1;
		struct page *page = pfn_page(zone, pfn);

		while (pfn & ((1ul << order) - 1) || pfn + (1ul << order) > zone->end_pfn)
			order--;
		free_block(zone, page, order, pageblock_type(zone, page), true);
		pfn += 1ul << order;
	}
	zone->managed = zone->end_pfn - zone->start_pfn;
	atomic_store(&zone->nr_free_pages, (long)zone->managed);
}

void pbc_destroy(struct zone *zone)
{
	if (!zone)
		return;
	if (zone->pages)
		munmap(zone->pages, zone->pages_bytes);
	free(zone->pageblock_types);
	free(zone->pcps);
	free(zone->stats);
	free(zone);
}

struct zone *pbc_create(const struct pbc_config *config)
{
	struct zone *zone = cache_aligned_zeroes(sizeof(*zone));
	void *map;

	if (!zone)
		return NULL;
	zone->base_pfn = config->start_pfn / MAX_BLOCK * MAX_BLOCK;
	zone->nr_pages = ROUND_UP(config->end_pfn, MAX_BLOCK) - zone->base_pfn;
	zone->start_pfn = config->start_pfn;
	zone->end_pfn = config->end_pfn;
	zone->nr_cpus = config->nr_cpus;
	zone->watermark_boost_factor = config->watermark_boost_factor;
	memcpy(zone->watermark, config->watermark, sizeof(zone->watermark));
	lock_init(&zone->lock);
	for (unsigned order = 0; order < MAX_ORDER; order++) {
		for (unsigned type = 0; type < NR_MIGRATETYPES; type++)
			list_init(&zone->free_area[order].list[type]);
	}
	zone->pageblock_types = malloc(zone->nr_pages >> PAGEBLOCK_ORDER);
	zone->pcps = cache_aligned_zeroes(config->nr_cpus * sizeof(struct pcp));
	zone->stats = cache_aligned_zeroes(config->nr_cpus * sizeof(struct zone_stat));
	zone->pages_bytes = zone->nr_pages * sizeof(struct page);
	map = mmap(NULL, zone->pages_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED || !zone->pageblock_types || !zone->pcps || !zone->stats) {
		pbc_destroy(zone);
		return NULL;
	}
	madvise(map, zone->pages_bytes, config->huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	zone->pages = map;
	/* A pageblock whose first page is not in the zone keeps the type of zeroed memory. */
	for (uint64_t i = 0; i < zone->nr_pages; i += PAGEBLOCK_NR_PAGES)
		zone->pageblock_types[i >> PAGEBLOCK_ORDER] = zone->base_pfn + i >= zone->start_pfn ? MOVABLE : UNMOVABLE;
	for (uint32_t cpu = 0; cpu < config->nr_cpus; cpu++) {
		struct pcp *pcp = &zone->pcps[cpu];

		lock_init(&pcp->lock);
		pcp->high = (int)config->pcp_high;
		pcp->batch = (int)config->pcp_batch;
		for (unsigned index = 0; index < NR_PCP_LISTS; index++)
			list_init(&pcp->list[index]);
		zone->stats[cpu].threshold = (int8_t)config->stat_threshold;
	}
	free_all(zone);
	return zone;
}

static uint64_t copy_list(const struct zone *zone, const struct list_head *head, uint64_t *pfns, uint64_t room)
{
	uint64_t n = 0;

	for (const struct list_head *at = head->next; at != head; at = at->next, n++) {
		if (n < room)
			pfns[n] = page_pfn(zone, container_of(at, struct page, lru));
	}
	return n;
}

uint64_t pbc_free_list(const struct zone *zone, unsigned order, unsigned migratetype, uint64_t *pfns, uint64_t room)
{
	return copy_list(zone, &zone->free_area[order].list[migratetype], pfns, room);
}

uint64_t pbc_pcp_list(const struct zone *zone, uint32_t cpu, unsigned index, uint64_t *pfns, uint64_t room)
{
	return copy_list(zone, &zone->pcps[cpu].list[index], pfns, room);
}

uint32_t pbc_pcp_free_factor(const struct zone *zone, uint32_t cpu)
{
	return (uint32_t)zone->pcps[cpu].free_factor;
}

uint32_t pbc_pageblock_type(const struct zone *zone, uint64_t pfn)
{
	return pageblock_type(zone, pfn_page(zone, pfn));
}

int64_t pbc_nr_free_pages(const struct zone *zone)
{
	int64_t sum = atomic_load(&zone->nr_free_pages);

	for (uint32_t cpu = 0; cpu < zone->nr_cpus; cpu++)
		sum += zone->stats[cpu].nr_free_pages;
	return sum;
}

uint64_t pbc_nr_blocks(const struct zone *zone, unsigned order)
{
	return zone->free_area[order].nr_free;
}

uint64_t pbc_watermark_boost(const struct zone *zone)
{
	return atomic_load(&zone->watermark_boost);
}

uint64_t pbc_nr_fallbacks(const struct zone *zone)
{
	return zone->nr_fallbacks;
}

const char *pbc_build(void)
{
#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif
#if !defined(__OPTIMIZE__)
#define SLOWED_DOWN ", not optimised"
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOWED_DOWN ", with a sanitizer"
#else
#define SLOWED_DOWN ""
#endif
	return COMPILER SLOWED_DOWN ", lock flavour " PBC_LOCK_NAME;
}
