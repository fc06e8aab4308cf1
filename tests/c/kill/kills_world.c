/*
 * kills_world.c - making the table for a trial, and judging it afterwards.
 */
#include "kills.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COLUMNS = 3 };

struct ipk_table table;
struct ipk_registry registry;
struct ipk_party party;
struct ipk_key key;

static struct ipk_column columns[COLUMNS] = {
	{.type = IPK_INT, .size = 8, .name_size = 1, .name = "a"},
	{.type = IPK_STRING, .size = 40, .name_size = 4, .name = "text"},
	{.type = IPK_INT, .size = 8, .name_size = 1, .name = "b"},
};
static struct ipk_key neighbours[NEIGHBOURS];
static struct ipk_key bystanders[BYSTANDERS];
static const unsigned char seed[32] = "the same keys in every trial";
static void *base;
static uint64_t bytes;

static void
fail(const char *what)
{
	perror(what);
	exit(2);
}

static void
make_key(struct ipk_key *which, const char *form, int number)
{
	char text[16];

	(void)ipk_key_make(&table, which, text,
			   (size_t)snprintf(text, sizeof(text), form, number));
}

void
filler_key(struct ipk_key *which, int number)
{
	make_key(which, "f%d", number);
}

/* Keys of KEY's bucket, and keys of others. */
static void
choose_keys(void)
{
	struct ipk_key found;
	int near = 0;
	int far = 0;

	make_key(&key, "k%d", 0);
	for (int i = 1; near < NEIGHBOURS || far < BYSTANDERS; i++) {
		make_key(&found, "k%d", i);
		if (ipk_bucket_of(&table, &found) == ipk_bucket_of(&table, &key)) {
			if (near < NEIGHBOURS)
				neighbours[near++] = found;
		} else if (far < BYSTANDERS) {
			bystanders[far++] = found;
		}
	}
}

void
world_make(void)
{
	struct stat seen;
	const char *why;
	int fd = memfd_create("kills", MFD_CLOEXEC);

	bytes = (uint64_t)ipk_table_layout(SIZE, 16, columns, COLUMNS);
	if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0 || fstat(fd, &seen) != 0)
		fail("memfd");
	base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		fail("mmap");
	if (ipk_table_format(base, bytes, SIZE, 16, columns, COLUMNS, seed) ||
	    ipk_table_attach(&table, base, bytes, &why))
		fail("format");
	registry = (struct ipk_registry){
		.fd = fd, .dev = (uint64_t)seen.st_dev, .ino = (uint64_t)seen.st_ino};
	choose_keys();
}

void
join(void)
{
	if (ipk_table_join(&table, &registry, &party))
		fail("join");
}

void
world_begin(void)
{
	memset(base, 0, bytes);
	(void)ipk_table_format(base, bytes, SIZE, 16, columns, COLUMNS, seed);
	join();
	for (int i = 0; i < NEIGHBOURS; i++)
		(void)put(&neighbours[i], 100 + i);
	for (int i = 0; i < BYSTANDERS; i++)
		(void)put(&bystanders[i], 200 + i);
}

void
world_end(void)
{
	if (ipk_slot_release(&registry, &party))
		fail("leave");
}

void
row_of(uint64_t *row, int value)
{
	char text[41];
	int size = snprintf(text, sizeof(text), "%d-%d-%d-%d", value, value, value, value);

	memset(row, 0, table.row_words * sizeof(*row));
	row[0] = (uint64_t)(int64_t)value;
	row[1] = (uint64_t)size;
	memcpy(&row[2], text, (size_t)size);
	row[table.columns[2].first] = (uint64_t)(int64_t)-value;
}

/* Columns that only one call writes (incr, compare_and_set) are told apart by `a`. */
int
read_value(const struct ipk_key *which)
{
	uint64_t copy[64];
	uint64_t row[64];
	int value;
	int code = ipk_table_get(&table, which, copy);

	if (code <= 0)
		return code ? code - 100 : ABSENT;
	value = (int)copy[1];
	row_of(row, (int)-(int64_t)copy[1 + table.columns[2].first]);
	row[0] = (uint64_t)(int64_t)value;
	/* incr and compare_and_set change `a` alone, by +1000. */
	if (value != -(int)(int64_t)copy[1 + table.columns[2].first] &&
	    value - 1000 != -(int)(int64_t)copy[1 + table.columns[2].first])
		return -2;
	if (copy[2] != row[1] || memcmp(&copy[3], &row[2], row[1]) != 0)
		return -2;
	return value;
}

int
put(const struct ipk_key *which, int value)
{
	struct ipk_obstacle obstacle;
	uint64_t row[64];
	int code;

	row_of(row, value);
	UNTIL_DONE(code, obstacle,
		   ipk_table_write(&table, &party, which, IPK_SET, row, NULL, &obstacle));
	return code == -EAGAIN ? -ETIMEDOUT : code;
}

