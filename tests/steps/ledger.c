/*
 * ledger.c - the task ledger under search.h: submitters, task workers, the manager and who looks,
 * each preempted anywhere. Nobody dies.
 *
 * Checked in each run
 *   - a task is claimed by one, its body is whole, and it ends as its script says: once;
 *   - of the tasks with one ordering key one is under way at a time, retries included; none begins
 *     before those that were stored before it was begun to be stored are over; its gate holds it;
 *   - each end is delivered once, with the result of its last attempt, to the submitter;
 *   - nobody sleeps while there is work for it, and a submitter that waits for room gets it;
 *   - a reader of a task sees a whole body of that task, or none;
 *   - afterwards every record is free, the counts are exact, and ipk_ledger_verify() finds nothing.
 * usage: ledger runs [scene]
 */
#include "ledger_world.h"

/* -- a submitter -- */

static uint32_t
deliver(struct ipk_ledger *ledger, struct ipk_ledger_lease *lease)
{
	const struct ipk_ledger_record *record = &ledger->record[lease->record];
	uint64_t id = record->id;
	struct task *task = &tasks[id % MOST_IDS];
	uint32_t attempt = ipk_ledger_attempt_of(lease->word);

	RULE(id < MOST_IDS && task->stored && !task->over, "what is delivered is no task");
	RULE(task->submitter == ledger->place, "an end is delivered to another");
	RULE(!(running_now & bit(id)), "an end is delivered while the task runs");
	RULE(!!(record->flags & IPK_LEDGER_LOST) == task->post->given_up, "an end is of another kind");
	if (!task->post->given_up)
		check_body(ledger, &record->result, task->answer, id, attempt,
			   "a result is not whole");
	if (task->deliveries++ < task->post->unreadable) {
		RULE(ipk_ledger_retry(ledger, lease, 0) == 0, "an end is taken away");
		return 0;
	}
	RULE(ipk_ledger_end(ledger, lease) == 0, "an end is taken away");
	ipk_ledger_clear(ledger, lease);
	is_over(task);
	return 1;
}

static uint32_t
deliver_all(struct ipk_ledger *ledger)
{
	struct ipk_ledger_lease leases[2];
	uint32_t delivered = 0;
	uint32_t count;

	for (int asked = 0; asked < 2; asked++) {
		while ((count = ipk_ledger_collect(ledger, leases, 2)) != 0)
			for (uint32_t i = 0; i < count; i++)
				delivered += deliver(ledger, &leases[i]);
		if (!asked)
			ipk_ledger_request_wakeup(ledger);
	}
	return delivered;
}

static void
wait_for_event(uint32_t place)
{
	search_wait(&search_events[place], &all_over);
	search_events[place] = 0;
}

/* Returns how many ends were delivered to it while it waited for room. */
static uint32_t
put_together(struct ipk_ledger *ledger, const struct post *post)
{
	unsigned char bytes[BODIES];
	struct ipk_ledger_lease lease;
	struct task *task;
	uint32_t delivered = 0;
	uint64_t before = 0;
	uint64_t id;

	for (int again = 0;; again = 1) { /* as Submitter.post_later() */
		before = 0;
		for (id = 1; id < MOST_IDS; id++)
			if (tasks[id].stored && post->key && tasks[id].post->key == post->key)
				before |= bit(id);
		if ((!again || ipk_ledger_has_room(ledger, post->size, 0)) &&
		    ipk_ledger_take(ledger, &lease) == 0) {
			id = ipk_ledger_turn_of(lease.word);
			body_of(bytes, post->size, id, 0);
			if (ipk_ledger_put_body(ledger, lease.record, bytes, post->size) == 0)
				break;
			RULE(ipk_ledger_end(ledger, &lease) == 0, "a task is taken away");
			ipk_ledger_clear(ledger, &lease);
		}
		ipk_ledger_request_room(ledger);
		delivered += deliver_all(ledger);
		if (ipk_ledger_has_room(ledger, post->size, 0)) /* after the wish, once more */
			continue;
		wait_for_event(ledger->place);
	}
	RULE(id < 64, "an id is not new");
	task = &tasks[id];
	RULE(!task->post, "an id is given twice");
	*task = (struct task){.post = post, .before = before, .submitter = ledger->place};
	if (post->key)
		ipk_ledger_order(ledger, lease.record, post->key);
	if (post->dropped) {
		task->over = 1;
		RULE(ipk_ledger_end(ledger, &lease) == 0, "a task is taken away");
		ipk_ledger_clear(ledger, &lease);
		return delivered;
	}
	if (!post->quiet)
		ipk_ledger_flag(ledger, lease.record, IPK_LEDGER_WANTED, 0);
	ipk_ledger_publish(ledger, &lease, 0);
	task->stored = 1;
	return delivered;
}

