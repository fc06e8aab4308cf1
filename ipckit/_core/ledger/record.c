/*
 * ledger/record.c - accessors of a record for folders that do not see records.
 *
 * Owns      nothing: ledger/submit.c has the rule (S1).  State  none.
 * Blocks    never.  Errors  -EUCLEAN.
 */
#include "ledger/internal.h"

#include <errno.h>

void
ipk_ledger_task_of(const struct ipk_ledger *ledger, const struct ipk_ledger_lease *lease,
		   struct ipk_ledger_task *task)
{
	const struct ipk_ledger_record *record = &ledger->record[lease->record];

	*task = (struct ipk_ledger_task){
		.id = record->id,
		.body_size = record->body.size,
		.result_size = record->result.size,
		.began = record->began,
		.attempt = ipk_ledger_attempt_of(lease->word),
		.flags = record->flags,
		.source = record->source,
	};
}

int
ipk_ledger_copy_body(const struct ipk_ledger *ledger, uint32_t record, void *bytes, uint64_t size)
{
	const struct ipk_ledger_body *body = &ledger->record[record].body;

	return ipk_ledger_body_bytes(ledger, body, bytes, size) == size ? 0 : -EUCLEAN;
}

int
ipk_ledger_copy_result(const struct ipk_ledger *ledger, uint32_t record, void *bytes,
		       uint64_t size)
{
	const struct ipk_ledger_body *result = &ledger->record[record].result;

	return ipk_ledger_body_bytes(ledger, result, bytes, size) == size ? 0 : -EUCLEAN;
}

void
ipk_ledger_set_dst(struct ipk_ledger *ledger, uint32_t record, int32_t dst)
{
	STORE_RELEASE(&ledger->record[record].dst, dst);
}

void
ipk_ledger_set_submitter(struct ipk_ledger *ledger, uint32_t record, uint32_t place,
			 uint32_t source)
{
	STORE_RELEASE(&ledger->record[record].submitter, place + 1);
	STORE_RELEASE(&ledger->record[record].source, source);
}

void
ipk_ledger_spill_result(struct ipk_ledger *ledger, uint32_t record, uint64_t size)
{
	STORE_RELEASE(&ledger->record[record].result.size, size);
	ipk_ledger_flag(ledger, record, IPK_LEDGER_RESULT_SPILLED | IPK_LEDGER_HAS_RESULT, 0);
}

uint32_t
ipk_ledger_deliveries(const struct ipk_ledger *ledger, uint32_t record)
{
	return ledger->record[record].deliveries;
}
