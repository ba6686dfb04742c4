/* SPDX-License-Identifier: Apache-2.0 */
/* Objects by name, weak handles, notices of an end. */
#include <string.h>
#include <time.h>

#include "call.h"
#include "pending.h"

/* ---- by name ---- */

static int check_name(const char *name)
{
	size_t n = name != NULL ? strlen(name) : 0;

	if (n != 0 && n < TARN__NAME_BYTES)
		return 0;
	return tarn__fail(-EINVAL, "A name has 1 to %u bytes, this one has %zu.", TARN__NAME_BYTES - 1,
			  n);
}

static int say_name(struct tarn_client *c, uint64_t id, unsigned flags, const char *name)
{
	struct tarn__lane *l;
	struct tarn__ask a;
	struct tarn__slot s;
	int r = tarn__lane_enter(c, &l);

	if (r < 0)
		return r;
	tarn__ask_init(&a, TARN__MSG_NAME, (unsigned)strlen(name));
	tarn__ask_word(&a, 1, id);
	tarn__ask_word(&a, 2, flags);
	tarn__ask_bytes(&a, 3, name, strlen(name));
	r = tarn__lane_ask(l, &a, 1, 0, UINT64_MAX, &s);
	tarn__lane_leave(l);
	return r < 0 ? r : tarn__reply_error(&s);
}

int tarn_object_publish(tarn_object *object, const char *name, unsigned flags)
{
	int r = check_name(name);

	if (r < 0)
		return r;
	if (flags & ~(unsigned)(TARN_PUBLISH_PINNED | TARN_PUBLISH_REPLACE))
		return tarn__fail(-EINVAL, "Unknown flags 0x%x for a name: TARN_PUBLISH_PINNED and "
				  "TARN_PUBLISH_REPLACE are known.", flags);
	r = say_name(object->base.client, object->base.id,
		     (flags & TARN_PUBLISH_PINNED ? TARN__NAME_PINNED : 0) |
			     (flags & TARN_PUBLISH_REPLACE ? TARN__NAME_REPLACE : 0), name);
	if (r == -EEXIST)
		return tarn__fail(r, "The name '%s' is in use. Unpublish it first.", name);
	if (r == -ENOSPC || r == -ENOMEM)
		return tarn__fail(r, "The server has no room for another name.");
	if (r == -TARN_ESTALE)
		return tarn__fail(r, "The object is gone.");
	return r; /* failures of the wait have their sentence */
}

int tarn_object_unpublish(tarn_client *client, const char *name)
{
	int r = check_name(name);

	if (r == 0)
		r = say_name(client, 0, TARN__NAME_UNPUBLISH, name);
	if (r == -ENOENT)
		return tarn__fail(r, "Nothing is published as '%s'.", name);
	return r;
}

/* The reply to LOOKUP or GRAB: a unit was booked, a hold was taken. */
static int adopt(struct tarn__lane *l, const struct tarn__slot *s, const char *name, tarn_object **ret)
{
	if (s->word[3] & TARN__DIR_OBJECT)
		return tarn__object_adopt(l, s->word[1], NULL, ret);
	const uint64_t ref[2] = { s->word[1], 0 };

	tarn__hold_return(l);
	tarn__refs_drop(l, ref, 1);
	return tarn__fail(-TARN_EKIND, "'%s' is the name of a %s, not of an object.", name,
			  s->word[3] & TARN__DIR_CHANNEL ? "channel" : "block");
}

/* One look for @name. */
static int look_up(struct tarn__lane *l, const char *name, tarn_object **ret)
{
	struct tarn__ask a;
	struct tarn__slot s;
	int r = tarn__hold_take(l);

	if (r < 0)
		return r;
	tarn__ask_init(&a, TARN__MSG_LOOKUP, (unsigned)strlen(name));
	tarn__ask_bytes(&a, 1, name, strlen(name));
	r = tarn__lane_ask(l, &a, 1, 0, UINT64_MAX, &s);
	if (r == 0)
		r = tarn__reply_error(&s);
	if (r < 0) {
		tarn__hold_return(l);
		return r;
	}
	return adopt(l, &s, name, ret);
}