static void
submit(uint32_t place, int side)
{
	struct ipk_ledger *ledger = &views[place];
	uint32_t wanted = 0;
	uint32_t delivered = 0;

	for (int i = 0; i < MOST_POSTS && now_played->posts[side][i].size; i++) {
		wanted += !now_played->posts[side][i].quiet && !now_played->posts[side][i].dropped;
		delivered += put_together(ledger, &now_played->posts[side][i]);
	}
	while (delivered < wanted) {
		search_events[place] = 0;
		delivered += deliver_all(ledger);
		if (delivered < wanted)
			wait_for_event(place);
	}
}

static void
first(void)
{
	submit(FIRST, 0);
}

static void
second(void)
{
	submit(SECOND, 1);
}

/* -- a task worker -- */

static void
check_gate(const struct ipk_ledger *ledger, uint32_t record, uint32_t key)
{
	if (key)
		RULE(ledger->gates[key] == ipk_ledger_pass_of(ledger, record).token,
		     "a task runs, and its gate holds another");
}

static void
begins(struct ipk_ledger *ledger, const struct ipk_ledger_lease *lease)
{
	const struct ipk_ledger_record *record = &ledger->record[lease->record];
	uint64_t id = record->id;
	struct task *task = &tasks[id % MOST_IDS];
	uint32_t key;

	RULE(id < 64 && task->post && !task->over, "what is claimed is no task");
	RULE(!(running_now & bit(id)), "a task is claimed by two");
	RULE(++task->runs == ipk_ledger_attempt_of(lease->word), "an attempt is not counted");
	running_now |= bit(id);
	key = task->post->key;
	if (key) {
		RULE(!under_way[key] || under_way[key] == id, "two tasks of one key run at once");
		under_way[key] = id;
		for (uint64_t other = 1; other < 64; other++)
			RULE(!(task->before & bit(other)) || tasks[other].runs > tasks[other].post->fails,
			     "a task of a key overtakes another");
	}
	check_gate(ledger, lease->record, key);
	check_body(ledger, &record->body, task->post->size, id, 0, "a body is not whole");
}

static void
run(struct ipk_ledger *ledger, struct ipk_ledger_lease *lease)
{
	uint64_t id = ledger->record[lease->record].id;
	struct task *task = &tasks[id % MOST_IDS];
	const struct post *post = task->post;
	unsigned char bytes[BODIES];
	uint32_t attempt = ipk_ledger_attempt_of(lease->word);
	int code;

	begins(ledger, lease);
	if (search_chance(2)) /* the callback takes its time */
		(void)search_yield();
	check_gate(ledger, lease->record, post->key);
	running_now &= ~bit(id);
	if (task->runs <= post->fails) { /* its key stays under way */
		RULE(ipk_ledger_retry(ledger, lease, post->late ? 1 : 0) == 0, "it is taken away");
		return;
	}
	under_way[post->key] = 0;
	if (post->given_up) {
		RULE(ipk_ledger_bury(ledger, lease) == 0, "a task is taken away");
		return;
	}
	task->answer = post->answer;
	body_of(bytes, task->answer, id, attempt);
	code = post->quiet ? ipk_ledger_done(ledger, lease)
			   : ipk_ledger_done_with(ledger, lease, bytes, task->answer);
	if (code == -ENOSPC) { /* a server puts it into a file */
		task->answer = 1;
		code = ipk_ledger_done_with(ledger, lease, bytes, task->answer);
	}
	RULE(code == 0, "a task is taken away");
	if (post->quiet)
		is_over(task);
}

