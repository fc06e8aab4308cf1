/*
 * test_table_threads.c - threads at work on few rows of one mapping: under TSan, no report.
 *
 * A row's columns all follow from one value, so a row that was never written shows.
 */
#include "table_support.h"

enum {
	ROWS = 16,
	KEYS = 12, /* that come and go; the others last */
	LASTING = 3,
	WRITERS = 2,
	THREADS = 7,
	WATCHERS = 3, /* the last ones */
	STEPS = SANITIZED ? 20000 : 300000,
	TEXT = 40,
};

static struct ipk_key keys[KEYS];
static struct ipk_key lasting[LASTING];
static struct ipk_key counter; /* incr, and lock-read-commit, of two columns */
static uint64_t begun, ended;
static uint64_t found, loops;
static uint64_t rounds[WATCHERS]; /* that a reader, a walker, a verifier has made */

static uint64_t
next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return *state >> 33;
}

static void
row_of(uint64_t *row, uint64_t value)
{
	char text[TEXT + 8];
	int size = snprintf(text, sizeof(text), "%.*s%llu", (int)(value % 20),
			    "....................", (unsigned long long)value);

	memset(row, 0, table.row_words * sizeof(*row));
	row[0] = value;
	row[1] = (uint64_t)size;
	memcpy(row + 2, text, (size_t)size);
	row[table.columns[2].first] = -value;
}

static void
check_row(const uint64_t *copy)
{
	uint64_t row[WORDS];

	row_of(row, copy[1]);
	CHECK(copy[2] == row[1] && memcmp(copy + 3, row + 2, row[1]) == 0);
	CHECK(copy[1 + table.columns[2].first] == -copy[1]);
}

static int
write_row(const struct ipk_key *key, enum ipk_write how, uint64_t value)
{
	uint64_t row[WORDS];
	int code;

	row_of(row, value);
	REPEAT(code, ipk_table_write(&table, &party, key, how, row, NULL, &obstacle));
	return code;
}

/* Called by the watcher that is thread `number`, counted from 1. */
static void
end_round(void *number)
{
	__atomic_fetch_add(&rounds[(uintptr_t)number - (THREADS - WATCHERS) - 1], 1, __ATOMIC_RELAXED);
}

static int
each_made_a_round(void)
{
	for (int i = 0; i < WATCHERS; i++)
		if (!__atomic_load_n(&rounds[i], __ATOMIC_RELAXED))
			return 0;
	return 1;
}

/* Rows come, change and go, until each watcher has seen some of it: one may get no CPU for long. */
static void *
writes(void *number)
{
	uint64_t state = (uintptr_t)number;
	uint64_t copy[WORDS];
	int64_t mine = 0;
	int code;

	table_join();
	for (uint64_t step = 0; step < STEPS || !each_made_a_round(); step++) {
		const struct ipk_key *key = &keys[next_random(&state) % KEYS];
		uint64_t value = next_random(&state) % 100000 + KEYS;

		switch (next_random(&state) % 5) {
		case 0:
			mine += write_row(key, IPK_SET, value);
			break;
		case 1:
			mine += write_row(key, IPK_ADD, value);
			break;
		case 2:
			mine += write_row(key, IPK_REPLACE, value);
			break;
		case 3:
			CHECK(write_row(&lasting[value % LASTING], IPK_SET, value % LASTING) == 0);
			break;
		default:
			REPEAT(code, ipk_table_delete(&table, &party, key, copy, &obstacle));
			CHECK(code >= 0);
			if (code)
				check_row(copy);
			mine -= code;
		}
	}
	__atomic_fetch_add(&found, (uint64_t)mine, __ATOMIC_RELAXED);
	table_leave();
	return NULL;
}

/* Both counters go up by 1 for each step of each thread; the second by way of the lock. */
static void *
counts(void *number)
{
	uint64_t row[WORDS];
	uint64_t copy[WORDS];
	uint32_t cell;
	int code;

	table_join();
	for (uint64_t step = 0; step < STEPS / 2; step++) {
		REPEAT(code, ipk_table_incr(&table, &party, &counter, 0, 1, copy, &obstacle));
		CHECK(code == 0);
		REPEAT(code,
		       ipk_table_lock(&table, &party, &counter, copy, &cell, &obstacle));
		CHECK(code == 1);
		memcpy(row, copy + 1, table.row_words * sizeof(*row));
		row[table.columns[2].first]++;
		REPEAT(code, ipk_table_commit(&table, &party, cell, row, &obstacle));
		CHECK(code == 0);
	}
	table_leave();
	return number;
}

/* Needs no party. */
static void *
reads(void *number)
{
	uint64_t copy[WORDS];
	uint64_t value[WORDS];
	uint64_t before = 0;

	while (__atomic_load_n(&ended, __ATOMIC_RELAXED) < begun) {
		for (int i = 0; i < KEYS; i++) {
			int code = ipk_table_get(&table, &keys[i], copy);

			CHECK(code >= 0);
			if (code)
				check_row(copy);
			(void)ipk_table_has(&table, &keys[i]);
		}
		for (int i = 0; i < LASTING; i++) {
			CHECK(ipk_table_get(&table, &lasting[i], copy) == 1);
			check_row(copy);
			CHECK(copy[1] == (uint64_t)i && ipk_table_has(&table, &lasting[i]) == 1);
			CHECK(ipk_table_get_column(&table, &lasting[i], 2, value) == 1);
			CHECK(value[0] == -(uint64_t)i);
		}
		CHECK(ipk_table_get_column(&table, &counter, 0, value) == 1);
		CHECK(value[0] >= before); /* never back */
		before = value[0];
		end_round(number);
	}
	return NULL;
}

