/*
 * table/table.h - a hash table in shared memory that no crash can tear.
 *
 * table/ is the hash table: its buckets, rows, locks, readers, and the check of its invariants.
 *
 * Segment: header page, columns, slots, buckets, bitmap, cells. Offsets and indexes, no pointers.
 *   bucket { latch, head, pending, unlinks }    a power of two of them, at least 2 for a row
 *   cell   { version, next, owner, hash, user_lock, key length, key, row[2] }    one for a row
 *   row    { columns }                          in 64-bit words; a string is its length, its bytes
 * A cell begins at a cache line. Its key stays as it is from before it is live until after.
 *
 * `version` = change counter << 2 | live << 1 | current row. One store to it is the only moment
 * at which a row appears, changes or goes: a process that is killed has done all of it or nothing.
 *
 * Invariants (the numbers are those that ipk_table_verify() reports)
 *   V1 a bucket's chain has only cells whose owner is that bucket, each once
 *   V2 a cell of the chain is live, or a living thread has it reserved (user_lock)
 *   V3 a cell's hash and key belong to its bucket, its lengths are within their columns
 *   V4 the bitmap has a cell's bit if and only if it is live
 *   V5 a cell with an owner is in that bucket's chain: no cell is lost
 *   V6 `pending` is 0 when no thread is inside the bucket
 * All of them hold for a bucket whose latch is free; the latch's new owner restores them from the
 * bucket alone (`pending` names the one cell that is on its way), so it may be killed as well.
 *
 * The calls take the thread's party, which must have joined; readers need none. They never wait:
 * -EAGAIN leaves the obstacle for ipk_wait() and has changed nothing. -EUCLEAN: the segment is
 * damaged. -EDEADLK: the calling thread holds this row's user lock. -ELOOP: its holder waits,
 * maybe by way of others, for one that the calling thread holds. -ENOSPC: every cell is taken.
 * Sources: Boehm 2012 (seqlocks), Harris 2001 (lists), Swoole's Table (what to do better).
 */
#ifndef IPK_TABLE_TABLE_H
#define IPK_TABLE_TABLE_H

#include "locks/lockword.h"

#ifndef IPK_TABLE_SLOTS /* the kill sweep has fewer: loops over them are the same, and shorter */
#define IPK_TABLE_SLOTS 512
#endif
#define IPK_TABLE_COLUMNS 256	      /* most */
#define IPK_TABLE_NAME 100	      /* bytes of a column's name, most */
#define IPK_TABLE_KEY 255	      /* bytes of a key, most */
#define IPK_TABLE_VALUE (1024 * 1024) /* bytes of a string, most */

enum ipk_type { IPK_INT = 1, IPK_FLOAT, IPK_STRING, IPK_BYTES };

struct ipk_column {
	uint32_t type;	    /* enum ipk_type */
	uint32_t size;	    /* int: 1, 2, 4, 8; float: 8; string, bytes: most bytes */
	uint32_t first;	    /* word in the row */
	uint32_t words;	    /* int, float: 1; string: 1 for the length, then the bytes */
	uint32_t name_size; /* bytes */
	char name[IPK_TABLE_NAME];
};

struct ipk_bucket {
	uint32_t latch;	  /* lock word; the mark: a reader waits */
	uint32_t head;	  /* cell + 1 */
	uint32_t pending; /* cell + 1: on its way in or out */
	uint32_t unlinks;
};

struct ipk_cell {
	uint64_t version;
	uint32_t next;	/* cell + 1 */
	uint32_t owner; /* bucket + 1 */
	uint32_t hash;
	uint32_t user_lock; /* lock word; the mark: its last owner died */
	uint64_t key_size;  /* bytes */
	uint64_t words[];   /* the key, zero padded; two rows */
};

/* What a process knows of a segment; private memory, filled by attach, constant afterwards. */
struct ipk_table {
	unsigned char *base;
	uint64_t bytes;
	uint32_t rows;
	uint32_t bucket_count;
	uint32_t key_size;
	uint32_t column_count;
	uint32_t key_words;
	uint32_t row_words;
	uint32_t copy_words; /* of what is handed out: key length, row, key */
	uint64_t cell_bytes;
	uint64_t seed[2];
	uint64_t *frees;
	struct ipk_slot *slots;
	struct ipk_bucket *buckets;
	uint64_t *bitmap;
	unsigned char *cells;
	struct ipk_column columns[IPK_TABLE_COLUMNS];
};

/* -- a segment's life -- */

/* Lay the columns out (first, words) and return the segment's size in bytes, or -EINVAL: a number is
 * out of its range. */
int64_t ipk_table_layout(uint32_t rows, uint32_t key_size, struct ipk_column *columns,
			 uint32_t column_count);
/* Write the header into a segment of zeros that has that size. `random`: 32 bytes. */
int ipk_table_format(void *base, uint64_t bytes, uint32_t rows, uint32_t key_size,
		     const struct ipk_column *columns, uint32_t column_count,
		     const unsigned char *random);
/* Check a segment that may be anything. 0, or -EUCLEAN and in `why` what is wrong. */
int ipk_table_attach(struct ipk_table *table, void *base, uint64_t bytes, const char **why);

