/*
 * check.h - one macro for the C tests: say what does not hold, clean up, and fail.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

/* Each test file defines it: removes what the kernel would keep. */
static void clean_up(void);

#define CHECK(held)                                                                                \
	do {                                                                                       \
		if (!(held)) {                                                                     \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #held);  \
			clean_up();                                                                \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

#endif
