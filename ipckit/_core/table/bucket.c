/*
 * table/bucket.c - a bucket: its latch, its chain, and the cells it takes and gives back.
 *
 * Owns      latch, head, pending, unlinks; a cell's next and owner; the bitmap.
 * Stands on locks/lockword, locks/slots.  State  all in the segment.
 * Blocks    never.
 * A latch is held inside one call only. Every step that is not yet whole is named by `pending`,
 * so a thread that takes the latch from a dead owner knows from the bucket alone what to finish. It
 * does so in steps that may be done twice.
 */
#include "base/clock.h"
#include "table/internal.h"

#include <errno.h>
#include <limits.h>

enum {
	SPINS = 100,		   /* a latch is held for tens of nanoseconds */
	SPINS_PER_VERDICT = 16,	   /* a look at the owner is a cache miss */
	BITS = 64,
	PAUSE_NS = 200000,	   /* what a reader may ask for, and half a nanosecond a byte */
	TRANSIT_NS = 5000000,	   /* then a cell in a stopped process's hands counts as taken */
};

void
ipk_bit_set(const struct ipk_table *table, uint32_t index, int on)
{
	uint64_t *word = &table->bitmap[index / BITS];
	uint64_t bit = 1ull << index % BITS;

	if (on)
		(void)__atomic_fetch_or(word, bit, __ATOMIC_RELEASE);
	else
		(void)__atomic_fetch_and(word, ~bit, __ATOMIC_RELEASE);
}

void
ipk_user_lock_clear(struct ipk_cell *cell, uint32_t mark)
{
	if (__atomic_exchange_n(&cell->user_lock, mark, __ATOMIC_RELEASE) & IPK_WAITERS)
		ipk_wake(&cell->user_lock, INT_MAX);
}

void
ipk_cell_free(const struct ipk_table *table, uint32_t bucket, uint32_t cell)
{
	struct ipk_bucket *home = &table->buckets[bucket];
	struct ipk_cell *gone = ipk_cell_at(table, cell - 1);
	uint32_t *link = &home->head;
	uint32_t hops = 0;
	uint32_t at;

	STORE_RELAXED(&home->pending, cell);
	while ((at = LOAD_RELAXED(link)) != 0 && at <= table->rows && hops++ < table->rows) {
		if (at == cell) {
			STORE_RELEASE(link, LOAD_RELAXED(&gone->next));
			break;
		}
		link = &ipk_cell_at(table, at - 1)->next;
	}
	/* After the unlink and before the cell can be claimed: a reader that was led astray by the
	 * cell's next life sees that its miss proves nothing. */
	STORE_RELEASE(&home->unlinks, LOAD_RELAXED(&home->unlinks) + 1);
	ipk_bit_set(table, cell - 1, 0);
	ipk_user_lock_clear(gone, 0);
	STORE_RELEASE(&gone->owner, 0);
	(void)__atomic_fetch_add(table->frees, 1, __ATOMIC_RELEASE);
	STORE_RELAXED(&home->pending, 0);
}

/* Finish what the dead owner of the latch was at. */
static void
recover(const struct ipk_table *table, uint32_t bucket)
{
	struct ipk_bucket *home = &table->buckets[bucket];
	uint32_t cell = LOAD_RELAXED(&home->pending);

	if (cell == 0)
		return;
	if (cell <= table->rows) {
		struct ipk_cell *half = ipk_cell_at(table, cell - 1);

		if (LOAD_ACQUIRE(&half->owner) == bucket + 1) {
			if (LOAD_ACQUIRE(&half->version) & IPK_LIVE)
				ipk_bit_set(table, cell - 1, 1);
			else
				ipk_cell_free(table, bucket, cell);
		}
	}
	/* The dead owner may have freed the cell without counting it in `frees`. */
	(void)__atomic_fetch_add(table->frees, 1, __ATOMIC_RELEASE);
	STORE_RELAXED(&home->pending, 0);
}

static int
obstructed(struct ipk_obstacle *obstacle, enum ipk_obstacle_kind kind, uint32_t *word,
	   uint32_t seen)
{
	obstacle->kind = (uint32_t)kind;
	obstacle->word = word;
	obstacle->seen = seen;
	return -EAGAIN;
}

