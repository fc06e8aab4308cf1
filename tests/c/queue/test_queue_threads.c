/*
 * test_queue_threads.c - threads that send, receive, give back, finish and wait at one queue: under
 * TSan, no report. A body follows from its number, so one that is not whole shows.
 */
#include "queue_support.h"

enum {
	SENDERS = 3,
	RECEIVERS = 3,
	EACH = SANITIZED ? 4000 : 60000, /* messages of a sender */
	ALL = SENDERS * EACH,
	LONGEST = 3 * IPK_QUEUE_PAGE,
};

static const struct ipk_queue_shape shape = {16, 12, 0, IPK_QUEUE_BYTES};
/* TSan does not know the lock of the file under which a thread writes its slot: the threads join one by
 * one before any of them works, and leave when all are done. */
static pthread_mutex_t joining = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t all_here;
static uint32_t seen[ALL];
static uint32_t done;

static void
join(struct ipk_party *party)
{
	CHECK(pthread_mutex_lock(&joining) == 0);
	CHECK(ipk_queue_join(&queue, &registry, party) == 0);
	CHECK(pthread_mutex_unlock(&joining) == 0);
	(void)pthread_barrier_wait(&all_here);
}

static void
leave(struct ipk_party *party)
{
	(void)pthread_barrier_wait(&all_here);
	CHECK(pthread_mutex_lock(&joining) == 0);
	CHECK(ipk_slot_release(&registry, party) == 0);
	CHECK(pthread_mutex_unlock(&joining) == 0);
}

static uint64_t
size_of(uint32_t number)
{
	return number % 4 ? 4 + number % 180 : 4 + number * 37 % (LONGEST - 4);
}

static void
write_body(unsigned char *body, uint32_t number)
{
	memset(body, (int)(number & 0xff), size_of(number));
	memcpy(body, &number, sizeof(number));
}

static void
wait_for(const struct ipk_party *party, enum ipk_queue_event event, uint64_t size)
{
	uint64_t ticket = 0;

	ipk_queue_announce(&queue, party, event, &ticket);
	if (ipk_queue_is_ready(&queue, event, size))
		ipk_queue_awake(&queue, party, event);
	else
		(void)ipk_queue_sleep(&queue, party, event, ipk_now_ns() + 100000000);
	ipk_queue_pass_on(&queue, event, ticket);
}

/* Reserve room for a message, and wait for it. */
static void
reserve(const struct ipk_party *party, uint64_t size, struct ipk_queue_lease *lease)
{
	int code;

	for (;;) {
		REPEAT(code, ipk_queue_reserve(&queue, party, size, lease, &obstacle));
		if (code == 0)
			return;
		CHECK(code == -ENOSPC || code == -ENOBUFS);
		wait_for(party, IPK_QUEUE_ROOM, size);
	}
}

static void *
sends(void *first)
{
	unsigned char body[LONGEST];
	struct ipk_queue_lease lease;
	struct ipk_party party;

	join(&party);
	for (uint32_t i = 0; i < EACH; i++) {
		uint32_t number = (uint32_t)(uintptr_t)first * EACH + i;

		if (i % 50 == 0) {
			reserve(&party, size_of(number), &lease);
			ipk_queue_abandon(&queue, &party, &lease);
		}
		reserve(&party, size_of(number), &lease);
		write_body(body, number);
		CHECK(ipk_queue_fill(&queue, &lease, body, size_of(number)) == 0);
		CHECK(ipk_queue_publish(&queue, &party, &lease) == 0);
	}
	leave(&party);
	return NULL;
}

static void *
receives(void *unused)
{
	unsigned char body[LONGEST];
	unsigned char expected[LONGEST];
	struct ipk_queue_lease lease;
	struct ipk_party party;

	(void)unused;
	join(&party);
	while (__atomic_load_n(&done, __ATOMIC_RELAXED) < ALL) {
		struct ipk_queue_message message;
		uint32_t number;
		int code = ipk_queue_take(&queue, &party, &lease);

		CHECK(code >= 0);
		if (code == 0) {
			wait_for(&party, IPK_QUEUE_MESSAGE, 0);
			continue;
		}
		CHECK(ipk_queue_message_of(&queue, &lease, &message) == 0);
		CHECK(message.size >= 4 && message.size <= sizeof(body));
		CHECK(ipk_queue_copy(&queue, &lease, body, message.size) == 0);
		memcpy(&number, body, sizeof(number));
		CHECK(number < ALL && message.size == size_of(number));
		write_body(expected, number);
		CHECK(memcmp(body, expected, message.size) == 0);
		if (number % 7 == 0 && message.attempt == 1) {
			CHECK(ipk_queue_give_back(&queue, &lease,
						  number % 2 ? 0 : (int64_t)ipk_now_ns() + 1000) == 0);
			continue;
		}
		CHECK(message.attempt == (number % 7 == 0 ? 2 : 1));
		CHECK(__atomic_add_fetch(&seen[number], 1, __ATOMIC_RELAXED) == 1);
		if (number % 3 == 0) {
			CHECK(ipk_queue_consume(&queue, &party, &lease) == 0);
			CHECK(!ipk_queue_is_finished(&queue));
			CHECK(ipk_queue_finish(&queue, &party) == 1);
		} else {
			CHECK(ipk_queue_acknowledge(&queue, &party, &lease) == 0);
		}
		if (__atomic_add_fetch(&done, 1, __ATOMIC_RELAXED) == ALL)
			ipk_queue_wake_all(&queue);
	}
	leave(&party);
	return NULL;
}

int
main(void)
{
	pthread_t threads[SENDERS + RECEIVERS];
	struct ipk_queue_counts counts;

	queue_make(&shape);
	CHECK(pthread_barrier_init(&all_here, NULL, SENDERS + RECEIVERS) == 0);
	for (uintptr_t i = 0; i < SENDERS + RECEIVERS; i++)
		CHECK(pthread_create(&threads[i], NULL, i < SENDERS ? sends : receives, (void *)i) == 0);
	for (int i = 0; i < SENDERS + RECEIVERS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	CHECK(ipk_queue_verify(&queue) == NULL);
	CHECK(ipk_queue_is_finished(&queue) == 1);
	ipk_queue_count(&queue, &counts);
	CHECK(counts.in[IPK_QUEUE_FREE] == shape.messages && counts.free_pages == shape.pages);
	return 0;
}
