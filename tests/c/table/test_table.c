/*
 * test_table.c - one row at a time, by one thread: every call and every code it may return.
 */
#include "table_support.h"

#include <math.h>

enum { A1, A2, A4, A8, REAL, TEXT, BLOB, KINDS };

static struct ipk_column kinds[KINDS];

static void
make_kinds(uint32_t rows, uint32_t key_size)
{
	kinds[A1] = column("a1", IPK_INT, 1);
	kinds[A2] = column("a2", IPK_INT, 2);
	kinds[A4] = column("a4", IPK_INT, 4);
	kinds[A8] = column("a8", IPK_INT, 8);
	kinds[REAL] = column("real", IPK_FLOAT, 8);
	kinds[TEXT] = column("text", IPK_STRING, 13);
	kinds[BLOB] = column("blob", IPK_BYTES, 16);
	table_make(rows, key_size, kinds, KINDS);
	table_join();
}

static void
drop_table(void)
{
	table_leave();
	table_drop();
}

static uint64_t
bits_of(double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static void
layouts(void)
{
	struct ipk_column good[2] = {column("a", IPK_INT, 8), column("b", IPK_STRING, 20)};
	static const uint32_t bad[][2] = {
		{0, 8},		 {5, 8},	  {IPK_INT, 0},	   {IPK_INT, 3},
		{IPK_INT, 16},	 {IPK_FLOAT, 4},  {IPK_STRING, 0}, {IPK_STRING, IPK_TABLE_VALUE + 1},
		{IPK_BYTES, 0},	 {IPK_BYTES, UINT32_MAX},
	};
	static struct ipk_column many[IPK_TABLE_COLUMNS + 1];
	static unsigned char small[4 * 4096];
	int64_t bytes = ipk_table_layout(1, 1, good, 2);

	CHECK(bytes > 0 && bytes % 4096 == 0);
	CHECK(good[0].first == 0 && good[0].words == 1 && good[1].first == 1 && good[1].words == 4);
	CHECK(ipk_table_layout(0, 1, good, 2) == -EINVAL);
	CHECK(ipk_table_layout(1u << 31, 1, good, 2) == -EINVAL);
	CHECK(ipk_table_layout(INT32_MAX, 1, good, 2) > 0);
	CHECK(ipk_table_layout(1, 0, good, 2) == -EINVAL);
	CHECK(ipk_table_layout(1, IPK_TABLE_KEY + 1, good, 2) == -EINVAL);
	CHECK(ipk_table_layout(1, IPK_TABLE_KEY, good, 2) > 0);
	CHECK(ipk_table_layout(1, 1, good, 0) == -EINVAL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct ipk_column one = column("x", bad[i][0], bad[i][1]);

		CHECK(ipk_table_layout(1, 1, &one, 1) == -EINVAL);
	}
	for (int i = 0; i <= IPK_TABLE_COLUMNS; i++)
		many[i] = column("m", IPK_BYTES, IPK_TABLE_VALUE);
	CHECK(ipk_table_layout(1, 1, many, IPK_TABLE_COLUMNS) > 2ll * 256 * IPK_TABLE_VALUE);
	CHECK(ipk_table_layout(1, 1, many, IPK_TABLE_COLUMNS + 1) == -EINVAL);
	many[0].name_size = 0;
	CHECK(ipk_table_layout(1, 1, many, 1) == -EINVAL);
	many[0].name_size = IPK_TABLE_NAME + 1;
	CHECK(ipk_table_layout(1, 1, many, 1) == -EINVAL);

	CHECK(ipk_table_format(small, sizeof(small), 1, 1, good, 2, small) == -EINVAL);
	CHECK(ipk_table_format(small, sizeof(small), 0, 1, good, 2, small) == -EINVAL);
	CHECK(ipk_table_format(small, 100, 1, 1, good, 2, small) == -EINVAL);
	CHECK(ipk_table_format(small, sizeof(small), 1, 1, good, 9999, small) == -EINVAL);
}

static void
expect_refusal(uint64_t at, uint64_t bytes)
{
	static struct ipk_table other;
	const char *why = NULL;

	table.base[at] ^= 1;
	CHECK(ipk_table_attach(&other, table.base, bytes, &why) == -EUCLEAN && why && *why);
	table.base[at] ^= 1;
}

/* Every byte of the header and of the columns counts. */
static void
headers(void)
{
	static struct ipk_table other;
	const char *why;

	make_kinds(3, 10);
	for (uint64_t at = 0; at < 64; at++)
		expect_refusal(at, table.bytes);
	for (uint64_t at = 0; at < KINDS * sizeof(struct ipk_column); at += 3)
		expect_refusal(4096 + at, table.bytes);
	CHECK(ipk_table_attach(&other, table.base, 0, &why) == -EUCLEAN && why);
	CHECK(ipk_table_attach(&other, table.base, 4096, &why) == -EUCLEAN && why);
	CHECK(ipk_table_attach(&other, table.base, table.bytes - 4096, &why) == -EUCLEAN && why);
	CHECK(ipk_table_attach(&other, table.base, table.bytes, &why) == 0 && !why);
	CHECK(other.rows == 3 && other.key_size == 10 && other.column_count == KINDS);
	drop_table();
}

/* Strings of 0..size bytes, longer before shorter and the other way round. */
static void
all_types(void)
{
	uint64_t row[WORDS] = {0};
	uint64_t copy[WORDS];
	uint64_t value[8];
	struct ipk_key key;
	int code;

	make_kinds(1, 8);
	key = key_of("k");
	for (int pass = 0; pass < 2; pass++) {
		for (uint32_t i = 0; i <= 16; i++) {
			uint32_t blob = pass ? 16 - i : i;
			uint32_t text = blob > 13 ? 13 : blob;
			uint64_t *at = row + kinds[TEXT].first;

			row[A1] = (uint64_t)-128;
			row[A2] = INT16_MAX;
			row[A4] = (uint64_t)INT32_MIN;
			row[A8] = (uint64_t)INT64_MIN;
			row[REAL] = bits_of(blob == 3 ? (double)NAN : blob == 4 ? -0.0 : 1e308);
			at[0] = text;
			memset(at + 1, blob % 3 ? 0 : 'x', text);
			at = row + kinds[BLOB].first;
			at[0] = blob;
			memset(at + 1, (int)(200 + i), blob);
			REPEAT(code, ipk_table_write(&table, &party, &key, IPK_SET, row, NULL,
						     &obstacle));
			CHECK(code == (pass == 0 && i == 0));
			memset(copy, 0xa5, sizeof(copy));
			CHECK(ipk_table_get(&table, &key, copy) == 1 && copy[0] == 1);
			CHECK(memcmp(copy + 1, row, (REAL + 1) * sizeof(*row)) == 0);
			for (uint32_t c = TEXT; c < KINDS; c++) {
				const uint64_t *in = row + kinds[c].first;
				const uint64_t *out = copy + 1 + kinds[c].first;

				CHECK(in[0] == out[0] && memcmp(in + 1, out + 1, in[0]) == 0);
				CHECK(ipk_table_get_column(&table, &key, c, value) == 1);
				CHECK(in[0] == value[0] && memcmp(in + 1, value + 1, in[0]) == 0);
			}
			CHECK(ipk_table_get_column(&table, &key, REAL, value) == 1);
			CHECK(value[0] == row[REAL]);
			CHECK(copy[1 + table.row_words] << 56 == (uint64_t)'k' << 56);
		}
	}
	key = key_of("other");
	CHECK(ipk_table_get(&table, &key, copy) == 0);
	CHECK(ipk_table_get_column(&table, &key, TEXT, value) == 0);
	CHECK(ipk_table_has(&table, &key) == 0);
	check_table(1);
	drop_table();
}

static void
ways_to_write(void)
{
	static const unsigned char none[KINDS];
	unsigned char given[KINDS] = {0};
	uint64_t row[WORDS] = {0};
	uint64_t copy[WORDS];
	struct ipk_key key;
	int code;

	make_kinds(4, 8);
	key = key_of("k");
	REPEAT(code, ipk_table_write(&table, &party, &key, IPK_SET, row, none, &obstacle));
	CHECK(code == 1 && ipk_table_get(&table, &key, copy) == 1);
	for (uint32_t c = 0; c < KINDS; c++)
		CHECK(copy[1 + kinds[c].first] == 0);
	row[A1] = 1;
	row[A8] = 8;
	given[A1] = given[A8] = 1;
	REPEAT(code, ipk_table_write(&table, &party, &key, IPK_SET, row, given, &obstacle));
	CHECK(code == 0 && ipk_table_get(&table, &key, copy) == 1);
	CHECK(copy[1 + A1] == 1 && copy[1 + A8] == 8);
	row[A1] = 2;
	given[A8] = 0;
	REPEAT(code, ipk_table_write(&table, &party, &key, IPK_SET, row, given, &obstacle));
	CHECK(code == 0 && ipk_table_get(&table, &key, copy) == 1);
	CHECK(copy[1 + A1] == 2 && copy[1 + A8] == 8);
	row[A1] = 3;
	REPEAT(code, ipk_table_write(&table, &party, &key, IPK_ADD, row, given, &obstacle));
	CHECK(code == 0 && ipk_table_get(&table, &key, copy) == 1);
	CHECK(copy[1 + A1] == 2 && copy[1 + A8] == 8);
	REPEAT(code, ipk_table_write(&table, &party, &key, IPK_REPLACE, row, given, &obstacle));
	CHECK(code == 0 && ipk_table_get(&table, &key, copy) == 1);
	CHECK(copy[1 + A1] == 3 && copy[1 + A8] == 0);
	memset(copy, 0xff, sizeof(copy));
	REPEAT(code, ipk_table_delete(&table, &party, &key, copy, &obstacle));
	CHECK(code == 1 && copy[0] == 1 && copy[1 + A1] == 3 && copy[1 + A8] == 0);
	CHECK(!ipk_table_has(&table, &key) && drop(&key) == 0);
	REPEAT(code, ipk_table_delete(&table, &party, &key, copy, &obstacle));
	CHECK(code == 0);
	REPEAT(code, ipk_table_write(&table, &party, &key, IPK_ADD, row, given, &obstacle));
	CHECK(code == 1);
	key = key_of("l");
	REPEAT(code, ipk_table_write(&table, &party, &key, IPK_REPLACE, row, given, &obstacle));
	CHECK(code == 1);
	check_table(2);
	drop_table();
}

/* Keys of 0..255 bytes, NULs inside and at the end, are as many different keys. */
static void
keys(void)
{
	char text[IPK_TABLE_KEY + 1] = {0};
	uint64_t copy[WORDS];
	struct ipk_key key;
	uint64_t sum = 0;
	int code;

	make_kinds(2 * (IPK_TABLE_KEY + 1), IPK_TABLE_KEY);
	CHECK(ipk_key_make(&table, &key, text, sizeof(text)) == -EMSGSIZE);
	for (int filling = 1; filling >= 0; filling--) {
		for (uint64_t size = 0; size <= IPK_TABLE_KEY; size++) {
			for (char last = 0; last <= 1; last++) {
				uint64_t id = size * 2 + (uint64_t)last;

				if (size == 0 && last)
					continue;
				if (size)
					text[size - 1] = last;
				CHECK(ipk_key_make(&table, &key, text, size) == 0);
				if (size)
					text[size - 1] = 0;
				if (filling) {
					REPEAT(code, ipk_table_incr(&table, &party, &key, A8, id,
								    copy, &obstacle));
					CHECK(code == 0 && copy[0] == id);
				}
				CHECK(ipk_table_get(&table, &key, copy) == 1);
				CHECK(copy[0] == size && copy[1 + A8] == id);
				CHECK(memcmp(copy + 1 + table.row_words, key.word, size) == 0);
				sum++;
			}
		}
	}
	check_table(sum / 2);
	drop_table();
}

/* The range of each int, from both sides; a failure changes and creates nothing. */
static void
incr_ranges(void)
{
	uint64_t result = 0;
	uint64_t copy[WORDS];
	int code;

	make_kinds(4, 8);
	for (uint32_t c = A1; c <= A8; c++) {
		int64_t most = INT64_MAX >> (64 - kinds[c].size * 8);
		struct ipk_key up = key_of("up%u", c);
		struct ipk_key down = key_of("down%u", c);
		struct ipk_key none = key_of("none%u", c);
		const struct {
			struct ipk_key *key;
			int64_t by;
			int64_t sum; /* 0: -ERANGE */
		} steps[] = {
			{&up, most, most},	   {&up, 1, 0},	   {&up, INT64_MAX, 0},
			{&up, -1, most - 1},	   {&up, 1, most}, {&down, -most - 1, -most - 1},
			{&down, -1, 0},		   {&down, INT64_MIN, 0},
			{&down, most, -1},	   {&down, -most, -most - 1},
		};

		for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
			uint64_t before = result = 12345;

			(void)ipk_table_get_column(&table, steps[i].key, c, &before);
			REPEAT(code, ipk_table_incr(&table, &party, steps[i].key, c,
						    (uint64_t)steps[i].by, &result, &obstacle));
			CHECK(code == (steps[i].sum ? 0 : -ERANGE));
			CHECK(ipk_table_get_column(&table, steps[i].key, c, copy) == 1);
			CHECK(copy[0] == (steps[i].sum ? result : before));
			CHECK(!steps[i].sum || result == (uint64_t)steps[i].sum);
		}
		if (c < A8) {
			REPEAT(code, ipk_table_incr(&table, &party, &none, c, (uint64_t)most + 1,
						    &result, &obstacle));
			CHECK(code == -ERANGE && !ipk_table_has(&table, &none));
			REPEAT(code, ipk_table_incr(&table, &party, &none, c,
						    (uint64_t)(-most - 2), &result, &obstacle));
			CHECK(code == -ERANGE && !ipk_table_has(&table, &none));
		}
		CHECK(drop(&up) == 1 && drop(&down) == 1);
	}
	check_table(0);
	drop_table();
}

