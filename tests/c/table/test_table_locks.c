/*
 * test_table_locks.c - a row's user lock, and the slots of those who hold it: each code.
 *
 * The parties of one thread stand for as many threads, so that every order is exact.
 */
#include "table_support.h"

static struct ipk_party a, b, c;

static void
begin(uint32_t rows)
{
	table_of_pairs(rows);
	table_join();
	CHECK(ipk_table_join(&table, &registry, &a) == 0);
	CHECK(ipk_table_join(&table, &registry, &b) == 0);
	CHECK(ipk_table_join(&table, &registry, &c) == 0);
}

static void
end(uint64_t rows)
{
	check_table(rows);
	for (uint32_t i = 0; i < IPK_TABLE_SLOTS; i++) {
		CHECK(table.slots[i].waits_for == 0);
		for (uint32_t l = 0; l < IPK_SLOT_LOCKS; l++)
			CHECK(table.slots[i].locks[l] == 0);
	}
	CHECK(ipk_slot_release(&registry, &a) == 0);
	CHECK(ipk_slot_release(&registry, &b) == 0);
	CHECK(ipk_slot_release(&registry, &c) == 0);
	table_leave();
	table_drop();
}

/* -- single attempts -- */

static int
lock(struct ipk_party *who, const struct ipk_key *key, uint32_t *cell)
{
	struct ipk_obstacle obstacle = {0};
	uint64_t copy[WORDS];

	return ipk_table_lock(&table, who, key, copy, cell, &obstacle);
}

static int
commit(struct ipk_party *who, uint32_t cell, int64_t value)
{
	struct ipk_obstacle obstacle = {0};
	uint64_t row[2] = {(uint64_t)value, (uint64_t)-value};

	return ipk_table_commit(&table, who, cell, row, &obstacle);
}

static int
abort_lock(struct ipk_party *who, uint32_t cell)
{
	struct ipk_obstacle obstacle = {0};

	return ipk_table_abort(&table, who, cell, &obstacle);
}

/* All writing calls of a row that somebody has locked give this code and change nothing. */
static void
expect_writers(struct ipk_party *who, const struct ipk_key *key, int code)
{
	struct ipk_obstacle obstacle = {0};
	uint64_t row[2] = {999, 999};
	uint64_t copy[WORDS];
	uint64_t result;
	uint32_t cell;
	int there = ipk_table_get(&table, key, copy);

	for (int how = IPK_SET; how <= IPK_ADD; how++)
		CHECK(ipk_table_write(&table, who, key, (enum ipk_write)how, row, NULL,
				      &obstacle) == code);
	CHECK(ipk_table_delete(&table, who, key, NULL, &obstacle) == code);
	CHECK(ipk_table_incr(&table, who, key, 0, 1, &result, &obstacle) == code);
	CHECK(ipk_table_compare_and_set(&table, who, key, 0, copy + 1, row, &obstacle) == code);
	CHECK(ipk_table_lock(&table, who, key, copy, &cell, &obstacle) == code);
	if (code == -EAGAIN) {
		CHECK(obstacle.kind == IPK_USER_LOCK && obstacle.word && obstacle.owner_live);
		CHECK(ipk_wait(table.slots, IPK_TABLE_SLOTS, &obstacle, ipk_now_ns() - 1) ==
		      -ETIMEDOUT);
		ipk_table_give_up(who);
	}
	CHECK(ipk_table_get(&table, key, copy) == there);
}

static void
present_row(void)
{
	struct ipk_obstacle obstacle = {0};
	struct ipk_key key;
	struct ipk_key other;
	uint64_t copy[WORDS];
	uint32_t cell;

	begin(3);
	key = key_of("k");
	other = key_of("other");
	CHECK(put(&key, 5) == 1);
	CHECK(ipk_table_lock(&table, &a, &key, copy, &cell, &obstacle) == 1);
	CHECK(copy[0] == key.size && copy[1] == 5 && copy[2] == (uint64_t)-5);
	expect_writers(&a, &key, -EDEADLK);
	expect_writers(&b, &key, -EAGAIN);
	CHECK(put(&other, 1) == 1 && drop(&other) == 1); /* only this row waits */
	CHECK(has_pair(&key, 5) && ipk_table_count(&table) == 1);
	CHECK(commit(&b, cell, 1) == -EPERM && abort_lock(&b, cell) == -EPERM);
	CHECK(commit(&a, cell, 6) == 0 && has_pair(&key, 6));
	CHECK(commit(&a, cell, 7) == -EPERM && abort_lock(&a, cell) == -EPERM);
	CHECK(lock(&b, &key, &cell) == 1);
	CHECK(abort_lock(&b, cell) == 0 && has_pair(&key, 6));
	CHECK(put(&key, 8) == 0 && drop(&key) == 1);
	end(0);
}

