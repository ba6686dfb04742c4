/* SPDX-License-Identifier: Apache-2.0 */
#include "world-types.h"

#include <stdlib.h>
#include <string.h>

#include "lib/client/call.h"
#include "lib/client/object.h"
#include "lib/server/ledger.h"
#include "lib/server/things.h"
#include "lib/server/turn.h"
#include "lib/types/types.h"

static struct tarn__host *host;
static struct tarn__job *job[MAX_CALLS];
static const tarn_client *maker; /* who makes blocks for a creator */

/* Clients poison what they let go of, for themselves: here they are all in one process. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "allow_user_poisoning=0";
}

/* What a killed client had for itself would have gone with its process. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:subscriber_dies_begin\n";
}

void world_types_open(void)
{
	struct server *s = world->s;
	struct tarn__catalog *types;

	MUST(tarn__catalog_new(tarn_registry_default(), &types));
	/* No executors, so no threads: what runs here is inline, or a creator (below). */
	host = tarn__host_new(types, 1, s->st.head->max_objects, s->st.data.base, s->st.head->arena_bytes);
	MUST_BE(host != NULL);
	host->store = s->store;
	memset(job, 0, sizeof job);
	s->host = host;
	s->job = job;
}

void world_types_close(void)
{
	MUST_BE(tarn__host_free(host, 0));
	host = NULL;
}

/* Linked with --wrap: creators that need memory run on executors, which are clients. Here they run in the
 * caller's context, and the memory is from the first client. */
tarn_client *__wrap_tarn_context_client(tarn_context *ctx);
tarn_client *__wrap_tarn_context_client(tarn_context *ctx)
{
	(void)ctx;
	return (tarn_client *)(uintptr_t)maker;
}

int tarn__futex_wait_any(const uint32_t *const *word, const uint32_t *value, unsigned n, uint64_t deadline)
{
	(void)word, (void)value, (void)n, (void)deadline;
	sched_fail("nobody waits for several words here");
}

/* As when it is read that its maker gives the block to the object. */
static int hold(struct tarn__run *run, uint64_t id)
{
	struct server *s = run->turn;
	struct turn t = { .s = s, .st = &s->st, .client = maker->number };
	struct object *o = tarn__object_find(&s->st, id);

	MUST_BE(o != NULL && tarn__turn_publish(&t, o) == FINE);
	return tarn__edge_add(&s->st, tarn__thing_of(&s->st, tarn__object_find(&s->st, run->id)), o);
}

static void create(const struct tarn__served *t, struct object *o, const tarn_builder *args)
{
	static const struct tarn__reactor_ops ops = { .hold = hold };
	struct server *s = world->s;
	struct tarn__payload p;
	struct tarn__run run = { .served = t, .deed = TARN__DEED_CREATE, .id = o->id, .ops = &ops,
				 .self = tarn__thing_self(s, o, t), .turn = s };

	MUST(tarn__args_payload(args, &p));
	run.words = p.words;
	run.n_words = p.n_words;
	run.n_values = p.n_values;
	run.caller.client = maker->number;
	MUST(host->ops->run(host, &run));
	run.succeeded = true;
	host->ops->run_end(host, &run);
}

void world_object(const tarn_type *type, const tarn_builder *args, unsigned n, tarn_object **ret)
{
	struct server *s = world->s;
	const struct tarn__served *t = tarn__catalog_find(host->catalog, type->name);
	struct tarn__lane *l;
	struct object *o;

	maker = world->c[0];
	MUST(tarn__thing_make(s, maker->number, t, true, &o));
	MUST(tarn__ledger_add(&s->st, o, maker->number, 1));
	tarn__commit(s);
	create(t, o, args);
	struct thing *k = tarn__thing_of(&s->st, o);

	SET(&s->st, k->flags, k->flags | THING_MADE);
	tarn__commit(s);

	MUST(tarn__lane_enter(world->c[0], &l));
	MUST(tarn__hold_take(l));
	MUST(tarn__object_adopt(l, o->id, NULL, &ret[0]));
	tarn__lane_leave(l);
	MUST(tarn_object_publish(ret[0], "it", 0));
	for (unsigned i = 1; i < n; i++)
		MUST(tarn_object_lookup(world->c[i], "it", 0, &ret[i]));
	MUST(tarn_object_unpublish(world->c[0], "it"));
	for (unsigned i = 0; i < n; i++)
		MUST_BE(tarn__object_instance(ret[i], type) != NULL);
}

void *world_instance(const tarn_object *object, const tarn_type *type)
{
	return tarn__object_instance((tarn_object *)(uintptr_t)object, type);
}

void world_reap(unsigned client, const bool *done)
{
	struct server *s = world->s;
	uint32_t number = world->c[client]->number;

	sched_point();
	if (*done)
		return;
	world_kill(client);
	while (s->peer[number] != NULL) {
		tarn__epoch(s);
		sched_point();
	}
}
