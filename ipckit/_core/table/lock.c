/*
 * table/lock.c - a row's user lock: held across calls, by a thread, on one row.
 *
 * Owns      a cell's user_lock; a slot's locks and waits_for.  State  in the segment.
 * Blocks    never.
 * The lock word changes under the bucket's latch only (a waiter sets the bit WAITERS without it). Its
 * owner's death leaves the row as it was; a row that was only reserved has no owner then, and the
 * next thread that meets it frees it.
 */
#include "table/internal.h"

#include <errno.h>

/* One walk along "the holder of the lock that it waits for": 1 when it ends at `me`. *trace: what was
 * seen, so that two walks can be compared. */
static int
walk_waiters(const struct ipk_table *table, const struct ipk_party *me, uint32_t number,
	     uint64_t *trace)
{
	*trace = 0;
	for (uint32_t step = 0; step < IPK_TABLE_SLOTS && number && number <= table->rows;
	     step++) {
		uint32_t owner = LOAD_ACQUIRE(&ipk_cell_at(table, number - 1)->user_lock) &
				 IPK_OWNER_MASK;

		*trace = *trace * 0x100000001b3ull ^ ((uint64_t)owner << 32 | number);
		if (owner == me->owner)
			return 1;
		if (!owner || ipk_owner_dead(table->slots, IPK_TABLE_SLOTS, owner) != 0)
			return 0;
		number = LOAD_ACQUIRE(&table->slots[(owner & 0xffff) - 1].waits_for);
	}
	return 0;
}

static int
closes_a_cycle(const struct ipk_table *table, const struct ipk_party *me, uint32_t number)
{
	uint64_t first;
	uint64_t second;

	return walk_waiters(table, me, number, &first) &&
	       walk_waiters(table, me, number, &second) && first == second;
}

uint32_t
ipk_table_locks_held(const struct ipk_table *table, const struct ipk_party *party)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < IPK_SLOT_LOCKS; i++) {
		uint32_t number = LOAD_RELAXED(&party->slot->locks[i]);

		if (number && number <= table->rows &&
		    (LOAD_ACQUIRE(&ipk_cell_at(table, number - 1)->user_lock) & IPK_OWNER_MASK) ==
			    party->owner)
			count++;
	}
	return count;
}

struct ipk_lock_load
ipk_table_lock_load(const struct ipk_table *table)
{
	struct ipk_lock_load load = {0, 0};

	for (uint32_t index = 0; index < IPK_TABLE_SLOTS; index++) {
		struct ipk_slot *slot = &table->slots[index];
		uint32_t generation = LOAD_ACQUIRE(&slot->generation) & 0x3fff;
		struct ipk_party party = {slot, generation << 16 | (index + 1)};

		if (ipk_owner_dead(table->slots, IPK_TABLE_SLOTS, party.owner) != 0)
			continue;
		load.locked += ipk_table_locks_held(table, &party);
		load.waiting += LOAD_RELAXED(&slot->waits_for) != 0;
	}
	return load;
}

void
ipk_table_give_up(struct ipk_party *party)
{
	STORE_RELEASE(&party->slot->waits_for, 0);
}

int
ipk_user_lock_check(const struct ipk_table *table, struct ipk_party *party, uint32_t number,
		    struct ipk_obstacle *obstacle)
{
	struct ipk_cell *cell = ipk_cell_at(table, number - 1);
	uint32_t seen = LOAD_ACQUIRE(&cell->user_lock);
	uint32_t owner = seen & IPK_OWNER_MASK;
	int dead;

	if (owner == party->owner)
		return -EDEADLK;
	dead = owner ? ipk_owner_dead(table->slots, IPK_TABLE_SLOTS, owner) : 0;
	if (dead < 0)
		return dead;
	/* What a dead owner only reserved keeps its name until it is freed: the name leads there. */
	if (dead && (LOAD_RELAXED(&cell->version) & IPK_LIVE))
		ipk_user_lock_clear(cell, IPK_MARK);
	if (!owner || dead) {
		if (party->slot->waits_for)
			ipk_table_give_up(party);
		return 0;
	}
	__atomic_store_n(&party->slot->waits_for, number, __ATOMIC_SEQ_CST);
	if (ipk_table_locks_held(table, party) > 0 && closes_a_cycle(table, party, number)) {
		ipk_table_give_up(party);
		return -ELOOP;
	}
	obstacle->kind = IPK_USER_LOCK;
	obstacle->word = &cell->user_lock;
	obstacle->seen = seen;
	obstacle->owner_live = ipk_owner_live(table->slots, IPK_TABLE_SLOTS, owner);
	return -EAGAIN;
}