static void
take(uint32_t place)
{
	struct ipk_ledger *ledger = &views[place];
	struct ipk_ledger_lease lease;

	while (!all_over) {
		if (ipk_ledger_claim(ledger, &lease)) {
			run(ledger, &lease);
			continue;
		}
		if (ipk_ledger_sleep(ledger))
			wait_for_event(place);
		ipk_ledger_wake(ledger);
	}
}

static void
taker(void)
{
	take(TAKER);
}

static void
other_taker(void)
{
	take(OTHER_TAKER);
}

/* -- the manager, and who looks -- */

static void
manage(void)
{
	struct ipk_ledger *ledger = &views[MANAGER];
	struct ipk_ledger_lease lease;

	for (int sweeps = now_played->sweeps; !all_over;) {
		uint32_t from = 0;

		search_events[MANAGER] = 0;
		(void)ipk_ledger_wake_due(ledger, 1);
		for (; ipk_ledger_next(ledger, from, IPK_LEDGER_BURIED, UINT32_MAX, &lease);
		     from = lease.record + 1) {
			buried++;
			RULE(ipk_ledger_written_down(ledger, &lease) == 0, "a letter is not delivered of");
		}
		if (sweeps-- > 0) {
			(void)search_yield(); /* when the others wait, or have lost the CPU */
			ipk_ledger_sweep(ledger, NOBODY);
		} else
			wait_for_event(MANAGER);
	}
}

static void
look(void)
{
	struct ipk_ledger *ledger = &views[LOOKER];
	unsigned char bytes[BODIES];

	for (int i = 0; i < now_played->looks; i++) {
		struct ipk_ledger_snapshot seen;
		int code = ipk_ledger_snapshot(ledger, search_chance(RECORDS), &seen, bytes,
					       sizeof(bytes));

		if (code == -EAGAIN)
			continue;
		RULE(code == 0, "a look finds a body that is nowhere");
		if (!seen.has_body)
			continue;
		RULE(seen.id < 64 && tasks[seen.id].post, "a look sees no task");
		RULE(seen.size == tasks[seen.id].post->size && is_whole(bytes, seen.size, seen.id, 0),
		     "a look sees a body that is not whole");
	}
}

/* -- runs -- */

static const char *
at_rest(void)
{
	const char *wrong = ipk_ledger_verify(&views[MANAGER]);
	struct ipk_ledger_counts counts;

	if (wrong)
		return wrong;
	ipk_ledger_count(&views[MANAGER], &counts);
	if (counts.in[IPK_LEDGER_FREE] + (uint64_t)now_played->held != RECORDS)
		return "a record is not given back";
	if (counts.well + counts.buried != total || counts.buried != buried)
		return "the counts are not exact";
	for (uint32_t block = 0; block < BLOCKS; block++)
		if (views[MANAGER].block_of[block])
			return "a block is not given back";
	return NULL;
}

static const char *
play(uint64_t number)
{
	void (*processes[SEARCH_PROCESSES])(void) = {first, second, taker, manage};
	int count = 4;
	const char *broken;

	if (now_played->takers > 1)
		processes[count++] = other_taker;
	if (now_played->looks)
		processes[count++] = look;
	begin_run();
	broken = search_run(number, processes, count);
	return broken ? broken : at_rest();
}

int
main(int argument_count, char **arguments)
{
	uint64_t runs = argument_count > 1 ? strtoull(arguments[1], NULL, 10) : 20000;
	uint64_t steps = 0;

	make_world();
	for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++) {
		now_played = &scenes[i];
		if (argument_count > 2 && strcmp(arguments[2], now_played->name) != 0)
			continue;
		for (uint64_t number = 1; number <= runs; number++) {
			const char *broken = play(number);

			steps += search_steps();
			if (!broken)
				continue;
			printf("%s, run %llu of %llu: %s\n", now_played->name,
			       (unsigned long long)number, (unsigned long long)runs, broken);
			return 1;
		}
	}
	printf("preemption: %zu scenes, %llu runs of each, %llu million steps, nothing found\n",
	       sizeof(scenes) / sizeof(scenes[0]), (unsigned long long)runs,
	       (unsigned long long)(steps / 1000000));
	return 0;
}
