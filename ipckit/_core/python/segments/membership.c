/*
 * python/segments/membership.c - the slots that this process's threads have in its segments.
 *
 * Owns      each thread's list of memberships.
 * Stands on mapping.c, locks/slots, pthread keys and atfork handlers.
 * State     `mine` (per thread), `lingering`, `forks`, `registry_mutex`: the only ones of the extension
 *           that are not a Python object's.
 * Blocks    joining and leaving, while another thread or process does.
 *
 * A segment stays mapped as long as any thread of this process has a slot in it: the kernel walks
 * a dying thread's robust list through the mapping, and would stop at a hole.
 * Fork      the child's thread has no slots; it joins again at its first write. The mutex is held
 *           over fork, so that no description of the registry's lock is inherited. Nobody waits for
 *           another process while he has the mutex: fork would wait for that, too.
 */
#include "python/segments/segment.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MOST_MEMBERSHIPS = 1024 }; /* the kernel walks at most 2,048 entries of a robust list */

struct membership {
	struct membership *next;
	struct segment *segment;
	struct ipk_party party;
};

enum { FIRST_PAUSE_NS = 100000, LONGEST_PAUSE_NS = 10000000 };

static __thread struct membership *mine;
static struct membership *lingering; /* of threads that ended with something; under the mutex */
static uint32_t forks;
static pthread_mutex_t registry_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_key_t at_thread_end;

static int
holds_lock(const struct membership *member)
{
	const struct segment *segment = member->segment;

	switch (segment->kind) {
	case SEGMENT_TABLE:
		return ipk_table_locks_held(&segment->table, &member->party) > 0;
	case SEGMENT_ARENA:
		return ipk_sync_locks_held(&segment->sync, &member->party) > 0;
	default:
		return ipk_queue_held(&segment->queue, &member->party) > 0;
	}
}

/* Between two tries at a registry that another thread has, without the mutex. 0 or -EINTR. */
static int
pause_between_tries(long *ns)
{
	struct timespec pause = {.tv_nsec = *ns};

	if (*ns < LONGEST_PAUSE_NS)
		*ns *= 2;
	return nanosleep(&pause, NULL) == 0 ? 0 : -errno;
}

static int
release_slot(struct membership *member)
{
	long ns = FIRST_PAUSE_NS;
	int code;

	if (member->segment->kind == SEGMENT_QUEUE)
		ipk_queue_leave_slot(&member->segment->queue, &member->party);
	for (;;) {
		(void)pthread_mutex_lock(&registry_mutex);
		code = ipk_slot_release(&member->segment->registry, &member->party);
		(void)pthread_mutex_unlock(&registry_mutex);
		if (code == -EAGAIN)
			(void)pause_between_tries(&ns);
		else if (code != -EINTR)
			return code;
	}
}

/* A thread that ends with a lock, or without a registry, is marked dead by the kernel; the mapping has
 * to stay for that. */
static void
end_thread(void *unused)
{
	(void)unused;
	while (mine) {
		struct membership *member = mine;

		mine = member->next;
		if (!holds_lock(member) && release_slot(member) == 0) {
			segment_drop(member->segment);
			free(member);
			continue;
		}
		(void)pthread_mutex_lock(&registry_mutex);
		member->next = lingering;
		lingering = member;
		(void)pthread_mutex_unlock(&registry_mutex);
	}
	hazards_end_thread();
}

static int
is_marked(const struct membership *member)
{
	uint32_t owner = member->party.owner;
	uint32_t index = (owner & 0xffff) - 1;

	return ipk_owner_dead(member->party.slot - index, index + 1, owner) == 1;
}

/* Forget the threads that the kernel has marked by now: it needs their mapping no more. */
static void
drop_marked(void)
{
	struct membership **link = &lingering;
	struct membership *marked = NULL;

	(void)pthread_mutex_lock(&registry_mutex);
	while (*link) {
		struct membership *member = *link;

		if (!is_marked(member)) {
			link = &member->next;
			continue;
		}
		*link = member->next;
		member->next = marked;
		marked = member;
	}
	(void)pthread_mutex_unlock(&registry_mutex);
	while (marked) {
		struct membership *member = marked;

		marked = member->next;
		segment_drop(member->segment);
		free(member);
	}
}

void
membership_ends_with_thread(void)
{
	(void)pthread_setspecific(at_thread_end, &mine);
}

void
segment_close_descriptor(const struct ipk_registry *registry)
{
	struct stat seen;

	/* Under the mutex: a close() frees the lock that the process has in another thread's join. */
	(void)pthread_mutex_lock(&registry_mutex);
	/* The program may have closed it, and the number be another file's. */
	if (fstat(registry->fd, &seen) == 0 && (uint64_t)seen.st_dev == registry->dev &&
	    (uint64_t)seen.st_ino == registry->ino)
		(void)close(registry->fd);
	(void)pthread_mutex_unlock(&registry_mutex);
}

