/*
 * test_table_deaths.c - every way to end with a latch and a lock: nobody else waits for the dead,
 * and nobody living is taken for dead.
 */
#include "table_support.h"

#include <sched.h>
#include <sys/resource.h>

enum { CANNOT = 77, ROW_VALUE = 5 };

static struct ipk_key row;  /* is there; its user lock is held */
static struct ipk_key busy; /* not there; its bucket's latch is held */
static uint32_t *shared;    /* the holder's owner number */

static void
begin(void)
{
	table_of_pairs(8);
	table_join();
	row = key_of("row");
	for (int i = 0; i == 0 || ipk_bucket_of(&table, &busy) == ipk_bucket_of(&table, &row); i++)
		busy = key_of("busy%d", i);
	CHECK(put(&row, ROW_VALUE) == 1);
	children_begin();
}

static void
end(void)
{
	children_end();
	table_leave();
	table_drop();
}

static uint32_t *
latch(void)
{
	return &table.buckets[ipk_bucket_of(&table, &busy)].latch;
}

static uint32_t *
user_lock(void)
{
	return &ipk_cell_at(&table, table.buckets[ipk_bucket_of(&table, &row)].head - 1)->user_lock;
}

/* Take the row's user lock, and go into the bucket of `busy`, as if in the midst of an insert. */
static void
hold_both(void)
{
	struct ipk_obstacle obstacle = {0};
	uint64_t copy[WORDS];
	uint32_t bucket = ipk_bucket_of(&table, &busy);
	uint32_t cell;

	table_join();
	CHECK(ipk_table_lock(&table, &party, &row, copy, &cell, &obstacle) == 1);
	CHECK(ipk_latch_take(&table, &party, bucket, 0, &obstacle) == 0);
	CHECK(ipk_cell_claim(&table, &party, bucket, &busy, &obstacle) > 0);
	__atomic_store_n(shared, party.owner, __ATOMIC_RELEASE);
}

/* The holder lives: nothing that it holds can be taken. */
static void
expect_held(void)
{
	struct ipk_obstacle obstacle = {0};
	uint64_t pair[2] = {1, (uint64_t)-1};

	CHECK(ipk_owner_dead(table.slots, IPK_TABLE_SLOTS, *shared) == 0);
	CHECK(ipk_owner_gone(table.slots, IPK_TABLE_SLOTS, *shared) == 0);
	for (int i = 0; i < 3; i++) {
		CHECK(ipk_table_write(&table, &party, &busy, IPK_SET, pair, NULL, &obstacle) ==
		      -EAGAIN);
		CHECK(ipk_table_write(&table, &party, &row, IPK_SET, pair, NULL, &obstacle) ==
		      -EAGAIN);
	}
	ipk_table_give_up(&party);
	CHECK((*latch() & IPK_OWNER_MASK) == *shared && (*user_lock() & IPK_OWNER_MASK) == *shared);
	CHECK(has_pair(&row, ROW_VALUE) && !ipk_table_has(&table, &busy));
}

/* The holder is dead: all is free without a wait, whole, and the death is reported. */
static void
expect_freed(void)
{
	uint64_t copy[WORDS];
	uint64_t began;
	uint32_t cell;
	int code;

	while (ipk_owner_dead(table.slots, IPK_TABLE_SLOTS, *shared) != 1)
		(void)sched_yield(); /* the test's own limit of time ends it */
	began = ipk_now_ns();
	CHECK(put(&busy, 3) == 1 && has_pair(&busy, 3));
	REPEAT(code, ipk_table_lock(&table, &party, &row, copy, &cell, &obstacle));
	CHECK(code == 3 && copy[1] == ROW_VALUE);
	REPEAT(code, ipk_table_abort(&table, &party, cell, &obstacle));
	CHECK(code == 0);
	CHECK(ipk_now_ns() - began < 60000000000ull);
	check_table(2);
	CHECK(drop(&busy) == 1);
}

static void
process_is_killed(void)
{
	pid_t pid;

	begin();
	pid = start(hold_both);
	await_ready();
	expect_held();
	CHECK(kill(pid, SIGSTOP) == 0 && waitpid(pid, NULL, WUNTRACED) == pid);
	expect_held();
	finish(pid);
	expect_freed();
	end();
}

