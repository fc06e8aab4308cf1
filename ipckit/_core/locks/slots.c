/*
 * locks/slots.c - joining, leaving, and the verdict about an owner.
 *
 * Owns      the slots of a segment.  Stands on glibc's robust mutexes, open(2) of /proc/self/fd.
 * State     in shared memory; a party is its thread's.
 * Blocks    join and leave, while another thread does one of them; not with registry->no_wait.
 *
 * Invariant
 *   R1  The registry's lock is one of an open description that its taker alone has. So neither a fork
 *       nor a close() of the segment's descriptor frees it. A process that changed its user may not
 *       open the file again: then the lock is one of the process, at the segment's descriptor. Locks
 *       of both kinds exclude each other. The caller excludes the other threads of its process, and
 *       their close() of a descriptor of the segment.
 *
 * Sources   docs.kernel.org locking/robust-futex-ABI; fcntl(2), open file description locks;
 *           proc(5), time_namespaces(7).
 */
#include "locks/slots.h"

#include "base/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { GENERATION_SHIFT = 16, GENERATION_MASK = 0x3fff };

/* What /proc says of a thread. */
struct witness {
	char state;
	uint64_t started;
};

static uint32_t *
live_word(struct ipk_slot *slot)
{
	return (uint32_t *)&slot->live.__data.__lock;
}

static int
word_is_dead(uint32_t live)
{
	return (live & FUTEX_OWNER_DIED) || !(live & FUTEX_TID_MASK);
}

int
ipk_owner_dead(const struct ipk_slot *slots, uint32_t count, uint32_t owner)
{
	uint32_t index = (owner & 0xffff) - 1;
	const struct ipk_slot *slot;

	if (index >= count)
		return -EUCLEAN;
	slot = &slots[index];
	if ((__atomic_load_n(&slot->generation, __ATOMIC_ACQUIRE) & GENERATION_MASK) !=
	    ((owner >> GENERATION_SHIFT) & GENERATION_MASK))
		return 1;
	return word_is_dead(
		__atomic_load_n((const uint32_t *)&slot->live.__data.__lock, __ATOMIC_ACQUIRE));
}

int
ipk_slot_is_dead(const struct ipk_slot *slots, uint32_t index)
{
	return word_is_dead(__atomic_load_n((const uint32_t *)&slots[index].live.__data.__lock,
					    __ATOMIC_ACQUIRE));
}

uint32_t *
ipk_owner_live(struct ipk_slot *slots, uint32_t count, uint32_t owner)
{
	uint32_t index = (owner & 0xffff) - 1;

	return index < count ? live_word(&slots[index]) : NULL;
}

/* The inode of a namespace of the caller; 0 when /proc does not say, or the kernel has none of that
 * kind (time: before Linux 5.6). */
static uint64_t
namespace_at(const char *path)
{
	struct stat seen;

	return stat(path, &seen) == 0 ? (uint64_t)seen.st_ino : 0;
}

static uint64_t
pid_namespace(void)
{
	return namespace_at("/proc/self/ns/pid");
}

static uint64_t
time_namespace(void)
{
	return namespace_at("/proc/self/ns/time");
}

/* The beginning of a file of /proc, as a string. 0, -ENOENT: no such thread, or another negative errno:
 * /proc does not say. */
static int
read_proc(const char *path, char *text, size_t room)
{
	int code = 0;
	ssize_t size;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	size = read(fd, text, room - 1);
	if (size <= 0)
		code = size < 0 ? -errno : -EIO;
	(void)close(fd);
	text[size > 0 ? size : 0] = '\0';
	return code == -ESRCH ? -ENOENT : code;
}

/* Whether /proc has the numbers of the caller's pid namespace. It may be mounted for an outer one: then
 * the caller has a number for each of the two and those between. */
static int
proc_is_ours(void)
{
	static const char label[] = "\nNSpid:\t";
	char text[4096]; /* with some 600 groups the numbers are behind it, and /proc is not asked */
	const char *numbers;

	if (read_proc("/proc/self/status", text, sizeof(text)) != 0)
		return 0;
	numbers = strstr(text, label);
	if (!numbers)
		return 0;
	numbers += sizeof(label) - 1;
	return numbers[strspn(numbers, "0123456789")] == '\n';
}

/* As read_proc(). */
static int
ask_proc(const char *path, struct witness *witness)
{
	char text[1024];
	const char *field;
	int code = read_proc(path, text, sizeof(text));

	if (code)
		return code;
	field = strrchr(text, ')'); /* the name before it may have spaces and brackets */
	if (!field || field[1] != ' ')
		return -EIO;
	field += 2;
	witness->state = *field;
	for (int number = 3; number < 22; number++) {
		field = strchr(field, ' ');
		if (!field)
			return -EIO;
		field++;
	}
	witness->started = strtoull(field, NULL, 10);
	return 0;
}

/* Whether the thread that /proc shows may be the slot's owner: it began when that did. /proc adds the
 * offset of the reader's time namespace to a start time, so that of another one says nothing. */
static int
may_be_owner(const struct ipk_slot *slot, const struct witness *witness)
{
	return slot->time_namespace != time_namespace() || witness->started == slot->started;
}

