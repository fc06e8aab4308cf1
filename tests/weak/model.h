/*
 * model.h - the table's types as its own sources see them here (words.h), and a ghost that knows what
 * is true: every state that KEY has had.
 */
#ifndef MODEL_H
#define MODEL_H

#include "words.h"

#define IPK_TABLE_SLOTS 4
#define IPK_TABLE_COLUMNS 2
#define IPK_TABLE_KEY 8
#define IPK_VERIFY_FINDINGS 16

enum ipk_type { IPK_INT = 1, IPK_FLOAT, IPK_STRING, IPK_BYTES };
enum ipk_write { IPK_SET, IPK_REPLACE, IPK_ADD };

struct ipk_column {
	uint32_t type, size, first, words;
};

enum { ROW_WORDS = 2, COPY_WORDS = 1 + ROW_WORDS + 1, ROWS = 3, BUCKETS = 2 };

struct ipk_bucket {
	shared32 latch, head, pending, unlinks;
};

struct ipk_cell {
	shared64 version;
	shared32 next, owner, hash, user_lock;
	shared64 key_size;
	shared64 words[1 + 2 * ROW_WORDS];
};

struct ipk_table {
	uint32_t rows, bucket_count, key_size, column_count, key_words, row_words, copy_words;
	uint64_t cell_bytes;
	uint64_t seed[2];
	shared64 *frees;
	struct ipk_slot *slots;
	struct ipk_bucket *buckets;
	shared64 *bitmap;
	unsigned char *cells;
	struct ipk_column columns[IPK_TABLE_COLUMNS];
};

struct ipk_key {
	uint64_t hash;
	uint32_t size, words;
	shared64 word[1];
};

struct ipk_finding {
	uint32_t rule, where;
};

struct ipk_verify {
	uint32_t cells, at, count;
	struct ipk_finding findings[IPK_VERIFY_FINDINGS];
};

struct ipk_lock_load {
	uint32_t locked, waiting;
};

void ipk_table_give_up(struct ipk_party *party);
uint32_t ipk_table_locks_held(const struct ipk_table *table, const struct ipk_party *party);
int ipk_key_make(const struct ipk_table *table, struct ipk_key *key, const void *bytes, size_t size);
int ipk_key_make(const struct ipk_table *table, struct ipk_key *key, const shared64 *words, size_t size);

#endif
