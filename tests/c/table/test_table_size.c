/*
 * test_table_size.c - a table of n rows holds any n rows, whatever was there before; walking them.
 */
#include "table_support.h"

/* COLLIDING: no multiple of 7. */
enum { CYCLES = SANITIZED ? 30000 : 1000000, COLLIDING = SANITIZED ? 65 : 1000 };

/* A new key in a full table: every call refuses, and not a byte of the segment changes. */
static void
expect_full(void)
{
	unsigned char *before = malloc(table.bytes);
	struct ipk_key key = key_of("too many");
	uint64_t row[2] = {1, (uint64_t)-1};
	uint64_t copy[WORDS];
	uint32_t cell;
	int code;

	CHECK(before != NULL);
	memcpy(before, table.base, table.bytes);
	for (int how = IPK_SET; how <= IPK_ADD; how++) {
		REPEAT(code, ipk_table_write(&table, &party, &key, (enum ipk_write)how, row, NULL,
					     &obstacle));
		CHECK(code == -ENOSPC);
	}
	REPEAT(code, ipk_table_incr(&table, &party, &key, 0, 1, copy, &obstacle));
	CHECK(code == -ENOSPC);
	REPEAT(code, ipk_table_lock(&table, &party, &key, copy, &cell, &obstacle));
	CHECK(code == -ENOSPC);
	REPEAT(code, ipk_table_compare_and_set(&table, &party, &key, 0, row, row, &obstacle));
	CHECK(code == 0);
	CHECK(drop(&key) == 0 && !ipk_table_has(&table, &key));
	CHECK(memcmp(before, table.base, table.bytes) == 0);
	free(before);
}

static void
fill(uint32_t first, uint32_t count)
{
	for (uint32_t i = first; i < first + count; i++) {
		struct ipk_key key = key_of("%u", i);

		CHECK(put(&key, i) == 1);
	}
}

static void
exactly(uint32_t rows)
{
	table_of_pairs(rows);
	table_join();
	fill(0, rows);
	expect_full();
	check_table(rows);
	for (uint32_t i = 0; i < rows; i++) {
		struct ipk_key key = key_of("%u", i);
		struct ipk_key next = key_of("%u", i + rows);

		CHECK(has_pair(&key, i));
		CHECK(put(&key, (int64_t)i + 5) == 0); /* an old row always fits */
		CHECK(drop(&key) == 1 && !ipk_table_has(&table, &key));
		CHECK(put(&next, i) == 1);
	}
	expect_full();
	check_table(rows);
	table_leave();
	table_drop();
}

/* One row goes, another comes, over and over: nothing wears out. */
static void
cycles(uint32_t rows)
{
	table_of_pairs(rows);
	table_join();
	fill(0, rows);
	for (uint32_t i = 0; i < CYCLES; i++) {
		struct ipk_key old = key_of("%u", i);
		struct ipk_key fresh = key_of("%u", i + rows);

		CHECK(drop(&old) == 1);
		CHECK(put(&fresh, i) == 1);
	}
	expect_full();
	check_table(rows);
	table_leave();
	table_drop();
}

/* The keys of one bucket, from `*number` on. */
static struct ipk_key
colliding_key(uint32_t bucket, uint32_t *number)
{
	for (;;) {
		struct ipk_key key = key_of("c%u", (*number)++);

		if (ipk_bucket_of(&table, &key) == bucket)
			return key;
	}
}

