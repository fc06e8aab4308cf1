/*
 * test_words.c - one atomic step at a time: nothing is lost between threads.
 */
#include "../check.h"
#include "base/word.h"

#include <pthread.h>

enum { THREADS = 4, STEPS = 50000 };

static uint64_t sum, cas_sum, taken, word;

static void
clean_up(void)
{
}

static void *
storm(void *unused)
{
	(void)unused;
	for (int step = 0; step < STEPS; step++) {
		(void)ipk_word_add(&sum, 3);
		(void)ipk_word_add(&sum, -2);
		for (;;) {
			uint64_t seen = ipk_word_load(&cas_sum);

			if (ipk_word_compare_and_set(&cas_sum, seen, seen + 1))
				break;
		}
		/* The thread that swaps 0 in and gets 1 has it alone. */
		if (ipk_word_compare_and_set(&word, 0, 1) && ipk_word_swap(&word, 0) == 1)
			(void)ipk_word_add(&taken, 1);
	}
	return NULL;
}

int
main(void)
{
	pthread_t threads[THREADS];
	uint64_t one = 5;

	CHECK(ipk_word_add(&one, -6) == UINT64_MAX);
	ipk_word_store(&one, 7);
	CHECK(ipk_word_load(&one) == 7);
	CHECK(ipk_word_swap(&one, 8) == 7);
	CHECK(!ipk_word_compare_and_set(&one, 7, 9) && one == 8);
	CHECK(ipk_word_compare_and_set(&one, 8, 9) && one == 9);

	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, storm, NULL) == 0);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	CHECK(sum == (uint64_t)THREADS * STEPS);
	CHECK(cas_sum == (uint64_t)THREADS * STEPS);
	CHECK(taken > 0 && word == 0);
	return 0;
}
