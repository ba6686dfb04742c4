/* SPDX-License-Identifier: Apache-2.0 */
/* Containers and worker processes of the soak. */
#include "toys.h"

#include <signal.h>
#include <stdlib.h>

#include "tarn/process.h"

/* ---- containers ---- */

int box_new(tarn_client *client, enum toy which, tarn_object **ret)
{
	return which == TOY_LIST ? tarn_list_new(client, ret)
	     : which == TOY_DICT ? tarn_dict_new(client, ret)
				 : tarn_ns_new(client, ret);
}

/* Its server is gone, and its contents went with it: another takes its name. */
static void box_replace(struct toys *t, unsigned room, enum toy which)
{
	static const char *const name[3] = { "list", "dict", "ns" };
	char text[40];
	int r;

	tarn_object_unref(t->held[room][which]);
	t->held[room][which] = NULL;
	t->boxed[room] = -1;
	r = box_new(t->client, which, &t->held[room][which]);
	if (interrupted(r) || r == -ENOMEM)
		return;
	if (r < 0)
		unexpected("a new container", r);
	snprintf(text, sizeof text, "room %u %s", room, name[which - TOY_LIST]);
	r = tarn_object_publish(t->held[room][which], text, TARN_PUBLISH_REPLACE | TARN_PUBLISH_PINNED);
	if (r < 0)
		unexpected("object_publish", r);
}

/* 0, or 1: nothing came of it, for a reason that may be. */
static int outcome(struct toys *t, unsigned room, enum toy which, int r)
{
	if (r == 0) {
		add(&board->boxed, 1);
		return 0;
	}
	if (r == -TARN_ESTALE && board->servers != 0 && board->lossy != 0) {
		add(&board->lost_boxes, 1);
		box_replace(t, room, which);
		return 1;
	}
	/* Empty lists, names that nobody has, a full arena. */
	if (interrupted(r) || r == -TARN_EREMOTE || r == -ENOMEM || r == -ENOENT || r == -ENOSPC)
		return 1;
	unexpected("a container", r);
}

static void check_values(const tarn_parcel *p, const char *where)
{
	tarn_block *b;

	for (unsigned k = 0; k < tarn_parcel_count(p); k++)
		if (tarn_value_kind(tarn_parcel_at(p, k)) == TARN_KIND_BLOCK &&
		    tarn_value_block(tarn_parcel_at(p, k), &b) == 0)
			canary_check(b, 0, where);
}

static void list_act(struct toys *t, unsigned room, tarn_object *list)
{
	uint64_t n = 0;
	tarn_block *b;
	tarn_parcel p;
	int r = outcome(t, room, TOY_LIST, tarn_list_len(list, &n));

	if (r != 0)
		return;
	switch (n > 500 ? 1 : below(&t->random, 4)) {
	case 0:
		if (tarn_block_new(t->client, 1 + below(&t->random, 500), 0, &b) < 0)
			return;
		canary_write(b);
		outcome(t, room, TOY_LIST, tarn_list_appendf(list, "B", b));
		tarn_block_unref(b);
		break;
	case 1:
		r = outcome(t, room, TOY_LIST, tarn_list_pop(list, (int64_t)below(&t->random, 2) - 1, &p));
		if (r == 0) {
			check_values(&p, "out of a list");
			tarn_parcel_fini(&p);
		}
		break;
	case 2:
		r = outcome(t, room, TOY_LIST,
			    tarn_list_get(list, n > 0 ? (int64_t)below(&t->random, n) : 0, &p));
		if (r == 0) {
			check_values(&p, "in a list");
			tarn_parcel_fini(&p);
		}
		break;
	default:
		outcome(t, room, TOY_LIST, tarn_list_insertf(list, 0, "Q", t->who));
	}
}

/* A key that is this thread's alone. */
static void dict_act(struct toys *t, unsigned room, tarn_object *dict)
{
	char key[24];
	int64_t n = -1;
	int r;

	snprintf(key, sizeof key, "%llx", (unsigned long long)t->who);
	if (t->boxed[room] >= 0) {
		r = tarn_dict_getf(dict, key, "q", &n);
		if (r == 0 && n != t->boxed[room])
			finding("a dict has %lld where %lld was set", (long long)n,
				(long long)t->boxed[room]);
		if (r == -TARN_EREMOTE && tarn_fault_is(tarn_error_fault(), "KeyError"))
			finding("a dict has lost what was set");
		if (outcome(t, room, TOY_DICT, r) != 0)
			return;
	}
	n = (int64_t)(next_random(&t->random) >> 2);
	t->boxed[room] = -1;
	if (outcome(t, room, TOY_DICT, tarn_dict_setf(dict, "sq", key, n)) == 0)
		t->boxed[room] = n;
	if (below(&t->random, 8) == 0 && t->boxed[room] >= 0) {
		t->boxed[room] = -1;
		outcome(t, room, TOY_DICT, tarn_dict_del(dict, key));
	}
}

