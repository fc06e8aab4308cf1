/*
 * shared_queue/pages.c - the memory of the bodies that are longer than a record has room for.
 *
 * Owns      page_of, next_page, allocator, next_free_page; a record's first_page and extents.
 * Stands on locks/lockword.  State  none.
 *
 * Invariants
 *   G1  A page's word is the reservation that has it, 0 when it is free. It is set under the
 *       allocator's latch alone, and cleared without it.
 *   G2  The record has its reservation before a page has it. So what a thread had taken when it died
 *       is found by the reservation, whatever the chain says.
 *   G3  A body has as many pages as its size needs, chained in the order of its bytes. They lie beside
 *       each other where so many do; else the lowest free ones are taken. So a body fits whenever
 *       enough pages are free.
 * Blocks    never; -EAGAIN with the latch as the obstacle.
 */
#include "shared_queue/internal.h"

#include <errno.h>

enum { SPINS = 100 };

static uint32_t
pages_for(uint64_t size)
{
	return (uint32_t)((size + IPK_QUEUE_PAGE - 1) / IPK_QUEUE_PAGE);
}

static int
latch(const struct ipk_queue *queue, const struct ipk_party *party, struct ipk_obstacle *obstacle)
{
	uint32_t *word = &queue->head->allocator;
	uint32_t seen = LOAD_ACQUIRE(word);
	uint32_t extra = obstacle->waited ? IPK_WAITERS : 0;

	for (uint32_t spin = 0; spin < SPINS; spin++) {
		uint32_t owner = seen & IPK_OWNER_MASK;
		int dead = owner ? ipk_owner_dead(queue->slots, IPK_QUEUE_SLOTS, owner) : 0;
		uint32_t mine = party->owner | (seen & IPK_WAITERS) | extra;

		if (dead < 0)
			return dead;
		if ((!owner || dead) &&
		    /* Release: a thread that sees this owner also sees that it lives. */
		    __atomic_compare_exchange_n(word, &seen, mine, 0, __ATOMIC_ACQ_REL,
						__ATOMIC_ACQUIRE))
			return 0;
		if (owner && !dead) {
			cpu_relax();
			seen = LOAD_ACQUIRE(word);
		}
	}
	obstacle->kind = IPK_LATCH;
	obstacle->word = word;
	obstacle->seen = seen;
	return -EAGAIN;
}

static void
unlatch(const struct ipk_queue *queue)
{
	if (__atomic_exchange_n(&queue->head->allocator, 0, __ATOMIC_RELEASE) & IPK_WAITERS)
		ipk_wake(&queue->head->allocator, 1);
}

/* `count` free pages beside each other, from `start` on; the first, or UINT32_MAX. */
static uint32_t
find_run(const struct ipk_queue *queue, uint32_t start, uint32_t end, uint32_t count)
{
	uint32_t run = 0;

	for (uint32_t page = start; page < end; page++) {
		run = LOAD_ACQUIRE(&queue->page_of[page]) ? 0 : run + 1;
		if (run == count)
			return page + 1 - count;
	}
	return UINT32_MAX;
}

static void
take_run(const struct ipk_queue *queue, struct ipk_queue_record *record, uint32_t first,
	 uint32_t count)
{
	for (uint32_t page = first; page < first + count; page++) {
		STORE_RELAXED(&queue->page_of[page], LOAD_RELAXED(&record->reservation));
		STORE_RELAXED(&queue->next_page[page], page + 1 < first + count ? page + 2 : 0);
	}
	STORE_RELAXED(&record->first_page, first + 1);
	STORE_RELAXED(&record->extents, 1);
}

/* The lowest free pages, if there are enough: count them, then take them. No other thread takes one
 * at that time, so what was free stays free. */
static int
take_scattered(const struct ipk_queue *queue, struct ipk_queue_record *record, uint32_t count)
{
	uint32_t found = 0;
	uint32_t last = UINT32_MAX;
	uint32_t extents = 0;

	for (uint32_t page = 0; page < queue->shape.pages && found < count; page++)
		found += LOAD_ACQUIRE(&queue->page_of[page]) == 0;
	if (found < count)
		return -ENOSPC;
	for (uint32_t page = 0; count && page < queue->shape.pages; page++) {
		if (LOAD_ACQUIRE(&queue->page_of[page]))
			continue;
		STORE_RELAXED(&queue->page_of[page], LOAD_RELAXED(&record->reservation));
		STORE_RELAXED(&queue->next_page[page], 0);
		extents += last == UINT32_MAX || last + 1 != page;
		if (last == UINT32_MAX)
			STORE_RELAXED(&record->first_page, page + 1);
		else
			STORE_RELAXED(&queue->next_page[last], page + 1);
		last = page;
		count--;
	}
	STORE_RELAXED(&record->extents, extents);
	return 0;
}