static void
before_fork(void)
{
	(void)pthread_mutex_lock(&registry_mutex);
	hazards_before_fork();
}

static void
after_fork_in_parent(void)
{
	hazards_after_fork_in_parent();
	(void)pthread_mutex_unlock(&registry_mutex);
}

static void
after_fork_in_child(void)
{
	hazards_after_fork_in_child();
	forks++;
	(void)pthread_mutex_unlock(&registry_mutex); /* it is this thread's, as before the fork */
	while (mine) {
		struct membership *member = mine;

		mine = member->next;
		__atomic_sub_fetch(&member->segment->users, 1, __ATOMIC_RELAXED);
		free(member);
	}
}

int
membership_setup(void)
{
	int code = pthread_key_create(&at_thread_end, end_thread);

	return code ? code : pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

static struct membership *
find_membership(const struct segment *segment)
{
	struct membership *member = mine;

	while (member && member->segment != segment)
		member = member->next;
	return member;
}

struct ipk_party *
segment_party_if_any(struct segment *segment)
{
	struct membership *member = find_membership(segment);

	return member ? &member->party : NULL;
}

/* Give back the slots in segments that this process has closed, in whatever thread, and in which no
 * call of this thread is inside; whether there are as many left as a thread may have. */
static int
too_many(void)
{
	struct membership **link = &mine;
	int count = 0;

	while (*link) {
		struct membership *member = *link;

		if (__atomic_load_n(&member->segment->handles, __ATOMIC_ACQUIRE) == 0 &&
		    !segment_is_entered(member->segment) && !holds_lock(member) && release_slot(member) == 0) {
			*link = member->next;
			segment_drop(member->segment);
			free(member);
			continue;
		}
		link = &member->next;
		count++;
	}
	return count >= MOST_MEMBERSHIPS;
}

/* One try. 0, -EAGAIN: another thread joins or leaves; or another -errno. */
static int
try_to_join(struct membership *member)
{
	struct segment *segment = member->segment;
	int code;

	(void)pthread_mutex_lock(&registry_mutex);
	switch (segment->kind) {
	case SEGMENT_TABLE:
		code = ipk_table_join(&segment->table, &segment->registry, &member->party);
		break;
	case SEGMENT_ARENA:
		code = ipk_sync_join(&segment->sync, &segment->registry, &member->party);
		break;
	default:
		code = ipk_queue_join(&segment->queue, &segment->registry, &member->party);
	}
	/* Under the mutex: a fork in another thread sees all of it or nothing. */
	if (code == 0) {
		member->next = mine;
		mine = member;
	}
	(void)pthread_mutex_unlock(&registry_mutex);
	return code;
}

/* Without the GIL. 0 or -errno. */
static int
join(struct membership *member)
{
	long ns = FIRST_PAUSE_NS;
	int code;

	drop_marked();
	code = too_many() ? -ETOOMANYREFS : try_to_join(member);

	while (code == -EAGAIN) {
		code = pause_between_tries(&ns);
		if (code == 0)
			code = try_to_join(member);
	}
	return code;
}

struct ipk_party *
segment_party_of_c_thread(struct segment *segment, int *code)
{
	struct membership *member = calloc(1, sizeof(*member));

	*code = -ENOMEM;
	if (!member)
		return NULL;
	member->segment = segment;
	if (!segment_try_keep(segment)) {
		free(member);
		*code = -ESHUTDOWN;
		return NULL;
	}
	*code = join(member);
	if (*code) {
		segment_drop(segment);
		free(member);
		return NULL;
	}
	membership_ends_with_thread();
	return &member->party;
}

struct ipk_party *
segment_party(struct segment *segment, int *code)
{
	struct membership *member = mine;
	struct ipk_party *party;

	if (member && member->segment == segment)
		return &member->party;
	member = find_membership(segment);
	if (member)
		return &member->party;
	Py_BEGIN_ALLOW_THREADS
	party = segment_party_of_c_thread(segment, code);
	Py_END_ALLOW_THREADS
	return party;
}

uint32_t
segment_forks(void)
{
	return forks;
}

int
segment_release_slot(struct segment *segment)
{
	struct membership *member = find_membership(segment);
	struct membership **link = &mine;
	int code;

	if (!member)
		return 0;
	if (holds_lock(member))
		return -EBUSY;
	Py_BEGIN_ALLOW_THREADS
	code = release_slot(member);
	Py_END_ALLOW_THREADS
	if (code)
		return code;
	while (*link != member)
		link = &(*link)->next;
	*link = member->next;
	free(member);
	segment_drop(segment);
	return 0;
}
