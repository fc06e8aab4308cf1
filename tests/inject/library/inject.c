/* A library that is preloaded: it counts the calls of a server's processes, and makes one fail.
 *
 * Contract  a process takes part from inject_role() on; until then, and in the test driver, every
 *           call goes straight through. The control page is a file that all of them map: it says
 *           which call of which role fails with which errno, and counts what was called. The
 *           journal behind it takes notes without a system call.
 * Role      of the process that calls inject_role(), and of its forks: a child of the manager is
 *           BOOT until it names itself.
 * Limits    what the C library calls within itself is not seen (the mmap of malloc, the clone of
 *           fork): fork itself fails instead.
 */
#define _GNU_SOURCE
#include "inject.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

struct entry {
  _Atomic uint32_t what;
  int32_t pid;
  uint64_t a, b;
};

#define ENTRIES (1u << 18)

struct page {
  _Atomic int32_t armed;
  int32_t role, call, kind, nth, error;
  _Atomic int32_t seen;   /* such calls since it was armed */
  _Atomic int32_t failed; /* how many of them were made to fail */
  _Atomic uint32_t counts[ROLES][CALL_COUNT][KINDS];
  _Atomic uint32_t notes; /* entries of the journal that were begun */
  struct entry journal[ENTRIES];
};

static struct page *page;
static int role = NOBODY;
static dev_t memory_device;

/* -- what Python calls ------------------------------------------------------------------------- */

int inject_calls(void) { return CALL_COUNT; }

const char *inject_name(int call)
{
  static const char *const names[] = {
#define X(name) #name,
    CALLS(X)
#undef X
  };
  return call >= 0 && call < CALL_COUNT ? names[call] : "";
}

void inject_role(int given) { role = page ? given : NOBODY; }

void inject_note(uint32_t what, uint64_t a, uint64_t b)
{
  if (!page)
    return;
  uint32_t at = atomic_fetch_add(&page->notes, 1);
  if (at >= ENTRIES)
    return; /* the driver sees from `notes` that it overflowed */
  struct entry *entry = &page->journal[at];
  entry->pid = (int32_t)syscall(SYS_getpid);
  entry->a = a;
  entry->b = b;
  atomic_store_explicit(&entry->what, what, memory_order_release);
}

__attribute__((constructor)) static void attach(void)
{
  const char *path = getenv("IPCKIT_INJECT_PAGE");
  if (!path)
    return;
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0)
    abort();
  void *at = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED)
    abort();
  close(fd);
  struct stat found;
  int memory = memfd_create("device", MFD_CLOEXEC);
  if (memory < 0 || fstat(memory, &found) < 0)
    abort();
  memory_device = found.st_dev;
  close(memory);
  page = at;
}

/* -- whether a call fails ---------------------------------------------------------------------- */

static enum kind kind_of(int fd)
{
  struct stat found;
  int family = 0;
  socklen_t size = sizeof family;
  if (fd < 0)
    return PLAIN;
  if (fd == 1 || fd == 2)
    return ON_LOG;
  /* newfstatat with an empty path: this library's fstat() would count. */
  if (syscall(SYS_newfstatat, fd, "", &found, AT_EMPTY_PATH) < 0)
    return ON_OTHER;
  switch (found.st_mode & S_IFMT) {
  case S_IFREG:
    return found.st_dev == memory_device ? ON_MEMORY : ON_FILE;
  case S_IFIFO:
    return ON_PIPE;
  case S_IFSOCK:
    syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, &family, &size);
    return family == AF_UNIX ? ON_UNIX : ON_INET;
  default:
    return ON_OTHER;
  }
}

int inject_on(void) { return role >= 0; }

void inject_forked(void) { role = role == MANAGER ? BOOT : role; }

int inject_fails(enum call call, int fd)
{
  if (role < 0)
    return 0;
  int before = errno;
  enum kind kind = kind_of(fd);
  errno = before;
  atomic_fetch_add(&page->counts[role][call][kind], 1);
  if (!atomic_load(&page->armed) || page->role != role || page->call != (int)call ||
      page->kind != (int)kind)
    return 0;
  if (atomic_fetch_add(&page->seen, 1) + 1 != page->nth)
    return 0;
  int error = page->error;
  inject_note(NOTE_FAILED, call, (uint64_t)error);
  atomic_fetch_add(&page->failed, 1);
  errno = error;
  return error != 0;
}
