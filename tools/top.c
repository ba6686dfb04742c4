/* SPDX-License-Identifier: Apache-2.0 */
#include "top.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/layout.h"

const char *const top_sort_names[TOP_SORTS + 1] = {
	[TOP_BY_MESSAGES] = "messages", [TOP_BY_BYTES] = "bytes", [TOP_BY_REFS] = "refs",
	[TOP_BY_RING] = "ring",		[TOP_BY_ID] = "id",	  [TOP_SORTS] = NULL,
};

/* ---- asking ---- */

static bool is_queue(const char *type)
{
	return strcmp(type, "tarn.Queue") == 0 || strcmp(type, "tarn.Topic") == 0;
}

static size_t keep_queues(tarn_object_row *rows, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (is_queue(rows[i].type_name))
			rows[kept++] = rows[i];
	return kept;
}

static size_t keep_calls(tarn_call_row *rows, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (!rows[i].watch)
			rows[kept++] = rows[i];
	return kept;
}

static int older(const void *a, const void *b)
{
	const tarn_call_row *x = a, *y = b;

	return x->running_ns > y->running_ns ? -1 : x->running_ns < y->running_ns;
}

int top_look(const struct context *c, struct top_look *ret)
{
	struct source *s = context_open(c);
	struct top_look l = { .n_clients = 0 };
	void *clients = NULL, *calls = NULL, *objects = NULL;
	int r;

	if (s == NULL)
		return CLI_TROUBLE;
	r = source_stat(s, &l.stat);
	if (r >= 0)
		r = source_rows(s, ASK_CLIENTS, 0, &clients, &l.n_clients);
	if (r >= 0)
		r = source_rows(s, ASK_CALLS, 0, &calls, &l.n_calls);
	if (r >= 0)
		r = source_rows(s, ASK_OBJECTS, 0, &objects, &l.n_queues);
	l.client = clients, l.call = calls, l.queue = objects;
	if (r < 0) {
		source_close(s);
		top_look_free(&l);
		return cli_library_error(r);
	}
	l.at_ns = source_now_ns(s);
	snprintf(l.name, sizeof l.name, "%s", source_name(s));
	snprintf(l.source, sizeof l.source, "%s", source_kind(s));
	l.n_queues = keep_queues(l.queue, l.n_queues);
	l.n_calls = keep_calls(l.call, l.n_calls);
	if (l.n_calls > 0)
		qsort(l.call, l.n_calls, sizeof *l.call, older);
	source_close(s);
	*ret = l;
	return 0;
}

void top_look_free(struct top_look *l)
{
	free(l->client);
	free(l->call);
	free(l->queue);
	*l = (struct top_look){ .n_clients = 0 };
}

/* ---- what moved ---- */

/* Hundredths per second, or none: there was no look before, or another server was there. */
static struct value rate(const struct top_look *before, const struct top_look *now, uint64_t then,
			 uint64_t n)
{
	if (before->at_ns == 0 || now->at_ns <= before->at_ns || n < then ||
	    before->stat.server_pid != now->stat.server_pid)
		return (struct value){ .kind = VALUE_NONE };
	return (struct value){ .kind = VALUE_NUMBER,
			       .number = (uint64_t)((double)(n - then) * 1e9 /
						    (double)(now->at_ns - before->at_ns)) };
}

static struct value client_rate(const struct top_look *before, const struct top_look *now,
				const tarn_client_row *c)
{
	for (size_t i = 0; i < before->n_clients; i++) {
		const tarn_client_row *b = &before->client[i];

		if (b->id == c->id && b->incarnation == c->incarnation)
			return rate(before, now, b->messages, c->messages);
	}
	return (struct value){ .kind = VALUE_NONE };
}

struct sorted {
	uint64_t key;
	tarn_client_row row;
};

static int larger(const void *a, const void *b)
{
	const struct sorted *x = a, *y = b;

	if (x->key != y->key)
		return x->key > y->key ? -1 : 1;
	return x->row.id < y->row.id ? -1 : x->row.id > y->row.id;
}

static bool sort_clients(const struct top_look *before, struct top_look *now, enum top_sort sort)
{
	struct sorted *s = calloc(now->n_clients + 1, sizeof *s);

	if (s == NULL)
		return false;
	for (size_t i = 0; i < now->n_clients; i++) {
		const tarn_client_row *c = &now->client[i];

		s[i].row = *c;
		s[i].key = sort == TOP_BY_MESSAGES ? client_rate(before, now, c).number
			   : sort == TOP_BY_BYTES  ? c->held_bytes
			   : sort == TOP_BY_REFS   ? c->held
			   : sort == TOP_BY_RING   ? c->most_unread : UINT64_MAX - c->id;
	}
	qsort(s, now->n_clients, sizeof *s, larger);
	for (size_t i = 0; i < now->n_clients; i++)
		now->client[i] = s[i].row;
	free(s);
	return true;
}

