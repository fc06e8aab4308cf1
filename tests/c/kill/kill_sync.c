/*
 * kill_sync.c - kill -9 after every instruction of the calls of locks and numbers.
 *
 * After each: the lock can be taken without a wait, and reports a dead holder when there was one;
 * the number is the old or the new one; the next process that joins finds the slots in order.
 * Prints the counts; ends with 1 if any trial failed.
 */
#include "base/clock.h"
#include "locks/arena.h"
#include "kills_victim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CELLS = 4, LOCK = 1, NUMBER = 2, OLD = 5 };

struct kind {
	const char *name;
	void (*prepare)(void);
	void (*ready)(void); /* in the victim; NULL: only join */
	void (*entry)(void);
	int (*call)(void);
	int64_t after; /* the number */
	int joins;
};

static struct ipk_sync sync_arena;
static struct ipk_registry registry;
static struct ipk_party party;
static struct ipk_obstacle obstacle;
static void *base;

static void
join(void)
{
	if (ipk_sync_join(&sync_arena, &registry, &party))
		exit(2);
}

static void
nothing(void)
{
}

static void
die_with_lock(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		join();
		(void)ipk_lock_take(&sync_arena, &party, LOCK, &obstacle);
		_exit(0);
	}
	(void)waitpid(pid, NULL, 0);
}

/* The dead one's slot is not the next one that is taken. */
static void
held_by_the_dead(void)
{
	struct ipk_party placeholder;

	(void)ipk_slot_join(&registry, sync_arena.slots, IPK_SYNC_SLOTS, &placeholder);
	die_with_lock();
	(void)ipk_slot_release(&registry, &placeholder);
}

static void
marked(void)
{
	sync_arena.cells[LOCK].lock = IPK_MARK;
}

static void
take(void)
{
	(void)ipk_lock_take(&sync_arena, &party, LOCK, &obstacle);
}

static void
take_with_waiters(void)
{
	take();
	sync_arena.cells[LOCK].lock |= IPK_WAITERS;
}

static int
call_take(void)
{
	return ipk_lock_take(&sync_arena, &party, LOCK, &obstacle);
}

static int
call_release(void)
{
	return ipk_lock_release(&sync_arena, &party, LOCK);
}

static int
call_join(void)
{
	return ipk_sync_join(&sync_arena, &registry, &party);
}

static int
call_add(void)
{
	int64_t value;

	return ipk_number_add(&sync_arena.cells[NUMBER], 7, &value);
}

static int
call_store(void)
{
	ipk_number_store(&sync_arena.cells[NUMBER], 9);
	return 0;
}

static int
call_compare(void)
{
	return ipk_number_compare_and_set(&sync_arena.cells[NUMBER], OLD, 11);
}

static int
call_wake(void)
{
	return ipk_number_wake(&sync_arena.cells[NUMBER], 1);
}

static int
call_wait(void)
{
	return ipk_number_wait(&sync_arena.cells[NUMBER], OLD, 1);
}

#define ENTRY(function) (void (*)(void))(function)

static const struct kind kinds[] = {
	{"take, free", nothing, NULL, ENTRY(ipk_lock_take), call_take, OLD, 0},
	{"take, from the dead", held_by_the_dead, NULL, ENTRY(ipk_lock_take), call_take, OLD, 0},
	{"take, marked", marked, NULL, ENTRY(ipk_lock_take), call_take, OLD, 0},
	{"release", nothing, take, ENTRY(ipk_lock_release), call_release, OLD, 0},
	{"release, waiters", nothing, take_with_waiters, ENTRY(ipk_lock_release), call_release,
	 OLD, 0},
	{"join", nothing, NULL, ENTRY(ipk_sync_join), call_join, OLD, 1},
	{"join, after a holder", die_with_lock, NULL, ENTRY(ipk_sync_join), call_join, OLD, 1},
	{"add", nothing, NULL, ENTRY(ipk_number_add), call_add, OLD + 7, 0},
	{"store", nothing, NULL, ENTRY(ipk_number_store), call_store, 9, 0},
	{"compare_and_set", nothing, NULL, ENTRY(ipk_number_compare_and_set), call_compare, 11, 0},
	{"wake", nothing, NULL, ENTRY(ipk_number_wake), call_wake, OLD, 0},
	{"wait", nothing, NULL, ENTRY(ipk_number_wait), call_wait, OLD, 0},
};

static void
get_ready(const void *what)
{
	const struct kind *kind = what;

	if (!kind->joins)
		join();
	if (kind->ready)
		kind->ready();
}

/* What is wrong, or NULL. */
static const char *
judge(const struct kind *kind, int had_holder)
{
	uint64_t give_up = ipk_now_ns() + 10000000000ull;
	int64_t value = ipk_number_load(&sync_arena.cells[NUMBER]);
	struct ipk_obstacle wait = {0};
	int code;

	if (value != OLD && value != kind->after)
		return "the number is neither the old nor the new one";
	join();
	while ((code = ipk_lock_take(&sync_arena, &party, LOCK, &wait)) == -EAGAIN &&
	       ipk_wait(sync_arena.slots, IPK_SYNC_SLOTS, &wait, give_up) != -ETIMEDOUT)
		;
	if (code < 0)
		return "the lock cannot be taken";
	if (code != had_holder)
		return had_holder ? "a dead holder is not reported"
				  : "a dead holder is reported without one";
	if (ipk_lock_release(&sync_arena, &party, LOCK) ||
	    ipk_lock_take(&sync_arena, &party, LOCK, &wait) != 0 ||
	    ipk_lock_release(&sync_arena, &party, LOCK))
		return "the lock does not work afterwards";
	return ipk_slot_release(&registry, &party) ? "leaving failed" : NULL;
}

static void
make(void)
{
	uint64_t bytes = ipk_sync_bytes(CELLS);
	int fd = memfd_create("kill_sync", MFD_CLOEXEC);
	struct stat seen;

	if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0 || fstat(fd, &seen) != 0)
		exit(2);
	base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		exit(2);
	registry = (struct ipk_registry){
		.fd = fd, .dev = (uint64_t)seen.st_dev, .ino = (uint64_t)seen.st_ino};
	ipk_sync_attach(&sync_arena, base, CELLS);
}

int
main(void)
{
	uint32_t wrong = 0;
	uint32_t kills = 0;

	victim_pin(0);
	make();
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const struct kind *kind = &kinds[i];
		uint32_t stride = kind->joins ? 23 : 1;
		uint32_t before = kills;
		int over = 0;

		for (uint32_t outer = 0; !over; outer += stride, kills++) {
			struct ipk_trace victim;
			const char *what;
			uint32_t word;

			memset(base, 0, ipk_sync_bytes(CELLS));
			ipk_number_store(&sync_arena.cells[NUMBER], OLD);
			kind->prepare();
			if (victim_begin(&victim, get_ready, kind, kind->entry, kind->call))
				exit(2);
			over = ipk_trace_step(&victim, outer) != 0;
			(void)ipk_trace_kill(&victim);
			word = sync_arena.cells[LOCK].lock;
			what = judge(kind, (word & IPK_OWNER_MASK) || (word & IPK_MARK));
			if (what) {
				fprintf(stderr, "%s, after %u instructions: %s\n", kind->name,
					outer, what);
				wrong++;
			}
		}
		printf("  %-26s %7u kills\n", kind->name, kills - before);
	}
	printf("locks and numbers: %u kills, %u wrong\n", kills, wrong);
	return wrong != 0;
}