/* The out-of-memory reaper may keep the kernel from setting the mark; /proc knows. */
static void
mark_is_missing(void)
{
	uint32_t *live;
	uint32_t was;
	uint64_t namespace;
	pid_t pid;

	begin();
	pid = start(hold_both);
	await_ready();
	live = ipk_owner_live(table.slots, IPK_TABLE_SLOTS, *shared);
	was = *live;
	CHECK(kill(pid, SIGKILL) == 0);
	while (ipk_owner_dead(table.slots, IPK_TABLE_SLOTS, *shared) != 1)
		(void)sched_yield();
	for (int reaped = 0; reaped <= 1; reaped++) {
		struct ipk_slot *slot = &table.slots[(*shared & 0xffff) - 1];
		siginfo_t told;

		CHECK(waitid(P_PID, (id_t)pid, &told, WEXITED | (reaped ? 0 : WNOWAIT)) == 0);
		__atomic_store_n(live, was, __ATOMIC_RELEASE);
		CHECK(ipk_owner_dead(table.slots, IPK_TABLE_SLOTS, *shared) == 0);
		namespace = slot->pid_namespace;
		slot->pid_namespace++; /* somebody else's numbers say nothing */
		CHECK(ipk_owner_gone(table.slots, IPK_TABLE_SLOTS, *shared) == 0);
		slot->pid_namespace = namespace;
		CHECK(ipk_owner_gone(table.slots, IPK_TABLE_SLOTS, *shared) == 1);
		CHECK(ipk_owner_dead(table.slots, IPK_TABLE_SLOTS, *shared) == 1);
	}
	expect_freed();
	end();
}

/* A start time is of one time namespace, as each adds its own offset. */
static void
started_elsewhere(void)
{
	struct ipk_slot *slot;
	pid_t pid;

	begin();
	pid = start(hold_both);
	await_ready();
	slot = &table.slots[(*shared & 0xffff) - 1];
	CHECK(slot->time_namespace != 0 || access("/proc/self/ns/time", F_OK) != 0);
	slot->started++;
	slot->time_namespace++;
	CHECK(ipk_owner_gone(table.slots, IPK_TABLE_SLOTS, *shared) == 0);
	expect_held();
	slot->time_namespace--;
	CHECK(ipk_owner_gone(table.slots, IPK_TABLE_SLOTS, *shared) == 1); /* its number is another's */
	finish(pid);
	expect_freed();
	end();
}

static void
hold_and_exec(void)
{
	hold_both();
	(void)execl("/bin/sleep", "sleep", "100", (char *)NULL);
	_exit(CANNOT);
}

static void
process_calls_exec(void)
{
	pid_t pid;

	begin();
	*shared = 0;
	pid = start(hold_and_exec);
	while (!__atomic_load_n(shared, __ATOMIC_ACQUIRE))
		(void)sched_yield();
	expect_freed();
	CHECK(waitpid(pid, NULL, WNOHANG) == 0); /* it lives, as another program */
	finish(pid);
	end();
}

static void
hold_and_abort(void)
{
	struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};

	(void)setrlimit(RLIMIT_CORE, &all);
	hold_both();
	abort();
}

/* The memory is written out before the mark is set: others wait as long as that, no longer. */
static void
process_dumps_core(void)
{
	char place[] = "/tmp/ipckit-core-XXXXXX";
	char command[sizeof(place) + 8];
	pid_t pid;

	if (SANITIZED) /* it would be terabytes; the sanitizers forbid it */
		return;
	begin();
	*shared = 0;
	CHECK(mkdtemp(place) && chdir(place) == 0);
	pid = start(hold_and_abort);
	CHECK(chdir("/") == 0);
	while (!__atomic_load_n(shared, __ATOMIC_ACQUIRE))
		(void)sched_yield();
	expect_freed();
	CHECK(waitpid(pid, NULL, 0) == pid);
	(void)snprintf(command, sizeof(command), "rm -r %s", place);
	CHECK(system(command) == 0);
	end();
}

static void *
hold_and_end(void *unused)
{
	hold_both();
	return unused;
}

