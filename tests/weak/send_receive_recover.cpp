/*
 * send_receive_recover.cpp - the shared queue's calls under the C11 memory model.
 *
 * Three threads play a scene; those that the scene lets die do so before any one of their steps. The
 * third one recovers what it meets.
 * Checked in each run
 *   - a received message is whole, and was sent;
 *   - it is with one living thread at a time, and does not come again once it was acknowledged;
 *   - it does not come before one that was given back, or sent, before it was;
 *   - "empty" and "full" are not answered against what this thread knows from others;
 *   - "all is finished" is answered only if it was so at a moment of the call;
 *   - a thread that sleeps is woken;
 *   - afterwards the rest comes out, and every record and page is free.
 * usage: check iterations [scene]
 */
#include "queue_model.h"

#include "fates.h"

#include "base/atomics.h"
#include "internal.h"

#include "ring.c"
#undef bit_of
#include "record.c"
#include "pages.c"
#include "send.c"
#include "receive.c"
#include "recovery.c"
#include "wait.c"
#include "unfinished.c"

enum { MOST_IDS = 16, NOBODY = -1 };

struct world {
	struct ipk_queue_head head;
	struct ipk_slot slots[IPK_QUEUE_SLOTS];
	struct ipk_queue_part parts[IPK_QUEUE_SLOTS];
	shared64 cells[CELLS];
	shared64 back[MOST_MAPS];
	shared64 page_of[PAGES];
	shared32 next_page[PAGES];
	struct ipk_queue_record records[RECORDS];
	alignas(WORD) unsigned char bytes[(RECORDS + PAGES) * WORD];
	shared64 words[RECORDS + PAGES];
	struct ipk_queue queue;
	struct ipk_party parties[THREADS + 1];
	rl::atomic<unsigned> told; /* how many times a thread said that something is there */

	/* the ghost */
	bool begun[MOST_IDS], sent[MOST_IDS], ending[MOST_IDS], over[MOST_IDS];
	bool finishing[MOST_IDS]; /* its receiver has begun to say so */
	bool was_finished;
	int holder[MOST_IDS];
	bool dead[THREADS + 1];
	bool any_died, all_were_leased;

	template <typename T> static void zero(shared<T> &word) { word.publish(0); }
	world();
};
static struct world *world;

world::world()
{
	::world = this;
	in_play = false;
	no_fates();
	zero(head.tail);
	zero(head.head);
	zero(head.marks);
	zero(head.marks_seen);
	zero(head.slots_used);
	head.next_due.publish(INT64_MAX);
	zero(head.sleeps);
	zero(head.allocator);
	zero(head.next_free_page);
	for (auto &event : head.asleep)
		for (auto &map : event)
			zero(map);
	for (auto &slot : slots) {
		zero(slot.live);
		zero(slot.generation);
	}
	for (auto &part : parts) {
		for (auto word : {&part.reservations, &part.frees_begun, &part.frees_completed,
				  &part.ticket, &part.redelivered, &part.unfinished})
			zero(*word);
		for (auto word : {&part.next_record, &part.epoch, &part.incarnation, &part.recovered})
			zero(*word);
	}
	for (uint64_t at = 0; at < CELLS; at++)
		zero(cells[at]);
	for (auto &map : back)
		zero(map);
	for (auto &word : page_of)
		zero(word);
	for (auto &word : next_page)
		zero(word);
	for (auto &word : words)
		zero(word);
	for (int i = 0; i < RECORDS; i++) {
		struct ipk_queue_record &record = records[i];

		for (auto word : {&record.word, &record.size, &record.reservation, &record.highest})
			zero(*word);
		zero(record.due);
		zero(record.sent);
		zero(record.first_page);
		zero(record.extents);
		record.body = bytes + i * WORD;
	}
	queue.head = &head;
	queue.slots = slots;
	queue.parts = parts;
	queue.cells = cells;
	queue.back = back;
	queue.page_of = page_of;
	queue.next_page = next_page;
	queue.records = records;
	queue.pages = bytes + RECORDS * WORD;
	queue.shape = {RECORDS, PAGES, 0};
	queue.ring_bits = RING_BITS;
	queue.woken = NULL;
	for (uint64_t at = 0; at < CELLS; at++)
		cell_of(&queue, at)->publish(at << 24);
	told.store(0, rl::mo_relaxed, $);
	for (int id = 0; id < MOST_IDS; id++) {
		begun[id] = sent[id] = ending[id] = over[id] = finishing[id] = false;
		holder[id] = NOBODY;
	}
	for (bool &each : dead)
		each = false;
	any_died = was_finished = all_were_leased = false;
}