/* Open one lock if its owner is dead, with what it reserved. 0; -EAGAIN: a living thread is
 * inside the bucket. */
static int
recover_user_lock(const struct ipk_table *table, struct ipk_party *party, uint32_t number)
{
	struct ipk_cell *cell = ipk_cell_at(table, number - 1);
	uint32_t bucket = LOAD_ACQUIRE(&cell->owner) - 1;
	struct ipk_obstacle ignored = {.stepped_back = 1};
	uint32_t owner;
	int code;

	if (bucket >= table->bucket_count)
		return 0;
	code = ipk_latch_take(table, party, bucket, 0, &ignored);
	if (code)
		return code;
	owner = LOAD_ACQUIRE(&cell->user_lock) & IPK_OWNER_MASK;
	if (owner && LOAD_ACQUIRE(&cell->owner) == bucket + 1 &&
	    ipk_owner_dead(table->slots, IPK_TABLE_SLOTS, owner) == 1 &&
	    !ipk_cell_free_if_orphan(table, bucket, number))
		ipk_user_lock_clear(cell, IPK_MARK);
	ipk_latch_release(table, party, bucket, 0);
	return 0;
}

void
ipk_user_locks_recover(const struct ipk_table *table, struct ipk_party *party)
{
	for (uint32_t i = 0; i < IPK_SLOT_LOCKS; i++) {
		uint32_t number = LOAD_RELAXED(&party->slot->locks[i]);

		if (number && number <= table->rows) {
			struct ipk_cell *cell = ipk_cell_at(table, number - 1);

			if ((LOAD_ACQUIRE(&cell->user_lock) & IPK_OWNER_MASK) == party->owner ||
			    recover_user_lock(table, party, number) == -EAGAIN)
				continue;
		}
		STORE_RELEASE(&party->slot->locks[i], 0);
	}
}

/* A zero row's place, reserved: not live, so readers pass it by. Its cell, or an error. */
static int64_t
reserve(const struct ipk_table *table, struct ipk_party *party, uint32_t bucket,
	const struct ipk_key *key, uint32_t *listed, struct ipk_obstacle *obstacle)
{
	int64_t number = ipk_cell_claim(table, party, bucket, key, obstacle);
	struct ipk_source zeros = {0};

	if (number < 0)
		return number;
	ipk_row_begin(table, (uint32_t)number, key, &zeros);
	STORE_RELEASE(listed, (uint32_t)number);
	STORE_RELEASE(&ipk_cell_at(table, (uint32_t)number - 1)->user_lock, party->owner);
	ipk_row_link(table, bucket, (uint32_t)number);
	STORE_RELEASE(&table->buckets[bucket].pending, 0);
	return number;
}

/* Take the user lock of the key's row, or of a reserved place. As ipk_table_lock, under the
 * latch. */
static int64_t
lock_row(const struct ipk_table *table, struct ipk_party *party, uint32_t bucket,
	 const struct ipk_key *key, uint32_t *listed, uint64_t *copy, int *died,
	 struct ipk_obstacle *obstacle)
{
	int64_t number = ipk_chain_find(table, bucket, key);
	struct ipk_cell *cell;
	int code;

	if (number < 0)
		return number;
	if (number > 0) {
		code = ipk_user_lock_check(table, party, (uint32_t)number, obstacle);
		if (code)
			return code;
		*died = (LOAD_RELAXED(&ipk_cell_at(table, (uint32_t)number - 1)->user_lock) &
			 IPK_MARK) != 0;
		if (ipk_cell_free_if_orphan(table, bucket, (uint32_t)number))
			number = 0;
	}
	if (number == 0 && party->slot->waits_for)
		ipk_table_give_up(party);
	if (number == 0)
		return reserve(table, party, bucket, key, listed, obstacle);
	cell = ipk_cell_at(table, (uint32_t)number - 1);
	code = ipk_row_copy(table, cell, copy);
	if (code)
		return code;
	STORE_RELEASE(listed, (uint32_t)number);
	__atomic_store_n(&cell->user_lock, party->owner, __ATOMIC_SEQ_CST);
	return number;
}

static uint32_t *
free_place(const struct ipk_party *party)
{
	for (uint32_t i = 0; i < IPK_SLOT_LOCKS; i++)
		if (party->slot->locks[i] == 0)
			return &party->slot->locks[i];
	return NULL;
}

