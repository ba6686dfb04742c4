/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The types of one server, as it found them at its start: with numbers, methods and fields
 * side by side as what is offered, result types resolved, and a hash by which callers know
 * that they speak of the same table.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/error.h"
#include "lib/types/types.h"
#include "registry.h"
#include "shm/hash.h"

static unsigned count_offers(const tarn_type *t, size_t *ret_text)
{
	unsigned n = 0;

	*ret_text = 0;
	for (const tarn_method *m = t->methods; m != NULL && m->name != NULL; m++)
		n++;
	for (const tarn_field *f = t->fields; f != NULL && f->name != NULL; f++) {
		/* "name=", and the two letters of the signatures */
		*ret_text += strlen(f->name) + 2 + 4;
		n += f->writable ? 2 : 1;
	}
	return n;
}

static uint64_t hash_text(const char *text, uint64_t seed)
{
	return text != NULL ? tarn__hash64(text, strlen(text) + 1, seed) : seed * 31 + 7;
}

/* All that a caller relies on. */
static uint64_t hash_of(const struct tarn__served *s)
{
	uint64_t h = hash_text(s->type->name, s->n_offers);

	h = hash_text(s->type->args, h);
	for (uint32_t i = 0; i < s->n_offers; i++) {
		const struct tarn__offer *o = &s->offer[i];

		h = hash_text(o->name, h);
		h = hash_text(o->args, h);
		h = hash_text(o->result, h);
	}
	return h;
}

static void offer_field(struct tarn__offer *o, const tarn_field *f, char **text)
{
	char *letter = *text;

	letter[0] = f->letter;
	letter[1] = '\0';
	*text += 2;
	o[0] = (struct tarn__offer){ .name = f->name, .fn = tarn__field_get,
				     .flags = TARN_METHOD_INLINE | TARN_METHOD_READ, .args = "",
				     .result = letter, .field = f };
	if (!f->writable)
		return;
	char *name = *text;
	size_t n = strlen(f->name);

	memcpy(name, f->name, n);
	memcpy(name + n, "=", 2);
	*text += n + 2;
	o[1] = (struct tarn__offer){ .name = name, .fn = tarn__field_set, .flags = TARN_METHOD_INLINE,
				     .args = letter, .result = "", .field = f };
}

static int serve(struct tarn__served *s, uint32_t index, struct tarn__entry *entry)
{
	const tarn_type *t = entry->type;
	uint64_t align = t->align > 16 ? t->align : 16;
	size_t bytes;

	s->type = t;
	s->index = index;
	s->entry = entry;
	s->header = (uint32_t)align; /* room for struct tarn__instance, and aligned */
	s->bytes = s->header + (t->size != 0 ? t->size : 1);
	s->own = strncmp(t->name, TARN__BUILTIN_PREFIX, strlen(TARN__BUILTIN_PREFIX)) == 0;
	/* Who can change it at any time is kept away by no gate. */
	s->in_place = s->own && t->concurrency == TARN_PARALLEL;
	s->n_offers = count_offers(t, &bytes);
	s->offer = calloc(s->n_offers + 1u, sizeof *s->offer);
	s->names = calloc(1, bytes + 1);
	if (s->offer == NULL || s->names == NULL)
		return tarn__fail(-ENOMEM, "No memory for type %s.", t->name);
	struct tarn__offer *o = s->offer;
	char *text = s->names;

	for (const tarn_method *m = t->methods; m != NULL && m->name != NULL; m++)
		*o++ = (struct tarn__offer){ .name = m->name, .fn = m->fn, .flags = m->flags,
					     .args = m->args, .result = m->result };
	for (const tarn_field *f = t->fields; f != NULL && f->name != NULL; f++) {
		offer_field(o, f, &text);
		o += f->writable ? 2 : 1;
	}
	s->describe = (struct tarn__offer){ .name = "describe", .fn = tarn__describe, .args = "",
					    .result = "s?",
					    .flags = TARN_METHOD_INLINE | TARN_METHOD_READ };
	for (uint32_t k = 0; k < s->n_offers; k++)
		s->offer[k].plain = tarn__signature_plain(s->offer[k].args);
	s->describe.plain = tarn__signature_plain(s->describe.args);
	s->hash = hash_of(s);
	return 0;
}

