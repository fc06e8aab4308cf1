/*
 * shared_queue/layout.c - a queue's memory: what lies where, its head, and checking it.
 *
 * Owns      the head.  Stands on nothing.  State  none.  Blocks  never.
 * A head is written once, into memory that no other process can see yet. What may change is checked
 * at each use.
 */
#include "shared_queue/internal.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

enum { LAYOUT = 2, ORDER_OF_BYTES = 0x01020304, LEAST_RING_BITS = 4 };

static const char magic[8] = {'i', 'p', 'c', 'k', 'i', 't', '\n', 'Q'};

struct plan {
	uint64_t slots;
	uint64_t parts;
	uint64_t cells;
	uint64_t back;
	uint64_t page_of;
	uint64_t next_page;
	uint64_t records;
	uint64_t pages;
	uint64_t bytes;
	uint32_t ring_bits;
};

static uint64_t
behind(uint64_t start, uint64_t size, uint64_t to)
{
	return (start + size + to - 1) / to * to;
}

static int
make_plan(struct plan *plan, const struct ipk_queue_shape *shape)
{
	uint64_t messages = shape->messages;

	if (messages < 1 || messages > IPK_QUEUE_MAX_MESSAGES || shape->pages < 1 ||
	    shape->pages > INT32_MAX || shape->attempts > IPK_QUEUE_ATTEMPTS ||
	    shape->content >= IPK_QUEUE_CONTENTS)
		return -EINVAL;
	plan->ring_bits = LEAST_RING_BITS;
	while (UINT64_C(1) << plan->ring_bits < 2 * messages)
		plan->ring_bits++;
	plan->slots = behind(0, sizeof(struct ipk_queue_head), IPK_QUEUE_PAGE);
	plan->parts = behind(plan->slots, IPK_QUEUE_SLOTS * sizeof(struct ipk_slot), IPK_CACHE_LINE);
	plan->cells = behind(plan->parts, IPK_QUEUE_SLOTS * sizeof(struct ipk_queue_part),
			     IPK_CACHE_LINE);
	plan->back = behind(plan->cells, sizeof(uint64_t) << plan->ring_bits, IPK_CACHE_LINE);
	plan->page_of = behind(plan->back, (messages + IPK_QUEUE_MAP - 1) / IPK_QUEUE_MAP * sizeof(uint64_t),
			       IPK_CACHE_LINE);
	plan->next_page = behind(plan->page_of, shape->pages * sizeof(uint64_t), IPK_CACHE_LINE);
	plan->records = behind(plan->next_page, shape->pages * sizeof(uint32_t), IPK_QUEUE_PAGE);
	plan->pages = behind(plan->records, messages * sizeof(struct ipk_queue_record),
			     IPK_QUEUE_PAGE);
	plan->bytes = plan->pages + (uint64_t)shape->pages * IPK_QUEUE_PAGE;
	return 0;
}

/* FNV-1a: against accidents. */
static uint64_t
checksum(const struct ipk_queue_head *head)
{
	const unsigned char *byte = (const unsigned char *)head;
	uint64_t sum = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < offsetof(struct ipk_queue_head, checksum); i++)
		sum = (sum ^ byte[i]) * UINT64_C(0x100000001b3);
	return sum;
}

int64_t
ipk_queue_bytes(const struct ipk_queue_shape *shape)
{
	struct plan plan;
	int code = make_plan(&plan, shape);

	return code ? code : (int64_t)plan.bytes;
}

static void
view(struct ipk_queue *queue, void *base, const struct plan *plan,
     const struct ipk_queue_shape *shape)
{
	unsigned char *bytes = base;

	*queue = (struct ipk_queue){
		.head = base,
		.slots = (struct ipk_slot *)(bytes + plan->slots),
		.parts = (struct ipk_queue_part *)(bytes + plan->parts),
		.cells = (uint64_t *)(bytes + plan->cells),
		.back = (uint64_t *)(bytes + plan->back),
		.page_of = (uint64_t *)(bytes + plan->page_of),
		.next_page = (uint32_t *)(bytes + plan->next_page),
		.records = (struct ipk_queue_record *)(bytes + plan->records),
		.pages = bytes + plan->pages,
		.shape = *shape,
		.ring_bits = plan->ring_bits,
		.bytes = plan->bytes,
	};
}

int
ipk_queue_format(void *base, uint64_t bytes, const struct ipk_queue_shape *shape)
{
	struct ipk_queue_head *head = base;
	struct ipk_queue queue;
	struct plan plan;

	if (make_plan(&plan, shape) || bytes < plan.bytes)
		return -EINVAL;
	view(&queue, base, &plan, shape);
	memcpy(head->magic, magic, sizeof(magic));
	head->layout = LAYOUT;
	head->byte_order = ORDER_OF_BYTES;
	head->mutex_size = sizeof(pthread_mutex_t);
	head->shape = *shape;
	head->bytes = plan.bytes;
	head->next_due = INT64_MAX;
	for (uint64_t at = 0; at < UINT64_C(1) << plan.ring_bits; at++)
		ipk_queue_ring_begin(&queue, at);
	head->checksum = checksum(head);
	return 0;
}

int
ipk_queue_attach(struct ipk_queue *queue, void *base, uint64_t bytes, const char **why)
{
	struct ipk_queue_head head;
	struct plan plan;

	*why = NULL;
	if (bytes >= sizeof(head)) /* another process may change it while it is checked */
		memcpy(&head, base, sizeof(head));
	if (bytes < sizeof(head) || memcmp(head.magic, magic, sizeof(magic)) != 0)
		*why = "it is no queue of ipckit";
	else if (head.layout != LAYOUT || head.byte_order != ORDER_OF_BYTES ||
		 head.mutex_size != sizeof(pthread_mutex_t))
		*why = "it is of another version of ipckit, or of another kind of machine";
	else if (head.checksum != checksum(&head) || make_plan(&plan, &head.shape) ||
		 plan.bytes != head.bytes)
		*why = "its head is damaged";
	else if (bytes < plan.bytes)
		*why = "it is cut off";
	if (*why)
		return -EUCLEAN;
	view(queue, base, &plan, &head.shape);
	return 0;
}