/* One attempt without spinning: 0 taken, 1 another thread has it, or an error. */
static int
latch_try(const struct ipk_table *table, struct ipk_party *party, uint32_t bucket, uint32_t seen,
	  uint32_t extra, int ask_verdict)
{
	uint32_t *latch = &table->buckets[bucket].latch;
	uint32_t owner = seen & IPK_OWNER_MASK;
	int dead;

	if (!owner) {
		/* The reader that asked had its pause: the mark goes. */
		uint32_t mine = party->owner | (seen & IPK_WAITERS) | extra;

		return !__atomic_compare_exchange_n(latch, &seen, mine, 0, __ATOMIC_ACQ_REL,
						    __ATOMIC_RELAXED);
	}
	if (owner == party->owner)
		return -EDEADLK;
	if (!ask_verdict)
		return 1;
	dead = ipk_owner_dead(table->slots, IPK_TABLE_SLOTS, owner);
	if (dead <= 0)
		return dead < 0 ? dead : 1;
	if (!__atomic_compare_exchange_n(latch, &seen, party->owner | (seen & ~IPK_OWNER_MASK), 0,
					 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return 1;
	recover(table, bucket);
	return 0;
}

int
ipk_latch_take(const struct ipk_table *table, struct ipk_party *party, uint32_t bucket,
	       uint32_t place, struct ipk_obstacle *obstacle)
{
	uint32_t *latch = &table->buckets[bucket].latch;
	uint32_t extra = obstacle->waited ? IPK_WAITERS : 0;
	uint32_t seen = 0;
	int got = 1;

	STORE_RELAXED(&party->slot->latches[place], bucket + 1);
	for (uint32_t spin = 0; spin < SPINS; spin++) {
		/* Acquire: the owner that is named here had joined before it wrote its name, so
		 * what the verdict reads of its slot is not older than that. */
		seen = LOAD_ACQUIRE(latch);
		if (!(seen & IPK_OWNER_MASK) && (seen & IPK_MARK) && !obstacle->stepped_back) {
			obstacle->stepped_back = 1;
			obstacle->pause_ns = PAUSE_NS + table->copy_words * 4ull;
			got = obstructed(obstacle, IPK_READER, latch, seen);
			break;
		}
		got = latch_try(table, party, bucket, seen, extra, spin % SPINS_PER_VERDICT == 0);
		if (got <= 0)
			break;
		cpu_relax();
	}
	if (got == 0)
		return 0;
	STORE_RELAXED(&party->slot->latches[place], 0);
	return got > 0 ? obstructed(obstacle, IPK_LATCH, latch, seen) : got;
}

void
ipk_latch_release(const struct ipk_table *table, struct ipk_party *party, uint32_t bucket,
		  uint32_t place)
{
	uint32_t *latch = &table->buckets[bucket].latch;
	uint32_t before = __atomic_fetch_and(latch, IPK_MARK, __ATOMIC_RELEASE);

	STORE_RELAXED(&party->slot->latches[place], 0);
	if (before & IPK_WAITERS)
		ipk_wake(latch, 1);
}

int64_t
ipk_chain_find(const struct ipk_table *table, uint32_t bucket, const struct ipk_key *key)
{
	uint32_t at = LOAD_RELAXED(&table->buckets[bucket].head);
	uint32_t hops = 0;

	while (at) {
		struct ipk_cell *cell;

		if (at > table->rows || hops++ > table->rows)
			return -EUCLEAN;
		cell = ipk_cell_at(table, at - 1);
		if (LOAD_RELAXED(&cell->hash) == ipk_hash_of(key) &&
		    ipk_same_key(cell, key))
			return at;
		at = LOAD_RELAXED(&cell->next);
	}
	return 0;
}

int
ipk_cell_free_if_orphan(const struct ipk_table *table, uint32_t bucket, uint32_t cell)
{
	struct ipk_cell *reserved = ipk_cell_at(table, cell - 1);
	uint32_t owner = LOAD_ACQUIRE(&reserved->user_lock) & IPK_OWNER_MASK;

	if (LOAD_ACQUIRE(&reserved->owner) != bucket + 1 ||
	    (LOAD_RELAXED(&reserved->version) & IPK_LIVE) ||
	    (owner && ipk_owner_dead(table->slots, IPK_TABLE_SLOTS, owner) != 1))
		return 0;
	ipk_cell_free(table, bucket, cell);
	return 1;
}

/* What a full table may still hold back. */
enum { NOTHING_LEFT, PROGRESS, IN_TRANSIT };

/* The latch that slot number `index` may be inside. */
static int
recover_latch(const struct ipk_table *table, struct ipk_party *party, uint32_t bucket,
	     uint32_t index, uint32_t other, struct ipk_obstacle *obstacle)
{
	struct ipk_bucket *busy = &table->buckets[other];
	struct ipk_obstacle ignored = {.stepped_back = 1};
	uint32_t seen = LOAD_ACQUIRE(&busy->latch);
	uint32_t owner = seen & IPK_OWNER_MASK;

	if (other == bucket || (owner & 0xffff) != index + 1)
		return NOTHING_LEFT;
	if (ipk_owner_dead(table->slots, IPK_TABLE_SLOTS, owner) == 1) {
		if (ipk_latch_take(table, party, other, 1, &ignored) == 0)
			ipk_latch_release(table, party, other, 1);
		return PROGRESS;
	}
	if (LOAD_ACQUIRE(&busy->pending) == 0)
		return NOTHING_LEFT;
	(void)obstructed(obstacle, IPK_TRANSIT, &busy->latch, seen);
	return IN_TRANSIT;
}

/* The cell that slot number `index` may have reserved. */
static int
recover_lock(const struct ipk_table *table, struct ipk_party *party, uint32_t bucket,
	    uint32_t index, uint32_t number)
{
	struct ipk_cell *cell = ipk_cell_at(table, number - 1);
	uint32_t owner = LOAD_ACQUIRE(&cell->user_lock) & IPK_OWNER_MASK;
	uint32_t other = LOAD_ACQUIRE(&cell->owner) - 1;
	struct ipk_obstacle ignored = {.stepped_back = 1};
	int freed;

	if ((owner & 0xffff) != index + 1 || other >= table->bucket_count ||
	    (LOAD_ACQUIRE(&cell->version) & IPK_LIVE) ||
	    ipk_owner_dead(table->slots, IPK_TABLE_SLOTS, owner) != 1)
		return NOTHING_LEFT;
	if (other == bucket)
		return ipk_cell_free_if_orphan(table, bucket, number) ? PROGRESS : NOTHING_LEFT;
	if (ipk_latch_take(table, party, other, 1, &ignored) != 0)
		return NOTHING_LEFT;
	freed = ipk_cell_free_if_orphan(table, other, number);
	ipk_latch_release(table, party, other, 1);
	return freed ? PROGRESS : NOTHING_LEFT;
}

/* Before a table is called full: give back what the dead have, look for what is on its way. */
static int
recover_from_dead(const struct ipk_table *table, struct ipk_party *party, uint32_t bucket,
       struct ipk_obstacle *obstacle)
{
	int best = NOTHING_LEFT;

	for (uint32_t index = 0; index < IPK_TABLE_SLOTS; index++) {
		struct ipk_slot *slot = &table->slots[index];

		if (slot == party->slot)
			continue;
		for (uint32_t i = 0; i < IPK_SLOT_LATCHES + IPK_SLOT_LOCKS; i++) {
			int is_latch = i < IPK_SLOT_LATCHES;
			uint32_t number = LOAD_ACQUIRE(is_latch ? &slot->latches[i]
								: &slot->locks[i - IPK_SLOT_LATCHES]);
			int found;

			if (!number || number > (is_latch ? table->bucket_count : table->rows))
				continue;
			found = is_latch ? recover_latch(table, party, bucket, index, number - 1,
							obstacle)
					 : recover_lock(table, party, bucket, index, number);
			if (found == PROGRESS)
				return PROGRESS;
			if (found == IN_TRANSIT)
				best = IN_TRANSIT;
		}
	}
	return best;
}

/* Look through the bitmap from the key's home on; take the first free cell. 0: none. */
static uint32_t
take_free(const struct ipk_table *table, uint32_t bucket, const struct ipk_key *key)
{
	uint32_t words = (table->rows + BITS - 1) / BITS;
	uint32_t home = (uint32_t)((uint64_t)ipk_hash_of(key) * table->rows >> 32);
	uint32_t *pending = &table->buckets[bucket].pending;

	/* The first word twice: from home's bit on, and at the end what is before it. */
	for (uint32_t i = 0; i <= words; i++) {
		uint32_t at = home / BITS + i < words ? home / BITS + i : home / BITS + i - words;
		uint64_t free_bits = ~LOAD_ACQUIRE(&table->bitmap[at]);

		if (i == 0)
			free_bits &= ~0ull << home % BITS;
		if (at == words - 1 && table->rows % BITS)
			free_bits &= (1ull << table->rows % BITS) - 1;
		for (; free_bits; free_bits &= free_bits - 1) {
			uint32_t index = at * BITS + (uint32_t)__builtin_ctzll(free_bits);
			struct ipk_cell *cell = ipk_cell_at(table, index);
			uint32_t nobody = 0;

			if (LOAD_RELAXED(&cell->owner) != 0)
				continue;
			STORE_RELAXED(pending, index + 1);
			if (__atomic_compare_exchange_n(&cell->owner, &nobody, bucket + 1, 0,
							__ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
				return index + 1;
			STORE_RELAXED(pending, 0);
		}
	}
	return 0;
}

int64_t
ipk_cell_claim(const struct ipk_table *table, struct ipk_party *party, uint32_t bucket,
	       const struct ipk_key *key, struct ipk_obstacle *obstacle)
{
	for (;;) {
		uint64_t frees = LOAD_ACQUIRE(table->frees);
		uint32_t cell = take_free(table, bucket, key);
		uint64_t now;
		int left;

		if (cell)
			return cell;
		left = recover_from_dead(table, party, bucket, obstacle);
		if (left == PROGRESS || LOAD_ACQUIRE(table->frees) != frees)
			continue;
		if (left == NOTHING_LEFT)
			return -ENOSPC;
		now = ipk_now_ns();
		if (!obstacle->transit_since)
			obstacle->transit_since = now;
		return now - obstacle->transit_since < TRANSIT_NS ? -EAGAIN : -ENOSPC;
	}
}