static void
incr_floats(void)
{
	static const double by[] = {0.5, -2.0, 1e308, 1e308, -HUGE_VAL};
	struct ipk_key key;
	uint64_t result;
	double sum = 0;
	int code;

	make_kinds(1, 8);
	key = key_of("k");
	for (size_t i = 0; i < sizeof(by) / sizeof(by[0]); i++) {
		REPEAT(code, ipk_table_incr(&table, &party, &key, REAL, bits_of(by[i]), &result,
					    &obstacle));
		sum += by[i];
		CHECK(code == 0 && (isnan(sum) || result == bits_of(sum)));
	}
	CHECK(isnan(sum)); /* inf - inf */
	check_table(1);
	drop_table();
}

static int
compare(const struct ipk_key *key, uint32_t which, const uint64_t *expected, const uint64_t *value)
{
	int code;

	REPEAT(code, ipk_table_compare_and_set(&table, &party, key, which, expected, value,
					       &obstacle));
	return code;
}

static void
compare_and_set(void)
{
	uint64_t zero = bits_of(0.0);
	uint64_t minus_zero = bits_of(-0.0);
	uint64_t nan = bits_of((double)NAN);
	uint64_t text[3] = {9, 0, 0};
	uint64_t other[3] = {9, 0, 0};
	uint64_t empty = 0;
	uint64_t seven = 7;
	uint64_t copy[WORDS];
	struct ipk_key key;
	int code;

	make_kinds(2, 8);
	key = key_of("k");
	memcpy(text + 1, "ab\0c\0d\0e\0", 9);
	memcpy(other + 1, "ab\0c\0d\0e!", 9);
	CHECK(compare(&key, A8, &empty, &seven) == 0 && ipk_table_count(&table) == 0);
	REPEAT(code, ipk_table_incr(&table, &party, &key, A1, 5, copy, &obstacle));
	CHECK(code == 0);
	CHECK(compare(&key, A8, &seven, &seven) == 0);
	CHECK(compare(&key, A8, &empty, &seven) == 1);
	CHECK(compare(&key, A8, &empty, &seven) == 0);
	CHECK(compare(&key, REAL, &minus_zero, &minus_zero) == 1); /* 0.0 == -0.0 */
	CHECK(compare(&key, REAL, &zero, &nan) == 1);
	CHECK(compare(&key, REAL, &nan, &zero) == 0);
	CHECK(compare(&key, REAL, &zero, &zero) == 0);
	CHECK(compare(&key, TEXT, &empty, text) == 1);
	CHECK(compare(&key, TEXT, &empty, other) == 0);
	CHECK(compare(&key, TEXT, other, other) == 0);
	text[0] = 8;
	CHECK(compare(&key, TEXT, text, other) == 0); /* a NUL less */
	text[0] = 9;
	CHECK(compare(&key, TEXT, text, other) == 1);
	CHECK(ipk_table_get(&table, &key, copy) == 1);
	CHECK(copy[1 + A1] == 5 && copy[1 + A8] == 7 && copy[1 + REAL] == nan);
	CHECK(memcmp(copy + 1 + kinds[TEXT].first, other, 8 + 9) == 0);
	check_table(1);
	drop_table();
}

int
main(void)
{
	layouts();
	headers();
	all_types();
	ways_to_write();
	keys();
	incr_ranges();
	incr_floats();
	compare_and_set();
	return 0;
}
