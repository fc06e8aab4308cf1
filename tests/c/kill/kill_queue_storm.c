/*
 * kill_queue_storm.c - eight processes send to one shared queue and receive from it, and one after the
 * other is killed at random.
 *
 * usage: kill_queue_storm [kills [microseconds]]     20,000 by default; between two at most 1,000 us
 * Checked all the time: a message is whole; it is with one living process at a time; an acknowledged
 * one never comes again; no call hangs. In the end: each message whose send() returned is in the
 * queue, or was acknowledged, or its receiver was killed inside acknowledge(); verify() finds nothing;
 * no page and no record is lost.
 */
#include "base/clock.h"
#include "shared_queue/shared_queue.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	WORKERS = 8,
	MESSAGES = 48,
	PAGES = 40,
	MOST_HELD = 3,
	MOST_IDS = 1 << 27,
	MOST_KILLS = 4000000,
};

enum wrong { TORN, TWICE, AGAIN, STUCK, REFUSED, WRONGS };
static const char *const wrong_names[WRONGS] = {
	"torn messages", "messages with two living processes", "acknowledged messages that came again",
	"calls held up for 60 s", "unexpected answers"};

enum sent { NOT_SENT, BEGUN, SENT };
enum { ACK_BEGUN = 1, ACKNOWLEDGED = 2 };

struct control {
	uint64_t wrong[WRONGS];
	uint64_t calls;
	uint64_t received;
	uint64_t next_id;
};

static const struct ipk_queue_shape shape = {MESSAGES, PAGES, 0, IPK_QUEUE_BYTES};
static struct ipk_queue queue;
static struct ipk_registry registry;
static struct ipk_party party;
static struct control *control;
static unsigned char *sent;	/* of each id: enum sent */
static unsigned char *acknowledged; /* of each id: bits */
static uint32_t *holder;	/* of each id: the incarnation that has it; 0: none */
static unsigned char *alive;	/* of each incarnation */
static uint32_t incarnation;
static uint64_t state = 1;

static uint32_t
random_below(uint32_t limit)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 32) % limit;
}

static void
complain(enum wrong what)
{
	(void)__atomic_add_fetch(&control->wrong[what], 1, __ATOMIC_RELAXED);
}

/* A message is its id, and bytes that follow from it. */
static uint64_t
size_of(uint64_t id)
{
	return id % 3 ? 8 + id % 180 : 8 + id * 37 % (3 * IPK_QUEUE_PAGE);
}

static void
write_body(unsigned char *body, uint64_t id)
{
	memset(body, (int)(id & 0xff), size_of(id));
	memcpy(body, &id, sizeof(id));
}

static void
send_one(int abandon)
{
	unsigned char body[4 * IPK_QUEUE_PAGE];
	uint64_t give_up = ipk_now_ns() + 60000000000ull;
	struct ipk_obstacle obstacle = {0};
	struct ipk_queue_lease lease;
	uint64_t id = __atomic_add_fetch(&control->next_id, 1, __ATOMIC_RELAXED);
	int code;

	if (id >= MOST_IDS)
		return;
	write_body(body, id);
	while ((code = ipk_queue_reserve(&queue, &party, size_of(id), &lease, &obstacle)) == -EAGAIN &&
	       ipk_wait(queue.slots, IPK_QUEUE_SLOTS, &obstacle, give_up) != -ETIMEDOUT)
		;
	if (code == -ENOSPC || code == -ENOBUFS)
		return;
	if (code || ipk_queue_fill(&queue, &lease, body, size_of(id))) {
		complain(code == -EAGAIN ? STUCK : REFUSED);
		return;
	}
	if (abandon) {
		ipk_queue_abandon(&queue, &party, &lease);
		return;
	}
	__atomic_store_n(&sent[id], BEGUN, __ATOMIC_SEQ_CST);
	if (ipk_queue_publish(&queue, &party, &lease))
		complain(REFUSED);
	__atomic_store_n(&sent[id], SENT, __ATOMIC_SEQ_CST);
}