int tarn_object_lookup(tarn_client *client, const char *name, int64_t timeout_ns,
		       tarn_object **ret_object)
{
	uint64_t deadline = tarn__deadline(timeout_ns);
	long pause_ns = 500000;
	struct tarn__lane *l;
	int r = check_name(name);

	if (r == 0)
		r = tarn__lane_enter(client, &l);
	if (r < 0)
		return r;
	for (;;) {
		r = look_up(l, name, ret_object);
		if (r != -ENOENT)
			break;
		if (tarn__now() >= deadline) {
			r = tarn__fail(timeout_ns == 0 ? -ENOENT : -ETIMEDOUT, "No object is named '%s'%s.",
				       name, timeout_ns == 0 ? "" : ", also after waiting");
			break;
		}
		nanosleep(&(struct timespec){ .tv_nsec = pause_ns }, NULL);
		pause_ns = pause_ns < 20000000 ? pause_ns * 2 : 20000000;
	}
	tarn__lane_leave(l);
	return r;
}

/* ---- weak handles ---- */

tarn_weak tarn_weak_from(const tarn_object *object)
{
	return (tarn_weak){ .client = object->base.client, .id = object->base.id };
}

static int grab(struct tarn__lane *l, uint64_t id, tarn_object **ret)
{
	struct tarn__ask a;
	struct tarn__slot s;
	struct tarn_block *known = tarn__table_find(l->client, id);
	int r;

	if (known != NULL && (tarn__refs(known) & REF_OBJECT)) {
		*ret = tarn__object_of_base(known);
		return 0;
	}
	if (known != NULL) {
		tarn__handle_put(l, known);
		return tarn__fail(-TARN_EKIND, "The weak handle is not of an object.");
	}
	r = tarn__hold_take(l);
	if (r < 0)
		return r;
	tarn__ask_init(&a, TARN__MSG_GRAB, 0);
	tarn__ask_word(&a, 1, id);
	r = tarn__lane_ask(l, &a, 1, 0, UINT64_MAX, &s);
	if (r == 0 && tarn__reply_error(&s) != 0)
		r = tarn__reply_error(&s) == -TARN_ESTALE
			    ? tarn__fail(-TARN_ESTALE, "The object of this weak handle is gone.")
			    : tarn__fail(tarn__reply_error(&s), "The server refused a weak handle: %s.",
					 tarn_error_text(tarn__reply_error(&s)));
	if (r < 0) {
		tarn__hold_return(l);
		return r;
	}
	return adopt(l, &s, "it", ret);
}

int tarn_weak_lock(const tarn_weak *weak, tarn_object **ret_object)
{
	struct tarn__lane *l;
	int r = tarn__lane_enter(weak->client, &l);

	if (r < 0)
		return r;
	r = grab(l, weak->id, ret_object);
	tarn__lane_leave(l);
	return r;
}

/* ---- notices ---- */

static int watch(struct tarn_client *c, uint64_t whom, unsigned what, tarn_pending **ret)
{
	struct tarn__lane *l;
	int r = tarn__lane_enter(c, &l);

	if (r < 0)
		return r;
	r = tarn__pending_watch(l, whom, what, ret);
	tarn__lane_leave(l);
	return r;
}

int tarn_weak_watch(const tarn_weak *weak, tarn_pending **ret_notice)
{
	return watch(weak->client, weak->id, TARN__WATCH_ID, ret_notice);
}

int tarn_object_watch(const tarn_object *object, tarn_pending **ret_notice)
{
	return watch(object->base.client, object->base.id, TARN__WATCH_ID, ret_notice);
}

int tarn_client_watch(tarn_client *client, uint32_t number, tarn_pending **ret_notice)
{
	return watch(client, number, TARN__WATCH_CLIENT, ret_notice);
}
