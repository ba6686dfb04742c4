/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server for a test with plain.h, and the look at it when everybody is gone.
 *
 *	struct scene s = scene_open(NULL);
 *	tarn_client *c = scene_client(&s);
 *	...
 *	tarn_client_close(c);
 *	scene_close(&s);
 */
#ifndef TARN_TESTS_COMMON_SCENE_H
#define TARN_TESTS_COMMON_SCENE_H

#include "plain.h"
#include "tarn/tarn.h"

/* Checks that a call of Tarn returns 0, or a certain failure. */
#define OK(call) scene__expect(__FILE__, __LINE__, #call, (call), 0)
#define FAILS(call, code) scene__expect(__FILE__, __LINE__, #call, (call), -(code))
void scene__expect(const char *file, int line, const char *text, int got, int wanted);

struct scene {
	tarn_server *server;
	const char *name;
	tarn_inspector *in;
	char log[128]; /* the server's stderr, a file in plain_dir() */
	uint64_t evictions; /* how many are expected at the end */
};

/* Starts a server (NULL: 64 MiB, all else by default). Its log goes to a file. */
struct scene scene_open(const tarn_server_options *options);
/* Waits until nothing is left, fails if something stays or the full check finds something,
 * and ends the server. All clients are closed or dead, or about to die. */
void scene_close(struct scene *s);
/* The same without ending the server. */
void scene_at_rest(struct scene *s);

/* A client of the calling process. */
tarn_client *scene_client(const struct scene *s);
tarn_stat scene_stat(const struct scene *s);
/* Full check now: no findings. */
void scene_check(const struct scene *s);
/* Every decrement that anybody posted before is applied. */
void scene_settle(const struct scene *s);
/* Claims on @id: units, items in channels, exports, ends. 0: nothing has this id. */
uint64_t scene_count(const struct scene *s, uint64_t id);
/* Of one kind, of one client (0: any). */
uint64_t scene_units(const struct scene *s, uint64_t id, uint32_t kind, uint32_t client);
/* The client whose pid this is has gone through reclaim, or never was. */
bool scene_client_gone(const struct scene *s, pid_t pid);
/* A line of the log contains @text. */
bool scene_logged(const struct scene *s, const char *text);

/* Zeroed memory that processes forked later share. */
void *scene_shared(size_t bytes);
/* Steps: everybody who waits for a step goes on when it is said. */
void scene_say(uint32_t *step, uint32_t value);
void scene_await(uint32_t *step, uint32_t value);

uint64_t scene_random(uint64_t *state);
uint64_t scene_now(void);
/* A line of information, with what was measured. */
void scene_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