/* A thread ends: it is dead, its process is not. */
static void
thread_ends(void)
{
	struct ipk_party other;
	struct ipk_key mine;
	uint64_t copy[WORDS];
	pthread_t thread;
	uint32_t unused;
	uint32_t cell;
	int code;

	begin();
	mine = key_of("mine");
	REPEAT(code, ipk_table_lock(&table, &party, &mine, copy, &cell, &obstacle));
	CHECK(code == 0);
	CHECK(pthread_create(&thread, NULL, hold_and_end, NULL) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	expect_freed();
	CHECK(ipk_table_join(&table, &registry, &other) == 0);
	CHECK(ipk_owner_dead(table.slots, IPK_TABLE_SLOTS, party.owner) == 0);
	{
		struct ipk_obstacle obstacle = {0};

		CHECK(ipk_table_lock(&table, &other, &mine, copy, &unused, &obstacle) == -EAGAIN);
		ipk_table_give_up(&other);
	}
	CHECK(ipk_slot_release(&registry, &other) == 0);
	REPEAT(code, ipk_table_abort(&table, &party, cell, &obstacle));
	CHECK(code == 0);
	end();
}

/* -- waiters -- */

static void
wait_for_latch(void)
{
	table_join();
	(void)put(&busy, 1);
}

static void
wait_for_lock(void)
{
	table_join();
	(void)put(&row, 1);
}

static void
await_waiter(const uint32_t *word)
{
	while (!(__atomic_load_n(word, __ATOMIC_ACQUIRE) & IPK_WAITERS))
		(void)sched_yield();
}

static void
waiters_are_killed(void)
{
	pid_t holder, waiter;

	begin();
	holder = start(hold_both);
	await_ready();
	for (int i = 0; i < 3; i++) {
		waiter = start(wait_for_latch);
		await_waiter(latch());
		finish(waiter);
		expect_held();
		waiter = start(wait_for_lock);
		await_waiter(user_lock());
		finish(waiter);
		expect_held();
	}
	finish(holder);
	expect_freed();
	end();
}

/* -- two pid namespaces, each with a thread number 1 -- */

static pid_t parents[2];

/* As start(), as process 1 of a namespace of its own; -1: that is not allowed here. */
static pid_t
start_apart(void (*work)(void), pid_t *parent)
{
	int numbers[2];
	pid_t pid;

	CHECK(pipe2(numbers, O_CLOEXEC) == 0);
	*parent = fork();
	CHECK(*parent >= 0);
	if (*parent == 0) {
		pid = -1;
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWPID) == 0)
			pid = start(work);
		CHECK(write(numbers[1], &pid, sizeof(pid)) == sizeof(pid));
		if (pid > 0)
			(void)waitpid(pid, NULL, 0);
		_exit(0);
	}
	CHECK(read(numbers[0], &pid, sizeof(pid)) == sizeof(pid));
	CHECK(close(numbers[0]) == 0 && close(numbers[1]) == 0);
	return pid;
}

static void
finish_apart(pid_t pid, pid_t parent)
{
	CHECK(kill(pid, SIGKILL) == 0);
	reap(parent);
}

static void
namespaces(void)
{
	void (*const waits[2])(void) = {wait_for_latch, wait_for_lock};
	pid_t holder, waiter;

	begin();
	holder = start_apart(hold_both, &parents[0]);
	if (holder < 0) {
		reap(parents[0]);
		printf("pid namespaces: not tested, they are not permitted here\n");
		CHECK(!getenv("IPCKIT_ALL_TOOLS") || strcmp(getenv("IPCKIT_ALL_TOOLS"), "1") != 0);
		end();
		return;
	}
	await_ready();
	CHECK(table.slots[(*shared & 0xffff) - 1].tid == 1);
	for (int i = 0; i < 4; i++) {
		waiter = start_apart(waits[i % 2], &parents[1]);
		await_waiter(i % 2 ? user_lock() : latch());
		/* Both have the number 1, in spaces that differ. */
		CHECK(table.slots[(*shared & 0xffff)].tid == 1);
		CHECK(table.slots[(*shared & 0xffff)].pid_namespace !=
		      table.slots[(*shared & 0xffff) - 1].pid_namespace);
		expect_held();
		finish_apart(waiter, parents[1]);
		expect_held();
	}
	finish_apart(holder, parents[0]);
	expect_freed();
	end();
}

int
main(void)
{
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	(void)alarm(1000);
	process_is_killed();
	mark_is_missing();
	started_elsewhere();
	process_calls_exec();
	process_dumps_core();
	thread_ends();
	waiters_are_killed();
	namespaces();
	return 0;
}