/* The thread has as many locks as it may; is this row's one of them? */
static int
refuse_lock(const struct ipk_table *table, const struct ipk_party *party, uint32_t bucket,
	    const struct ipk_key *key)
{
	int64_t number = ipk_chain_find(table, bucket, key);

	if (number > 0 && (LOAD_RELAXED(&ipk_cell_at(table, (uint32_t)number - 1)->user_lock) &
			   IPK_OWNER_MASK) == party->owner)
		return -EDEADLK;
	return number < 0 ? (int)number : -EBUSY;
}

int
ipk_table_lock(const struct ipk_table *table, struct ipk_party *party, const struct ipk_key *key,
	       uint64_t *copy, uint32_t *cell, struct ipk_obstacle *obstacle)
{
	uint32_t bucket = ipk_bucket_of(table, key);
	uint32_t *listed;
	int64_t number;
	int died = 0;
	int code;

	listed = free_place(party);
	if (!listed) {
		ipk_user_locks_recover(table, party); /* some may be a predecessor's */
		listed = free_place(party);
	}
	code = ipk_latch_take(table, party, bucket, 0, obstacle);
	if (code)
		return code;
	number = listed ? lock_row(table, party, bucket, key, listed, copy, &died, obstacle)
			: refuse_lock(table, party, bucket, key);
	if (number > 0) {
		*cell = (uint32_t)number - 1;
		code = (LOAD_RELAXED(&ipk_cell_at(table, *cell)->version) & IPK_LIVE) != 0;
	} else {
		code = (int)number;
	}
	ipk_latch_release(table, party, bucket, 0);
	return code < 0 ? code : code + 2 * died;
}

/* Take the latch of a cell that this party has locked: its bucket, or an error. */
static int64_t
enter_locked(const struct ipk_table *table, struct ipk_party *party, uint32_t cell,
	     struct ipk_obstacle *obstacle)
{
	struct ipk_cell *locked = ipk_cell_at(table, cell);
	uint32_t bucket = LOAD_ACQUIRE(&locked->owner) - 1;
	int code;

	/* Nobody else changes either while this party lives. */
	if ((LOAD_ACQUIRE(&locked->user_lock) & IPK_OWNER_MASK) != party->owner)
		return -EPERM;
	if (bucket >= table->bucket_count)
		return -EUCLEAN;
	code = ipk_latch_take(table, party, bucket, 0, obstacle);
	return code ? code : (int64_t)bucket;
}

static void
unlist(struct ipk_party *party, uint32_t cell)
{
	for (uint32_t i = 0; i < IPK_SLOT_LOCKS; i++)
		if (party->slot->locks[i] == cell + 1)
			STORE_RELEASE(&party->slot->locks[i], 0);
}

int
ipk_table_commit(const struct ipk_table *table, struct ipk_party *party, uint32_t cell,
		 const uint64_t *row, struct ipk_obstacle *obstacle)
{
	int64_t bucket = enter_locked(table, party, cell, obstacle);
	struct ipk_source source = {.row = row};
	struct ipk_cell *locked;

	if (bucket < 0)
		return (int)bucket;
	locked = ipk_cell_at(table, cell);
	if (LOAD_RELAXED(&locked->version) & IPK_LIVE) {
		ipk_row_flip(table, cell + 1, &source);
	} else {
		STORE_RELAXED(&table->buckets[bucket].pending, cell + 1);
		ipk_bit_set(table, cell, 1);
		ipk_row_flip(table, cell + 1, &source);
		STORE_RELAXED(&table->buckets[bucket].pending, 0);
	}
	ipk_user_lock_clear(locked, 0);
	unlist(party, cell);
	ipk_latch_release(table, party, (uint32_t)bucket, 0);
	return 0;
}

int
ipk_table_abort(const struct ipk_table *table, struct ipk_party *party, uint32_t cell,
		struct ipk_obstacle *obstacle)
{
	int64_t bucket = enter_locked(table, party, cell, obstacle);
	struct ipk_cell *locked;

	if (bucket < 0)
		return (int)bucket;
	locked = ipk_cell_at(table, cell);
	if (LOAD_RELAXED(&locked->version) & IPK_LIVE)
		ipk_user_lock_clear(locked, 0);
	else
		ipk_cell_free(table, (uint32_t)bucket, cell + 1);
	unlist(party, cell);
	ipk_latch_release(table, party, (uint32_t)bucket, 0);
	return 0;
}
