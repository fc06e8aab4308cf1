#!/usr/bin/env bash
# Behaviour: when a thread dies, the kernel marks the first 2048 robust mutexes of its list. It leaves
#            the others locked by a thread that is no more, without a mark and for ever.
# Seen:      glibc 2.36, Linux 6.18.44: of 3000 mutexes of a killed process 2048 give EOWNERDEAD, 952
#            give EBUSY.
# Source:    linux/include/uapi/linux/futex.h, ROBUST_LIST_LIMIT; pthread_mutexattr_setrobust(3)
#            names no limit.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
uname -sr
ldd --version | head -n 1
cat >"$folder/many.c" <<'C'
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { COUNT = 3000 };

int main(void)
{
	int dead = 0, busy = 0;
	pthread_mutexattr_t attributes;
	pthread_mutex_t *mutexes = mmap(NULL, COUNT * sizeof(*mutexes), PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	for (int i = 0; i < COUNT; i++)
		pthread_mutex_init(&mutexes[i], &attributes);
	pid_t holder = fork();
	if (holder == 0) {
		for (int i = 0; i < COUNT; i++)
			pthread_mutex_lock(&mutexes[i]);
		kill(getpid(), SIGKILL);
	}
	waitpid(holder, NULL, 0);
	for (int i = 0; i < COUNT; i++) {
		int code = pthread_mutex_trylock(&mutexes[i]);
		dead += code == EOWNERDEAD;
		busy += code == EBUSY;
	}
	printf("of %d: %d EOWNERDEAD, %d EBUSY\n", COUNT, dead, busy);
	return 0;
}
C
gcc -o "$folder/many" "$folder/many.c" -pthread
seen=$("$folder/many")
echo "$seen"
[ "$seen" = "of 3000: 2048 EOWNERDEAD, 952 EBUSY" ]