static int resolve(struct tarn__catalog *c, struct tarn__served *s)
{
	uint32_t i = 0;

	for (const tarn_method *m = s->type->methods; m != NULL && m->name != NULL; m++, i++) {
		if (m->result_type == NULL)
			continue;
		const struct tarn__served *t = tarn__catalog_find(c, m->result_type);

		if (t == NULL)
			return tarn__fail(-EINVAL, "Type %s, method %s: its result type %s is not "
					  "registered.", s->type->name, m->name, m->result_type);
		s->offer[i].result_type = t->index;
		/* The creator of the result runs with the method: where that may not, neither may this. */
		if (!(t->type->flags & (TARN_TYPE_INLINE | TARN_TYPE_ADOPT)))
			s->offer[i].flags &= ~(unsigned)TARN_METHOD_INLINE;
	}
	return 0;
}

static unsigned count_builtins(void)
{
	unsigned n = 0;

	while (tarn__builtin_types[n] != NULL)
		n++;
	return n;
}

/* Tarn's own types and the registry's, each with a reference. */
static int collect(tarn_registry *registry, struct tarn__entry ***ret, unsigned *ret_n)
{
	const unsigned own = count_builtins();
	struct tarn__entry **entry = NULL, **all;
	unsigned n = 0, done = 0;
	int r = tarn__registry_entries(registry, &entry, &n);

	if (r < 0)
		return r;
	all = calloc(own + n + 1u, sizeof(struct tarn__entry *));
	while (all != NULL && done < own && (all[done] = tarn__entry_new(tarn__builtin_types[done])) != NULL)
		done++;
	if (all == NULL || done < own) {
		while (done-- > 0)
			tarn__entry_unref(all[done]);
		for (unsigned i = 0; i < n; i++)
			tarn__entry_unref(entry[i]);
		free(all);
		free(entry);
		return tarn__fail(-ENOMEM, "No memory for the server's types.");
	}
	memcpy(all + own, entry, n * sizeof(struct tarn__entry *));
	free(entry);
	*ret = all;
	*ret_n = own + n;
	return 0;
}

int tarn__catalog_new(tarn_registry *registry, struct tarn__catalog **ret)
{
	struct tarn__catalog *c = calloc(1, sizeof *c);
	struct tarn__entry **entry = NULL;
	unsigned n = 0;
	int r = c != NULL ? collect(registry, &entry, &n)
			  : tarn__fail(-ENOMEM, "No memory for the server's types.");

	if (r < 0) {
		free(c);
		return r;
	}
	if (n >= UINT16_MAX)
		r = tarn__fail(-E2BIG, "%u types are registered; the most is %u.", n, UINT16_MAX - 1);
	c->served = calloc(n + 1u, sizeof *c->served);
	if (r == 0 && c->served == NULL)
		r = tarn__fail(-ENOMEM, "No memory for the server's types.");
	c->n = c->served != NULL ? n + 1 : 0;
	for (unsigned i = 0; i < n; i++) {
		if (r == 0)
			r = serve(&c->served[i + 1], i + 1, entry[i]);
		else
			tarn__entry_unref(entry[i]);
	}
	for (unsigned i = 1; r == 0 && i <= n; i++)
		r = resolve(c, &c->served[i]);
	free(entry);
	if (r < 0) {
		tarn__catalog_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void tarn__catalog_free(struct tarn__catalog *c)
{
	if (c == NULL)
		return;
	for (uint32_t i = 1; i < c->n; i++) {
		free(c->served[i].offer);
		free(c->served[i].names);
		tarn__entry_unref(c->served[i].entry);
	}
	free(c->served);
	free(c);
}

bool tarn__served_withdrawn(const struct tarn__served *t)
{
	/* SYNC entry, acquire. */
	return __atomic_load_n(&t->entry->withdrawn, __ATOMIC_ACQUIRE) != 0;
}

const struct tarn__served *tarn__catalog_find(const struct tarn__catalog *c, const char *name)
{
	for (uint32_t i = 1; i < c->n; i++)
		if (strcmp(c->served[i].type->name, name) == 0 && !tarn__served_withdrawn(&c->served[i]))
			return &c->served[i];
	return NULL;
}
