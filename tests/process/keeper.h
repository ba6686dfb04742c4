/* SPDX-License-Identifier: Apache-2.0 */
/* Servers with a keeper, for tests that kill them. */
#ifndef TARN_TESTS_KEEPER_H
#define TARN_TESTS_KEEPER_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/common/arena.h"

static inline void kept_start(struct arena *a, const struct arena_kind *kind)
{
	const tarn_server_options options = { .keep = true, .arena_bytes = 64u << 20 };

	setenv("TARN_VERIFY", "1", 1);
	arena_start(a, kind, &options);
}

static inline pid_t server_of(const tarn_client *c)
{
	return (pid_t)tarn_client_server_pid(c);
}

/* The next one has said that it serves. */
static inline void await_successor(const tarn_client *c, pid_t of)
{
	PLAIN_WAIT_FOR(server_of(c) != of);
}

/* What is armed goes off in the first process that asks. */
static inline bool armed(const char *how)
{
	char path[200];

	snprintf(path, sizeof path, "%s/%s", getenv("TMPDIR"), how);
	return unlink(path) == 0;
}

static inline void arm(const char *how)
{
	char path[200];

	snprintf(path, sizeof path, "%s/%s", getenv("TMPDIR"), how);
	fclose(fopen(path, "w"));
}

#endif