/* Take one and look at it. Its id; 0: there was none. */
static uint64_t
take_one(struct ipk_queue_lease *lease)
{
	unsigned char body[4 * IPK_QUEUE_PAGE];
	unsigned char expected[4 * IPK_QUEUE_PAGE];
	struct ipk_queue_message message;
	uint32_t before;
	uint64_t id;
	int code = ipk_queue_take(&queue, &party, lease);

	if (code < 0)
		complain(REFUSED);
	if (code <= 0)
		return 0;
	if (ipk_queue_message_of(&queue, lease, &message) || message.size > sizeof(body) ||
	    message.size < sizeof(id) || ipk_queue_copy(&queue, lease, body, message.size)) {
		complain(TORN);
		return 0;
	}
	memcpy(&id, body, sizeof(id));
	if (id == 0 || id >= MOST_IDS || message.size != size_of(id)) {
		complain(TORN);
		return 0;
	}
	write_body(expected, id);
	if (memcmp(body, expected, message.size) != 0)
		complain(TORN);
	before = __atomic_exchange_n(&holder[id], incarnation, __ATOMIC_SEQ_CST);
	if (before && __atomic_load_n(&alive[before], __ATOMIC_SEQ_CST))
		complain(TWICE);
	if (__atomic_load_n(&acknowledged[id], __ATOMIC_SEQ_CST) & ACKNOWLEDGED)
		complain(AGAIN);
	(void)__atomic_add_fetch(&control->received, 1, __ATOMIC_RELAXED);
	return id;
}

static void
end_one(const struct ipk_queue_lease *lease, uint64_t id, uint32_t how)
{
	int code;

	__atomic_store_n(&holder[id], 0, __ATOMIC_SEQ_CST);
	if (how == 0) {
		code = ipk_queue_give_back(&queue, lease, 0);
	} else if (how == 1) {
		code = ipk_queue_give_back(&queue, lease, (int64_t)ipk_now_ns() + 20000);
	} else {
		(void)__atomic_fetch_or(&acknowledged[id], ACK_BEGUN, __ATOMIC_SEQ_CST);
		code = how == 2 ? ipk_queue_consume(&queue, &party, lease)
				: ipk_queue_acknowledge(&queue, &party, lease);
		if (how == 2 && !code && !ipk_queue_finish(&queue, &party))
			complain(REFUSED);
		(void)__atomic_fetch_or(&acknowledged[id], ACKNOWLEDGED, __ATOMIC_SEQ_CST);
	}
	if (code)
		complain(REFUSED);
}

static void
receive_some(void)
{
	struct ipk_queue_lease leases[MOST_HELD];
	uint64_t ids[MOST_HELD];
	uint32_t count = 1 + random_below(MOST_HELD);
	uint32_t held = 0;

	while (held < count && (ids[held] = take_one(&leases[held])) != 0)
		held++;
	while (held--)
		end_one(&leases[held], ids[held], random_below(8));
}

static void
wait_for(enum ipk_queue_event event)
{
	uint64_t ticket = 0;
	int ready;

	ipk_queue_announce(&queue, &party, event, &ticket);
	ready = ipk_queue_is_ready(&queue, event, 8);
	if (ready < 0)
		complain(REFUSED);
	if (ready)
		ipk_queue_awake(&queue, &party, event);
	else
		(void)ipk_queue_sleep(&queue, &party, event, ipk_now_ns() + 500000);
	(void)ipk_queue_recover(&queue, &party);
}

static void
step(void)
{
	uint32_t what = random_below(16);

	if (what < 6)
		send_one(what == 0);
	else if (what < 14)
		receive_some();
	else
		wait_for(what == 14 ? IPK_QUEUE_MESSAGE : IPK_QUEUE_ROOM);
	if (random_below(16) == 0)
		(void)ipk_queue_recover(&queue, &party);
	(void)__atomic_add_fetch(&control->calls, 1, __ATOMIC_RELAXED);
}

static pid_t
start(uint32_t number)
{
	pid_t pid;

	alive[number] = 1;
	pid = fork();
	if (pid)
		return pid;
	(void)nice(5); /* the parent is not to wait for a processor */
	incarnation = number;
	state = number * 0x9e3779b97f4a7c15ull + 1;
	if (ipk_queue_join(&queue, &registry, &party))
		_exit(1);
	for (;;)
		step();
}

static void *
shared(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		exit(2);
	return memory;
}

static void
make(void)
{
	int64_t bytes = ipk_queue_bytes(&shape);
	int fd = memfd_create("storm", MFD_CLOEXEC);
	struct stat seen;
	const char *why;
	void *base;

	if (fd < 0 || ftruncate(fd, bytes) != 0 || fstat(fd, &seen) != 0)
		exit(2);
	base = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	control = shared(sizeof(*control));
	sent = shared(MOST_IDS);
	acknowledged = shared(MOST_IDS);
	holder = shared(MOST_IDS * sizeof(*holder));
	alive = shared(MOST_KILLS + WORKERS + 2);
	if (base == MAP_FAILED || ipk_queue_format(base, (uint64_t)bytes, &shape) ||
	    ipk_queue_attach(&queue, base, (uint64_t)bytes, &why))
		exit(2);
	registry = (struct ipk_registry){
		.fd = fd, .dev = (uint64_t)seen.st_dev, .ino = (uint64_t)seen.st_ino};
	incarnation = MOST_KILLS + WORKERS + 1; /* the judge; not alive to those that it receives from */
	if (ipk_queue_join(&queue, &registry, &party))
		exit(2);
}

