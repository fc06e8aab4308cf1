#!/usr/bin/env bash
# Behaviour: glibc knows the owner of a mutex by its thread id, which is a number of one pid
#            namespace. Two processes of two pid namespaces with the same number (each is PID 1 in
#            its container) that share a process-shared, error-checking, robust mutex: the second
#            one gets EDEADLK, "you hold it already", and never waits.
# Seen:      glibc 2.36, Linux 6.18.44: "Resource deadlock avoided".
# Source:    glibc/nptl/pthread_mutex_lock.c compares the owner with the caller's tid;
#            pid_namespaces(7), pthread_mutexattr_setrobust(3).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
uname -sr
ldd --version | head -n 1
cat >"$folder/two.c" <<'C'
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static int held[2], over[2];
static pthread_mutex_t *mutex;

/* Run in a pid namespace of its own, as its PID 1. */
static void first(void)
{
	char byte;
	pthread_mutex_lock(mutex);
	if (write(held[1], "x", 1) != 1 || read(over[0], &byte, 1) != 1)
		_exit(2);
}

static void second(void)
{
	printf("PID %d locks what another process holds: %s\n", getpid(),
	       strerror(pthread_mutex_lock(mutex)));
	fflush(stdout);
}

static pid_t in_namespace(void (*work)(void))
{
	pid_t outer = fork();
	if (outer == 0) {
		if (unshare(CLONE_NEWPID) != 0) {
			perror("unshare");
			_exit(2);
		}
		pid_t inner = fork();
		if (inner == 0) {
			work();
			_exit(0);
		}
		int status;
		waitpid(inner, &status, 0);
		_exit(WEXITSTATUS(status));
	}
	return outer;
}

int main(void)
{
	char byte;
	pthread_mutexattr_t attributes;
	mutex = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(mutex, &attributes);
	if (pipe(held) != 0 || pipe(over) != 0)
		return 2;
	pid_t one = in_namespace(first);
	if (read(held[0], &byte, 1) != 1)
		return 2;
	waitpid(in_namespace(second), NULL, 0);
	if (write(over[1], "x", 1) != 1)
		return 2;
	waitpid(one, NULL, 0);
	return 0;
}
C
gcc -o "$folder/two" "$folder/two.c" -pthread
seen=$(timeout 20 "$folder/two")
echo "$seen"
[ "$seen" = "PID 1 locks what another process holds: Resource deadlock avoided" ]
