/*
 * test_queue_mutated.c - segments that are damaged in every way: refused, or answered.
 *
 * A small queue with all that a segment may have (messages in every state, chains of pages, what the
 * dead left) is copied and damaged, with a known seed, TRIALS times. Then every call is made: it ends,
 * stays inside the segment and gives a code that it is said to give.
 */
#include "queue_damage.h"

#include <sys/time.h>

#ifdef __SANITIZE_THREAD__
enum { TRIALS = 5000 }; /* one thread: there is nothing for it to find */
#else
enum { TRIALS = 100000 };
#endif

enum {
	TRIES = 3,
	CALLS = 12,
	LONGEST = 6 * IPK_QUEUE_PAGE,
	LIMIT_S = 300, /* for 64 trials: the end of a hang */
};

static unsigned char *pristine, *arena, *arena_end;
static unsigned char body[LONGEST];
static volatile uint32_t trial;
static uint32_t attached, refused, damaged_answers;

static void
too_long(int number)
{
	char text[80];
	int size = snprintf(text, sizeof(text), "trial %u does not end\n", trial);

	(void)number;
	(void)!write(2, text, (size_t)size);
	_exit(1);
}

/* -- the pristine segment -- */

static void
send(const struct ipk_party *party, uint64_t size)
{
	struct ipk_queue_lease lease;
	int code;

	REPEAT(code, ipk_queue_reserve(&queue, party, size, &lease, &obstacle));
	CHECK(code == 0);
	CHECK(ipk_queue_fill(&queue, &lease, body, size) == 0);
	CHECK(ipk_queue_publish(&queue, party, &lease) == 0);
}

static void
leave_traces(void)
{
	struct ipk_obstacle obstacle = {0};
	struct ipk_queue_lease lease;
	struct ipk_party party;

	CHECK(ipk_queue_join(&queue, &registry, &party) == 0);
	CHECK(ipk_queue_take(&queue, &party, &lease) == 1);
	CHECK(ipk_queue_reserve(&queue, &party, 5000, &lease, &obstacle) == 0);
}

static void
make_pristine(void)
{
	struct ipk_queue_lease lease;
	struct ipk_party party;
	pid_t pid;

	queue_make(&shape);
	CHECK(ipk_queue_join(&queue, &registry, &party) == 0);
	send(&party, 100);
	send(&party, 5000); /* two pages */
	for (int i = 0; i < 2; i++) {
		CHECK(ipk_queue_take(&queue, &party, &lease) == 1);
		CHECK(ipk_queue_give_back(&queue, &lease, 0) == 0); /* DEAD in the end */
	}
	send(&party, 300);
	send(&party, 10);
	CHECK(ipk_queue_take(&queue, &party, &lease) == 1);
	CHECK(ipk_queue_give_back(&queue, &lease, INT64_MAX - 1) == 0);
	send(&party, 20);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		leave_traces();
		_exit(0);
	}
	CHECK(waitpid(pid, NULL, 0) == pid);
	CHECK(ipk_slot_release(&registry, &party) == 0);
	whole = queue;
	pristine = malloc(whole.bytes);
	CHECK(pristine != NULL);
	memcpy(pristine, whole.head, whole.bytes);
}

