/*
 * A page allocator with the kernel's rules and the kernel's shape, but in C and with locks: what
 * the lock-free engine is measured against. One zone, no isolation, no CMA, no HighAtomic reserve.
 *
 * The same sources are built once per lock flavour; PBC_NAME gives each build its own symbols.
 */
#ifndef PBC_VARIANT_H
#define PBC_VARIANT_H

#include <stdint.h>

#ifndef PBC_FLAVOUR
#error "PBC_FLAVOUR must be the suffix of this build's symbols"
#endif
#define PBC_PASTE(name, flavour) name##_##flavour
#define PBC_EXPAND(name, flavour) PBC_PASTE(name, flavour)
#define PBC_NAME(name) PBC_EXPAND(name, PBC_FLAVOUR)

#define PBC_NO_PAGE UINT64_MAX
/* As a cpu number: the one the caller runs on. */
#define PBC_CURRENT_CPU UINT32_MAX

struct pbc_config {
	uint64_t start_pfn; /* memory is start_pfn..end_pfn, all of it free at first */
	uint64_t end_pfn;
	uint64_t watermark[3]; /* min, low, high */
	uint32_t nr_cpus;
	uint32_t pcp_high;
	uint32_t pcp_batch;
	uint32_t stat_threshold;
	uint32_t watermark_boost_factor;
	uint32_t huge_pages; /* ask the operating system to map the page descriptors with huge pages */
};

struct zone;

#define pbc_create PBC_NAME(pbc_create)
#define pbc_destroy PBC_NAME(pbc_destroy)
#define pbc_build PBC_NAME(pbc_build)
#define pbc_zone_alloc PBC_NAME(pbc_zone_alloc)
#define pbc_zone_alloc_any PBC_NAME(pbc_zone_alloc_any)
#define pbc_zone_free PBC_NAME(pbc_zone_free)
#define pbc_zone_alloc_bulk PBC_NAME(pbc_zone_alloc_bulk)
#define pbc_zone_free_bulk PBC_NAME(pbc_zone_free_bulk)
#define pbc_pcp_alloc PBC_NAME(pbc_pcp_alloc)
#define pbc_pcp_free PBC_NAME(pbc_pcp_free)
#define pbc_alloc_pages PBC_NAME(pbc_alloc_pages)
#define pbc_free_pages PBC_NAME(pbc_free_pages)
#define pbc_alloc_pages_bulk PBC_NAME(pbc_alloc_pages_bulk)
#define pbc_free_page_list PBC_NAME(pbc_free_page_list)
#define pbc_drain PBC_NAME(pbc_drain)
#define pbc_free_list PBC_NAME(pbc_free_list)
#define pbc_pcp_list PBC_NAME(pbc_pcp_list)
#define pbc_pcp_free_factor PBC_NAME(pbc_pcp_free_factor)
#define pbc_pageblock_type PBC_NAME(pbc_pageblock_type)
#define pbc_nr_free_pages PBC_NAME(pbc_nr_free_pages)
#define pbc_nr_blocks PBC_NAME(pbc_nr_blocks)
#define pbc_watermark_boost PBC_NAME(pbc_watermark_boost)
#define pbc_nr_fallbacks PBC_NAME(pbc_nr_fallbacks)

/* NULL if the operating system gives no memory. */
struct zone *pbc_create(const struct pbc_config *config);
void pbc_destroy(struct zone *zone);
/* Compiler, optimisation and lock flavour, as this very object file was compiled. */
const char *pbc_build(void);

/* The zone alone, one lock per call: smallest fit on one migratetype's lists. */
uint64_t pbc_zone_alloc(struct zone *zone, unsigned order, unsigned migratetype);
/* The same, falling back to other migratetypes and stealing from them. */
uint64_t pbc_zone_alloc_any(struct zone *zone, unsigned order, unsigned migratetype);
void pbc_zone_free(struct zone *zone, uint64_t pfn, unsigned order);
/* Several blocks under one lock. */
uint32_t pbc_zone_alloc_bulk(struct zone *zone, unsigned order, unsigned migratetype, uint32_t n, uint64_t *pfns);
void pbc_zone_free_bulk(struct zone *zone, unsigned order, uint32_t n, const uint64_t *pfns);

/* The per-cpu lists, or the zone if somebody else is using them. */
uint64_t pbc_pcp_alloc(struct zone *zone, uint32_t cpu, unsigned order, unsigned migratetype);
void pbc_pcp_free(struct zone *zone, uint32_t cpu, uint64_t pfn, unsigned order);

/* The whole path: flags, watermarks, per-cpu lists or zone, counters, references. */
uint64_t pbc_alloc_pages(struct zone *zone, uint32_t cpu, uint32_t gfp, unsigned order);
void pbc_free_pages(struct zone *zone, uint32_t cpu, uint64_t pfn, unsigned order);
uint32_t pbc_alloc_pages_bulk(struct zone *zone, uint32_t cpu, uint32_t gfp, uint32_t n, uint64_t *pfns);
void pbc_free_page_list(struct zone *zone, uint32_t cpu, uint32_t n, const uint64_t *pfns);
void pbc_drain(struct zone *zone, uint32_t cpu);

/* Looking at a zone that nobody changes; lists are copied up to `room` entries, head first. */
uint64_t pbc_free_list(const struct zone *zone, unsigned order, unsigned migratetype, uint64_t *pfns, uint64_t room);
uint64_t pbc_pcp_list(const struct zone *zone, uint32_t cpu, unsigned index, uint64_t *pfns, uint64_t room);
uint32_t pbc_pcp_free_factor(const struct zone *zone, uint32_t cpu);
uint32_t pbc_pageblock_type(const struct zone *zone, uint64_t pfn);
int64_t pbc_nr_free_pages(const struct zone *zone);
uint64_t pbc_nr_blocks(const struct zone *zone, unsigned order);
uint64_t pbc_watermark_boost(const struct zone *zone);
uint64_t pbc_nr_fallbacks(const struct zone *zone);

#endif
