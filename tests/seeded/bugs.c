/* bugs.c - wrong objects in shared memory, for the harness to find; one bug each. */
#include <sched.h>
#include <stdint.h>

int
seeded_add(volatile int64_t *number)
{
	int64_t value = *number;

	*number = value + 1; /* between the two another may add */
	return (int)(value + 1);
}

void
seeded_write(volatile int32_t *halves, int value)
{
	halves[0] = value;
	halves[1] = value; /* a reader, or a kill, may come before this */
}

int
seeded_read(const volatile int32_t *halves)
{
	return halves[0] == halves[1] ? halves[0] : -1;
}

/* A lock that its dead owner keeps. */
int
seeded_locked_add(int32_t *lock, volatile int64_t *number)
{
	int value;

	while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE))
		sched_yield();
	value = (int)++*number;
	__atomic_store_n(lock, 0, __ATOMIC_RELEASE);
	return value;
}

/* A free list: heads[0] is the first cell, heads[1 + i] what follows cell i; 0 is no cell. */
int
seeded_pop(int32_t *heads)
{
	int32_t first = __atomic_load_n(heads, __ATOMIC_ACQUIRE);
	int32_t second;

	do {
		if (!first)
			return 0;
		second = __atomic_load_n(heads + first, __ATOMIC_ACQUIRE);
		/* Here first may be taken, and be put back in front of another: the same value says
		 * nothing (ABA). */
	} while (!__atomic_compare_exchange_n(heads, &first, second, 0, __ATOMIC_ACQ_REL,
					      __ATOMIC_ACQUIRE));
	return first;
}

void
seeded_push(int32_t *heads, int cell)
{
	int32_t first = __atomic_load_n(heads, __ATOMIC_ACQUIRE);

	do
		__atomic_store_n(heads + cell, first, __ATOMIC_RELEASE);
	while (!__atomic_compare_exchange_n(heads, &first, cell, 0, __ATOMIC_ACQ_REL,
					    __ATOMIC_ACQUIRE));
}