/* Take a slot and recover what its dead owner left. As ipk_slot_join(). */
int ipk_table_join(const struct ipk_table *table, const struct ipk_registry *registry,
		   struct ipk_party *party);

/* -- one row -- */

struct ipk_key {
	uint64_t hash;
	uint32_t size;  /* bytes */
	uint32_t words; /* zero padded */
	uint64_t word[(IPK_TABLE_KEY + 7) / 8];
};

/* -EMSGSIZE: longer than the table's key_size. */
int ipk_key_make(const struct ipk_table *table, struct ipk_key *key, const void *bytes,
		 size_t size);

/* A row is `row_words` words, of which only the used ones are read and written: a column's word at
 * columns[i].first; a string's length there and its bytes after it. */

/* 1 found (key length, row and key are in copy[copy_words]), 0 absent. Takes no latch; a writer
 * that rewrites the row without pause is asked for a moment. */
int ipk_table_get(const struct ipk_table *table, const struct ipk_key *key, uint64_t *copy);
/* Only one column, its words at value[0..words). */
int ipk_table_get_column(const struct ipk_table *table, const struct ipk_key *key, uint32_t column,
			 uint64_t *value);
/* 1, 0. */
int ipk_table_has(const struct ipk_table *table, const struct ipk_key *key);

enum ipk_write { IPK_SET, IPK_REPLACE, IPK_ADD };
/* Write the columns with given[i] != 0. A new row's others are zero; an existing row's others stay
 * (SET) or become zero (REPLACE); ADD leaves an existing row alone. 1 new row, 0 it was there. */
int ipk_table_write(const struct ipk_table *table, struct ipk_party *party,
		    const struct ipk_key *key, enum ipk_write how, const uint64_t *row,
		    const unsigned char *given, struct ipk_obstacle *obstacle);
/* 1 deleted (the row is in copy[copy_words] unless NULL), 0 absent. */
int ipk_table_delete(const struct ipk_table *table, struct ipk_party *party,
		     const struct ipk_key *key, uint64_t *copy, struct ipk_obstacle *obstacle);
/* Add to an int column (`by` as it is) or a float column (`by` is a double's bits); a missing row
 * begins at zero. *result: the new value. 0, or -ERANGE: out of the column's range, nothing done. */
int ipk_table_incr(const struct ipk_table *table, struct ipk_party *party,
		   const struct ipk_key *key, uint32_t column, uint64_t by, uint64_t *result,
		   struct ipk_obstacle *obstacle);
/* 1 when the column was `expected` (floats by ==) and is `value` now, else 0. */
int ipk_table_compare_and_set(const struct ipk_table *table, struct ipk_party *party,
			      const struct ipk_key *key, uint32_t column, const uint64_t *expected,
			      const uint64_t *value, struct ipk_obstacle *obstacle);

/* -- a row's user lock -- */

/* 1 the row is in copy, 0 it is absent: a cell is reserved for it, copy is left alone; + 2 when the
 * row's last owner died with the lock. *cell names it. -EBUSY: this thread has IPK_SLOT_LOCKS of them already. */
int ipk_table_lock(const struct ipk_table *table, struct ipk_party *party,
		   const struct ipk_key *key, uint64_t *copy, uint32_t *cell,
		   struct ipk_obstacle *obstacle);
/* Write the whole row and unlock. -EPERM: not this party's lock (a fork's child). */
int ipk_table_commit(const struct ipk_table *table, struct ipk_party *party, uint32_t cell,
		     const uint64_t *row, struct ipk_obstacle *obstacle);
/* Unlock and leave the row as it was. */
int ipk_table_abort(const struct ipk_table *table, struct ipk_party *party, uint32_t cell,
		    struct ipk_obstacle *obstacle);
/* How many locks of this table the thread has. */
uint32_t ipk_table_locks_held(const struct ipk_table *table, const struct ipk_party *party);
struct ipk_lock_load {
	uint32_t locked;  /* rows, by living threads */
	uint32_t waiting; /* living threads, for one of them */
};
/* A snapshot. */
struct ipk_lock_load ipk_table_lock_load(const struct ipk_table *table);
/* The wait for a user's lock was given up: clear the thread's place in the waiting graph. */
void ipk_table_give_up(struct ipk_party *party);

/* -- all rows -- */

/* The next row at or after cell *position: 1, in copy, *position behind it; 0 at the end. */
int ipk_table_next(const struct ipk_table *table, uint32_t *position, uint64_t *copy);
uint64_t ipk_table_count(const struct ipk_table *table);

#define IPK_VERIFY_FINDINGS 16 /* that are kept */

struct ipk_finding {
	uint32_t rule;	/* 1..6 */
	uint32_t where; /* V4, V5: a cell; else a bucket */
};
/* Where an ipk_table_verify() goes on after -EAGAIN. Zeroed before the first call. */
struct ipk_verify {
	uint32_t cells; /* 1: the second pass */
	uint32_t at;
	uint32_t count; /* findings; only the first are kept */
	struct ipk_finding findings[IPK_VERIFY_FINDINGS];
};
/* Free what the dead left and check every invariant. Exact while others work. 0 when done. */
int ipk_table_verify(const struct ipk_table *table, struct ipk_party *party,
		     struct ipk_verify *state, struct ipk_obstacle *obstacle);

#endif
