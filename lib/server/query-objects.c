/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers to tools about types, objects, calls and errors. Some of it is the process's, not
 * META's: previews, names of methods, what methods threw; so a dump does not tell it. Names of
 * types are in FACTS.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "collect.h"
#include "errors.h"
#include "ledger.h"
#include "lib/types/store.h"

#define COPY_BUDGET (1u << 26) /* references looked at in a copy */

struct rows {
	const struct sight *sight;
	struct server *s; /* NULL: what is seen is a copy */
	unsigned char *data;
	size_t used, room;
	uint64_t n;
	bool failed;
};

static void put_row(struct rows *r, const void *row, size_t bytes)
{
	if (r->used + bytes > r->room) {
		size_t room = r->room != 0 ? 2 * r->room : 65536;
		unsigned char *data = realloc(r->data, room);

		if (data == NULL) {
			r->failed = true;
			return;
		}
		r->data = data;
		r->room = room;
	}
	memcpy(r->data + r->used, row, bytes);
	r->used += bytes;
	r->n++;
}

/* ---- types ---- */

static void put_types(struct rows *r)
{
	const struct state *st = r->sight->st;
	uint64_t n = r->sight->facts != NULL ? r->sight->facts->n_types : 0;
	uint64_t *objects = calloc(n + 1, sizeof *objects);

	for (uint32_t i = 1; objects != NULL && i < st->head->things; i++)
		if (st->thing[i].id != 0 && st->thing[i].type < n)
			objects[st->thing[i].type]++;
	for (uint32_t i = 1; objects != NULL && i < n; i++) {
		tarn_type_row row = *tarn__facts_type(r->sight->facts, i);

		row.name[sizeof row.name - 1] = '\0';
		row.objects = objects[i];
		put_row(r, &row, sizeof row);
	}
	r->failed |= objects == NULL;
	free(objects);
}

/* Into 64 bytes; "#5" if its name is not known. */
static void put_type_name(const struct rows *r, uint32_t type, char text[64])
{
	const tarn_type_row *t = tarn__facts_type(r->sight->facts, type);

	if (t != NULL)
		snprintf(text, 64, "%.63s", t->name);
	else
		snprintf(text, 64, "#%u", type);
}

/* ---- objects ---- */

/* What the type says of it, unless somebody is at it just now. */
static void preview(struct server *s, const struct object *o, const struct tarn__served *t,
		    char *text, size_t bytes)
{
	bool contents = tarn__thing_of(&s->st, o)->root.version != 0 && s->store != NULL;

	if ((t->type->describe == NULL && !contents) || o->state != OBJECT_LIVE)
		return;
	if (tarn__thing_of(&s->st, o)->flags & THING_LOST) {
		snprintf(text, bytes, "(lost with its server's process)");
		return;
	}
	if (!s->host->ops->enter(s->host, t, &t->describe, o->id)) {
		snprintf(text, bytes, "(busy)");
		return;
	}
	if (t->type->describe == NULL)
		text[0] = tarn__store_describe(s->store, o->id, text, bytes) < 0 ? '\0' : text[0];
	else if (t->type->describe(tarn__thing_self(s, o, t), text, bytes) < 0)
		snprintf(text, bytes, "(cannot be described)");
	text[bytes - 1] = '\0';
	s->host->ops->leave(s->host, o->id);
}

static void put_object(void *arg, const struct object *o)
{
	struct rows *r = arg;
	const struct thing *k = tarn__thing_of(r->sight->st, o);
	const struct tarn__served *t = k != NULL && r->s != NULL ? tarn__thing_type(r->s, k) : NULL;

	if (k == NULL)
		return; /* a channel of a cycle */
	tarn_object_row row = {
		.id = o->id, .created = k->created, .type = k->type, .claims = o->ext,
		.edges = o->edges, .holds = k->n_edges, .creator = k->creator,
		.state = o->state == OBJECT_DEAD ? TARN_OBJECT_DESTROYING
			 : k->flags & THING_MADE ? TARN_OBJECT_LIVE : TARN_OBJECT_MAKING,
	};

	put_type_name(r, k->type, row.type_name);
	if (t != NULL)
		preview(r->s, o, t, row.preview, sizeof row.preview);
	put_row(r, &row, sizeof row);
}

static int by_creation(const void *a, const void *b)
{
	const tarn_object_row *x = a, *y = b;

	return x->created < y->created ? -1 : x->created > y->created;
}

