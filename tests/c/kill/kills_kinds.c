/*
 * kills_kinds.c - every call of the table's core, in the states it may meet.
 */
#include "kills.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct ipk_obstacle obstacle;
static uint64_t image[64];
static uint64_t result[64];
static uint32_t cell;

/* -- states -- */

static void
absent(void)
{
}

static void
present(void)
{
	(void)put(&key, OLD);
}

static void
in_the_middle(void)
{
	put_in_the_middle(OLD);
}

static void
one_place(void)
{
	fill_up(1);
}

static void
full(void)
{
	fill_up(0);
}

static void
present_and_full(void)
{
	present();
	fill_up(0);
}

/* A child locks KEY and dies with the lock. */
static void
die_with_lock(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		join();
		(void)ipk_table_lock(&table, &party, &key, result, &cell, &obstacle);
		_exit(0);
	}
	(void)waitpid(pid, NULL, 0);
}

/* The same, and the dead one's slot is not the next one that is taken: the next process that joins
 * meets the lock, and has not settled it by joining. */
static void
die_with_lock_elsewhere(void)
{
	struct ipk_party placeholder;

	(void)ipk_slot_join(&registry, table.slots, IPK_TABLE_SLOTS, &placeholder);
	die_with_lock();
	(void)ipk_slot_release(&registry, &placeholder);
}

static void
locked_by_the_dead(void)
{
	present();
	die_with_lock_elsewhere();
}

static void
reserved_by_the_dead(void)
{
	die_with_lock_elsewhere();
}

static void
locked_by_the_predecessor(void)
{
	present();
	die_with_lock();
}

static void
reserved_by_the_predecessor(void)
{
	die_with_lock();
}

/* The last place of a full table is reserved for another key, by a dead process. */
static void
full_by_a_dead_reservation(void)
{
	struct ipk_key mine = key;

	fill_up(1);
	filler_key(&key, 5000);
	die_with_lock_elsewhere();
	key = mine;
}

/* -- what the victim does before its call -- */

static void
take_new_row(void)
{
	row_of(image, NEW);
}

static void
take_lock(void)
{
	row_of(image, NEW);
	(void)ipk_table_lock(&table, &party, &key, result, &cell, &obstacle);
}

/* -- calls -- */

static int
call_get(void)
{
	return ipk_table_get(&table, &key, result);
}

static int
call_get_column(void)
{
	return ipk_table_get_column(&table, &key, 1, result);
}

static int
call_has(void)
{
	return ipk_table_has(&table, &key);
}

static int
call_next(void)
{
	uint32_t position = 0;

	return ipk_table_next(&table, &position, result);
}

static int
call_count(void)
{
	return (int)ipk_table_count(&table);
}

static int
call_set(void)
{
	return ipk_table_write(&table, &party, &key, IPK_SET, image, NULL, &obstacle);
}

static int
call_replace(void)
{
	return ipk_table_write(&table, &party, &key, IPK_REPLACE, image, NULL, &obstacle);
}

static int
call_add(void)
{
	return ipk_table_write(&table, &party, &key, IPK_ADD, image, NULL, &obstacle);
}

static int
call_delete(void)
{
	return ipk_table_delete(&table, &party, &key, NULL, &obstacle);
}

static int
call_pop(void)
{
	return ipk_table_delete(&table, &party, &key, result, &obstacle);
}

static int
call_incr(void)
{
	return ipk_table_incr(&table, &party, &key, 0, 1000, result, &obstacle);
}

static int
call_incr_too_far(void)
{
	return ipk_table_incr(&table, &party, &key, 0, INT64_MAX, result, &obstacle);
}

static int
compare(int expected)
{
	uint64_t from = (uint64_t)expected;
	uint64_t to = OLD + 1000;

	return ipk_table_compare_and_set(&table, &party, &key, 0, &from, &to, &obstacle);
}

static int
call_compare_equal(void)
{
	return compare(OLD);
}

static int
call_compare_other(void)
{
	return compare(OLD + 1);
}

static int
call_lock(void)
{
	return ipk_table_lock(&table, &party, &key, result, &cell, &obstacle);
}

static int
call_commit(void)
{
	return ipk_table_commit(&table, &party, cell, image, &obstacle);
}

static int
call_abort(void)
{
	return ipk_table_abort(&table, &party, cell, &obstacle);
}

static int
call_verify(void)
{
	static struct ipk_verify state;

	return ipk_table_verify(&table, &party, &state, &obstacle);
}

static int
call_attach(void)
{
	static struct ipk_table other;
	const char *why;

	return ipk_table_attach(&other, table.base, table.bytes, &why);
}

static int
call_join(void)
{
	return ipk_table_join(&table, &registry, &party);
}

static int
call_leave(void)
{
	return ipk_slot_release(&registry, &party);
}

#define ENTRY(function) .entry = (void (*)(void))(function)
#define CALL(function, caller) ENTRY(function), .call = (caller), .ready = take_new_row
#define NO_CHANGE(value) .before = (value), .after = (value)
#define CHANGE(old, new) .before = (old), .after = (new), .writes = true

