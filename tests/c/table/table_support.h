/*
 * table_support.h - a table in a file of its own, and calls made again while something is in the
 * way.
 *
 * One table at a time: table_make() and table_drop(). A thread's party is its own.
 */
#ifndef TABLE_SUPPORT_H
#define TABLE_SUPPORT_H

#include "../check.h"
#include "base/clock.h"
#include "table/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum { PATIENCE_S = 20, WORDS = 64 /* of a copy, in all tests with small rows */ };

static struct ipk_table table;
static struct ipk_registry registry;
static _Thread_local struct ipk_party party;

static void
clean_up(void)
{
}

#ifdef __SANITIZE_THREAD__
/* A slot's mutex is never waited for (S1), so it is in no deadlock; the detector of them gives up
 * when a thread holds 64, as one does here that stands for 512 parties. */
const char *__tsan_default_options(void);

const char *
__tsan_default_options(void)
{
	return "detect_deadlocks=0";
}

/* A thread that ends holds its slot's mutex, and the kernel frees it; TSan does not see that and
 * takes the next owner's lock, of a new mutex, for a second one. */
const char *__tsan_default_suppressions(void);

const char *
__tsan_default_suppressions(void)
{
	return "mutex:^hold$\n";
}
#endif

/* Make a call of the core until nothing is in its way; it is given &obstacle. A call that stays
 * obstructed for PATIENCE_S fails the test. */
#define REPEAT(code, call)                                                                         \
	do {                                                                                       \
		struct ipk_obstacle obstacle = {0};                                                \
		uint64_t deadline_ = ipk_now_ns() + PATIENCE_S * 1000000000ull;                    \
		while (((code) = (call)) == -EAGAIN)                                               \
			CHECK(ipk_wait(table.slots, IPK_TABLE_SLOTS, &obstacle, deadline_) !=      \
			      -ETIMEDOUT);                                                         \
	} while (0)

static inline struct ipk_column
column(const char *name, enum ipk_type type, uint32_t size)
{
	struct ipk_column made = {.type = type, .size = size, .name_size = (uint32_t)strlen(name)};

	memcpy(made.name, name, made.name_size);
	return made;
}

static inline void
table_make(uint32_t rows, uint32_t key_size, struct ipk_column *columns, uint32_t count)
{
	static const unsigned char seed[32] = "the same buckets in every run";
	int64_t bytes = ipk_table_layout(rows, key_size, columns, count);
	int fd = memfd_create("table", MFD_CLOEXEC);
	struct stat seen;
	const char *why;
	void *base;

	CHECK(bytes > 0 && fd >= 0 && ftruncate(fd, bytes) == 0 && fstat(fd, &seen) == 0);
	base = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(base != MAP_FAILED);
	CHECK(ipk_table_format(base, (uint64_t)bytes, rows, key_size, columns, count, seed) == 0);
	CHECK(ipk_table_attach(&table, base, (uint64_t)bytes, &why) == 0 && why == NULL);
	registry = (struct ipk_registry){
		.fd = fd, .dev = (uint64_t)seen.st_dev, .ino = (uint64_t)seen.st_ino};
}

/* The threads of a process join one by one, as with the package: TSan does not know the file's
 * lock. */
static pthread_mutex_t joining = PTHREAD_MUTEX_INITIALIZER;

static inline void
table_join(void)
{
	CHECK(pthread_mutex_lock(&joining) == 0);
	CHECK(ipk_table_join(&table, &registry, &party) == 0);
	CHECK(pthread_mutex_unlock(&joining) == 0);
}

static inline void
table_leave(void)
{
	CHECK(pthread_mutex_lock(&joining) == 0);
	CHECK(ipk_slot_release(&registry, &party) == 0);
	CHECK(pthread_mutex_unlock(&joining) == 0);
}

static inline void
table_drop(void)
{
	CHECK(munmap(table.base, table.bytes) == 0);
	CHECK(close(registry.fd) == 0);
}

/* Two columns that are written together: a, and b = -a. */
static inline void
table_of_pairs(uint32_t rows)
{
	struct ipk_column columns[2] = {column("a", IPK_INT, 8), column("b", IPK_INT, 8)};

	table_make(rows, 16, columns, 2);
}

__attribute__((format(printf, 1, 2))) static inline struct ipk_key
key_of(const char *form, ...)
{
	struct ipk_key key;
	char text[64];
	va_list rest;
	int size;

	va_start(rest, form);
	size = vsnprintf(text, sizeof(text), form, rest);
	va_end(rest);
	CHECK(ipk_key_make(&table, &key, text, (size_t)size) == 0);
	return key;
}

/* 1 new, 0 old, or an error. */
static inline int
put(const struct ipk_key *key, int64_t value)
{
	uint64_t row[2] = {(uint64_t)value, (uint64_t)-value};
	int code;

	REPEAT(code, ipk_table_write(&table, &party, key, IPK_SET, row, NULL, &obstacle));
	return code;
}

static inline int
drop(const struct ipk_key *key)
{
	int code;

	REPEAT(code, ipk_table_delete(&table, &party, key, NULL, &obstacle));
	return code;
}

/* A row of pairs is there, and whole. */
static inline int
has_pair(const struct ipk_key *key, int64_t value)
{
	uint64_t copy[WORDS];

	return ipk_table_get(&table, key, copy) == 1 && copy[0] == key->size &&
	       copy[1] == (uint64_t)value && copy[2] == (uint64_t)-value;
}

/* Every invariant holds and there are that many rows. */
static inline void
check_table(uint64_t rows)
{
	struct ipk_verify state = {0};
	int code;

	REPEAT(code, ipk_table_verify(&table, &party, &state, &obstacle));
	if (state.count)
		fprintf(stderr, "verify: V%u at %u\n", state.findings[0].rule,
			state.findings[0].where);
	CHECK(code == 0 && state.count == 0);
	CHECK(ipk_table_count(&table) == rows);
}

static inline void
reap(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* -- children that say when they are ready -- */

static int ready[2];

static inline void
children_begin(void)
{
	CHECK(pipe2(ready, O_CLOEXEC) == 0);
}

static inline void
children_end(void)
{
	CHECK(close(ready[0]) == 0 && close(ready[1]) == 0);
}

static inline void
say_ready(void)
{
	CHECK(write(ready[1], "r", 1) == 1);
}

static inline void
await_ready(void)
{
	char byte;

	CHECK(read(ready[0], &byte, 1) == 1);
}

/* A child that does its work, says so, and stays; it dies with its parent. */
static inline pid_t
start(void (*work)(void))
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		work();
		say_ready();
		for (;;)
			(void)pause();
	}
	return pid;
}

static inline void
finish(pid_t pid)
{
	CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
}

#endif