static void *
walks(void *number)
{
	uint64_t copy[WORDS];

	while (__atomic_load_n(&ended, __ATOMIC_RELAXED) < begun) {
		int seen[LASTING + 1] = {0};
		uint32_t position = 0;
		int code;

		while ((code = ipk_table_next(&table, &position, copy)) == 1) {
			int is_counter = copy[1 + table.row_words] == counter.word[0];

			if (!is_counter)
				check_row(copy);
			if (is_counter || copy[1] < LASTING)
				seen[is_counter ? LASTING : (int)copy[1]]++;
		}
		CHECK(code == 0);
		for (int i = 0; i <= LASTING; i++)
			CHECK(seen[i] == 1);
		CHECK(ipk_table_count(&table) <= ROWS);
		end_round(number);
	}
	return NULL;
}

static void *
verifies(void *number)
{
	table_join();
	while (__atomic_load_n(&ended, __ATOMIC_RELAXED) < begun) {
		struct ipk_verify state = {0};
		int code;

		REPEAT(code, ipk_table_verify(&table, &party, &state, &obstacle));
		CHECK(code == 0 && state.count == 0);
		end_round(number);
	}
	table_leave();
	return NULL;
}

static void
storm(void)
{
	void *(*const work[THREADS])(void *) = {writes, writes, counts, counts,
						reads,	walks,	verifies};
	struct ipk_column columns[3] = {column("a", IPK_INT, 8), column("text", IPK_STRING, TEXT),
					column("b", IPK_INT, 8)};
	pthread_t threads[THREADS];
	uint64_t copy[WORDS];

	table_make(ROWS, 8, columns, 3);
	table_join();
	for (int i = 0; i < KEYS; i++)
		keys[i] = key_of("k%d", i);
	for (int i = 0; i < LASTING; i++) {
		lasting[i] = key_of("lasting%d", i);
		CHECK(write_row(&lasting[i], IPK_SET, (uint64_t)i) == 1);
	}
	counter = key_of("counter");
	memset(copy, 0, sizeof(copy));
	CHECK(write_row(&counter, IPK_SET, 0) == 1);
	begun = 4;
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, work[i], (void *)(i + 1)) == 0);
	for (int i = 0; i < THREADS; i++) {
		CHECK(pthread_join(threads[i], NULL) == 0);
		if (i < (int)begun)
			__atomic_fetch_add(&ended, 1, __ATOMIC_RELAXED);
	}
	check_table(LASTING + 1 + found);
	CHECK(ipk_table_get(&table, &counter, copy) == 1);
	CHECK(copy[1] == 2 * (STEPS / 2) && copy[1 + table.columns[2].first] == copy[1]);
	table_leave();
	table_drop();
}

/* -- cycles of locks over real threads -- */

static struct ipk_key ring[3];
static uintptr_t ring_size;
static pthread_barrier_t all_hold;

static void *
goes_round(void *number)
{
	uintptr_t me = (uintptr_t)number;
	uint64_t copy[WORDS];
	uint32_t mine, other;
	int code;

	table_join();
	REPEAT(code, ipk_table_lock(&table, &party, &ring[me], copy, &mine, &obstacle));
	CHECK(code >= 0);
	(void)pthread_barrier_wait(&all_hold);
	REPEAT(code, ipk_table_lock(&table, &party, &ring[(me + 1) % ring_size], copy, &other,
				    &obstacle));
	CHECK(code >= 0 || code == -ELOOP);
	if (code == -ELOOP)
		__atomic_fetch_add(&loops, 1, __ATOMIC_RELAXED);
	else
		REPEAT(code, ipk_table_abort(&table, &party, other, &obstacle));
	REPEAT(code, ipk_table_abort(&table, &party, mine, &obstacle));
	CHECK(code == 0);
	table_leave();
	return NULL;
}

static void
cycles(uintptr_t size)
{
	pthread_t threads[3];

	table_of_pairs(4);
	table_join();
	ring_size = size;
	for (int i = 0; i < 3; i++)
		ring[i] = key_of("%d", i);
	for (int round = 0; round < 30; round++) {
		loops = 0;
		CHECK(pthread_barrier_init(&all_hold, NULL, (unsigned)size) == 0);
		for (uintptr_t i = 0; i < size; i++)
			CHECK(pthread_create(&threads[i], NULL, goes_round, (void *)i) == 0);
		for (uintptr_t i = 0; i < size; i++)
			CHECK(pthread_join(threads[i], NULL) == 0);
		CHECK(pthread_barrier_destroy(&all_hold) == 0);
		CHECK(loops >= 1 && loops < size);
		check_table(0);
	}
	table_leave();
	table_drop();
}

int
main(void)
{
	storm();
	cycles(2);
	cycles(3);
	return 0;
}