const struct kind kinds[] = {
	{"get, present", present, CALL(ipk_table_get, call_get), NO_CHANGE(OLD)},
	{"get, absent", absent, CALL(ipk_table_get, call_get), NO_CHANGE(ABSENT)},
	{"get a column", present, CALL(ipk_table_get_column, call_get_column), NO_CHANGE(OLD)},
	{"exists", present, CALL(ipk_table_has, call_has), NO_CHANGE(OLD)},
	{"next", present, CALL(ipk_table_next, call_next), NO_CHANGE(OLD)},
	{"count", present, CALL(ipk_table_count, call_count), NO_CHANGE(OLD)},
	{"set, new", absent, CALL(ipk_table_write, call_set), CHANGE(ABSENT, NEW)},
	{"set, there", present, CALL(ipk_table_write, call_set), CHANGE(OLD, NEW)},
	{"set, the last place", one_place, CALL(ipk_table_write, call_set), CHANGE(ABSENT, NEW)},
	{"set, full", full, CALL(ipk_table_write, call_set), NO_CHANGE(ABSENT), .writes = true},
	{"set, full and there", present_and_full, CALL(ipk_table_write, call_set),
	 CHANGE(OLD, NEW)},
	{"set, locked by the dead", locked_by_the_dead, CALL(ipk_table_write, call_set),
	 CHANGE(OLD, NEW)},
	{"set, reserved by the dead", reserved_by_the_dead, CALL(ipk_table_write, call_set),
	 CHANGE(ABSENT, NEW)},
	{"set, the dead have the last", full_by_a_dead_reservation,
	 CALL(ipk_table_write, call_set), CHANGE(ABSENT, NEW)},
	{"replace", present, CALL(ipk_table_write, call_replace), CHANGE(OLD, NEW)},
	{"add, new", absent, CALL(ipk_table_write, call_add), CHANGE(ABSENT, NEW)},
	{"add, there", present, CALL(ipk_table_write, call_add), NO_CHANGE(OLD), .writes = true},
	{"delete", present, CALL(ipk_table_delete, call_delete), CHANGE(OLD, ABSENT)},
	{"delete, in the middle", in_the_middle, CALL(ipk_table_delete, call_delete),
	 CHANGE(OLD, ABSENT)},
	{"delete, absent", absent, CALL(ipk_table_delete, call_delete), NO_CHANGE(ABSENT),
	 .writes = true},
	{"delete, full", present_and_full, CALL(ipk_table_delete, call_delete),
	 CHANGE(OLD, ABSENT)},
	{"delete, locked by the dead", locked_by_the_dead, CALL(ipk_table_delete, call_delete),
	 CHANGE(OLD, ABSENT)},
	{"pop", present, CALL(ipk_table_delete, call_pop), CHANGE(OLD, ABSENT)},
	{"incr", present, CALL(ipk_table_incr, call_incr), CHANGE(OLD, OLD + 1000)},
	{"incr, out of range", present, CALL(ipk_table_incr, call_incr_too_far), NO_CHANGE(OLD),
	 .writes = true},
	{"compare_and_set, equal", present, CALL(ipk_table_compare_and_set, call_compare_equal),
	 CHANGE(OLD, OLD + 1000)},
	{"compare_and_set, other", present, CALL(ipk_table_compare_and_set, call_compare_other),
	 NO_CHANGE(OLD), .writes = true},
	{"lock, there", present, CALL(ipk_table_lock, call_lock), NO_CHANGE(OLD), .writes = true},
	{"lock, absent", absent, CALL(ipk_table_lock, call_lock), NO_CHANGE(ABSENT),
	 .writes = true},
	{"lock, the last place", one_place, CALL(ipk_table_lock, call_lock), NO_CHANGE(ABSENT),
	 .writes = true},
	{"lock, locked by the dead", locked_by_the_dead, CALL(ipk_table_lock, call_lock),
	 NO_CHANGE(OLD), .writes = true},
	{"lock, reserved by the dead", reserved_by_the_dead, CALL(ipk_table_lock, call_lock),
	 NO_CHANGE(ABSENT), .writes = true},
	{"commit, there", present, ENTRY(ipk_table_commit), .call = call_commit,
	 .ready = take_lock, CHANGE(OLD, NEW)},
	{"commit, new", absent, ENTRY(ipk_table_commit), .call = call_commit,
	 .ready = take_lock, CHANGE(ABSENT, NEW)},
	{"commit, new and last", one_place, ENTRY(ipk_table_commit),
	 .call = call_commit, .ready = take_lock, CHANGE(ABSENT, NEW)},
	{"abort, there", present, ENTRY(ipk_table_abort), .call = call_abort,
	 .ready = take_lock, NO_CHANGE(OLD), .writes = true},
	{"abort, new", absent, ENTRY(ipk_table_abort), .call = call_abort,
	 .ready = take_lock, NO_CHANGE(ABSENT), .writes = true},
	{"verify", reserved_by_the_dead, CALL(ipk_table_verify, call_verify), NO_CHANGE(ABSENT)},
	{"attach", present, CALL(ipk_table_attach, call_attach), NO_CHANGE(OLD)},
	{"join", present, CALL(ipk_table_join, call_join), NO_CHANGE(OLD), .joins = true},
	{"join, after a locker", locked_by_the_predecessor, CALL(ipk_table_join, call_join),
	 NO_CHANGE(OLD), .joins = true},
	{"join, after a reserver", reserved_by_the_predecessor, CALL(ipk_table_join, call_join),
	 NO_CHANGE(ABSENT), .joins = true},
	{"leave", present, CALL(ipk_slot_release, call_leave), NO_CHANGE(OLD)},
};
const int kind_count = sizeof(kinds) / sizeof(kinds[0]);
