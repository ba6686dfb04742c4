/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exports (tokens) and names: references that the server keeps for whoever shows the
 * right bytes. EXPORT and IMPORT wait for the server, so an export is booked before its
 * bytes exist, and a token that has ended is an error, never somebody else's memory (H10).
 */
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "ledger.h"
#include "server.h"

#define EXPORTS_PER_CLIENT 4096u
#define OUTLIVING_MOST (MAX_EXPORTS / 4) /* nobody pays for them: others need room, too */

static uint64_t boottime(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int export_record(struct state *st, uint32_t *ret)
{
	struct state_head *h = st->head;
	uint32_t i = h->free_export;

	if (i != NIL) {
		SET(st, h->free_export, st->export[i].next);
	} else {
		i = h->exports != 0 ? h->exports : 1;
		if (i >= MAX_EXPORTS)
			return -ENOSPC;
		int r = tarn__state_reserve(st, st->export, sizeof *st->export,
					    &h->exports_reserved, i + 1);
		if (r < 0)
			return r;
		SET(st, h->exports, i + 1);
	}
	*ret = i;
	return 0;
}

/* The nonce's low half carries the record's number in its upper bits, so that finding
 * needs no search; both halves must match. */
static struct export *export_find(const struct state *st, uint64_t id, const uint64_t nonce[2])
{
	uint32_t i = (uint32_t)(nonce[0] >> 40);

	if (i == NIL || i >= st->head->exports)
		return NULL;
	struct export *e = &st->export[i];

	if (e->id == 0 || e->id != id || e->nonce[0] != nonce[0] || e->nonce[1] != nonce[1])
		return NULL;
	return e;
}

/* word: id, size, view offset, view length, uses, lifetime, flags. */
int tarn__export_make(struct server *s, uint32_t client, const uint64_t *word,
		      uint64_t ret_nonce[2])
{
	struct state *st = &s->st;
	struct state_head *h = st->head;
	struct object *o = tarn__object_find(st, word[0]);
	uint64_t offset = word[2], length = word[3], lifetime = word[5];
	uint32_t uses = word[4] == 0 ? 1 : (uint32_t)word[4];
	bool outlives = (word[6] & TARN__EXPORT_OUTLIVES) != 0;
	uint64_t nonce[2];
	uint32_t i;

	if (o == NULL)
		return -TARN_ESTALE;
	if (word[4] > UINT32_MAX || offset > o->size || length > o->size - offset ||
	    lifetime > INT64_MAX)
		return -EINVAL;
	if (outlives && uses == EXPORT_UNLIMITED && lifetime == 0)
		return -EINVAL; /* nothing would ever end it */
	if (outlives ? h->n_outliving >= OUTLIVING_MOST
		     : st->client[client].exports >= EXPORTS_PER_CLIENT)
		return -ENOSPC;
	if (getrandom(nonce, sizeof nonce, 0) != (ssize_t)sizeof nonce)
		return -EIO;
	int r = export_record(st, &i);
	if (r < 0)
		return r;
	struct export *e = &st->export[i];
	uint64_t deadline = lifetime != 0 ? boottime() + lifetime : 0;

	nonce[0] = (nonce[0] & ((1ull << 40) - 1)) | (uint64_t)i << 40;
	SET(st, e->id, o->id);
	SET(st, e->nonce[0], nonce[0]);
	SET(st, e->nonce[1], nonce[1]);
	SET(st, e->view_offset, offset);
	SET(st, e->view_size, length);
	SET(st, e->deadline, deadline);
	SET(st, e->uses, uses);
	SET(st, e->issuer, outlives ? NIL : client);
	SET(st, h->n_exports, h->n_exports + 1);
	if (outlives)
		SET(st, h->n_outliving, h->n_outliving + 1);
	else
		SET(st, st->client[client].exports, st->client[client].exports + 1);
	tarn__object_hold(st, o);
	if (deadline != 0 && (s->next_deadline == 0 || deadline < s->next_deadline))
		s->next_deadline = deadline;
	memcpy(ret_nonce, nonce, sizeof nonce);
	return 0;
}

void tarn__export_end(struct state *st, struct export *e)
{
	struct state_head *h = st->head;
	struct object *o = tarn__object_find(st, e->id);

	if (e->issuer != NIL)
		SET(st, st->client[e->issuer].exports, st->client[e->issuer].exports - 1);
	else
		SET(st, h->n_outliving, h->n_outliving - 1);
	SET(st, e->id, 0);
	SET(st, e->next, h->free_export);
	SET(st, h->free_export, (uint32_t)(e - st->export));
	SET(st, h->n_exports, h->n_exports - 1);
	if (o != NULL)
		tarn__object_drop(st, o);
}

int tarn__export_use(struct server *s, uint32_t client, uint64_t id, const uint64_t nonce[2],
		     struct answer *ret)
{
	struct state *st = &s->st;
	struct export *e = export_find(st, id, nonce);

	if (e == NULL || (e->deadline != 0 && boottime() >= e->deadline))
		return -TARN_ESTALE;
	struct object *o = tarn__object_find(st, id);
	if (o == NULL)
		return -TARN_ESTALE;
	if (tarn__ledger_add(st, o, client, 1) < 0)
		return -EDQUOT;
	*ret = (struct answer){ .id = id, .size = o->size, .offset = e->view_offset,
				.length = e->view_size };
	if (object_kind(o) == TARN__KIND_CHANNEL)
		ret->state |= TARN__DIR_CHANNEL;
	if (object_flags(o) & OBJECT_SEALED)
		ret->state |= TARN__DIR_SEALED;
	/* A count that falls in phase A: nothing is derived from a token but what the
	 * server has just booked itself (3.3). */
	if (e->uses == 1)
		tarn__export_end(st, e);
	else if (e->uses != EXPORT_UNLIMITED)
		SET(st, e->uses, e->uses - 1);
	return 0;
}

int tarn__export_revoke(struct server *s, uint64_t id, const uint64_t nonce[2])
{
	struct export *e = export_find(&s->st, id, nonce);

	if (e == NULL)
		return -TARN_ESTALE;
	tarn__export_end(&s->st, e);
	return 0;
}

void tarn__exports_expire(struct server *s)
{
	struct state *st = &s->st;
	uint64_t now = boottime(), next = 0;

	for (uint32_t i = 1; i < st->head->exports; i++) {
		struct export *e = &st->export[i];

		if (e->id == 0 || e->deadline == 0)
			continue;
		if (now >= e->deadline) {
			tarn__export_end(st, e);
			tarn__commit(s);
		} else if (next == 0 || e->deadline < next) {
			next = e->deadline;
		}
	}
	s->next_deadline = next;
}

/* ---- names: few, so a list that is walked ---- */

struct name *tarn__name_record(const struct state *st, const char *text)
{
	for (uint32_t i = 1; i < st->head->names; i++)
		/* A dead channel has its entry until it is reaped; its name is free. */
		if (st->name[i].id != 0 &&
		    strncmp(st->name[i].text, text, TARN__NAME_BYTES) == 0 &&
		    tarn__object_find(st, st->name[i].id) != NULL)
			return &st->name[i];
	return NULL;
}

uint64_t tarn__name_find(const struct state *st, const char *text)
{
	const struct name *n = tarn__name_record(st, text);

	return n != NULL ? n->id : 0;
}

int tarn__name_add(struct state *st, const char *text, uint64_t id)
{
	struct state_head *h = st->head;
	uint32_t i = h->free_name;
	uint64_t word[TARN__NAME_BYTES / 8] = { 0 };

	if (i != NIL) {
		SET(st, h->free_name, st->name[i].next);
	} else {
		i = h->names != 0 ? h->names : 1;
		if (i >= MAX_NAMES)
			return -ENFILE;
		int r = tarn__state_reserve(st, st->name, sizeof *st->name, &h->names_reserved,
					    i + 1);
		if (r < 0)
			return r;
		SET(st, h->names, i + 1);
	}
	struct name *n = &st->name[i];

	memcpy(word, text, strnlen(text, TARN__NAME_BYTES - 1));
	for (unsigned k = 0; k < TARN__NAME_BYTES / 8; k++)
		tarn__meta_set64(&st->meta, (uint64_t *)(void *)n->text + k, word[k]);
	SET(st, n->id, id);
	pair_set(st, &n->next, NIL, 0);
	pair_set(st, &n->issuer, NIL, 0);
	SET(st, h->n_names, h->n_names + 1);
	return 0;
}

static void name_free(struct state *st, struct name *n)
{
	struct state_head *h = st->head;

	SET(st, n->id, 0);
	pair_set(st, &n->next, h->free_name, 0);
	SET(st, h->free_name, (uint32_t)(n - st->name));
	SET(st, h->n_names, h->n_names - 1);
}

void tarn__name_end(struct state *st, struct name *n)
{
	struct object *o = tarn__object_find(st, n->id);
	bool holds = n->holds != 0;

	if (n->issuer != NIL)
		SET(st, st->client[n->issuer].names, st->client[n->issuer].names - 1);
	name_free(st, n);
	if (holds && o != NULL)
		tarn__object_drop(st, o);
}

void tarn__name_drop(struct state *st, uint64_t id)
{
	for (uint32_t i = 1; i < st->head->names; i++)
		if (st->name[i].id == id && !st->name[i].holds) {
			name_free(st, &st->name[i]);
			return;
		}
}