/* What is left of each message. Wrong things. */
static uint32_t
judge_messages(void)
{
	uint64_t ids = control->next_id < MOST_IDS ? control->next_id : MOST_IDS - 1;
	uint64_t lost = 0;
	uint64_t invented = 0;

	for (uint64_t id = 1; id <= ids; id++) {
		int left = holder[id] == incarnation;

		lost += sent[id] == SENT && !left && !acknowledged[id];
		invented += sent[id] == NOT_SENT && (left || acknowledged[id]);
	}
	if (lost || invented)
		printf("%llu messages are lost, %llu were not sent\n", (unsigned long long)lost,
		       (unsigned long long)invented);
	return (uint32_t)((lost != 0) + (invented != 0));
}

static uint32_t
judge(void)
{
	struct timespec pause = {.tv_nsec = 1000000};
	struct ipk_queue_counts counts;
	struct ipk_queue_lease lease;
	const char *broken;
	uint32_t wrong = 0;

	while (ipk_queue_recover(&queue, &party))
		;
	broken = ipk_queue_verify(&queue);
	(void)nanosleep(&pause, NULL); /* the delays are over */
	for (uint64_t id; (id = take_one(&lease)) != 0;)
		if (ipk_queue_acknowledge(&queue, &party, &lease))
			complain(REFUSED);
	if (!broken)
		broken = ipk_queue_verify(&queue);
	ipk_queue_count(&queue, &counts);
	if (broken) {
		printf("verify: %s\n", broken);
		wrong++;
	}
	if (ipk_queue_is_finished(&queue) != 1) {
		printf("a dead thread has not given up what it did not finish\n");
		wrong++;
	}
	if (counts.in[IPK_QUEUE_FREE] != MESSAGES || counts.free_pages != PAGES) {
		printf("%u records of %d and %u pages of %d are free\n", counts.in[IPK_QUEUE_FREE],
		       MESSAGES, counts.free_pages, PAGES);
		wrong++;
	}
	for (int i = 0; i < WRONGS; i++) {
		if (control->wrong[i])
			printf("%s: %llu\n", wrong_names[i], (unsigned long long)control->wrong[i]);
		wrong += control->wrong[i] != 0;
	}
	return wrong + judge_messages();
}

int
main(int count, char **arguments)
{
	uint32_t kills = count > 1 ? (uint32_t)strtoul(arguments[1], NULL, 10) : 20000;
	uint32_t most_us = count > 2 ? (uint32_t)strtoul(arguments[2], NULL, 10) : 1000;
	uint32_t numbers[WORKERS];
	pid_t workers[WORKERS];
	uint64_t began = ipk_now_ns();
	uint32_t wrong;

	if (kills > MOST_KILLS || most_us < 1 || most_us > 1000000)
		return 2;
	make();
	for (uint32_t i = 0; i < WORKERS; i++)
		workers[i] = start(numbers[i] = i + 1);
	for (uint32_t i = 0; i < kills; i++) {
		struct timespec pause = {.tv_nsec = (long)random_below(most_us * 1000)};
		uint32_t victim = random_below(WORKERS);

		(void)nanosleep(&pause, NULL);
		/* Before it dies: what it holds may be with another one as soon as it is dead. */
		__atomic_store_n(&alive[numbers[victim]], 0, __ATOMIC_SEQ_CST);
		(void)kill(workers[victim], SIGKILL);
		/* It dies when it next runs; let that be now, where it is allowed. */
		(void)sched_setscheduler(workers[victim], SCHED_FIFO,
					 &(struct sched_param){.sched_priority = 1});
		(void)waitpid(workers[victim], NULL, 0);
		workers[victim] = start(numbers[victim] = WORKERS + 1 + i);
	}
	for (int i = 0; i < WORKERS; i++) {
		__atomic_store_n(&alive[numbers[i]], 0, __ATOMIC_SEQ_CST);
		(void)kill(workers[i], SIGKILL);
		(void)waitpid(workers[i], NULL, 0);
	}
	wrong = judge();
	printf("shared queue: %u kills in %.0f s, %llu calls, %llu sent, %llu received; %u wrong\n", kills,
	       (double)(ipk_now_ns() - began) / 1e9, (unsigned long long)control->calls,
	       (unsigned long long)control->next_id, (unsigned long long)control->received, wrong);
	return wrong != 0;
}
