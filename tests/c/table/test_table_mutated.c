/*
 * test_table_mutated.c - segments that are damaged in every way: refused, or answered.
 *
 * A small table with all that a segment may have (rows, chains, locks of the dead, a latch of
 * the dead with a half insert) is copied and damaged, with a known seed, TRIALS times. Then every
 * call is made: it ends, stays inside the segment and gives a code that it is said to give.
 */
#include "table_damage.h"

#include <sys/time.h>

#ifdef __SANITIZE_THREAD__
enum { TRIALS = 5000 }; /* one thread: there is nothing for it to find */
#else
enum { TRIALS = 100000 };
#endif

enum {
	KEYS = 6,
	TRIES = 3,
	LIMIT_S = 300, /* for 64 trials: the end of a hang */
};

static unsigned char *pristine, *arena, *arena_end;
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
leave_traces(void)
{
	struct ipk_obstacle obstacle = {0};
	struct ipk_key key = key_of("0");
	uint64_t copy[WORDS];
	uint32_t cell;

	table_join();
	CHECK(ipk_table_lock(&table, &party, &key, copy, &cell, &obstacle) == 1);
	key = key_of("4");
	CHECK(ipk_table_lock(&table, &party, &key, copy, &cell, &obstacle) == 0);
	key = key_of("5");
	CHECK(ipk_latch_take(&table, &party, ipk_bucket_of(&table, &key), 0, &obstacle) == 0);
	CHECK(ipk_cell_claim(&table, &party, ipk_bucket_of(&table, &key), &key, &obstacle) > 0);
}

static void
make_pristine(void)
{
	struct ipk_column columns[3] = {column("a", IPK_INT, 4), column("real", IPK_FLOAT, 8),
					column("text", IPK_STRING, 20)};
	uint64_t row[WORDS] = {7, 0, 11, 0x6161616161616161, 0x616161};
	pid_t pid;
	int code;

	table_make(ROWS, 8, columns, 3);
	table_join();
	for (int i = 0; i < 3; i++) {
		struct ipk_key key = key_of("%d", i);

		REPEAT(code, ipk_table_write(&table, &party, &key, IPK_SET, row, NULL, &obstacle));
		CHECK(code == 1);
	}
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		leave_traces();
		_exit(0);
	}
	reap(pid);
	table_leave();
	pristine = malloc(table.bytes);
	CHECK(pristine != NULL);
	memcpy(pristine, table.base, table.bytes);
	whole = table;
	CHECK(munmap(table.base, table.bytes) == 0);
}

