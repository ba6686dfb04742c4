/* SPDX-License-Identifier: Apache-2.0 */
/* A pool that is shared, on the side of its workers: tasks come by a queue, and answers go to the queue that
 * the task names. What others write there is input. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/client/object.h"
#include "lib/types/types.h"
#include "lib/value/fault.h"
#include "pool.h"
#include "tarn/queue.h"
#include "wait-object.h"

#define LOOK_NS 90000000 /* between two looks at the pool's state: as often as any wait is interrupted */

int tarn__share_new(tarn_client *client, unsigned workers, const char *name,
		    struct tarn__share **ret_share)
{
	struct tarn__share *s = calloc(1, sizeof *s);

	if (s == NULL)
		return tarn__fail(-ENOMEM, "No memory to share a pool.");
	int r = tarn_queue_new(client, NULL, &s->tasks);
	if (r == 0)
		r = tarn_object_newf(client, tarn__type_pool.name, &s->object, "OIs", s->tasks, workers,
				     name);
	if (r == 0) {
		s->shared = tarn__object_instance(s->object, &tarn__type_pool);
		r = s->shared != NULL ? 0 : tarn_error_last()->code;
	}
	if (r < 0)
		tarn__share_free(s);
	else
		*ret_share = s;
	return r;
}

void tarn__share_free(struct tarn__share *share)
{
	if (share == NULL)
		return;
	tarn_object_unref(share->tasks);
	tarn_object_unref(share->object);
	free(share);
}

void tarn__share_say(const struct tarn__share *share, uint32_t bits)
{
	tarn__pool_set(share->shared, bits);
}

void tarn__share_end(const struct tarn__share *share, bool at_once)
{
	tarn__share_say(share, TARN__POOL_CLOSED | (at_once ? TARN__POOL_TERMINATED : 0));
	tarn_queue_close(share->tasks);
}

bool tarn__share_is_ending(const struct tarn__share *share)
{
	return (tarn__pool_state(share->shared) & TARN__POOL_CLOSED) != 0;
}

uint32_t tarn__share_state(const struct tarn__share *share)
{
	return tarn__pool_state(share->shared);
}

void tarn__share_pid(const struct tarn__share *share, unsigned worker, int pid)
{
	/* Relaxed: for people. */
	tarn__store32_relaxed(&share->shared->pid[worker], (uint32_t)pid);
}

/* ---- answers ---- */

/* Without waiting: a queue of another kind than tarn_pool_open() makes could be full for ever. */
static int tell(const struct tarn__task *t, const tarn_fault *fault)
{
	tarn_builder b;
	int r;

	tarn_builder_init(&b);
	tarn_put_uint(&b, t->tag);
	if (fault != NULL)
		tarn_put_error(&b, fault);
	else
		tarn__carried_put(&b, t->answer);
	r = tarn_queue_put(t->answers, &b, 0);
	tarn_builder_fini(&b);
	return r;
}

void tarn__share_answer(const struct tarn__task *task, tarn_fault *fault)
{
	int r = tell(task, fault);

	tarn_fault_unref(fault);
	if (r == 0)
		return;
	/* That it cannot be told is shorter. */
	fault = tarn_fault_from_last();
	r = tell(task, fault);
	tarn_fault_unref(fault);
	if (r < 0)
		tarn_queue_close(task->answers); /* whoever waits there hears that something is missing */
}

/* ---- tasks ---- */

static struct tarn__task *task_of(const tarn_parcel *p)
{
	struct tarn__task *t, refused = { .next = NULL };
	struct tarn_block *item = NULL;
	const char *entry;
	tarn_value value;
	int r = tarn_parcel_get(p, "OQsv", &refused.answers, &refused.tag, &entry, &value);

	if (r < 0)
		return NULL; /* it is none, and nobody can be told */
	r = tarn__carried_of(value, &item);
	t = calloc(1, sizeof *t);
	if (r < 0 || item == NULL || t == NULL) {
		free(t);
		tarn__share_answer(&refused, tarn_fault_new("PoolError", -TARN_EPROTO,
							    "the task cannot be taken"));
		return NULL;
	}
	t->answers = tarn_object_ref(refused.answers);
	t->tag = refused.tag;
	tarn__value_hooks.ref(item);
	t->item = item;
	snprintf(t->entry, sizeof t->entry, "%s", entry);
	return t;
}

/* What the queue failed with. 0: it goes on. */
static int go_on(struct tarn__share *share, int r)
{
	/* Whoever closed the pool may have been killed before it closed the queue, too. */
	if (r == -ETIMEDOUT)
		return tarn__share_state(share) != 0 ? tarn_queue_close(share->tasks) : 0;
	if (r == -TARN_ECLOSED || tarn__client_health(tarn_object_client(share->tasks), NULL) < 0)
		return r;
	/* An item that cannot be read is the loss of whoever put it; a damaged queue is everybody's. */
	return tarn_queue_closed(share->tasks) < 0 ? r : 0;
}

int tarn__share_next(struct tarn__share *share, struct tarn__task **ret_task)
{
	struct tarn__task *t = NULL;
	tarn_parcel p;

	while (t == NULL) {
		int r = tarn_queue_get(share->tasks, &p, LOOK_NS);

		if (r < 0) {
			r = go_on(share, r);
			if (r < 0)
				return r;
			continue;
		}
		t = task_of(&p);
		tarn_parcel_fini(&p);
	}
	*ret_task = t;
	return 0;
}

void tarn__share_rest(const struct tarn__share *share, uint32_t state, const uint32_t *word,
		      uint32_t seen)
{
	const uint32_t *words[2] = { &share->shared->state, word };

	tarn__wait_words(words, (uint32_t[]){ state, seen }, 2, UINT64_MAX);
}
