/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One message under way: what the functions that apply it share. All words are input.
 */
#ifndef TARN_SERVER_TURN_H
#define TARN_SERVER_TURN_H

#include "server.h"

enum verdict { FINE, OFFENCE };

struct turn {
	struct server *s;
	struct state *st;
	struct lane_view *v;
	uint32_t client;
	const uint64_t *w; /* first slot's words */
	const struct tarn__slot *slot;
	unsigned n;
	const char *offence;
};

/* Notes why the sender is evicted. Returns OFFENCE. */
enum verdict tarn__turn_offence(struct turn *t, const char *what);
/* The object, or NULL for a stale id, which is counted and otherwise ignored. */
struct object *tarn__turn_named(struct turn *t, uint64_t id);
/* Notes a decrement for the next epoch; one per message at most. */
void tarn__turn_defer(struct turn *t, enum tarn__message kind, uint64_t id, uint64_t at,
		      uint64_t units);
/* What each message of the grantee of @o does that names it. */
enum verdict tarn__turn_publish(struct turn *t, struct object *o);
/* The effects of naming @o with what the sender knows of its size and seal (size 0: nothing). */
enum verdict tarn__turn_name(struct turn *t, struct object *o, uint64_t size, bool sealed);
/* Answers in one slot: an error, or @a. */
void tarn__turn_answer(struct turn *t, int r, const struct answer *a);
/* What an answer says of @o. */
void tarn__turn_describe(const struct state *st, const struct object *o, struct answer *ret);
/* The end of a message: counts it, moves the cursor, commits. An OFFENCE has no effect, and its
 * sender is evicted. */
void tarn__turn_end(struct turn *t, enum verdict verdict);
/* Collects the text that follows @skip words of the first slot; its bytes are the count. */
enum verdict tarn__turn_text(struct turn *t, unsigned skip, char ret[TARN__NAME_BYTES]);

/* ---- objects.c: phase A of what concerns objects ---- */
enum verdict tarn__on_type(struct turn *t);
enum verdict tarn__on_create(struct turn *t);
enum verdict tarn__on_call(struct turn *t);
enum verdict tarn__on_fetch(struct turn *t); /* calls.c */
/* ---- host-messages.c: and of what only the host's lanes say ---- */
enum verdict tarn__on_result(struct turn *t);
enum verdict tarn__on_hold(struct turn *t);
enum verdict tarn__on_unhold(struct turn *t);
enum verdict tarn__on_contents(struct turn *t);
enum verdict tarn__on_destroyed(struct turn *t);
enum verdict tarn__on_made(struct turn *t);
/* ---- watches.c ---- */
enum verdict tarn__on_cancel(struct turn *t);
enum verdict tarn__on_name(struct turn *t);
enum verdict tarn__on_grab(struct turn *t);
enum verdict tarn__on_watch(struct turn *t);

#endif
