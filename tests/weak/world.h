/*
 * world.h - one small table, and the ghost's judgement of every step: included once.
 */
#ifndef WORLD_H
#define WORLD_H

#include "fates.h"
#include "internal.h"

enum { ABSENT = -1 };
enum { KEY, NEAR, FAR, KEYS }; /* NEAR: in KEY's bucket */

static struct world *world;

struct world {
	shared64 frees;
	shared64 bitmap;
	struct ipk_slot slots[IPK_TABLE_SLOTS];
	struct ipk_bucket buckets[BUCKETS];
	struct ipk_cell cells[ROWS];
	struct ipk_table table;
	struct ipk_key keys[KEYS];
	struct ipk_party parties[THREADS + 1];
	rl::atomic<unsigned> told[THREADS]; /* the newest state that is done */

	/* the ghost */
	int states[32]; /* of KEY, one after the other */
	size_t state_count;
	int changes[THREADS + 1];
	unsigned own[THREADS + 1]; /* the last state that a thread made */

	template <typename T> static void zero(shared<T> &word) { word.publish(0); }

	world()
	{
		::world = this;
		in_play = false;
		states[0] = ABSENT;
		state_count = 1;
		no_fates();
		for (int i = 0; i <= THREADS; i++) {
			changes[i] = 0;
			own[i] = 0;
		}
		zero(frees);
		zero(bitmap);
		for (auto &slot : slots) {
			for (auto word : {&slot.live, &slot.generation, &slot.waits_for})
				zero(*word);
			for (auto &word : slot.latches)
				zero(word);
			for (auto &word : slot.locks)
				zero(word);
		}
		for (int i = 0; i < BUCKETS; i++) {
			buckets[i].latch.watched = ROWS + i;
			for (auto word : {&buckets[i].latch, &buckets[i].head, &buckets[i].pending,
					  &buckets[i].unlinks})
				zero(*word);
		}
		for (int i = 0; i < ROWS; i++) {
			zero(cells[i].version);
			cells[i].version.watched = i;
			for (auto word : {&cells[i].next, &cells[i].owner, &cells[i].hash,
					  &cells[i].user_lock})
				zero(*word);
			zero(cells[i].key_size);
			for (auto &word : cells[i].words)
				zero(word);
		}
		for (auto &flag : told)
			flag.store(0, rl::mo_relaxed, $);
		table.rows = ROWS;
		table.bucket_count = BUCKETS;
		table.key_size = 8;
		table.column_count = ROW_WORDS;
		table.key_words = 1;
		table.row_words = ROW_WORDS;
		table.copy_words = COPY_WORDS;
		table.cell_bytes = sizeof(struct ipk_cell);
		table.frees = &frees;
		table.slots = slots;
		table.buckets = buckets;
		table.bitmap = &bitmap;
		table.cells = (unsigned char *)cells;
		for (uint32_t i = 0; i < ROW_WORDS; i++)
			table.columns[i] = {IPK_INT, 8, i, 1};
		for (uint64_t i = 0; i < KEYS; i++) {
			keys[i].hash = i << 32 | (i == FAR);
			keys[i].size = 8;
			keys[i].words = 1;
			keys[i].word[0] = i + 100;
		}
	}

	int newest() const
	{
		return states[state_count - 1];
	}

	/* What is true of KEY now. */
	int state() const
	{
		int found = ABSENT;

		for (auto &cell : cells) {
			uint64_t version = cell.version.last;

			if (!(version & IPK_LIVE) || cell.words[0].last != 100 + KEY)
				continue;
			RL_ASSERT(found == ABSENT);
			found = (int)cell.words[1 + (version & IPK_ROW) * ROW_WORDS].last;
		}
		return found;
	}

	bool is_dead(uint32_t owner) const
	{
		const struct ipk_slot &slot = slots[(owner & 0xffff) - 1];

		return slot.generation.last != owner >> 16 || (slot.live.last & OWNER_DIED);
	}
};

static void
version_stored(int index)
{
	uint32_t owner = world->cells[index].user_lock.last & IPK_OWNER_MASK;
	int now = world->state();

	RL_ASSERT(!owner || world->is_dead(owner) || owner == world->parties[me()].owner);
	if (now == world->newest())
		return;
	RL_ASSERT(world->state_count < 32);
	world->states[world->state_count++] = now;
	world->own[me()] = (unsigned)world->state_count - 1;
	world->changes[me()]++;
}

static void
latch_stored(uint32_t before, uint32_t after)
{
	before &= IPK_OWNER_MASK;
	after &= IPK_OWNER_MASK;
	if (before && before != after)
		RL_ASSERT(after ? world->is_dead(before) : before == world->parties[me()].owner);
}

/* A cell's version, or a bucket's latch. */
void
stored(int watched, uint64_t before, uint64_t after)
{
	if (watched < ROWS)
		version_stored(watched);
	else
		latch_stored((uint32_t)before, (uint32_t)after);
}

int
ipk_key_make(const struct ipk_table *, struct ipk_key *key, const shared64 *words, size_t)
{
	*key = world->keys[load_n(words, __ATOMIC_RELAXED) - 100];
	return 0;
}

#endif