static void ns_act(struct toys *t, unsigned room, tarn_object *ns)
{
	char name[16];
	tarn_block *b;
	tarn_parcel p;
	int r;

	snprintf(name, sizeof name, "n%u", (unsigned)below(&t->random, 8));
	switch (below(&t->random, 3)) {
	case 0:
		if (tarn_block_new(t->client, 1 + below(&t->random, 500), 0, &b) < 0)
			return;
		canary_write(b);
		outcome(t, room, TOY_NS, tarn_ns_setf(ns, name, "B", b));
		tarn_block_unref(b);
		break;
	case 1:
		r = outcome(t, room, TOY_NS, tarn_ns_get(ns, name, &p));
		if (r == 0) {
			check_values(&p, "in a namespace");
			tarn_parcel_fini(&p);
		}
		break;
	default:
		outcome(t, room, TOY_NS, tarn_ns_del(ns, name));
	}
}

void box_act(struct toys *t, unsigned room, enum toy which)
{
	tarn_object *o = toy_get(t, room, which);

	if (o == NULL)
		return;
	if (which == TOY_LIST)
		list_act(t, room, o);
	else if (which == TOY_DICT)
		dict_act(t, room, o);
	else
		ns_act(t, room, o);
}

/* ---- processes ---- */

enum fate { FATE_WELL, FATE_THROWS, FATE_KILLED, FATE_EXITS };

/* What it is to become of it, a number, a block: the number and one, and a block of its own. */
TARN_WORKER(soak_errand)
{
	tarn_block *b, *mine;
	int64_t fate, n;
	int r = tarn_worker_get(worker, "qqB", &fate, &n, &b);

	if (r < 0)
		return r;
	if (tarn_block_size(b) == 0)
		return tarn_worker_throw(worker, "ValueError", "an empty block");
	switch (fate) {
	case FATE_THROWS:
		return tarn_worker_throw(worker, "ErrandError", "as I was told");
	case FATE_KILLED:
		raise(SIGKILL);
		break;
	case FATE_EXITS:
		exit(7);
	}
	r = tarn_block_new(tarn_worker_client(worker), tarn_block_size(b), 0, &mine);
	if (r < 0)
		return r;
	canary_write(mine);
	r = tarn_put(tarn_worker_result(worker), "qB", n + 1, mine);
	tarn_block_unref(mine);
	return r;
}

static void check_errand(const tarn_parcel *p, int64_t n)
{
	tarn_block *b;
	int64_t got;
	int r = tarn_parcel_get(p, "qB", &got, &b);

	if (r < 0 || got != n + 1)
		finding("an errand gave %lld for %lld (%s)", (long long)got, (long long)n,
			tarn_error_name(r));
	canary_check(b, 0, "from an errand");
}

static void run_errand(struct toys *t, tarn_block *b)
{
	static const char *const fault[] = { NULL, "ErrandError", "Signal", "SystemExit" };
	int64_t fate = (int64_t)below(&t->random, 5) % 4, n = (int64_t)(t->random >> 2);
	const tarn_process_options o = { .entry = "soak_errand", .stderr_to = TARN_STDIO_NULL,
					 .no_log = true };
	tarn_process_options with = o;
	const tarn_parcel *result;
	tarn_process *p = NULL;
	tarn_builder args;
	int r;

	tarn_builder_init(&args);
	r = tarn_put(&args, "qqB", fate, n, b);
	with.args = &args;
	if (r == 0)
		r = tarn_process_spawn(t->client, &with, &p);
	tarn_builder_fini(&args);
	if (interrupted(r) || r == -ENOMEM)
		return;
	if (r < 0)
		unexpected("process_spawn", r);
	r = tarn_process_result(p, TARN_FOREVER, &result);
	add(&board->errands, 1);
	if (r == 0 && fault[fate] == NULL)
		check_errand(result, n);
	else if (r != -TARN_EREMOTE)
		unexpected("process_result", r);
	else if (fault[fate] == NULL
			 ? !tarn_fault_is(tarn_error_fault(), "MemoryError")
			 : !tarn_fault_is(tarn_error_fault(), fault[fate]))
		finding("an errand ended with %s: %s", tarn_fault_domain(tarn_error_fault()),
			tarn_fault_message(tarn_error_fault()));
	tarn_process_unref(p);
}

void errand_act(struct toys *t)
{
	tarn_block *b;

	if (tarn_block_new(t->client, 1 + below(&t->random, 3000), 0, &b) < 0)
		return;
	canary_write(b);
	run_errand(t, b);
	tarn_block_unref(b);
}
