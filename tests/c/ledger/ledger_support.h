/*
 * ledger_support.h - a small ledger and its processes, all played by one.
 */
#ifndef LEDGER_SUPPORT_H
#define LEDGER_SUPPORT_H

#include "ledger/internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	RECORDS = 8,
	BLOCKS = 24,
	SLABS = 2,
	WORKERS = 2,
	TASK_WORKERS = 2,
	PLACES = 2 * (WORKERS + TASK_WORKERS),
	MANAGER = PLACES,
	TAKER = 2 * WORKERS, /* the first place of task worker 0 */
};

/* A party to the ledger: what a process has of it. */
struct party {
	struct ipk_ledger ledger;
	uint32_t woken_in[PLACES];
	uint32_t recent[RECORDS];
};

static const struct ipk_ledger_shape small = {RECORDS, BLOCKS, WORKERS, TASK_WORKERS, SLABS};
static struct party parties[PLACES + 1];
static int wakeups[PLACES + 1];
static void *memory;
static uint64_t memory_bytes;

static void
be(struct party *party, uint32_t place)
{
	if (ipk_ledger_attach(&party->ledger, memory, memory_bytes))
		abort();
	memset(party->woken_in, 0, sizeof(party->woken_in));
	ipk_ledger_set_place(&party->ledger, place, wakeups, party->woken_in, party->recent);
}

/* Memory for a ledger, and the wakeups. */
static void
make_memory(void)
{
	memory_bytes = (uint64_t)ipk_ledger_bytes(&small);
	memory = mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		abort();
	for (int i = 0; i <= PLACES; i++)
		wakeups[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

/* An empty ledger, all places taken. */
static void
begin_again(void)
{
	memset(memory, 0, memory_bytes - SLABS * IPK_LEDGER_SLAB); /* what slabs hold is free */
	if (ipk_ledger_format(memory, memory_bytes, &small))
		abort();
	for (uint32_t place = 0; place <= PLACES; place++) {
		uint64_t rings;

		be(&parties[place], place);
		while (read(wakeups[place], &rings, sizeof(rings)) > 0)
			;
	}
}

static inline struct ipk_ledger *
at(uint32_t place)
{
	return &parties[place].ledger;
}

/* How often it was woken since the last time. */
static inline uint64_t
wakeups_of(uint32_t place)
{
	uint64_t rings = 0;

	return read(wakeups[place], &rings, sizeof(rings)) > 0 ? rings : 0;
}

/* A body that follows from its length. */
static inline void
body_of(unsigned char *bytes, uint64_t size)
{
	for (uint64_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)(size * 7 + i * 13);
}

/* Put a task together and let it go; its id, or -errno. */
static inline int64_t
post(struct ipk_ledger *ledger, uint64_t size, int32_t dst, uint64_t order, int64_t due)
{
	static unsigned char bytes[IPK_LEDGER_SLAB + 1];
	struct ipk_ledger_lease lease;
	int code = ipk_ledger_take(ledger, &lease);

	if (code)
		return code;
	body_of(bytes, size);
	code = ipk_ledger_put_body(ledger, lease.record, bytes, size);
	if (code) {
		if (ipk_ledger_end(ledger, &lease) == 0)
			ipk_ledger_clear(ledger, &lease);
		return code;
	}
	ledger->record[lease.record].dst = dst;
	if (order)
		ipk_ledger_order(ledger, lease.record, order);
	ipk_ledger_publish(ledger, &lease, due);
	return (int64_t)ipk_ledger_turn_of(lease.word);
}

/* Whether a body is whole. */
static inline int
is_whole(const struct ipk_ledger *ledger, const struct ipk_ledger_body *body)
{
	static unsigned char wanted[IPK_LEDGER_SLAB];
	static unsigned char found[IPK_LEDGER_SLAB];

	if (body->size > IPK_LEDGER_SLAB)
		return 0;
	body_of(wanted, body->size);
	return ipk_ledger_body_bytes(ledger, body, found, sizeof(found)) == body->size &&
	       memcmp(wanted, found, body->size) == 0;
}

#endif