static void
absent_row(void)
{
	struct ipk_key key;
	struct ipk_key other;
	uint64_t copy[WORDS];
	uint32_t position = 0;
	uint32_t cell;

	begin(1);
	key = key_of("k");
	other = key_of("other");
	CHECK(lock(&a, &key, &cell) == 0);
	/* Nobody sees it, and it takes its place. */
	CHECK(ipk_table_get(&table, &key, copy) == 0 && !ipk_table_has(&table, &key));
	CHECK(ipk_table_next(&table, &position, copy) == 0);
	check_table(0);
	CHECK(put(&other, 1) == -ENOSPC);
	expect_writers(&a, &key, -EDEADLK);
	expect_writers(&b, &key, -EAGAIN);
	CHECK(abort_lock(&a, cell) == 0);
	check_table(0);
	CHECK(put(&other, 1) == 1 && drop(&other) == 1);
	CHECK(lock(&a, &key, &cell) == 0 && commit(&a, cell, 3) == 0);
	CHECK(has_pair(&key, 3) && put(&other, 1) == -ENOSPC);
	CHECK(lock(&a, &other, &cell) == -ENOSPC);
	CHECK(drop(&key) == 1);
	end(0);
}

/* Cycles over 2 and over 3; a chain without a cycle is none. */
static void
cycles(void)
{
	uint32_t x, y, z, unused;
	struct ipk_key keys[3];

	begin(8);
	for (int i = 0; i < 3; i++) {
		keys[i] = key_of("%d", i);
		CHECK(put(&keys[i], i) == 1);
	}
	CHECK(lock(&a, &keys[0], &x) == 1 && lock(&b, &keys[1], &y) == 1);
	CHECK(lock(&a, &keys[1], &unused) == -EAGAIN);
	expect_writers(&b, &keys[0], -ELOOP);
	CHECK(lock(&c, &keys[0], &unused) == -EAGAIN); /* holds nothing: no cycle */
	ipk_table_give_up(&c);
	CHECK(abort_lock(&b, y) == 0);
	CHECK(lock(&a, &keys[1], &y) == 1); /* which ends its wait */
	CHECK(abort_lock(&a, y) == 0);

	CHECK(lock(&b, &keys[1], &y) == 1 && lock(&c, &keys[2], &z) == 1);
	CHECK(lock(&a, &keys[1], &unused) == -EAGAIN);
	CHECK(lock(&b, &keys[2], &unused) == -EAGAIN);
	expect_writers(&c, &keys[0], -ELOOP);
	ipk_table_give_up(&b);
	CHECK(lock(&c, &keys[0], &unused) == -EAGAIN); /* b waits no more */
	CHECK(lock(&b, &keys[2], &unused) == -ELOOP);
	CHECK(commit(&a, x, 0) == 0 && lock(&c, &keys[0], &x) == 1);
	CHECK(abort_lock(&c, x) == 0 && abort_lock(&c, z) == 0 && abort_lock(&b, y) == 0);
	ipk_table_give_up(&a);

	/* The holder that was waited for has deleted the row. */
	CHECK(lock(&a, &keys[0], &x) == 1 && lock(&b, &keys[0], &unused) == -EAGAIN);
	CHECK(abort_lock(&a, x) == 0 && drop(&keys[0]) == 1);
	CHECK(lock(&b, &keys[0], &unused) == 0 && abort_lock(&b, unused) == 0);
	end(2);
}

