/*
 * ledger_checks.h - what the tests of the ledger ask again and again.
 */
#ifndef LEDGER_CHECKS_H
#define LEDGER_CHECKS_H

#include "../check.h"
#include "ledger_support.h"

static void
clean_up(void)
{
}

static inline void
sound(void)
{
	const char *wrong = ipk_ledger_verify(at(MANAGER));

	if (wrong)
		fprintf(stderr, "%s\n", wrong);
	CHECK(wrong == NULL);
}

static inline uint64_t
count_in(uint32_t state)
{
	struct ipk_ledger_counts counts;

	ipk_ledger_count(at(0), &counts);
	return counts.in[state];
}

static inline uint64_t
id_of(const struct ipk_ledger_lease *lease)
{
	return at(0)->record[lease->record].id;
}

#endif
