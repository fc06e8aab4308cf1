/*
 * lock_flip_steal.cpp - lock, flip, steal and read of the table, under the C11 memory model.
 *
 * Three threads play a scene; those that the scene lets die do so before any one of their steps.
 * Checked in each run
 *   - a latch and a user's lock are never taken from the living;
 *   - a read gives one whole state that KEY had, absent or a row, never an older one than this
 *     thread saw or was told of;
 *   - a call's answer is true of the moment at which it changed the row;
 *   - afterwards whoever comes repairs all: verify() finds nothing, the last state is read.
 * usage: check iterations [seed's scene]
 */
#include "model.h"

#include "inside.h"

#include "bucket.c"
#include "write.c"
#include "read.c"
#include "lock.c"
#include "verify.c"

enum { THREADS = 3, JUDGE = THREADS, MOST_STEPS = 90, ABSENT = -1 };
enum { KEY, NEAR, FAR, KEYS }; /* NEAR: in KEY's bucket */

static struct world *world;
static int die_in[THREADS + 1]; /* steps; negative: not at all */

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
	std::vector<int> states; /* of KEY */
	int changed_by;		 /* of the last state */
	int changes[THREADS + 1];
	bool in_play;

	template <typename T> static void zero(shared<T> &word) { word.publish(0); }

	world()
	{
		::world = this;
		in_play = false;
		states.assign(1, ABSENT);
		for (int i = 0; i <= THREADS; i++) {
			die_in[i] = -1;
			changes[i] = 0;
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
			buckets[i].latch.latch_of = i;
			for (auto word : {&buckets[i].latch, &buckets[i].head, &buckets[i].pending,
					  &buckets[i].unlinks})
				zero(*word);
		}
		for (int i = 0; i < ROWS; i++) {
			zero(cells[i].version);
			cells[i].version.version_of = i;
			for (auto word : {&cells[i].next, &cells[i].owner, &cells[i].hash,
					  &cells[i].user_lock})
				zero(*word);
			for (auto &word : cells[i].copies)
				zero(word);
		}
		for (auto &flag : told)
			flag.store(0, rl::mo_relaxed, $);
		table.rows = ROWS;
		table.bucket_count = BUCKETS;
		table.key_size = 8;
		table.column_count = ROW_WORDS;
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

	/* What is true of KEY now. */
	int state() const
	{
		int found = ABSENT;

		for (auto &cell : cells) {
			uint64_t version = cell.version.last;
			const shared64 *copy = cell.copies + (version & IPK_COPY) * COPY_WORDS;

			if (!(version & IPK_LIVE) || copy[1 + ROW_WORDS].last != 100 + KEY)
				continue;
			RL_ASSERT(found == ABSENT);
			found = (int)copy[1].last;
		}
		return found;
	}

	bool is_dead(uint32_t owner) const
	{
		const struct ipk_slot &slot = slots[(owner & 0xffff) - 1];

		return slot.generation.last != owner >> 16 || (slot.live.last & OWNER_DIED);
	}
};

static int
me()
{
	return world->in_play ? (int)rl::thread_index() : JUDGE;
}

void
step()
{
	int &left = die_in[me()];

	if (left >= 0 && left-- == 0)
		throw death();
}

void
version_stored(int index)
{
	uint32_t owner = world->cells[index].user_lock.last & IPK_OWNER_MASK;
	int now = world->state();

	RL_ASSERT(!owner || world->is_dead(owner) || owner == world->parties[me()].owner);
	if (now == world->states.back())
		return;
	world->states.push_back(now);
	world->changed_by = me();
	world->changes[me()]++;
}

void
latch_stored(uint32_t before, uint32_t after)
{
	before &= IPK_OWNER_MASK;
	after &= IPK_OWNER_MASK;
	if (before && before != after)
		RL_ASSERT(after ? world->is_dead(before) : before == world->parties[me()].owner);
}

int
ipk_key_make(const struct ipk_table *, struct ipk_key *key, const shared64 *words, size_t)
{
	*key = world->keys[load_n(words, __ATOMIC_RELAXED) - 100];
	return 0;
}

/* -- calls -- */

/* ipk_slot_join: generation, then the mutex made and locked; each slot has one owner here. */
static void
join(int number)
{
	struct ipk_slot *slot = &world->slots[number];
	uint32_t generation = __atomic_fetch_add(&slot->generation, 1, __ATOMIC_ACQ_REL) + 1;
	uint32_t nobody = 0;

	__atomic_store_n(&slot->live, 0, __ATOMIC_RELAXED);
	(void)__atomic_compare_exchange_n(&slot->live, &nobody, number + 1000, 0, __ATOMIC_ACQUIRE,
					  __ATOMIC_RELAXED);
	world->parties[number] = {slot, (uint32_t)(number + 1) | generation << 16};
}

#define UNTIL_DONE(code, call)                                                                     \
	do {                                                                                       \
		struct ipk_obstacle obstacle = {};                                                 \
		while (((code) = (call)) == -EAGAIN)                                               \
			rl::yield(1, $);                                                           \
	} while (0)