static void
nine_locks(void)
{
	uint32_t cells[IPK_SLOT_LOCKS + 1];
	struct ipk_key key;

	begin(IPK_SLOT_LOCKS + 2);
	key = key_of("row");
	CHECK(put(&key, 1) == 1);
	for (int i = 0; i < IPK_SLOT_LOCKS; i++) {
		key = key_of("%d", i);
		CHECK(lock(&a, &key, &cells[i]) == 0);
	}
	CHECK(lock(&a, &key, &cells[IPK_SLOT_LOCKS]) == -EDEADLK);
	key = key_of("row");
	CHECK(lock(&a, &key, &cells[IPK_SLOT_LOCKS]) == -EBUSY);
	key = key_of("ninth");
	CHECK(lock(&a, &key, &cells[IPK_SLOT_LOCKS]) == -EBUSY);
	CHECK(lock(&b, &key, &cells[IPK_SLOT_LOCKS]) == 0); /* each party has its own */
	CHECK(abort_lock(&b, cells[IPK_SLOT_LOCKS]) == 0);
	CHECK(abort_lock(&a, cells[3]) == 0);
	CHECK(lock(&a, &key, &cells[3]) == 0);
	for (int i = 0; i < IPK_SLOT_LOCKS; i++)
		CHECK(commit(&a, cells[i], i) == 0);
	end(IPK_SLOT_LOCKS + 1);
}

/* Lock a key in a child that ends with the lock. */
static void
die_with(const struct ipk_key *key, int expected)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		uint32_t cell;

		table_join();
		CHECK(lock(&party, key, &cell) == expected);
		_exit(0);
	}
	reap(pid);
}

static void
dead_owners(void)
{
	struct ipk_obstacle obstacle = {0};
	struct ipk_key key;
	struct ipk_key other;
	uint64_t copy[WORDS];
	uint32_t cell;
	pid_t pid;

	begin(2);
	key = key_of("k");
	other = key_of("other");
	CHECK(put(&key, 5) == 1);
	die_with(&key, 1);
	CHECK(ipk_table_lock(&table, &a, &key, copy, &cell, &obstacle) == 3 && copy[1] == 5);
	CHECK(abort_lock(&a, cell) == 0);
	CHECK(lock(&a, &key, &cell) == 1 && abort_lock(&a, cell) == 0); /* told once */
	/* A writer in between does not hide it; a new holder's good end does. */
	die_with(&key, 1);
	CHECK(put(&key, 6) == 0 && lock(&a, &key, &cell) == 3 && commit(&a, cell, 7) == 0);
	CHECK(lock(&a, &key, &cell) == 1 && abort_lock(&a, cell) == 0);

	/* What a dead party reserved is a place again, for its own key and for others. */
	die_with(&other, 0);
	CHECK(put(&other, 1) == 1 && has_pair(&other, 1) && drop(&other) == 1);
	die_with(&other, 0);
	CHECK(drop(&other) == 0);
	die_with(&other, 0);
	CHECK((lock(&a, &other, &cell) & 1) == 0 && abort_lock(&a, cell) == 0);
	die_with(&other, 0);
	other = key_of("a third");
	CHECK(put(&other, 1) == 1);
	check_table(2);
	CHECK(drop(&other) == 1);
	other = key_of("other");
	die_with(&other, 0);
	check_table(1); /* verify() gives it back as well */
	CHECK(put(&other, 1) == 1 && drop(&other) == 1);

	/* A fork's child is another party. */
	CHECK(lock(&party, &key, &cell) == 1);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		table_join();
		CHECK(commit(&party, cell, 1) == -EPERM && abort_lock(&party, cell) == -EPERM);
		expect_writers(&party, &key, -EAGAIN);
		_exit(0);
	}
	reap(pid);
	CHECK(commit(&party, cell, 8) == 0 && has_pair(&key, 8));
	end(1);
}