int
word_at(const void *address)
{
	const unsigned char *byte = (const unsigned char *)address;

	return byte >= world->bytes && byte < world->bytes + sizeof(world->bytes)
		       ? (int)((byte - world->bytes) / WORD)
		       : -1;
}

shared64 *
body_words()
{
	return world->words;
}

void
stored(int, uint64_t, uint64_t)
{
}

int
ipk_slot_join(const struct ipk_registry *, struct ipk_slot *slots, uint32_t, struct ipk_party *party)
{
	join_slot(&slots[me()], me(), party);
	return 0;
}

/* -- calls -- */

static const struct ipk_party *
mine()
{
	return &world->parties[me()];
}

static void
tell()
{
	if (!in_play)
		return;
	step();
	world->told.fetch_add(1, rl::mo_release, $);
}

static unsigned
learned()
{
	step();
	return world->told.load(rl::mo_acquire, $);
}

/* Send a message: its id in each of its words. Whether there was room. */
static bool
send(int id, uint64_t size)
{
	uint64_t body[2] = {(uint64_t)id, (uint64_t)id};
	struct ipk_queue_lease lease;
	int code;

	UNTIL_DONE(code, ipk_queue_reserve(&world->queue, mine(), size, &lease, &obstacle));
	RL_ASSERT(code == 0 || code == -ENOSPC || code == -ENOBUFS);
	if (code)
		return false;
	code = ipk_queue_fill(&world->queue, &lease, body, size);
	RL_ASSERT(code == 0);
	world->begun[id] = true;
	code = ipk_queue_publish(&world->queue, mine(), &lease);
	RL_ASSERT(code == 0);
	world->sent[id] = true;
	tell();
	return true;
}

/* Lease one. Its id; NOBODY: there is none. */
static int
lease_one(struct ipk_queue_lease *lease)
{
	struct ipk_queue_message message;
	uint64_t body[2];
	int code = ipk_queue_take(&world->queue, mine(), lease);
	int id;

	RL_ASSERT(code == 0 || code == 1);
	if (code == 0)
		return NOBODY;
	code = ipk_queue_message_of(&world->queue, lease, &message);
	RL_ASSERT(code == 0 && (message.size == WORD || message.size == LARGE));
	code = ipk_queue_copy(&world->queue, lease, body, message.size);
	RL_ASSERT(code == 0);
	id = (int)body[0];
	RL_ASSERT(id > 0 && id < MOST_IDS && world->begun[id]);
	RL_ASSERT(message.size == WORD || body[1] == body[0]); /* whole */
	RL_ASSERT(!world->over[id]);
	RL_ASSERT(world->holder[id] == NOBODY || world->dead[world->holder[id]]);
	world->holder[id] = me();
	return id;
}

static void
acknowledge(const struct ipk_queue_lease *lease, int id)
{
	int code;

	world->ending[id] = true;
	world->holder[id] = NOBODY;
	code = ipk_queue_acknowledge(&world->queue, mine(), lease);
	RL_ASSERT(code == 0);
	world->over[id] = true;
	tell();
}

static void
give_back(const struct ipk_queue_lease *lease, int id)
{
	int code;

	world->holder[id] = NOBODY;
	code = ipk_queue_give_back(&world->queue, lease, 0);
	RL_ASSERT(code == 0);
	tell();
}

/* All that was sent may be finished now: its thread has begun to say so, or has died. */
static void
note_finished()
{
	for (int id = 0; id < MOST_IDS; id++)
		if (world->sent[id] && !world->finishing[id] &&
		    !(world->holder[id] != NOBODY && world->dead[world->holder[id]]))
			return;
	world->was_finished = true;
}

/* Receive one, which is unfinished then. Its id. */
static int
consume()
{
	struct ipk_queue_lease lease;
	int id = lease_one(&lease);
	int code;

	if (id == NOBODY)
		return id;
	world->ending[id] = true;
	code = ipk_queue_consume(&world->queue, mine(), &lease);
	RL_ASSERT(code == 0);
	world->over[id] = true;
	return id;
}

static void
finish(int id)
{
	if (id == NOBODY)
		return;
	world->finishing[id] = true;
	note_finished();
	RL_ASSERT(ipk_queue_finish(&world->queue, mine()) == 1);
}

static void
ask_whether_finished()
{
	int code;

	world->was_finished = false;
	note_finished();
	code = ipk_queue_is_finished(&world->queue);
	RL_ASSERT(code == 0 || (code == 1 && world->was_finished));
}

