/* SPDX-License-Identifier: Apache-2.0 */
/* A server, a client of it, and its queues. */
#ifndef TARN_TESTS_QUEUE_USER_H
#define TARN_TESTS_QUEUE_USER_H

#include "tarn/queue.h"
#include "tests/common/scene.h"

struct user {
	struct scene s;
	tarn_client *c;
};

static inline struct user user_open(void)
{
	struct user u = { .s = scene_open(NULL) };

	u.c = scene_client(&u.s);
	return u;
}

static inline void user_close(struct user *u)
{
	tarn_client_close(u->c);
	scene_close(&u->s);
}

static inline tarn_object *queue_new(tarn_client *c, size_t maxsize, unsigned flags)
{
	tarn_object *q = NULL;

	OK(tarn_queue_new(c, &(tarn_queue_options){ .maxsize = maxsize, .flags = flags }, &q));
	return q;
}

#endif