/* A call by this thread that gave `code` has changed KEY that often; all who ask later may know. */
static void
tell(int changes)
{
	RL_ASSERT(world->changes[me()] == changes);
	world->changes[me()] = 0;
	if (!world->in_play)
		return;
	step();
	world->told[me()].store((unsigned)world->states.size() - 1, rl::mo_release, $);
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

		if (!world->in_play)
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
	while (known < world->states.size() && world->states[known] != value)
		known++;
	RL_ASSERT(known < world->states.size());
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
	RL_ASSERT(code & 1 ? (int)copy[1] == world->states.back() && copy[2] == ~copy[1]
			   : world->states.back() == ABSENT);
	fill_row(row, value);
	UNTIL_DONE(code, ipk_table_commit(&world->table, mine, cell, row, &obstacle));
	RL_ASSERT(code == 0);
	tell(1);
}

/* -- scenes -- */

static size_t nothing_known;

static void play_reader() { size_t known = 0; get(known); get(known); }

struct flips {
	static void first() { put(KEY, 11); put(KEY, 12); }
	static void second() { put(KEY, 21); }
	static void reader() { play_reader(); }
};

/* NEAR's cell, before KEY's in the chain, becomes FAR's in another chain. */
struct reuse {
	static void first() { drop(NEAR); }
	static void second() { put(FAR, 21); }
	static void reader() { size_t known = 0; RL_ASSERT(get(known) == 1); }
};

struct come_and_go {
	static void first() { drop(KEY); put(KEY, 12); }
	static void second() { put(KEY, 21); }
	static void reader() { play_reader(); }
};

struct both_delete {
	static void first() { drop(KEY); put(NEAR, 11); }
	static void second() { drop(KEY); put(KEY, 22); }
	static void reader() { play_reader(); }
};

struct locks {
	static void first() { lock_and_commit(11); }
	static void second() { lock_and_commit(21); }
	static void reader() { play_reader(); }
};

struct reserves {
	static void first() { drop(KEY); lock_and_commit(11); }
	static void second() { lock_and_commit(21); }
	static void reader() { play_reader(); }
};

template <typename scene>
struct play : rl::test_suite<play<scene>, THREADS> {
	struct world all;

	void before()
	{
		join(JUDGE);
		put(KEY, 1);
		put(NEAR, 2);
		all.states.assign(1, 1);
		all.in_play = true;
	}

	void thread(unsigned number)
	{
		bool died = false;

		join((int)number);
		if (number < 2) /* one of both may die, or both, or none */
			die_in[number] = (int)rl::rand(MOST_STEPS) - (int)rl::rand(2) * MOST_STEPS;
		try {
			number == 0 ? scene::first() : number == 1 ? scene::second()
								   : scene::reader();
		} catch (const death &) {
			died = true;
		}
		die_in[number] = -1;
		if (died) /* the kernel's mark */
			(void)__atomic_fetch_or(&all.slots[number].live, OWNER_DIED,
						__ATOMIC_RELEASE);
	}

	void after()
	{
		struct ipk_verify found = {};
		size_t known = all.states.size() - 1;
		int last = all.states.back();
		uint32_t rows = 0;
		int code;

		all.in_play = false;
		for (int &changes : all.changes)
			changes = 0;
		RL_ASSERT(get(known) == last);
		UNTIL_DONE(code, ipk_table_verify(&all.table, &all.parties[JUDGE], &found,
						  &obstacle));
		RL_ASSERT(code == 0 && found.count == 0);
		/* All cells can be had. */
		for (auto &cell : all.cells)
			rows += (cell.version.last & IPK_LIVE) != 0;
		RL_ASSERT(ipk_table_count(&all.table) == rows);
		for (auto &cell : all.cells)
			RL_ASSERT((cell.version.last & IPK_LIVE) || cell.owner.last == 0);
		put(KEY, 99);
		known = all.states.size() - 1;
		RL_ASSERT(get(known) == 99);
	}
};

template <typename scene>
static int
run(const char *name, unsigned iterations)
{
	std::ostringstream said;
	rl::test_params params;

	params.iteration_count = iterations;
	params.execution_depth_limit = 20000;
	params.output_stream = &said;
	params.progress_stream = &said;
	params.search_type = rl::random_scheduler_type;
	if (rl::simulate<play<scene>>(params))
		return 0;
	printf("%s, run %u\n%s\n", name, (unsigned)params.stop_iteration, said.str().c_str());
	return 1;
}

int
main(int count, char **arguments)
{
	unsigned iterations = count > 1 ? (unsigned)strtoul(arguments[1], NULL, 10) : 100000;

	if (run<flips>("flips", iterations) || run<reuse>("reuse", iterations) ||
	    run<come_and_go>("come and go", iterations) ||
	    run<both_delete>("both delete", iterations) || run<locks>("locks", iterations) ||
	    run<reserves>("reserves", iterations))
		return 1;
	printf("weak memory: 6 scenes, %u runs of each, nothing found\n", iterations);
	return 0;
}
