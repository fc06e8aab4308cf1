/*
 * kills_trials.h - one trial of the sweep: a victim is led to an instruction, killed or stopped
 * there, and the judge (kills.h) looks.
 *
 * Each trial makes a new world. It returns 1 when the call had returned before its `outer`th
 * instruction, else 0.
 */
#ifndef KILLS_TRIALS_H
#define KILLS_TRIALS_H

#include "kills.h"

/* The counts of one kind. */
struct score {
	uint32_t trials;
	uint32_t kills;
	uint32_t before;
	uint32_t after;
	uint32_t wrong;
	uint32_t length; /* instructions of the call, undisturbed */
	uint32_t stride;
	uint32_t strays; /* victims that left the path; those were stepped */
	uint64_t worst;
};

/* Note the path of a kind's call, before its trials. Its instructions. */
uint32_t trial_prepare(const struct kind *kind);
/* kill -9. */
int kill_once(const struct kind *kind, struct score *score, uint32_t outer);
/* And the next writer of that bucket, which recovers it, is killed on its way as well. */
int kill_twice(const struct kind *kind, struct score *score, uint32_t outer);
/* A living process is stopped inside the victim's bucket; the victim is killed while it waits. */
int kill_waiter(const struct kind *kind, struct score *score, uint32_t outer);
/* SIGSTOP; then it goes on. */
int stop_once(const struct kind *kind, struct score *score, uint32_t outer);

#endif