int
ipk_owner_gone(struct ipk_slot *slots, uint32_t count, uint32_t owner)
{
	struct ipk_slot *slot;
	struct witness witness;
	uint32_t live;
	char path[64];
	int asked;
	int dead = ipk_owner_dead(slots, count, owner);

	if (dead)
		return dead;
	slot = &slots[(owner & 0xffff) - 1];
	live = __atomic_load_n(live_word(slot), __ATOMIC_ACQUIRE);
	if (!slot->pid_namespace || slot->pid_namespace != pid_namespace() || !slot->started ||
	    !proc_is_ours())
		return 0;
	/* A thread that is not its process's first has no entry of its own in a listing of /proc,
	 * but its path works. Where /proc hides others, only the kernel's ESRCH counts. */
	(void)snprintf(path, sizeof(path), "/proc/%u/stat", slot->tid);
	asked = ask_proc(path, &witness);
	if (asked == -ENOENT) {
		if (kill((pid_t)slot->tid, 0) == 0 || errno != ESRCH)
			return 0;
	} else if (asked != 0 || (may_be_owner(slot, &witness) && witness.state != 'Z' &&
				  witness.state != 'X' && witness.state != 'x')) {
		return 0;
	}
	/* From the exact value: a slot that was left or taken after our look stays as it is. */
	return __atomic_compare_exchange_n(live_word(slot), &live, live | FUTEX_OWNER_DIED, 0,
					   __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* 0, -ESTALE: the number is another file's by now, if the program closed all descriptors; -errno. */
static int
check_registry(const struct ipk_registry *registry, int fd)
{
	struct stat seen;

	if (fstat(fd, &seen) != 0)
		return -errno;
	return (uint64_t)seen.st_dev == registry->dev && (uint64_t)seen.st_ino == registry->ino ? 0 : -ESTALE;
}

/* Lock the registry (R1). Returns the descriptor. */
static int
lock_registry(const struct ipk_registry *registry)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char path[32];
	int of_process;
	int command;
	int code;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", registry->fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	of_process = fd < 0 && (errno == EACCES || errno == EPERM);
	if (of_process)
		fd = registry->fd;
	if (fd < 0)
		return -errno;
	command = registry->no_wait ? F_OFD_SETLK : F_OFD_SETLKW;
	if (of_process)
		command = registry->no_wait ? F_SETLK : F_SETLKW;
	code = check_registry(registry, fd);
	if (code == 0 && fcntl(fd, command, &whole) != 0)
		code = errno == EACCES ? -EAGAIN : -errno; /* fcntl(2): held elsewhere is either */
	if (code && !of_process)
		(void)close(fd);
	return code ? code : fd;
}

static void
unlock_registry(const struct ipk_registry *registry, int fd)
{
	struct flock whole = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	/* Unlocked by name: a child of vfork may still share the description. */
	(void)fcntl(fd, fd == registry->fd ? F_SETLK : F_OFD_SETLK, &whole);
	if (fd != registry->fd)
		(void)close(fd);
}

/* Make a new mutex there and lock it; 0 or -errno. */
static int
hold(struct ipk_slot *slot)
{
	pthread_mutexattr_t how;
	int code = pthread_mutexattr_init(&how);

	if (code)
		return -code;
	(void)pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
	(void)pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
	code = pthread_mutex_init(&slot->live, &how);
	(void)pthread_mutexattr_destroy(&how);
	return code ? -code : -pthread_mutex_trylock(&slot->live);
}

int
ipk_slot_join(const struct ipk_registry *registry, struct ipk_slot *slots, uint32_t count,
	      struct ipk_party *party)
{
	struct witness me = {0};
	uint64_t pids = pid_namespace();
	uint64_t times = time_namespace();
	int result = -EUSERS;
	int fd;

	(void)ask_proc("/proc/thread-self/stat", &me);
	fd = lock_registry(registry);
	if (fd < 0)
		return fd;
	for (uint32_t i = 0; i < count; i++) {
		struct ipk_slot *slot = &slots[i];
		uint32_t generation;

		if (!word_is_dead(__atomic_load_n(live_word(slot), __ATOMIC_ACQUIRE)))
			continue;
		/* Before `live`: an owner of the old generation stays dead throughout. */
		generation = __atomic_add_fetch(&slot->generation, 1, __ATOMIC_ACQ_REL);
		result = hold(slot);
		if (result)
			break;
		slot->tid = (uint32_t)ipk_thread_id();
		slot->pid_namespace = pids;
		slot->time_namespace = times;
		slot->started = me.started;
		__atomic_store_n(&slot->waits_for, 0, __ATOMIC_RELEASE);
		party->slot = slot;
		party->owner = (i + 1) | (generation & GENERATION_MASK) << GENERATION_SHIFT;
		break;
	}
	unlock_registry(registry, fd);
	return result;
}

int
ipk_slot_release(const struct ipk_registry *registry, struct ipk_party *party)
{
	int fd = lock_registry(registry);

	if (fd < 0)
		return fd;
	(void)pthread_mutex_unlock(&party->slot->live);
	unlock_registry(registry, fd);
	party->slot = NULL;
	party->owner = 0;
	return 0;
}
