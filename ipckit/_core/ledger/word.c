/*
 * ledger/word.c - a task's word and its flags: one step from state to state.
 *
 * Owns      the words, turns, flags.  State  none.
 *
 * Invariants
 *   S2  a turn is given once; a word with that turn is of one queueing of one task.
 *
 * Blocks    never.  Errors  -ESTALE.
 */
#include "ledger/internal.h"

#include <assert.h>
#include <errno.h>

uint64_t
ipk_ledger_next_turn(const struct ipk_ledger *ledger)
{
	return __atomic_add_fetch(&ledger->head->turns, 1, __ATOMIC_SEQ_CST); /* S2 */
}

#ifndef NDEBUG
static int
is_in_the_table(uint64_t before, uint64_t after)
{
	for (int call = 0; call < IPK_LEDGER_CALLS; call++)
		if (ipk_ledger_transitions[call].from >> ipk_ledger_state_of(before) & 1 &&
		    ipk_ledger_transitions[call].to >> ipk_ledger_state_of(after) & 1)
			return 1;
	return 0;
}
#endif

int
ipk_ledger_step(const struct ipk_ledger *ledger, struct ipk_ledger_lease *lease, uint64_t word)
{
	assert(is_in_the_table(lease->word, word));
	if (!COMPARE_EXCHANGE(&ledger->word[lease->record], &lease->word, word))
		return -ESTALE;
	lease->word = word;
	return 0;
}

void
ipk_ledger_flag(struct ipk_ledger *ledger, uint32_t record, uint32_t set, uint32_t clear)
{
	uint32_t flags = ledger->record[record].flags;

	STORE_RELEASE(&ledger->record[record].flags, (flags & ~clear) | set);
}

uint64_t
ipk_ledger_blocked_again(const struct ipk_ledger *ledger, uint64_t word)
{
	return ipk_ledger_make_word(ipk_ledger_next_turn(ledger), ipk_ledger_attempt_of(word), 0,
				    IPK_LEDGER_BLOCKED);
}