/* 512 parties, one more is refused; places of those who left or died are taken again. */
static void
slots(void)
{
	static struct ipk_party parties[IPK_TABLE_SLOTS];
	struct ipk_registry wrong;
	struct ipk_party more;
	struct ipk_key key;
	int pipes[2];
	char byte;
	pid_t pid;

	table_of_pairs(2);
	for (int i = 0; i < IPK_TABLE_SLOTS; i++) {
		CHECK(ipk_table_join(&table, &registry, &parties[i]) == 0);
		for (int j = 0; i % 64 == 63 && j < i; j++)
			CHECK(parties[j].owner != parties[i].owner);
	}
	CHECK(ipk_table_join(&table, &registry, &more) == -EUSERS);
	CHECK(ipk_slot_release(&registry, &parties[77]) == 0);
	CHECK(ipk_table_join(&table, &registry, &parties[77]) == 0);
	CHECK(ipk_table_join(&table, &registry, &more) == -EUSERS);
	for (int i = 0; i < IPK_TABLE_SLOTS; i++)
		CHECK(ipk_slot_release(&registry, &parties[i]) == 0);

	CHECK(pipe(pipes) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		uint32_t cell;

		for (int i = 0; i < IPK_TABLE_SLOTS; i++)
			CHECK(ipk_table_join(&table, &registry, &parties[i]) == 0);
		key = key_of("k");
		CHECK(lock(&parties[300], &key, &cell) == 0);
		CHECK(write(pipes[1], "r", 1) == 1);
		(void)pause();
	}
	CHECK(read(pipes[0], &byte, 1) == 1);
	CHECK(ipk_table_join(&table, &registry, &more) == -EUSERS);
	CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
	table_join();
	key = key_of("x");
	CHECK(put(&key, 1) == 1);
	key = key_of("y");
	CHECK(put(&key, 1) == 1); /* where the dead party's lock was */
	check_table(2);
	/* Joining in the dead party's place settles what it named. */
	for (int i = 1; i < IPK_TABLE_SLOTS; i++)
		CHECK(ipk_table_join(&table, &registry, &parties[i]) == 0);
	for (int i = 1; i < IPK_TABLE_SLOTS; i++)
		CHECK(ipk_slot_release(&registry, &parties[i]) == 0);

	wrong = registry;
	wrong.ino++;
	CHECK(ipk_table_join(&table, &wrong, &more) == -ESTALE);
	wrong.fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	CHECK(ipk_table_join(&table, &wrong, &more) == -ESTALE && close(wrong.fd) == 0);
	CHECK(ipk_table_join(&table, &wrong, &more) < 0); /* closed */
	table_leave();
	table_drop();
	CHECK(close(pipes[0]) == 0 && close(pipes[1]) == 0);
}

/* What an owner's number may say. */
static void
verdicts(void)
{
	uint32_t mine;
	uint32_t index;

	table_of_pairs(1);
	table_join();
	mine = party.owner;
	index = (mine & 0xffff) - 1;
	CHECK(ipk_owner_dead(table.slots, IPK_TABLE_SLOTS, mine) == 0);
	CHECK(ipk_owner_gone(table.slots, IPK_TABLE_SLOTS, mine) == 0);
	CHECK(ipk_owner_dead(table.slots, IPK_TABLE_SLOTS, mine + 0x10000) == 1);
	CHECK(ipk_owner_dead(table.slots, IPK_TABLE_SLOTS, mine + 1) == 1); /* never taken */
	CHECK(ipk_owner_dead(table.slots, IPK_TABLE_SLOTS, IPK_TABLE_SLOTS + 1) == -EUCLEAN);
	CHECK(ipk_owner_dead(table.slots, IPK_TABLE_SLOTS, 0xffff) == -EUCLEAN);
	CHECK(ipk_owner_gone(table.slots, IPK_TABLE_SLOTS, 0xffff) == -EUCLEAN);
	CHECK(ipk_owner_live(table.slots, IPK_TABLE_SLOTS, 0xffff) == NULL);
	CHECK(ipk_owner_live(table.slots, IPK_TABLE_SLOTS, mine) ==
	      (uint32_t *)&table.slots[index].live);
	table_leave();
	CHECK(ipk_owner_dead(table.slots, IPK_TABLE_SLOTS, mine) == 1);
	table_join();
	CHECK((party.owner & 0xffff) == (mine & 0xffff) && party.owner != mine);
	CHECK(ipk_owner_dead(table.slots, IPK_TABLE_SLOTS, mine) == 1);
	table_leave();
	table_drop();
}

int
main(void)
{
	present_row();
	absent_row();
	cycles();
	nine_locks();
	dead_owners();
	slots();
	verdicts();
	return 0;
}
