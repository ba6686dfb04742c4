/* SPDX-License-Identifier: Apache-2.0 */
/* Which programs there are, and the named sets of them that bench-run runs. */
#ifndef TARN_BENCH_SETS_H
#define TARN_BENCH_SETS_H

#include <stdbool.h>

#define JOB_ARGUMENTS 2

struct program {
	const char *name;    /* its file is bench-NAME */
	const char *what;
	const char *packages; /* Debian packages of a peer; NULL: it is ours */
};
/* Both end with an entry without a name. */
extern const struct program programs[];
const struct program *program_find(const char *name); /* NULL: there is none */
bool program_is_peer(const char *name);

/* A program as a set runs it. */
struct job {
	const char *program;
	const char *argument[JOB_ARGUMENTS]; /* unused ones NULL */
};
#define SET_JOBS 28
struct set {
	const char *name, *what;
	struct job job[SET_JOBS]; /* ends with an empty one */
};
extern const struct set sets[];
const struct set *set_find(const char *name);

#endif
