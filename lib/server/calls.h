/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls: records in META, jobs for the executors, replies with values.
 *
 * A call that does not end with its message has a record, by which its result finds who asked,
 * and a job, which is the process's. The host (a client of its own) holds a unit on the
 * target and on each reference until one epoch after the result, so a caller that is dead,
 * impatient or asynchronous never frees what a method is using.
 */
#ifndef TARN_SERVER_CALLS_H
#define TARN_SERVER_CALLS_H

#include "things.h"

/* What a call gives: values, and the references that they name. */
struct outcome {
	int error;              /* 0 or a positive code, as in the header of a reply */
	unsigned n_values, n_refs;
	uint32_t n_words;
	unsigned flags;         /* TARN__CALL_SPILLED: the payload lies in the first reference and
				 * words[0] is its length */
	const uint64_t *words;
	const uint64_t *refs;   /* two words each */
};

/* Who is to be answered. */
struct asker {
	struct lane_view *v;
	uint32_t client;
	unsigned kind;          /* of the message */
	uint32_t cookie;
	unsigned slots;         /* reserved for the reply; 0: nobody wants one */
	unsigned method;        /* of a CALL */
};

/* A sentence as an outcome: one string. */
struct sentence {
	char text[400];
	uint64_t words[54];
};
void tarn__outcome_say(struct outcome *ret, struct sentence *room, int error, const char *format,
		       ...) __attribute__((format(printf, 4, 5)));
/*
 * Writes the reply and books the references on the asker. 0; or nothing may be left of the
 * transaction: -TARN_ESTALE a reference is no more, -EDQUOT, -E2BIG, -ENOMEM. The caller rolls
 * back, and says so with tarn__reply_error(), which cannot fail.
 */
int tarn__reply_values(struct server *s, const struct asker *to, const struct outcome *o);
/* The same of a new object, which nobody holds yet, if there is nothing to it. False: nothing was done; the long way
 * may go on. */
bool tarn__reply_object(struct server *s, const struct asker *to, struct object *o);
/* For outcomes without references: cut short where there is no room. The first thing in its
 * transaction, which it may roll back. */
void tarn__reply_error(struct server *s, const struct asker *to, const struct outcome *o);
/* The sentence about @was, which could not be sent because of @r. */
void tarn__outcome_unsendable(const struct server *s, const struct asker *to, int r,
			      const struct outcome *was, struct sentence *room, struct outcome *ret);

/* A call that began on a server that is dead, and is not run again. */
struct interruption {
	const char *type, *method; /* "create" */
	int signal;                /* of which that server died; 0: not known */
	bool undone;               /* it has left no trace in its object */
	tarn_builder b;            /* what the outcome lies in */
	bool built;
};
/* A signal of the method's own making is a fault of domain Signal; from others it is
 * TARN_EINTERRUPTED. @ret is valid until the other. */
void tarn__interruption_say(struct interruption *why, struct outcome *ret, struct sentence *room);
void tarn__interruption_fini(struct interruption *why);

/* ---- records ---- */

/* A record for @to; -EAGAIN: too many are under way. */
int tarn__call_new(struct server *s, const struct asker *to, enum call_state state, uint64_t target,
		   struct call **ret);
void tarn__call_free(struct server *s, struct call *c);
/* NULL: no such call (any more). */
struct call *tarn__call_find(const struct state *st, uint64_t number);
/* Who is to be answered now; false: nobody. */
bool tarn__call_asker(struct server *s, const struct call *c, struct asker *ret);
/* Whether its payer is still the client that it was. */
static inline bool tarn__call_is_paid(const struct state *st, const struct call *c)
{
	return c->payer != NIL && c->payer < st->head->clients_used &&
	       st->client[c->payer].incarnation == c->incarnation;
}
/* Nobody waits for it any more. */
void tarn__call_orphan(struct server *s, struct call *c);
/* Whether calls of @client, which may be dead, are still to change containers (lists, dicts, namespaces): an
 * executor has them, or will. */
bool tarn__calls_change_containers(const struct server *s, uint32_t client);
/* No executor can be had, because of s->no_host: whoever waits for one is told. What they asked for stays with the host, as
 * what was cancelled does, until there is one. Commits by itself. */
void tarn__calls_refuse(struct server *s);
/* The lane goes: its calls are nobody's. Commits by itself. */
void tarn__calls_lane_closed(struct server *s, uint32_t lane);

/* ---- jobs ---- */

struct tarn__job *tarn__job_new(struct server *s, const struct tarn__served *t, enum tarn__deed deed,
				const struct object *o, uint32_t n_words, unsigned n_refs);
/* It is submitted after the commit of this transaction, and discarded if that is rolled back. */
void tarn__job_ready(struct server *s, struct tarn__job *job);
/* Frees all there are, when no host works on them any more. */
void tarn__jobs_free(struct server *s);

/* ---- shared ---- */

/* -TARN_ESTALE, or what it is. */
int tarn__reactor_look(struct server *s, uint64_t id, struct tarn__look *ret);
/* The destructor of an object that never was seen by anybody. */
void tarn__thing_destroy(struct server *s, const struct tarn__served *t, uint64_t id, void *self);

/* ---- watches.c ---- */

/* Answers those whose object or client is gone. Commits by itself. */
void tarn__watches_answer(struct server *s);
/* Names that end with a client. Commits by itself. */
void tarn__names_reclaim(struct server *s, uint32_t client);

/* ---- errors.c: what methods threw, for people ---- */
void tarn__error_note(struct server *s, const struct outcome *o);

/* A unit of @o for @client. What a method gives is not what its caller chose to hold: its credits follow.
 * -EDQUOT, -ENOSPC */
int tarn__unit_book(struct state *st, struct object *o, uint32_t client);

#endif