int
drop(const struct ipk_key *which)
{
	struct ipk_obstacle obstacle;
	int code;

	UNTIL_DONE(code, obstacle, ipk_table_delete(&table, &party, which, NULL, &obstacle));
	return code == -EAGAIN ? -ETIMEDOUT : code;
}

void
fill_up(int left)
{
	struct ipk_key filler;

	for (int i = 0; (int)ipk_table_count(&table) < SIZE - left; i++) {
		filler_key(&filler, i);
		(void)put(&filler, 300 + i);
	}
}

void
put_in_the_middle(int value)
{
	(void)drop(&neighbours[0]);
	(void)put(&key, value);
	(void)put(&neighbours[0], 100);
}

static const char *
look_at_others(void)
{
	for (int i = 0; i < NEIGHBOURS; i++)
		if (read_value(&neighbours[i]) != 100 + i)
			return "a neighbour is not whole, or not there";
	for (int i = 0; i < BYSTANDERS; i++)
		if (read_value(&bystanders[i]) != 200 + i)
			return "a bystander is not whole, or not there";
	return NULL;
}

/* Iteration, counted against what is there. */
static const char *
look_at_all(int *rows)
{
	uint32_t position = 0;
	uint64_t copy[64];
	struct ipk_key found;
	int code;

	*rows = 0;
	while ((code = ipk_table_next(&table, &position, copy)) > 0) {
		(void)ipk_key_make(&table, &found, copy + 1 + table.row_words, copy[0]);
		if (read_value(&found) == ABSENT || read_value(&found) < -1)
			return "iteration shows what is not there, or is torn";
		++*rows;
	}
	if (code < 0)
		return "iteration failed";
	return NULL;
}

const char *
judge_readers(const struct kind *kind, int *value)
{
	*value = read_value(&key);
	if (*value != kind->before && *value != kind->after)
		return *value == -2 ? "the row is torn" : "the row is neither the old nor the new";
	return look_at_others();
}

static const char *
check_invariants(void)
{
	struct ipk_verify state = {0};
	struct ipk_obstacle obstacle;
	int code;

	UNTIL_DONE(code, obstacle, ipk_table_verify(&table, &party, &state, &obstacle));
	if (code)
		return "verify() is stuck";
	if (state.count)
		fprintf(stderr, "  verify: %u findings, the first V%u at %u\n", state.count,
			state.findings[0].rule, state.findings[0].where);
	return state.count ? "verify() finds something" : NULL;
}

/* Exactly SIZE rows fit. */
static const char *
check_capacity(void)
{
	int rows = (int)ipk_table_count(&table);
	struct ipk_key filler;
	int code;

	for (int i = 1000;; i++) {
		filler_key(&filler, i);
		code = put(&filler, i);
		if (code == -ENOSPC)
			break;
		if (code != 1)
			return "filling up failed";
		rows++;
	}
	return rows == SIZE ? NULL : "the number of rows that fit has changed";
}

/* Slots: one of this process, everything else is dead or was never taken. */
static const char *
check_slots(void)
{
	int living = 0;

	for (uint32_t i = 0; i < IPK_TABLE_SLOTS; i++)
		if (ipk_owner_dead(table.slots, IPK_TABLE_SLOTS,
				   (i + 1) | (table.slots[i].generation & 0x3fff) << 16) == 0)
			living++;
	return living == 1 ? NULL : "a dead participant looks alive, or a living one dead";
}

static const char *
check_lock(void)
{
	struct ipk_obstacle obstacle;
	uint64_t copy[64];
	uint32_t cell;
	int code;

	UNTIL_DONE(code, obstacle, ipk_table_lock(&table, &party, &key, copy, &cell, &obstacle));
	if (code < 0 || !(code & 1))
		return "the row cannot be locked";
	UNTIL_DONE(code, obstacle, ipk_table_abort(&table, &party, cell, &obstacle));
	return code ? "the row cannot be unlocked" : NULL;
}

const char *
judge(const struct kind *kind, int *value, uint64_t *worst)
{
	const char *wrong = judge_readers(kind, value);
	struct ipk_key filler;
	uint64_t began;
	int rows;
	int code;

	if (!wrong)
		wrong = look_at_all(&rows);
	if (!wrong && rows != (int)ipk_table_count(&table))
		wrong = "count() and iteration disagree";
	if (wrong)
		return wrong;
	began = ipk_now_ns();
	code = put(&key, SURVIVOR);
	began = ipk_now_ns() - began;
	if (began > *worst)
		*worst = began;
	if (code == -ENOSPC && rows == SIZE && *value == ABSENT) {
		filler_key(&filler, 0);
		(void)drop(&filler);
		code = put(&key, SURVIVOR);
	} else if (*value != ABSENT && code != 0) {
		return "a write of the row that is there fails";
	}
	if (code < 0)
		return code == -ETIMEDOUT ? "a write is stuck" : "a write fails";
	if (read_value(&key) != SURVIVOR)
		return "what was written is not read";
	wrong = check_lock();
	if (!wrong)
		wrong = check_invariants();
	if (!wrong)
		wrong = check_capacity();
	return wrong ? wrong : check_slots();
}
