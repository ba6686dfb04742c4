/* SPDX-License-Identifier: Apache-2.0 */
#include "sync.h"

#include <string.h>

#define SECOND INT64_C(1000000000)

static const char *const names[SYNC_THINGS] = { "lock", "rlock", "sem", "cond", "event", "barrier",
						"value", "array", "list", "dict" };

/* ---- the survivor's thread ---- */

void *sync_wait_cond(void *sync)
{
	struct sync *y = sync;

	OK(tarn_cond_acquire(y->o[SYNC_COND], TARN_FOREVER));
	y->r = tarn_cond_wait(y->o[SYNC_COND], TARN_FOREVER);
	OK(tarn_cond_release(y->o[SYNC_COND]));
	return NULL;
}
void *sync_wait_barrier(void *sync)
{
	struct sync *y = sync;

	y->r = tarn_barrier_wait(y->o[SYNC_BARRIER], TARN_FOREVER, NULL);
	return NULL;
}
/* The survivor took both permits, so it waits for one that the child releases for it. */
void *sync_wait_sem(void *sync)
{
	struct sync *y = sync;

	y->r = tarn_sem_acquire(y->o[SYNC_SEM], TARN_FOREVER);
	OK(tarn_sem_release(y->o[SYNC_SEM], 1));
	return NULL;
}
void *sync_wait_event(void *sync)
{
	struct sync *y = sync;

	y->r = tarn_event_wait(y->o[SYNC_EVENT], TARN_FOREVER);
	return NULL;
}

/* It waits: the thing says so. */
static bool says(tarn_object *o, const char *part)
{
	char text[200];

	tarn_object_describe(o, text, sizeof text, TARN_FOREVER);
	return strstr(text, part) != NULL;
}
static bool is_waiting(struct sync *y, void *(*waiter)(void *sync))
{
	if (waiter == sync_wait_cond)
		return says(y->o[SYNC_COND], "1 wait");
	if (waiter == sync_wait_barrier)
		return says(y->o[SYNC_BARRIER], "1 of 2");
	if (waiter == sync_wait_event)
		return says(y->o[SYNC_EVENT], "others wait");
	return true;
}

void sync_open(struct sync *y, tarn_client *c, void *(*waiter)(void *sync))
{
	OK(tarn_lock_new(c, 0, &y->o[SYNC_LOCK]));
	OK(tarn_rlock_new(c, 0, &y->o[SYNC_RLOCK]));
	OK(tarn_bounded_sem_new(c, 2, &y->o[SYNC_SEM]));
	OK(tarn_cond_new(c, NULL, &y->o[SYNC_COND]));
	OK(tarn_event_new(c, 0, &y->o[SYNC_EVENT]));
	OK(tarn_barrier_new(c, 2, &y->o[SYNC_BARRIER]));
	OK(tarn_shared_new(c, 'q', &y->o[SYNC_VALUE]));
	OK(tarn_array_new(c, 'q', 3, &y->o[SYNC_ARRAY]));
	OK(tarn_list_newf(c, &y->o[SYNC_LIST], "[is]", 1, "two"));
	OK(tarn_dict_newf(c, &y->o[SYNC_DICT], "{s:i}", "a", 1));
	for (int i = 0; i < SYNC_THINGS; i++)
		OK(tarn_object_publish(y->o[i], names[i], 0));
	y->waits = waiter != NULL;
	if (waiter == sync_wait_sem)
		for (int i = 0; i < 2; i++)
			OK(tarn_sem_acquire(y->o[SYNC_SEM], 0));
	if (!y->waits)
		return;
	PLAIN_EQ(pthread_create(&y->waiter, NULL, waiter, y), 0);
	PLAIN_WAIT_FOR(is_waiting(y, waiter));
}

void sync_find(tarn_object *o[SYNC_THINGS], tarn_client *c)
{
	for (int i = 0; i < SYNC_THINGS; i++) {
		char text[200];

		OK(tarn_object_lookup(c, names[i], TARN_FOREVER, &o[i]));
		tarn_object_describe(o[i], text, sizeof text, TARN_FOREVER);
	}
	/* Their types are known from here on. */
	FAILS(tarn_lock_release(o[SYNC_LOCK]), TARN_ESTATE);
	FAILS(tarn_rlock_release(o[SYNC_RLOCK]), TARN_ESTATE);
}

/* ---- afterwards ---- */

static void free_lock(const char *what, int (*acquire)(tarn_object *, int64_t),
		      int (*release)(tarn_object *), tarn_object *lock)
{
	int r = acquire(lock, 60 * SECOND);

	PLAIN_CHECKF(r == 0 || r == -EOWNERDEAD, "%s: %s", what, tarn_error_last()->message);
	OK(release(lock));
	OK(acquire(lock, 0)); /* and told once */
	OK(release(lock));
}