/* Memory that ends where the segment ends: the next byte is a guard. */
static void
make_arena(void)
{
#ifdef __SANITIZE_ADDRESS__
	arena = aligned_alloc(IPK_QUEUE_PAGE, whole.bytes);
	CHECK(arena != NULL);
#else
	unsigned char *area = mmap(NULL, whole.bytes + 2 * IPK_QUEUE_PAGE, PROT_NONE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(area != MAP_FAILED);
	arena = area + IPK_QUEUE_PAGE;
	CHECK(mprotect(arena, whole.bytes, PROT_READ | PROT_WRITE) == 0);
#endif
	arena_end = arena + whole.bytes;
}

/* -- every call -- */

static void
expect(int code, int most)
{
	damaged_answers += code == -EUCLEAN;
	CHECK((code >= 0 && code <= most) || code == -EAGAIN || code == -EUCLEAN ||
	      code == -ENOSPC || code == -ENOBUFS || code == -ESTALE);
}

static void
look(void)
{
	struct ipk_queue_counts counts;

	ipk_queue_count(&queue, &counts);
	CHECK(counts.free_pages <= shape.pages);
	CHECK(ipk_queue_depth(&queue) <= shape.messages);
	(void)ipk_queue_verify(&queue);
	for (uint32_t record = 0; record < shape.messages; record++) {
		struct ipk_queue_message message;
		struct ipk_queue_lease lease;

		(void)ipk_queue_holder(&queue, record, &lease);
		if (!ipk_queue_find_dead(&queue, record, &lease) ||
		    ipk_queue_message_of(&queue, &lease, &message))
			continue;
		CHECK(message.size <= sizeof(body));
		expect(ipk_queue_copy(&queue, &lease, body, message.size), 0);
	}
}

static void
send_something(const struct ipk_party *party)
{
	uint64_t size = below(2) ? below(200) : below(LONGEST + 1);
	struct ipk_obstacle obstacle = {0};
	struct ipk_queue_lease lease;
	int tries = 0;
	int code;

	while ((code = ipk_queue_reserve(&queue, party, size, &lease, &obstacle)) == -EAGAIN &&
	       ++tries < TRIES)
		(void)ipk_wait(queue.slots, IPK_QUEUE_SLOTS, &obstacle, ipk_now_ns() + 100);
	expect(code, 0);
	if (code)
		return;
	code = ipk_queue_fill(&queue, &lease, body, size);
	expect(code, 0);
	if (code == 0 && below(4))
		code = ipk_queue_publish(&queue, party, &lease);
	else
		code = -EUCLEAN;
	expect(code, 0);
	if (code)
		ipk_queue_abandon(&queue, party, &lease);
}

static void
receive_something(const struct ipk_party *party)
{
	struct ipk_queue_message message;
	struct ipk_queue_lease lease;
	int code = ipk_queue_take(&queue, party, &lease);

	expect(code, 1);
	if (code <= 0)
		return;
	CHECK(lease.record < shape.messages);
	code = ipk_queue_message_of(&queue, &lease, &message);
	expect(code, 0);
	if (code == 0) {
		CHECK(message.size <= sizeof(body));
		expect(ipk_queue_copy(&queue, &lease, body, message.size), 0);
	}
	switch (below(4)) {
	case 0:
		code = ipk_queue_give_back(&queue, &lease, below(2));
		break;
	case 1:
		code = ipk_queue_consume(&queue, party, &lease);
		break;
	default:
		code = ipk_queue_acknowledge(&queue, party, &lease);
	}
	expect(code, 0);
	if (below(2))
		expect(ipk_queue_finish(&queue, party), 1);
}

static void
use(void)
{
	struct ipk_party party;
	uint64_t ticket = 0;
	int code = ipk_queue_join(&queue, &registry, &party);

	CHECK(code == 0 || code == -EUSERS);
	look();
	if (code)
		return;
	for (int call = 0; call < CALLS; call++)
		switch (below(5)) {
		case 0:
		case 1:
			send_something(&party);
			break;
		case 2:
		case 3:
			receive_something(&party);
			break;
		default: {
			struct ipk_queue_lease lease;

			(void)ipk_queue_recover(&queue, &party);
			if (ipk_queue_find_dead(&queue, below(shape.messages), &lease))
				expect(below(2) ? ipk_queue_retry(&queue, &lease)
						: ipk_queue_discard(&queue, &party, &lease),
				       0);
			ipk_queue_announce(&queue, &party, IPK_QUEUE_MESSAGE, &ticket);
			(void)ipk_queue_sleep(&queue, &party, IPK_QUEUE_MESSAGE, 1);
			expect(ipk_queue_is_ready(&queue, (enum ipk_queue_event)below(IPK_QUEUE_EVENTS),
						  below(9000)),
			       1);
		}
		}
	look();
	ipk_queue_leave_slot(&queue, &party);
	CHECK(ipk_slot_release(&registry, &party) == 0);
}

static void
try_one(void)
{
	uint64_t bytes = below(32) ? whole.bytes : next_random() % (whole.bytes / 128) * 128;
	unsigned char *base = arena_end - bytes;
	const char *why = NULL;
	int code;

#ifdef __SANITIZE_ADDRESS__
	if (bytes < whole.bytes)
		base = aligned_alloc(128, bytes ? bytes : 128);
#endif
	memcpy(base, pristine, bytes);
	if (bytes == whole.bytes)
		damage(base);
	code = ipk_queue_attach(&queue, base, bytes, &why);
	CHECK(code == 0 || (code == -EUCLEAN && why && *why));
	CHECK(code || bytes == whole.bytes);
	if (code) {
		refused++;
	} else {
		attached++;
		use();
	}
#ifdef __SANITIZE_ADDRESS__
	if (bytes < whole.bytes)
		free(base);
#endif
}

int
main(int count, char **arguments)
{
	struct itimerval limit = {.it_value = {.tv_sec = LIMIT_S}};

	make_pristine();
	make_arena();
	CHECK(signal(SIGALRM, too_long) != SIG_ERR);
	trial = count > 1 ? (uint32_t)strtoul(arguments[1], NULL, 10) : 0; /* to see one again */
	for (; trial < TRIALS; trial++) {
		damage_state = trial;
		if (trial % 64 == 0 || count > 1)
			CHECK(setitimer(ITIMER_REAL, &limit, NULL) == 0);
		try_one();
		if (count > 1)
			break;
	}
	printf("%u attached, %u refused, %u calls found damage\n", attached, refused,
	       damaged_answers);
	CHECK(count > 1 || (attached > TRIALS / 2 && refused > TRIALS / 50 && damaged_answers));
	return 0;
}
