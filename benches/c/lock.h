/* The three lock flavours; a build has one of them, chosen by PBC_LOCK. */
#ifndef PBC_LOCK_H
#define PBC_LOCK_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#define PBC_LOCK_PAUSE 1 /* test and test-and-set, pausing while the lock is held */
#define PBC_LOCK_YIELD 2 /* the same, but gives the processor away after a while */
#define PBC_LOCK_MUTEX 3 /* pthread mutex */

#if PBC_LOCK == PBC_LOCK_PAUSE
#define PBC_LOCK_NAME "pause"
#elif PBC_LOCK == PBC_LOCK_YIELD
#define PBC_LOCK_NAME "yield"
#elif PBC_LOCK == PBC_LOCK_MUTEX
#define PBC_LOCK_NAME "mutex"
#else
#error "PBC_LOCK must be one of the flavours"
#endif

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#endif
}

#if PBC_LOCK == PBC_LOCK_PAUSE || PBC_LOCK == PBC_LOCK_YIELD

#define SPINS_BEFORE_YIELD 100

struct lock {
	atomic_uint held;
};

static inline void lock_init(struct lock *lock)
{
	atomic_init(&lock->held, 0);
}

static inline bool lock_try(struct lock *lock)
{
	return !atomic_load_explicit(&lock->held, memory_order_relaxed) &&
	       !atomic_exchange_explicit(&lock->held, 1, memory_order_acquire);
}

static inline void lock_take(struct lock *lock)
{
	while (atomic_exchange_explicit(&lock->held, 1, memory_order_acquire)) {
		unsigned spins = 0;

		while (atomic_load_explicit(&lock->held, memory_order_relaxed)) {
			if (PBC_LOCK == PBC_LOCK_YIELD && ++spins > SPINS_BEFORE_YIELD) {
				sched_yield();
				spins = 0;
			} else {
				cpu_relax();
			}
		}
	}
}

static inline void lock_give(struct lock *lock)
{
	atomic_store_explicit(&lock->held, 0, memory_order_release);
}

#elif PBC_LOCK == PBC_LOCK_MUTEX

struct lock {
	pthread_mutex_t mutex;
};

static inline void lock_init(struct lock *lock)
{
	pthread_mutex_init(&lock->mutex, NULL);
}

static inline bool lock_try(struct lock *lock)
{
	return pthread_mutex_trylock(&lock->mutex) == 0;
}

static inline void lock_take(struct lock *lock)
{
	pthread_mutex_lock(&lock->mutex);
}

static inline void lock_give(struct lock *lock)
{
	pthread_mutex_unlock(&lock->mutex);
}

#else
#error "PBC_LOCK must name one of the three lock flavours"
#endif

#endif
