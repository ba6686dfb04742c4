/* SPDX-License-Identifier: Apache-2.0 */
/* Queues for tests between processes; the one that all know is named "q". */
#ifndef TARN_TESTS_QUEUES_H
#define TARN_TESTS_QUEUES_H

#include "tests/common/it.h"

static inline tarn_object *queue_new(tarn_client *c, size_t maxsize, unsigned flags)
{
	tarn_object *q = NULL;

	OK(tarn_queue_new(c, &(tarn_queue_options){ .maxsize = maxsize, .flags = flags }, &q));
	return q;
}

/* In a child. */
static inline tarn_object *find(const struct scene *s, tarn_client **ret_client)
{
	tarn_object *q = NULL;

	*ret_client = scene_client(s);
	OK(tarn_object_lookup(*ret_client, "q", TARN_FOREVER, &q));
	return q;
}

#endif
