/*
 * table/segment.c - a table's segment: its layout, its header, and checking it.
 *
 * Owns      the header.  Stands on locks/slots (join).  State  none.
 * Blocks    only ipk_table_join, as ipk_slot_join.
 * A header is written once, into a segment that no other process can see yet, and never changes; what
 * may change (slots, buckets, bitmap, cells, frees) is checked at each use.
 */
#include "table/internal.h"

#include <errno.h>
#include <string.h>

enum {
	PAGE = 4096,
	LINE = 64, /* of a cache */
	LAYOUT = 2, /* changes with every change of what lies where */
	ORDER_OF_BYTES = 0x01020304,
	BITS_A_WORD = 64, /* of a bitmap's word */
};

/* Eight characters and no NUL. A text mode that changes the newline is seen. */
static const char magic[8] = {'i', 'p', 'c', 'k', 'i', 't', '\n', 'T'};

struct header {
	char magic[8];
	uint32_t layout;
	uint32_t byte_order;
	uint32_t mutex_size; /* another libc's mutex is another mutex */
	uint32_t rows;
	uint32_t key_size;
	uint32_t column_count;
	uint64_t bytes;
	uint64_t seed[2];
	uint64_t checksum; /* of all before it, and of the columns */
	uint64_t unused[7];
	uint64_t frees; /* cells freed since the beginning; changes */
};

struct plan {
	uint32_t key_words;
	uint32_t row_words;
	uint32_t copy_words;
	uint32_t bucket_count;
	uint64_t cell_bytes;
	uint64_t slots;
	uint64_t buckets;
	uint64_t bitmap;
	uint64_t cells;
	uint64_t bytes;
};

static uint64_t
round_up(uint64_t size, uint64_t to)
{
	return (size + to - 1) / to * to;
}

static int
column_fits(const struct ipk_column *column)
{
	uint32_t size = column->size;

	if (column->name_size < 1 || column->name_size > IPK_TABLE_NAME)
		return 0;
	switch (column->type) {
	case IPK_INT:
		return size == 1 || size == 2 || size == 4 || size == 8;
	case IPK_FLOAT:
		return size == 8;
	case IPK_STRING:
	case IPK_BYTES:
		return size >= 1 && size <= IPK_TABLE_VALUE;
	default:
		return 0;
	}
}

static int
make_plan(struct plan *plan, uint32_t rows, uint32_t key_size, struct ipk_column *columns,
	  uint32_t column_count)
{
	uint64_t row_words = 0;
	uint64_t buckets = 8;

	if (rows < 1 || rows > INT32_MAX || key_size < 1 || key_size > IPK_TABLE_KEY ||
	    column_count < 1 || column_count > IPK_TABLE_COLUMNS)
		return -EINVAL;
	for (uint32_t i = 0; i < column_count; i++) {
		if (!column_fits(&columns[i]))
			return -EINVAL;
		columns[i].first = (uint32_t)row_words;
		columns[i].words = columns[i].type < IPK_STRING ? 1 : 1 + (columns[i].size + 7) / 8;
		row_words += columns[i].words;
	}
	/* A cell's owner is bucket + 1 in 32 bits. */
	while (buckets < 2ull * rows && buckets < 1ull << 31)
		buckets *= 2;
	plan->row_words = (uint32_t)row_words;
	plan->key_words = (key_size + 7) / 8;
	plan->copy_words = 1 + plan->row_words + plan->key_words;
	plan->bucket_count = (uint32_t)buckets;
	plan->cell_bytes = round_up(
		sizeof(struct ipk_cell) + (plan->key_words + 2ull * plan->row_words) * 8, LINE);
	plan->slots = round_up(PAGE + column_count * sizeof(struct ipk_column), PAGE);
	plan->buckets = plan->slots + IPK_TABLE_SLOTS * sizeof(struct ipk_slot);
	plan->bitmap = plan->buckets + buckets * sizeof(struct ipk_bucket);
	plan->cells = round_up(plan->bitmap + ((uint64_t)rows + BITS_A_WORD - 1) / BITS_A_WORD * 8, PAGE);
	/* 2^31 rows of 256 strings of 1 MiB, twice, are 2^60 bytes: no overflow. */
	plan->bytes = round_up(plan->cells + rows * plan->cell_bytes, PAGE);
	return 0;
}

/* FNV-1a: against accidents, not against an enemy who can write the segment anyway. */
static uint64_t
checksum(uint64_t sum, const void *bytes, size_t size)
{
	const unsigned char *byte = bytes;

	for (size_t i = 0; i < size; i++)
		sum = (sum ^ byte[i]) * 0x100000001b3ull;
	return sum;
}

static uint64_t
header_checksum(const struct header *header, const struct ipk_column *columns)
{
	uint64_t sum =
		checksum(0xcbf29ce484222325ull, header, offsetof(struct header, checksum));

	return checksum(sum, columns, header->column_count * sizeof(*columns));
}

