/*
 * lock_flip_steal.cpp - lock, flip, steal and read of the table, under the C11 memory model.
 *
 * Three threads play a scene; those that the scene lets die do so before any one of their steps.
 * Checked in each run
 *   - a latch and a user's lock are never taken from the living;
 *   - a read gives one whole state that KEY had, absent or a row, never an older one than this
 *     thread saw or learned of;
 *   - a call's answer is true of the moment at which it changed the row;
 *   - afterwards whoever comes repairs all: verify() finds nothing, the last state is read.
 * usage: check iterations [scene]
 */
#include "model.h"
#include "world.h"

#include "bucket.c"
#include "row.c"
#include "write.c"
#include "read.c"
#include "lock.c"
#include "verify.c"

/* -- calls -- */

static void
join(int number)
{
	join_slot(&world->slots[number], number, &world->parties[number]);
}

/* This thread's call has changed KEY that often; whoever reads `told` must not read older ones. */
static void
tell(int changes)
{
	RL_ASSERT(world->changes[me()] == changes);
	world->changes[me()] = 0;
	if (!in_play)
		return;
	step();
	world->told[me()].store(world->own[me()], rl::mo_release, $);
}

static void
fill_row(shared64 *row, int value)
{
	row[0] = (uint64_t)value;
	row[1] = ~(uint64_t)value;
}

static int
put(int key, int value)
{
	shared64 row[ROW_WORDS];
	int code;

	fill_row(row, value);
	UNTIL_DONE(code, ipk_table_write(&world->table, &world->parties[me()], &world->keys[key],
					 IPK_SET, row, NULL, &obstacle));
	RL_ASSERT(code == 0 || code == 1);
	if (key == KEY)
		tell(1);
	return code;
}

static int
drop(int key)
{
	int code;

	UNTIL_DONE(code, ipk_table_delete(&world->table, &world->parties[me()], &world->keys[key],
					  NULL, &obstacle));
	RL_ASSERT(code == 0 || code == 1);
	if (key == KEY)
		tell(code);
	return code;
}

/* Read KEY; `known`: the oldest state that may still be seen. */
static int
get(size_t &known)
{
	shared64 copy[COPY_WORDS];
	int value = ABSENT;
	int code;

	for (auto &flag : world->told) {
		size_t newest;

		if (!in_play)
			continue;
		step();
		newest = flag.load(rl::mo_acquire, $);
		known = newest > known ? newest : known;
	}
	code = ipk_table_get(&world->table, &world->keys[KEY], copy);
	RL_ASSERT(code == 0 || code == 1);
	if (code) {
		value = (int)copy[1];
		RL_ASSERT(copy[0] == 8 && copy[1 + ROW_WORDS] == 100 + KEY);
		RL_ASSERT(copy[2] == ~copy[1]); /* whole */
	}
	while (known < world->state_count && world->states[known] != value)
		known++;
	RL_ASSERT(known < world->state_count);
	return value;
}

static void
lock_and_commit(int value)
{
	struct ipk_party *mine = &world->parties[me()];
	shared64 copy[COPY_WORDS];
	shared64 row[ROW_WORDS];
	shared32 cell;
	int code;

	UNTIL_DONE(code, ipk_table_lock(&world->table, mine, &world->keys[KEY], copy, &cell,
					&obstacle));
	RL_ASSERT(code >= 0);
	RL_ASSERT(code & 1 ? (int)copy[1] == world->newest() && copy[2] == ~copy[1]
			   : world->newest() == ABSENT);
	fill_row(row, value);
	UNTIL_DONE(code, ipk_table_commit(&world->table, mine, cell, row, &obstacle));
	RL_ASSERT(code == 0);
	tell(1);
}

/* -- scenes -- */

struct scene {
	const char *name;
	void (*acts[THREADS])(); /* the first two may die */
	bool stalls = false;	 /* each of them loses the CPU once; few die */
};

static void
reads_twice()
{
	size_t known = 0;

	get(known);
	get(known);
}

static const scene scenes[] = {
	{"flips",
	 {[] { put(KEY, 11); put(KEY, 12); }, [] { put(KEY, 21); }, reads_twice}},
	/* NEAR's cell, before KEY's in the chain, becomes FAR's in another chain. */
	{"reuse",
	 {[] { drop(NEAR); }, [] { put(FAR, 21); },
	  [] { size_t known = 0; RL_ASSERT(get(known) == 1); RL_ASSERT(get(known) == 1); }}, true},
	{"come and go",
	 {[] { drop(KEY); put(KEY, 12); }, [] { put(KEY, 21); }, reads_twice}},
	{"both delete",
	 {[] { drop(KEY); put(NEAR, 11); }, [] { drop(KEY); put(KEY, 22); }, reads_twice}},
	{"locks",
	 {[] { lock_and_commit(11); }, [] { lock_and_commit(21); }, reads_twice}},
	{"reserves",
	 {[] { drop(KEY); lock_and_commit(11); }, [] { lock_and_commit(21); }, reads_twice}},
};
static const scene *now_played;

struct play : rl::test_suite<play, THREADS> {
	struct world all;

	void before()
	{
		join(JUDGE);
		put(KEY, 1);
		put(NEAR, 2);
		all.states[0] = 1;
		all.state_count = 1;
		begin_play();
	}

	void thread(unsigned number)
	{
		join((int)number);
		if (live(number, now_played->acts[number], now_played->stalls))
			mark_dead(&all.slots[number]);
	}

	void after()
	{
		struct ipk_verify found = {};
		size_t known = all.state_count - 1;
		int last = all.newest();
		uint32_t rows = 0;
		int code;

		in_play = false;
		for (int &changes : all.changes)
			changes = 0;
		RL_ASSERT(get(known) == last);
		UNTIL_DONE(code, ipk_table_verify(&all.table, &all.parties[JUDGE], &found,
						  &obstacle));
		RL_ASSERT(code == 0 && found.count == 0);
		/* All cells can be used. */
		for (auto &cell : all.cells)
			rows += (cell.version.last & IPK_LIVE) != 0;
		RL_ASSERT(ipk_table_count(&all.table) == rows);
		for (auto &cell : all.cells)
			RL_ASSERT((cell.version.last & IPK_LIVE) || cell.owner.last == 0);
		put(KEY, 99);
		known = all.state_count - 1;
		RL_ASSERT(get(known) == 99);
	}
};

int
main(int count, char **arguments)
{
	return play_all<play>(scenes, now_played, count, arguments);
}
