/* All of the variant in one translation unit, so that the compiler sees through every call. */
#define _GNU_SOURCE

#ifndef __OPTIMIZE__
#error "the C variant must be built with -O3: anything else would not be a fair opponent"
#endif

#include "buddy.c"
#include "fallback.c"
#include "pcp.c"
#include "machine.c"
#include "life.c"