/* The survivor's thread is let go, if the child has not done it. */
static void let_go(struct sync *y)
{
	int r = tarn_cond_acquire(y->o[SYNC_COND], 60 * SECOND);

	PLAIN_CHECK(r == 0 || r == -EOWNERDEAD);
	OK(tarn_cond_notify_all(y->o[SYNC_COND]));
	OK(tarn_cond_release(y->o[SYNC_COND]));
	OK(tarn_barrier_abort(y->o[SYNC_BARRIER]));
	OK(tarn_event_set(y->o[SYNC_EVENT]));
}

static void *come(void *sync)
{
	struct sync *y = sync;

	y->r = tarn_barrier_wait(y->o[SYNC_BARRIER], TARN_FOREVER, NULL);
	return NULL;
}

static void meet(struct sync *y)
{
	tarn_barrier_state f;
	pthread_t t;

	OK(tarn_barrier_reset(y->o[SYNC_BARRIER]));
	OK(tarn_barrier_facts(y->o[SYNC_BARRIER], &f));
	PLAIN_CHECK(f.n_waiting == 0 && !f.broken);
	PLAIN_EQ(pthread_create(&t, NULL, come, y), 0);
	OK(tarn_barrier_wait(y->o[SYNC_BARRIER], 60 * SECOND, NULL));
	pthread_join(t, NULL);
	PLAIN_EQ(y->r, 0);
}

/* What the child did there it did in this order, each as a whole. */
static void whole(const char *what, tarn_parcel *p, const char *const *states)
{
	char text[200];

	tarn_parcel_format(p, text, sizeof text);
	tarn_parcel_fini(p);
	while (*states != NULL && strcmp(text, *states) != 0)
		states++;
	PLAIN_CHECKF(*states != NULL, "%s: found %s", what, text);
}

static void contents(struct sync *y, const char *what)
{
	static const char *const list[] = {
		"[1, \"two\"]", "[1, \"two\", \"three, which is too long for a cell\"]",
		"[9, \"two\", \"three, which is too long for a cell\"]",
		"[\"two\", \"three, which is too long for a cell\"]", NULL,
	};
	static const char *const dict[] = {
		"[[\"a\", 1]]", "[[\"a\", 1], [\"b\", \"a value that is too long for a cell\"]]",
		"[[\"a\", 2], [\"b\", \"a value that is too long for a cell\"]]",
		"[[\"b\", \"a value that is too long for a cell\"]]", NULL,
	};
	tarn_parcel p;
	int64_t v;

	OK(tarn_list_slice(y->o[SYNC_LIST], TARN_OMIT, TARN_OMIT, TARN_OMIT, &p));
	whole(what, &p, list);
	OK(tarn_dict_items(y->o[SYNC_DICT], &p));
	whole(what, &p, dict);
	OK(tarn_shared_get(y->o[SYNC_VALUE], &v));
	PLAIN_CHECKF(v == 0 || v == 1 || v == SYNC_NUMBER || v == SYNC_NUMBER + 1 || v == -1,
		     "%s: the value is %llx", what, (unsigned long long)v);
	for (int64_t i = 0; i < 3; i++) {
		OK(tarn_array_get(y->o[SYNC_ARRAY], i, &v));
		PLAIN_CHECKF(v == 0 || v == SYNC_NUMBER, "%s: the array has %llx", what,
			     (unsigned long long)v);
	}
}

void sync_finish(struct sync *y, tarn_client *c, const char *what)
{
	uint64_t value;

	let_go(y);
	/* What the survivor had taken of the semaphore, less what the child released of it. */
	OK(tarn_sem_value(y->o[SYNC_SEM], &value));
	if (y->waits) {
		while (value < 1 && tarn_sem_release(y->o[SYNC_SEM], 1) == 0)
			OK(tarn_sem_value(y->o[SYNC_SEM], &value));
		pthread_join(y->waiter, NULL);
		PLAIN_CHECKF(y->r == 0 || y->r == -TARN_EBROKEN || y->r == -EOWNERDEAD, "%s: %s", what,
			     tarn_error_name(y->r));
		while (tarn_sem_release(y->o[SYNC_SEM], 1) == 0)
			;
		OK(tarn_sem_value(y->o[SYNC_SEM], &value));
	}
	PLAIN_CHECKF(value == 2, "%s: the semaphore has %llu permits", what, (unsigned long long)value);
	FAILS(tarn_sem_release(y->o[SYNC_SEM], 1), TARN_ESTATE);
	OK(tarn_sem_acquire(y->o[SYNC_SEM], 60 * SECOND));
	OK(tarn_sem_release(y->o[SYNC_SEM], 1));
	free_lock(what, tarn_lock_acquire, tarn_lock_release, y->o[SYNC_LOCK]);
	free_lock(what, tarn_rlock_acquire, tarn_rlock_release, y->o[SYNC_RLOCK]);
	free_lock(what, tarn_cond_acquire, tarn_cond_release, y->o[SYNC_COND]);
	PLAIN_CHECKF(says(y->o[SYNC_COND], "0 wait"), "%s: somebody waits at the condition", what);
	meet(y);
	contents(y, what);
	for (int i = 0; i < SYNC_THINGS; i++) {
		OK(tarn_object_unpublish(c, names[i]));
		y->o[i] = tarn_object_unref(y->o[i]);
	}
}
