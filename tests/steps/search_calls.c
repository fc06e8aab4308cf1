/*
 * search_calls.c - what the sources under test call: of the thread sanitizer, before each access,
 * and of libc (search.h).
 */
#include "search_inside.h"

#include <string.h>
#include <time.h>

/* -- in place of libc -- */

void *
search_memcpy(void *to, const void *from, size_t bytes)
{
	enum { PART = 64 };

	search_all_arrive();
	for (size_t at = 0; at < bytes; at += PART) {
		if (search_is_shared(to) || search_is_shared(from))
			search_step();
		memcpy((char *)to + at, (const char *)from + at,
		       bytes - at < PART ? bytes - at : PART);
	}
	return to;
}

long
search_write(int event, const void *bytes, size_t size)
{
	(void)bytes;
	search_exchange(NULL);
	search_events[event]++;
	return (long)size;
}

int
search_clock(int clock, struct timespec *now)
{
	(void)clock;
	now->tv_sec = 0;
	now->tv_nsec = (long)search_clock_ns();
	return 0;
}

/* -- in place of the sanitizer -- */

void __tsan_init(void);
void __tsan_init(void) {}

void __tsan_atomic_thread_fence(int order);
void
__tsan_atomic_thread_fence(int order)
{
	if (order == __ATOMIC_SEQ_CST)
		search_all_arrive();
}

#define PLAIN(name, bytes)                                                                         \
	void __tsan_##name(void *place);                                                           \
	void __tsan_##name(void *place)                                                            \
	{                                                                                          \
		search_plain(place, bytes);                                                               \
	}

PLAIN(read1, 1)
PLAIN(read2, 2)
PLAIN(read4, 4)
PLAIN(read8, 8)
PLAIN(read16, 16)
PLAIN(write1, 1)
PLAIN(write2, 2)
PLAIN(write4, 4)
PLAIN(write8, 8)
PLAIN(write16, 16)
PLAIN(unaligned_read2, 2)
PLAIN(unaligned_read4, 4)
PLAIN(unaligned_read8, 8)
PLAIN(unaligned_read16, 16)
PLAIN(unaligned_write2, 2)
PLAIN(unaligned_write4, 4)
PLAIN(unaligned_write8, 8)
PLAIN(unaligned_write16, 16)

void __tsan_read_range(void *place, size_t bytes);
void
__tsan_read_range(void *place, size_t bytes)
{
	search_plain(place, (uint32_t)bytes);
}

void __tsan_write_range(void *place, size_t bytes);
void
__tsan_write_range(void *place, size_t bytes)
{
	search_plain(place, (uint32_t)bytes);
}

#define EXCHANGE(type, bits, name, become)                                                         \
	type __tsan_atomic##bits##_##name(type *place, type value, int order);                     \
	type __tsan_atomic##bits##_##name(type *place, type value, int order)                      \
	{                                                                                          \
		type before;                                                                       \
		(void)order;                                                                       \
		search_exchange(place);                                                            \
		before = *place;                                                                   \
		*place = (type)(become);                                                           \
		return before;                                                                     \
	}

#define ATOMIC(type, bits)                                                                         \
	type __tsan_atomic##bits##_load(const type *place, int order);                             \
	type __tsan_atomic##bits##_load(const type *place, int order)                              \
	{                                                                                          \
		(void)order;                                                                       \
		return (type)search_load(place, sizeof(type));                                            \
	}                                                                                          \
	void __tsan_atomic##bits##_store(type *place, type value, int order);                      \
	void __tsan_atomic##bits##_store(type *place, type value, int order)                       \
	{                                                                                          \
		search_store(place, (uint64_t)value, sizeof(type), order);                       \
	}                                                                                          \
	EXCHANGE(type, bits, exchange, value)                                                      \
	EXCHANGE(type, bits, fetch_add, before + value)                                            \
	EXCHANGE(type, bits, fetch_sub, before - value)                                            \
	EXCHANGE(type, bits, fetch_or, before | value)                                             \
	EXCHANGE(type, bits, fetch_and, before & value)                                            \
	int __tsan_atomic##bits##_compare_exchange_strong(type *place, type *seen, type value,     \
							  int order, int failure);                 \
	int __tsan_atomic##bits##_compare_exchange_strong(type *place, type *seen, type value,     \
							  int order, int failure)                  \
	{                                                                                          \
		(void)order;                                                                       \
		(void)failure;                                                                     \
		search_exchange(place);                                                            \
		if (*place != *seen) {                                                             \
			*seen = *place;                                                            \
			return 0;                                                                  \
		}                                                                                  \
		*place = value;                                                                    \
		return 1;                                                                          \
	}

ATOMIC(uint32_t, 32)
ATOMIC(uint64_t, 64)