static int
receive()
{
	struct ipk_queue_lease lease;
	int id = lease_one(&lease);

	if (id != NOBODY)
		acknowledge(&lease, id);
	return id;
}

static void
lease_and_give_back()
{
	struct ipk_queue_lease lease;
	int id = lease_one(&lease);

	if (id != NOBODY)
		give_back(&lease, id);
}

/* Sleep until woken, or until all others are at their end; their deaths wake, too. */
static void
sleep_once(enum ipk_queue_event event)
{
	const struct ipk_queue_part *part = ipk_queue_part_of(&world->queue, mine());

	while ((LOAD_SEQ_CST(&part->epoch) & 1) && running > 1)
		let_others_go_on();
	if (running == 1 && !world->any_died) /* W1: it would sleep on */
		RL_ASSERT(!(LOAD_SEQ_CST(&part->epoch) & 1) ||
			  ipk_queue_is_ready(&world->queue, event, 0) == 0);
	ipk_queue_awake(&world->queue, mine(), event);
}

/* Receive one; wait for it. */
static int
wait_and_receive()
{
	uint64_t ticket = 0;
	int id;

	while ((id = receive()) == NOBODY) {
		(void)ipk_queue_recover(&world->queue, mine());
		ipk_queue_announce(&world->queue, mine(), IPK_QUEUE_MESSAGE, &ticket);
		id = receive();
		if (id != NOBODY || running == 1) {
			ipk_queue_awake(&world->queue, mine(), IPK_QUEUE_MESSAGE);
			break;
		}
		sleep_once(IPK_QUEUE_MESSAGE);
		if (running == 1) { /* no other will send; what there is comes now */
			(void)ipk_queue_recover(&world->queue, mine());
			return receive();
		}
	}
	return id;
}

/* Wait once until all is finished. */
static void
wait_until_finished()
{
	uint64_t ticket = 0;

	ipk_queue_announce(&world->queue, mine(), IPK_QUEUE_FINISHED, &ticket);
	if (ipk_queue_is_finished(&world->queue))
		ipk_queue_awake(&world->queue, mine(), IPK_QUEUE_FINISHED);
	else
		sleep_once(IPK_QUEUE_FINISHED);
}

/* -- scenes -- */

struct scene {
	const char *name;
	void (*before)(); /* the judge alone */
	void (*acts[THREADS])(); /* the first two may die */
	bool stalls = false;	 /* each of them loses the processor once; few die */
	uint32_t bits_of_a_map = 64; /* fewer: a look at all records is more than one load */
};

static void
nothing()
{
}

/* What another thread said is there, as no other one takes it. */
static void
receive_what_is_told()
{
	unsigned known = learned();

	for (unsigned i = 0; i < 2; i++) {
		int id = receive();

		RL_ASSERT(id != NOBODY || i >= known);
	}
}

static void
send_what_is_told()
{
	unsigned known = learned();

	if (known)
		RL_ASSERT(send(9, WORD));
}

/* Wait until the others have called tell() so often, or one of them dies. Whether they have. */
static bool
has_learned(unsigned count)
{
	while (learned() < count && !world->any_died)
		let_others_go_on();
	return learned() >= count;
}

/* It leases all three messages, and gives the first and the last one back. It did so with the last one
 * before, so that a look is not over as soon as it begins, and lets the other one begin with it. */
static void
give_back_first_and_last()
{
	struct ipk_queue_lease leases[3];

	for (int i = 0; i < 3; i++)
		if (lease_one(&leases[i]) != i + 1)
			return;
	give_back(&leases[2], 3);
	if (lease_one(&leases[2]) != 3)
		return;
	world->all_were_leased = true;
	tell();
	for (int step = 0; step < 8; step++)
		(void)learned();
	give_back(&leases[0], 1);
	give_back(&leases[2], 3);
}

/* Messages 4 and 5, of which 4 has the lower turn and the last record. */
static void
send_with_the_first_in_the_last_record()
{
	for (int id : {1, 2, 4})
		send(id, WORD);
	for (int id : {1, 2})
		RL_ASSERT(receive() == id);
	send(5, WORD);
}

static void
give_both_back()
{
	struct ipk_queue_lease four, five;

	if (lease_one(&four) == 4 && lease_one(&five) == 5) {
		give_back(&four, 4);
		give_back(&five, 5);
	}
}

/* There is a message from the first return on: the other thread receives one after the second. */
static void
receive_when_one_is_back()
{
	if (has_learned(1))
		RL_ASSERT(receive() != NOBODY);
}