static void
one_bucket(void)
{
	static struct ipk_key keys[2][COLLIDING];
	uint32_t number = 0;

	table_of_pairs(COLLIDING);
	table_join();
	for (uint32_t side = 0; side < 2; side++)
		for (uint32_t i = 0; i < COLLIDING; i++)
			keys[side][i] = colliding_key(side * 3, &number);
	for (uint32_t round = 0; round < 4; round++) {
		struct ipk_key *mine = keys[round % 2];

		for (uint32_t i = 0; i < COLLIDING; i++)
			CHECK(put(&mine[i], i) == 1);
		expect_full();
		check_table(COLLIDING);
		for (uint32_t i = 0; i < COLLIDING; i++)
			CHECK(has_pair(&mine[i], i) &&
			      !ipk_table_has(&table, &keys[(round + 1) % 2][i]));
		/* From the middle outwards: head, tail and inside of the chain. */
		for (uint32_t i = 0; i < COLLIDING; i++)
			CHECK(drop(&mine[(COLLIDING / 2 + i * 7) % COLLIDING]) == 1);
		check_table(0);
	}
	table_leave();
	table_drop();
}

/* Rows that last are seen once by each iterator while others come and go around them. */
static void
iteration(void)
{
	enum { LASTING = 150, PASSING = 50, ROWS = 200 };
	unsigned char seen[LASTING];
	uint64_t copy[WORDS];
	uint32_t position;
	uint32_t round = 0;
	int code;

	table_of_pairs(ROWS);
	table_join();
	position = 0;
	CHECK(ipk_table_next(&table, &position, copy) == 0);
	CHECK(ipk_table_next(&table, &position, copy) == 0);
	fill(0, LASTING);
	for (int pass = 0; pass < 20; pass++) {
		memset(seen, 0, sizeof(seen));
		position = 0;
		while ((code = ipk_table_next(&table, &position, copy)) == 1) {
			struct ipk_key key = key_of("p%u", round++ % PASSING);
			uint32_t inner = 0;
			uint32_t count = 0;

			CHECK(copy[1] == -copy[2]);
			if (copy[1] < LASTING)
				CHECK(seen[copy[1]]++ == 0);
			if (!drop(&key))
				CHECK(put(&key, 1000 + round) == 1);
			while (pass == 0 && ipk_table_next(&table, &inner, copy) == 1)
				count++;
			CHECK(pass != 0 || count == ipk_table_count(&table));
		}
		CHECK(code == 0);
		for (uint32_t i = 0; i < LASTING; i++)
			CHECK(seen[i] == 1);
	}
	position = UINT32_MAX;
	CHECK(ipk_table_next(&table, &position, copy) == 0);
	table_leave();
	table_drop();
}

/* verify() finds what is broken by hand: each rule. */
static void
verify_finds(void)
{
	for (uint32_t rule = 1; rule <= 6; rule++) {
		struct ipk_verify state = {0};
		struct ipk_bucket *home;
		struct ipk_cell *cell;
		struct ipk_key key;
		int found = 0;
		int code;

		table_of_pairs(2);
		table_join();
		key = key_of("k");
		CHECK(put(&key, 1) == 1);
		check_table(1);
		home = &table.buckets[ipk_bucket_of(&table, &key)];
		cell = ipk_cell_at(&table, home->head - 1);
		if (rule == 1)
			cell->next = home->head;
		else if (rule == 2)
			cell->version &= ~(uint64_t)IPK_LIVE;
		else if (rule == 3)
			cell->hash ^= 1;
		else if (rule == 4)
			table.bitmap[0] = 0;
		else if (rule == 5)
			home->head = 0;
		else
			home->pending = 1;
		REPEAT(code, ipk_table_verify(&table, &party, &state, &obstacle));
		for (uint32_t i = 0; i < state.count && i < IPK_VERIFY_FINDINGS; i++)
			found |= state.findings[i].rule == rule;
		if (code != 0 || !found)
			fprintf(stderr, "verify: V%u is not found\n", rule);
		CHECK(code == 0 && found);
		table_leave();
		table_drop();
	}
}

int
main(void)
{
	static const uint32_t sizes[] = {1, 2, 63, 64, 65, 1000};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		exactly(sizes[i]);
	cycles(1000);
	cycles(1);
	one_bucket();
	iteration();
	verify_finds();
	return 0;
}