/* Memory that ends where the segment ends: the next byte is a guard. */
static void
make_arena(void)
{
#ifdef __SANITIZE_ADDRESS__
	arena = aligned_alloc(PAGE, whole.bytes);
	CHECK(arena != NULL);
#else
	unsigned char *area = mmap(NULL, whole.bytes + 2 * PAGE, PROT_NONE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(area != MAP_FAILED);
	arena = area + PAGE;
	CHECK(mprotect(arena, whole.bytes, PROT_READ | PROT_WRITE) == 0);
#endif
	arena_end = arena + whole.bytes;
}

/* -- every call -- */

/* `call` a few times while it is obstructed. Its code is 0..most or one of its errors. */
#define EXPECT(code, most, extra, call)                                                            \
	do {                                                                                       \
		struct ipk_obstacle obstacle = {0};                                                \
		int tries_ = 0;                                                                    \
		while (((code) = (call)) == -EAGAIN && ++tries_ < TRIES)                           \
			(void)ipk_wait(table.slots, IPK_TABLE_SLOTS, &obstacle,                    \
				       ipk_now_ns() + 100);                                        \
		damaged_answers += (code) == -EUCLEAN;                                             \
		CHECK(((code) >= 0 && (code) <= (most)) || (code) == -EAGAIN ||                    \
		      (code) == -EUCLEAN || (code) == -EDEADLK || (code) == -ELOOP ||              \
		      (code) == -ENOSPC || (code) == (extra));                                     \
	} while (0)

static void
read_all(const struct ipk_key *key)
{
	uint64_t copy[WORDS];
	uint32_t position = 0;
	uint32_t rows = 0;
	int code;

	code = ipk_table_get(&table, key, copy);
	CHECK(code == 0 || code == 1 || code == -EUCLEAN);
	CHECK(code != 1 || copy[0] <= table.key_size);
	for (uint32_t c = 0; c < table.column_count; c++) {
		code = ipk_table_get_column(&table, key, c, copy);
		CHECK(code == 0 || code == 1 || code == -EUCLEAN);
		CHECK(code != 1 || table.columns[c].type < IPK_STRING ||
		      copy[0] <= table.columns[c].size);
	}
	code = ipk_table_has(&table, key);
	CHECK(code == 0 || code == 1 || code == -EUCLEAN);
	while ((code = ipk_table_next(&table, &position, copy)) == 1)
		CHECK(++rows <= table.rows && copy[0] <= table.key_size);
	CHECK(code == 0 || code == -EUCLEAN);
	CHECK(ipk_table_count(&table) <= ((uint64_t)table.rows + 63) / 64 * 64);
}

static void
write_all(const struct ipk_key *key)
{
	uint32_t number = below(table.column_count);
	uint64_t row[WORDS] = {0};
	uint64_t copy[WORDS] = {0};
	uint32_t cell = 0;
	int code;

	switch (below(6)) {
	case 0:
		EXPECT(code, 1, 0,
		       ipk_table_write(&table, &party, key, (enum ipk_write)below(3), row, NULL,
				       &obstacle));
		break;
	case 1:
		EXPECT(code, 1, 0,
		       ipk_table_delete(&table, &party, key, below(2) ? copy : NULL, &obstacle));
		break;
	case 2:
		if (table.columns[number].type < IPK_STRING)
			EXPECT(code, 0, -ERANGE,
			       ipk_table_incr(&table, &party, key, number, below(4), copy,
					      &obstacle));
		break;
	case 3:
		(void)ipk_table_get_column(&table, key, number, copy);
		if (table.columns[number].type >= IPK_STRING && copy[0] > table.columns[number].size)
			break;
		EXPECT(code, 1, 0,
		       ipk_table_compare_and_set(&table, &party, key, number, copy, row,
						 &obstacle));
		break;
	default:
		EXPECT(code, 3, -EBUSY,
		       ipk_table_lock(&table, &party, key, copy, &cell, &obstacle));
		if (code >= 0 && below(2))
			EXPECT(code, 0, -EPERM,
			       ipk_table_commit(&table, &party, cell, row, &obstacle));
		else if (code >= 0)
			EXPECT(code, 0, -EPERM,
			       ipk_table_abort(&table, &party, cell, &obstacle));
	}
	ipk_table_give_up(&party);
}

static void
use(void)
{
	struct ipk_verify found = {0};
	struct ipk_key key;
	int code = ipk_table_join(&table, &registry, &party);

	CHECK(code == 0 || code == -EUSERS);
	for (uint32_t i = 0, from = below(KEYS); i < KEYS; i++) {
		char name = (char)('0' + (from + i) % KEYS);

		if (ipk_key_make(&table, &key, &name, 1))
			continue;
		read_all(&key);
		if (code == 0)
			write_all(&key);
	}
	if (code)
		return;
	EXPECT(code, 0, 0, ipk_table_verify(&table, &party, &found, &obstacle));
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
	bytes = damage(base, bytes);
	if (bytes < whole.bytes && bytes >= 2 * PAGE && below(2)) {
		memcpy(base + BYTES_AT, &bytes, sizeof(bytes));
		sum_up(base);
	}
	code = ipk_table_attach(&table, base, bytes, &why);
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