/* ---- lines ---- */

__attribute__((format(printf, 3, 4)))
static bool add(struct top_frame *f, bool heading, const char *format, ...)
{
	va_list args;

	if (f->n == f->room) {
		unsigned room = f->room == 0 ? 64 : 2 * f->room;
		struct top_line *more = realloc(f->line, room * sizeof *more);

		if (more == NULL)
			return false;
		f->line = more, f->room = room;
	}
	f->line[f->n].heading = heading;
	va_start(args, format);
	vsnprintf(f->line[f->n].text, sizeof f->line[f->n].text, format, args);
	va_end(args);
	f->n++;
	return true;
}

/* Several values in one line each need a place of their own. */
struct cell {
	char text[VALUE_TEXT_BYTES];
};
static const char *show(struct cell *c, struct value v)
{
	value_format(c->text, &v, false);
	return c->text;
}
static struct value of(enum value_kind kind, uint64_t n)
{
	return (struct value){ .kind = kind, .number = n };
}

static uint64_t percent(uint64_t part, uint64_t whole)
{
	return whole == 0 ? 0 : (uint64_t)(100.0 * (double)part / (double)whole);
}

static bool summary(struct top_frame *f, const struct top_look *b, const struct top_look *now)
{
	const tarn_stat *s = &now->stat;
	struct cell c[6];
	bool ok;

	ok = add(f, false, "tarn top: %s, server %" PRIu64 ", up %s, waits by %s%s%s", now->name,
		 s->server_pid, show(&c[0], of(VALUE_NS, s->uptime_ns)), s->io,
		 strcmp(now->source, "server") == 0 ? "" : "; it does not answer, this is a ",
		 strcmp(now->source, "server") == 0 ? "" : now->source);
	ok = ok && add(f, false, "Memory:   %s of %s used (%" PRIu64 "%%), %s committed, %s free in one piece",
		       show(&c[0], of(VALUE_BYTES, s->used_bytes)),
		       show(&c[1], of(VALUE_BYTES, s->arena_bytes)),
		       percent(s->used_bytes, s->arena_bytes),
		       show(&c[2], of(VALUE_BYTES, s->committed_bytes)),
		       show(&c[3], of(VALUE_BYTES, s->largest_free_bytes)));
	ok = ok && add(f, false, "Holds:    %" PRIu64 " blocks, %" PRIu64 " objects, %" PRIu64
		       " channels, %" PRIu64 " exports, %" PRIu64 " names, %" PRIu64 " claims",
		       s->blocks_live, s->objects, s->channels, s->exports, s->names, s->claims);
	return ok && add(f, false, "Activity: %s messages/s, %s epochs/s, %s sleeps/s; %" PRIu64
			 " clients with %" PRIu64 " lanes, %" PRIu64 " calls under way",
			 show(&c[0], rate(b, now, b->stat.messages, s->messages)),
			 show(&c[1], rate(b, now, b->stat.epochs, s->epochs)),
			 show(&c[2], rate(b, now, b->stat.sleeps, s->sleeps)), s->clients, s->lanes,
			 s->calls);
}

static bool clients(struct top_frame *f, const struct top_look *b, const struct top_look *now)
{
	struct cell c[2];
	bool ok = add(f, false, "%s", "") &&
		  add(f, true, "%5s %8s %-15s %-8s %10s %5s %10s %9s  %s", "ID", "PID", "NAME", "STATE",
		      "MSG/S", "RING%", "REFS", "BYTES", "ERROR");

	for (size_t i = 0; i < now->n_clients && ok; i++) {
		const tarn_client_row *k = &now->client[i];

		ok = add(f, false, "%5" PRIu32 " %8" PRIu32 " %-15s %-8s %10s %5" PRIu64 " %10" PRIu64
			 " %9s  %s%s%s", k->id, k->pid, k->name, k->state_name,
			 show(&c[0], client_rate(b, now, k)), percent(k->most_unread, TARN__REQUESTS),
			 k->held, show(&c[1], of(VALUE_BYTES, k->held_bytes)),
			 k->evicted[0] != '\0' ? k->evicted : k->error != 0 ? k->error_kind : "-",
			 k->evicted[0] == '\0' && k->error != 0 ? " " : "",
			 k->evicted[0] == '\0' && k->error != 0 ? tarn_error_name(k->error) : "");
	}
	return ok;
}

static bool calls(struct top_frame *f, const struct top_look *now)
{
	struct cell c[2];
	bool ok = now->n_calls == 0 ||
		  (add(f, false, "%s", "") && add(f, true, "%8s %7s %12s  %s", "CALLING", "CLIENT",
						  "OBJECT", "METHOD"));

	for (size_t i = 0; i < now->n_calls && ok; i++) {
		const tarn_call_row *k = &now->call[i];

		ok = add(f, false, "%8s %7" PRIu32 " %12s  %s.%s%s",
			 show(&c[0], of(VALUE_SHORT, k->running_ns)), k->client,
			 show(&c[1], of(VALUE_ID, k->target)), k->type, k->method,
			 k->canceled ? " (canceled)" : "");
	}
	return ok;
}