int
ipk_queue_pages_take(const struct ipk_queue *queue, const struct ipk_party *party,
		     struct ipk_queue_record *record, uint64_t size, struct ipk_obstacle *obstacle)
{
	uint32_t count = pages_for(size);
	uint32_t start;
	uint32_t first;
	int code = latch(queue, party, obstacle);

	if (code)
		return code;
	start = LOAD_RELAXED(&queue->head->next_free_page) % queue->shape.pages;
	first = find_run(queue, start, queue->shape.pages, count);
	if (first == UINT32_MAX && start)
		first = find_run(queue, 0, queue->shape.pages, count);
	if (first == UINT32_MAX) {
		code = take_scattered(queue, record, count);
	} else {
		take_run(queue, record, first, count);
		STORE_RELAXED(&queue->head->next_free_page, first + count);
	}
	unlatch(queue);
	return code;
}

void
ipk_queue_pages_free(const struct ipk_queue *queue, struct ipk_queue_record *record)
{
	uint64_t reservation = LOAD_RELAXED(&record->reservation);
	uint32_t page = LOAD_RELAXED(&record->first_page);

	for (uint32_t hops = 0; page && page <= queue->shape.pages && hops < queue->shape.pages; hops++) {
		uint32_t next = LOAD_RELAXED(&queue->next_page[page - 1]);

		if (LOAD_RELAXED(&queue->page_of[page - 1]) != reservation)
			break;
		STORE_RELEASE(&queue->page_of[page - 1], 0);
		page = next;
	}
	STORE_RELAXED(&record->reservation, 0);
}

void
ipk_queue_pages_reclaim(const struct ipk_queue *queue, struct ipk_queue_record *record)
{
	uint64_t reservation = LOAD_RELAXED(&record->reservation);

	for (uint32_t page = 0; reservation && page < queue->shape.pages; page++) {
		uint64_t seen = reservation;

		if (LOAD_RELAXED(&queue->page_of[page]) == reservation)
			(void)COMPARE_EXCHANGE(&queue->page_of[page], &seen, 0);
	}
	STORE_RELAXED(&record->reservation, 0);
}

uint32_t
ipk_queue_pages_left(const struct ipk_queue *queue)
{
	uint32_t left = 0;

	for (uint32_t page = 0; page < queue->shape.pages; page++)
		left += LOAD_RELAXED(&queue->page_of[page]) == 0;
	return left;
}

int
ipk_queue_next_extent(const struct ipk_queue *queue, uint32_t index, struct ipk_queue_extent *extent)
{
	struct ipk_queue_record *record = &queue->records[index];
	uint64_t size = extent->total;
	uint32_t pages = queue->shape.pages;
	uint32_t page = extent->next_page;
	uint64_t room = IPK_QUEUE_PAGE;

	extent->offset += extent->size;
	if (!LOAD_RELAXED(&record->reservation)) {
		if (size > IPK_QUEUE_INLINE)
			return -EUCLEAN;
		extent->start = record->body;
		extent->size = size - extent->offset;
		return extent->size != 0;
	}
	if (extent->offset == 0)
		page = LOAD_RELAXED(&record->first_page);
	if (extent->offset == size)
		return 0;
	if (extent->offset > size || size > (uint64_t)pages * IPK_QUEUE_PAGE || !page || page > pages)
		return -EUCLEAN;
	extent->start = queue->pages + (uint64_t)(page - 1) * IPK_QUEUE_PAGE;
	extent->next_page = LOAD_RELAXED(&queue->next_page[page - 1]);
	while (room < size - extent->offset && extent->next_page == page + 1 && page < pages) {
		page++;
		room += IPK_QUEUE_PAGE;
		extent->next_page = LOAD_RELAXED(&queue->next_page[page - 1]);
	}
	extent->size = room < size - extent->offset ? room : size - extent->offset;
	return 1;
}
