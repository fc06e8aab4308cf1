/*
 * base/kernel.h - what the kernel has and older headers of it, or of the C library, do not declare.
 *
 * The wheel is built for glibc 2.28, and Debian 11 has the headers of Linux 5.10. A call that the
 * running kernel lacks returns ENOSYS there; callers expect that.
 * Blocks    never.
 * Sources   of Linux 5.16: include/uapi/linux/futex.h for struct futex_waitv, and
 *           include/uapi/asm-generic/unistd.h for call 449, which has the same number on x86.
 *           of Linux 3.8: include/uapi/linux/msg.h for MSG_COPY.
 *           sigevent(3type) for the thread's field; gettid(2): a function since glibc 2.30.
 */
#ifndef IPK_BASE_KERNEL_H
#define IPK_BASE_KERNEL_H

#include "base/ipk.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef FUTEX_32 /* a macro that came with the struct */
#define FUTEX_32 2
struct futex_waitv {
	uint64_t val;
	uint64_t uaddr;
	uint32_t flags;
	uint32_t __reserved; /* NOLINT: the kernel's name */
};
#endif
_Static_assert(sizeof(struct futex_waitv) == 24, "the kernel's struct futex_waitv has 24 bytes");

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
_Static_assert(SYS_futex_waitv == 449, "call 449 is futex_waitv(2) on this architecture");

#ifndef MSG_COPY
#define MSG_COPY 040000 /* msgrcv(2) */
#endif

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid /* sigevent(3type) */
#endif

/* The caller's thread in its own pid namespace: gettid(2). */
static inline pid_t
ipk_thread_id(void)
{
	return (pid_t)syscall(SYS_gettid);
}

#endif