static bool queues(struct top_frame *f, const struct top_look *now)
{
	struct cell c;
	bool ok = now->n_queues == 0 ||
		  (add(f, false, "%s", "") && add(f, true, "%12s %6s  %s", "QUEUE", "REFS", "WHAT"));

	for (size_t i = 0; i < now->n_queues && ok; i++) {
		const tarn_object_row *o = &now->queue[i];

		ok = add(f, false, "%12s %6" PRIu64 "  %s", show(&c, of(VALUE_ID, o->id)),
			 (uint64_t)o->claims + o->edges, o->preview[0] != '\0' ? o->preview : o->type_name);
	}
	return ok;
}

bool top_frame(struct top_frame *f, const struct top_look *before, struct top_look *now,
	       enum top_sort sort)
{
	f->n = 0;
	return sort_clients(before, now, sort) && summary(f, before, now) &&
	       clients(f, before, now) && calls(f, now) && queues(f, now);
}

void top_frame_free(struct top_frame *f)
{
	free(f->line);
	*f = (struct top_frame){ .n = 0 };
}

/* ---- JSON ---- */

static void json_clients(struct json *j, const struct top_look *before, const struct top_look *now)
{
	json_array(j, "clients");
	for (size_t i = 0; i < now->n_clients; i++) {
		const tarn_client_row *c = &now->client[i];
		const struct value v = client_rate(before, now, c);

		json_object(j, NULL);
		json_number(j, "id", c->id);
		json_number(j, "pid", c->pid);
		json_string(j, "name", c->name);
		json_string(j, "state", c->state_name);
		value_json(j, "messages_per_s", &v);
		json_number(j, "unread", c->most_unread);
		json_number(j, "held", c->held);
		json_number(j, "held_bytes", c->held_bytes);
		json_text(j, "evicted", c->evicted[0] != '\0' ? c->evicted : NULL);
		json_text(j, "error", c->error != 0 ? tarn_error_name(c->error) : NULL);
		json_end(j);
	}
	json_end(j);
}

static void json_calls(struct json *j, const struct top_look *now)
{
	json_array(j, "calls");
	for (size_t i = 0; i < now->n_calls; i++) {
		const tarn_call_row *c = &now->call[i];
		const struct value id = of(VALUE_ID, c->target);

		json_object(j, NULL);
		json_number(j, "running_ns", c->running_ns);
		json_number(j, "client", c->client);
		value_json(j, "object", &id);
		json_string(j, "type", c->type);
		json_string(j, "method", c->method);
		json_bool(j, "canceled", c->canceled != 0);
		json_end(j);
	}
	json_end(j);
}

static void json_queues(struct json *j, const struct top_look *now)
{
	json_array(j, "queues");
	for (size_t i = 0; i < now->n_queues; i++) {
		const tarn_object_row *o = &now->queue[i];
		const struct value id = of(VALUE_ID, o->id);

		json_object(j, NULL);
		value_json(j, "id", &id);
		json_string(j, "type", o->type_name);
		json_number(j, "refs", (uint64_t)o->claims + o->edges);
		json_string(j, "preview", o->preview);
		json_end(j);
	}
	json_end(j);
}

void top_json(const struct top_look *before, struct top_look *now, enum top_sort sort)
{
	const tarn_stat *s = &now->stat;
	struct json j = json_init(stdout);
	const struct value messages = rate(before, now, before->stat.messages, s->messages);
	const struct value epochs = rate(before, now, before->stat.epochs, s->epochs);

	sort_clients(before, now, sort); /* without memory they come as they are */
	json_object(&j, NULL);
	json_string(&j, "schema", "tarn.top/1");
	json_string(&j, "source", now->source);
	json_object(&j, "server");
	json_string(&j, "name", now->name);
	json_number(&j, "pid", s->server_pid);
	json_number(&j, "up_ns", s->uptime_ns);
	json_end(&j);
	json_object(&j, "totals");
	json_number(&j, "used_bytes", s->used_bytes);
	json_number(&j, "arena_bytes", s->arena_bytes);
	json_number(&j, "committed_bytes", s->committed_bytes);
	json_number(&j, "blocks", s->blocks_live);
	json_number(&j, "objects", s->objects);
	json_number(&j, "calls", s->calls);
	value_json(&j, "messages_per_s", &messages);
	value_json(&j, "epochs_per_s", &epochs);
	json_end(&j);
	json_clients(&j, before, now);
	json_calls(&j, now);
	json_queues(&j, now);
	json_end(&j);
}