int64_t
ipk_table_layout(uint32_t rows, uint32_t key_size, struct ipk_column *columns,
		 uint32_t column_count)
{
	struct plan plan;
	int code = make_plan(&plan, rows, key_size, columns, column_count);

	return code ? code : (int64_t)plan.bytes;
}

int
ipk_table_format(void *base, uint64_t bytes, uint32_t rows, uint32_t key_size,
		 const struct ipk_column *columns, uint32_t column_count,
		 const unsigned char *random)
{
	struct ipk_column *into = (struct ipk_column *)((unsigned char *)base + PAGE);
	struct header *header = base;
	struct plan plan;
	int code;

	if (column_count > IPK_TABLE_COLUMNS || bytes < 2 * PAGE + column_count * sizeof(*into))
		return -EINVAL;
	memcpy(into, columns, column_count * sizeof(*into));
	code = make_plan(&plan, rows, key_size, into, column_count);
	if (code)
		return code;
	if (plan.bytes != bytes)
		return -EINVAL;
	memcpy(header->magic, magic, sizeof(magic));
	header->layout = LAYOUT;
	header->byte_order = ORDER_OF_BYTES;
	header->mutex_size = sizeof(pthread_mutex_t);
	header->rows = rows;
	header->key_size = key_size;
	header->column_count = column_count;
	header->bytes = bytes;
	memcpy(header->seed, random, sizeof(header->seed));
	header->checksum = header_checksum(header, into);
	return 0;
}

/* What of a header is wrong, or NULL. */
static const char *
distrust(const struct header *header, uint64_t bytes)
{
	if (memcmp(header->magic, magic, sizeof(magic)) != 0)
		return "it is no table of ipckit";
	if (header->byte_order != ORDER_OF_BYTES || header->mutex_size != sizeof(pthread_mutex_t))
		return "it was made on another kind of machine or with another C library";
	if (header->layout != LAYOUT)
		return "its layout is another version's";
	if (header->bytes != bytes)
		return "its file does not have the size that its header tells";
	if (header->column_count < 1 || header->column_count > IPK_TABLE_COLUMNS ||
	    PAGE + header->column_count * sizeof(struct ipk_column) > bytes)
		return "its header is damaged";
	return NULL;
}

int
ipk_table_attach(struct ipk_table *table, void *base, uint64_t bytes, const char **why)
{
	unsigned char *start = base;
	const struct header *shared = base;
	struct header header;
	struct plan plan;

	*why = "it is shorter than a header";
	if (bytes < 2 * PAGE)
		return -EUCLEAN;
	/* A private copy: what was checked is what is used. */
	memcpy(&header, shared, sizeof(header));
	*why = distrust(&header, bytes);
	if (*why)
		return -EUCLEAN;
	memcpy(table->columns, start + PAGE, header.column_count * sizeof(struct ipk_column));
	*why = "its header is damaged";
	if (header.checksum != header_checksum(&header, table->columns) ||
	    make_plan(&plan, header.rows, header.key_size, table->columns, header.column_count) ||
	    plan.bytes != bytes)
		return -EUCLEAN;
	table->base = start;
	table->bytes = bytes;
	table->rows = header.rows;
	table->bucket_count = plan.bucket_count;
	table->key_size = header.key_size;
	table->column_count = header.column_count;
	table->key_words = plan.key_words;
	table->row_words = plan.row_words;
	table->copy_words = plan.copy_words;
	table->cell_bytes = plan.cell_bytes;
	memcpy(table->seed, header.seed, sizeof(table->seed));
	table->frees = (uint64_t *)(start + offsetof(struct header, frees));
	table->slots = (struct ipk_slot *)(start + plan.slots);
	table->buckets = (struct ipk_bucket *)(start + plan.buckets);
	table->bitmap = (uint64_t *)(start + plan.bitmap);
	table->cells = start + plan.cells;
	*why = NULL;
	return 0;
}

/* What the slot's dead owner left: its latches are taken over, its locks opened. */
static void
recover_predecessor(const struct ipk_table *table, struct ipk_party *party)
{
	struct ipk_slot *slot = party->slot;
	struct ipk_obstacle obstacle = {0};

	for (uint32_t place = 0; place < IPK_SLOT_LATCHES; place++) {
		uint32_t number = LOAD_RELAXED(&slot->latches[place]);

		obstacle.stepped_back = 1;
		if (number && number <= table->bucket_count &&
		    ipk_latch_take(table, party, number - 1, place, &obstacle) == 0)
			ipk_latch_release(table, party, number - 1, place);
		STORE_RELAXED(&slot->latches[place], 0);
	}
	ipk_user_locks_recover(table, party);
}

int
ipk_table_join(const struct ipk_table *table, const struct ipk_registry *registry,
	       struct ipk_party *party)
{
	int code = ipk_slot_join(registry, table->slots, IPK_TABLE_SLOTS, party);

	if (code == 0)
		recover_predecessor(table, party);
	return code;
}