static void put_objects(struct rows *r, bool leaks)
{
	const struct state *st = r->sight->st;

	if (leaks) /* in a copy, positions may be lies: not for ever */
		r->failed |= tarn__unreachable(st, r->s != NULL ? UINT32_MAX : COPY_BUDGET,
					       put_object, r) < 0;
	for (uint32_t i = 1; !leaks && i < st->head->things; i++) {
		uint32_t index = tarn__id_index(st->thing[i].id);

		if (st->thing[i].id != 0 && index < st->head->heap.objects)
			put_object(r, &st->object[index]);
	}
	if (r->n != 0)
		qsort(r->data, r->n, sizeof(tarn_object_row), by_creation);
}

/* ---- calls ---- */

static void put_calls(struct rows *r)
{
	const struct state *st = r->sight->st;
	uint64_t now = r->sight->now_ns;

	for (uint32_t i = 1; i < st->head->calls; i++) {
		const struct call *c = &st->call[i];
		const struct tarn__job *job = r->s != NULL && r->s->job != NULL ? r->s->job[i] : NULL;

		if (c->state != CALL_RUNNING && c->state != CALL_WATCH)
			continue;
		tarn_call_row row = { .number = c->number, .target = c->target,
				      .running_ns = now > c->started_ns ? now - c->started_ns : 0,
				      .client = c->client, .watch = c->state == CALL_WATCH };

		if (c->client != NIL)
			row.pid = st->client[c->client].pid;
		if (job != NULL && job->number == c->number && c->state == CALL_RUNNING) {
			row.canceled = tarn__load32_relaxed(&job->canceled);
			snprintf(row.type, sizeof row.type, "%s", job->served->type->name);
			snprintf(row.method, sizeof row.method, "%s",
				 job->offer != NULL ? job->offer->name : "create");
		} else if (c->state == CALL_RUNNING) {
			put_type_name(r, c->type, row.type);
			if (c->packed >> 24 == TARN__MSG_CREATE)
				snprintf(row.method, sizeof row.method, "create");
		}
		put_row(r, &row, sizeof row);
	}
}

/* ---- errors ---- */

static void put_errors(struct rows *r)
{
	const struct errors *e = r->s->errors;

	for (unsigned i = 0; e != NULL && i < e->n; i++) {
		const struct error_row *x = &e->row[i];
		tarn_error_row row = { .code = x->code, .count = x->count, .first_ns = x->first_ns,
				       .last_ns = x->last_ns };

		memcpy(row.domain, x->domain, sizeof row.domain);
		memcpy(row.message, x->message, sizeof row.message);
		memcpy(row.place, x->place, sizeof row.place);
		put_row(r, &row, sizeof row);
	}
}
static_assert(sizeof((tarn_error_row *)0)->message == sizeof((struct error_row *)0)->message &&
	      sizeof((tarn_error_row *)0)->place == sizeof((struct error_row *)0)->place &&
	      sizeof((tarn_error_row *)0)->domain == sizeof((struct error_row *)0)->domain, "copied");

static int to_file(const struct rows *r, int *ret_fd)
{
	int fd = memfd_create("tarn-answer", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	for (size_t at = 0; at < r->used;) {
		ssize_t n = write(fd, r->data + at, r->used - at);

		if (n <= 0) {
			int e = n < 0 ? -errno : -EIO;

			close(fd);
			return e;
		}
		at += (size_t)n;
	}
	*ret_fd = fd;
	return 0;
}

int tarn__query_objects(const struct sight *sight, struct server *s, uint32_t kind, int *ret_fd,
			uint64_t *ret_rows)
{
	struct rows r = { .sight = sight, .s = s };

	if (kind == TARN__CTL_ERRORS && s == NULL)
		return -ENOTSUP;
	if (kind == TARN__CTL_TYPES)
		put_types(&r);
	else if (kind == TARN__CTL_OBJECTS || kind == TARN__CTL_LEAKS)
		put_objects(&r, kind == TARN__CTL_LEAKS);
	else if (kind == TARN__CTL_CALLS)
		put_calls(&r);
	else if (kind == TARN__CTL_ERRORS)
		put_errors(&r);
	int e = r.failed ? -ENOMEM : to_file(&r, ret_fd);
	*ret_rows = r.n;
	free(r.data);
	return e;
}