static void
receive_when_both_are_back()
{
	if (has_learned(2))
		receive();
}

/* When the others have ended, or died. */
static void
recover_and_use()
{
	while (running > 1)
		let_others_go_on();
	for (int id = 10; id < 14; id++) {
		(void)ipk_queue_recover(&world->queue, mine());
		receive();
		send(id, WORD);
	}
}

static const scene scenes[] = {
	{"one to two", nothing,
	 {[] { send(1, WORD); send(2, WORD); }, [] { receive(); }, [] { receive(); receive(); }}},
	{"pages", nothing,
	 {[] { send(1, LARGE); receive(); }, [] { send(2, LARGE); receive(); },
	  [] { receive(); send(3, LARGE); receive(); }}},
	{"told", nothing,
	 {[] { send(1, WORD); }, [] { send(2, LARGE); }, receive_what_is_told}},
	{"given back", [] { send(1, WORD); send(2, WORD); },
	 {lease_and_give_back, lease_and_give_back, [] { receive(); receive(); }}},
	{"in order", [] { send(1, WORD); },
	 {[] { lease_and_give_back(); send(2, WORD); }, nothing, [] { RL_ASSERT(receive() != 2); }}},
	{"given back in order", [] { send(1, WORD); send(2, WORD); send(3, WORD); },
	 {give_back_first_and_last, nothing,
	  [] { if (has_learned(2)) RL_ASSERT(receive() != 3 || !world->all_were_leased); }}, true, 2},
	{"never empty", send_with_the_first_in_the_last_record,
	 {give_both_back, receive_when_both_are_back, receive_when_one_is_back}, true, 2},
	{"full", [] { send(1, WORD); send(2, WORD); send(3, WORD); },
	 {[] { receive(); }, nothing, send_what_is_told}},
	{"again", [] { send(1, WORD); },
	 {[] { receive(); send(4, WORD); receive(); send(5, WORD); }, [] { receive(); },
	  [] { receive(); receive(); }}, true},
	{"after deaths", [] { send(1, WORD); },
	 {[] { send(2, WORD); receive(); }, [] { receive(); send(3, WORD); }, recover_and_use}},
	{"waits", nothing,
	 {[] { send(1, WORD); }, [] { send(2, WORD); receive(); }, [] { wait_and_receive(); }}},
	{"finished", [] { send(1, WORD); },
	 {[] { int id = consume(); if (id != NOBODY) send(2, WORD); finish(id); },
	  [] { finish(consume()); }, ask_whether_finished}},
	{"waits until finished", [] { send(1, WORD); send(2, WORD); },
	 {[] { finish(consume()); }, [] { finish(consume()); }, wait_until_finished}},
};
static const scene *now_played;

struct play : rl::test_suite<play, THREADS> {
	struct world all;

	void before()
	{
		struct ipk_party &judge = all.parties[JUDGE];

		bits_of_a_map = now_played->bits_of_a_map;
		RL_ASSERT(ipk_queue_join(&all.queue, NULL, &judge) == 0);
		now_played->before();
		begin_play();
	}

	void thread(unsigned number)
	{
		(void)ipk_queue_join(&all.queue, NULL, &all.parties[number]);
		if (!live(number, now_played->acts[number], now_played->stalls, &all.any_died))
			return;
		all.dead[number] = true;
		note_finished();
		mark_dead(&all.slots[number]);
	}

	void after()
	{
		uint32_t free_records = 0;
		uint32_t free_pages = 0;
		int id;

		in_play = false;
		for (bool &each : all.dead)
			each = true; /* all threads have ended; what they hold is not theirs */
		for (int i = 0; i < THREADS; i++)
			mark_dead(&all.slots[i]);
		(void)ipk_queue_recover(&all.queue, &all.parties[JUDGE]);
		while ((id = receive()) != NOBODY)
			;
		for (int each = 1; each < MOST_IDS; each++)
			RL_ASSERT(!all.sent[each] || all.over[each] || all.ending[each]);
		for (auto &record : all.records)
			free_records += ipk_queue_state_of(record.word.last) == IPK_QUEUE_FREE;
		for (auto &page : all.page_of)
			free_pages += page.last == 0;
		RL_ASSERT(free_records == RECORDS && free_pages == PAGES);
		while (ipk_queue_finish(&all.queue, &all.parties[JUDGE]))
			;
		RL_ASSERT(ipk_queue_is_finished(&all.queue) == 1);
	}
};

int
main(int count, char **arguments)
{
	return play_all<play>(scenes, now_played, count, arguments);
}
