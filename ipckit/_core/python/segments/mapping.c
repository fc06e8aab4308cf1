/*
 * python/segments/mapping.c - a segment's mapping in this process, and who uses it.
 *
 * Owns      the mapping and the descriptor of a segment, its counts of handles and of users.
 * Stands on hazards.c, mmap(2).  State  none but those.  Blocks  never.
 *
 * Invariant
 *   U1  A segment that has no user is closed for good, and unmapped when no call is inside it. A call
 *       that is inside it still, and would be its next user, is refused (segment_try_keep).
 */
#include "python/segments/segment.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* What the segment is, for this process; 0 or -errno. */
static int
attach(struct segment *segment, uint32_t cells, const char **why)
{
	int code;

	switch (segment->kind) {
	case SEGMENT_TABLE:
		return ipk_table_attach(&segment->table, segment->base, segment->bytes, why);
	case SEGMENT_ARENA:
		if (segment->bytes < ipk_sync_bytes(cells))
			return -EUCLEAN;
		ipk_sync_attach(&segment->sync, segment->base, cells);
		return 0;
	default:
		segment->woken = calloc(IPK_QUEUE_SLOTS, sizeof(uint32_t));
		if (!segment->woken)
			return -ENOMEM;
		code = ipk_queue_attach(&segment->queue, segment->base, segment->bytes, why);
		segment->queue.woken = segment->woken;
		return code;
	}
}

struct segment *
segment_open(int fd, enum segment_kind kind, uint32_t cells, int *code, const char **why)
{
	struct segment *segment = calloc(1, sizeof(*segment));
	struct stat seen;

	*why = NULL;
	*code = -ENOMEM;
	if (!segment)
		return NULL;
	segment->kind = kind;
	*code = fstat(fd, &seen) == 0 ? 0 : -errno;
	if (*code == 0 && seen.st_size <= 0) {
		*why = "it is empty";
		*code = -EUCLEAN;
	}
	if (*code == 0) {
		segment->bytes = (uint64_t)seen.st_size;
		segment->base = mmap(NULL, segment->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		*code = segment->base == MAP_FAILED ? -errno : attach(segment, cells, why);
		if (*code && segment->base != MAP_FAILED)
			(void)munmap(segment->base, segment->bytes);
	}
	if (*code) {
		free(segment->woken);
		free(segment);
		return NULL;
	}
	segment->registry = (struct ipk_registry){.fd = fd,
						  .dev = (uint64_t)seen.st_dev,
						  .ino = (uint64_t)seen.st_ino,
						  .no_wait = 1};
	segment->handles = 1;
	segment->users = 1;
	return segment;
}

void
segment_keep(struct segment *segment)
{
	__atomic_add_fetch(&segment->users, 1, __ATOMIC_RELAXED);
}

int
segment_try_keep(struct segment *segment)
{
	long users = __atomic_load_n(&segment->users, __ATOMIC_RELAXED);

	while (users > 0)
		if (__atomic_compare_exchange_n(&segment->users, &users, users + 1, 0, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			return 1;
	return 0;
}

void
segment_drop(struct segment *segment)
{
	if (__atomic_sub_fetch(&segment->users, 1, __ATOMIC_ACQ_REL) == 0)
		segment_retire(segment);
}

void
segment_unmap(struct segment *segment)
{
	/* First: the mapping still keeps the file, so close() frees no pages under the mutex. */
	segment_close_descriptor(&segment->registry);
	(void)munmap(segment->base, segment->bytes);
	free(segment->woken);
	free(segment);
}

void
segment_close(struct segment *segment)
{
	__atomic_sub_fetch(&segment->handles, 1, __ATOMIC_RELEASE);
	segment_drop(segment);
}
