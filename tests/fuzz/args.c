/* SPDX-License-Identifier: Apache-2.0 */
#include "args.h"

#include <string.h>

#include "lib/value/value.h"

static const char letters[] = "nbiqIQdsSyBOC[{v";

static void put(struct args *a, uint64_t slot[2], char letter, unsigned depth);

/* Where @n words of the heap begin, in bytes; UINT64_MAX: there is no room. */
static uint64_t room(struct args *a, unsigned n)
{
	uint64_t at = 8ull * a->n_heap;

	if (a->n_heap + n > ARGS_HEAP)
		return UINT64_MAX;
	memset(a->heap + a->n_heap, 0, 8ull * n);
	a->n_heap += n;
	return at;
}

static void put_text(struct args *a, uint64_t slot[2], enum tarn_kind kind)
{
	unsigned how = take8(a->in), n = how & 0x80 ? (how & 0x7f) * 2 : how % 24;
	char text[256];

	memset(text, 'a' + (int)(how & 3), n);
	text[n] = '\0';
	slot[0] = tarn__slot_head(kind, 0, n);
	slot[1] = 0;
	if (n <= 7) {
		memcpy(&slot[1], text, n);
		return;
	}
	slot[1] = room(a, n / 8 + 1);
	if (slot[1] == UINT64_MAX)
		slot[0] = tarn__slot_head(TARN_KIND_NIL, 0, 0);
	else
		memcpy((char *)a->heap + slot[1], text, n + 1);
}

static void put_ref(struct args *a, uint64_t slot[2], enum tarn_kind kind)
{
	uint64_t *ref = &a->refs[2 * a->n_refs];

	slot[1] = 0;
	slot[0] = tarn__slot_head(TARN_KIND_NIL, 0, 0);
	if (a->n_refs == ARGS_REFS)
		return;
	ref[0] = a->ref(a->arg, kind, &ref[1]);
	slot[0] = tarn__slot_head(kind, a->n_refs++, 0);
}

static void put_many(struct args *a, uint64_t slot[2], bool map, unsigned depth)
{
	unsigned n = depth > 4 ? 0 : take8(a->in) & 3, slots = map ? 2 * n : n;
	uint64_t at = room(a, 2 * slots);

	slot[0] = tarn__slot_head(at == UINT64_MAX ? TARN_KIND_NIL
				  : map		   ? TARN_KIND_MAP
						   : TARN_KIND_LIST,
				  0, n);
	slot[1] = at;
	for (unsigned i = 0; i < slots && at != UINT64_MAX; i++)
		put(a, &a->heap[at / 8 + 2 * i], map && i % 2 == 0 ? "sq"[i / 2 % 2] : 'v',
		    depth + 1);
}

static void put(struct args *a, uint64_t slot[2], char letter, unsigned depth)
{
	switch (letter) {
	case 'b':
		slot[0] = tarn__slot_head(TARN_KIND_BOOL, 0, 0);
		slot[1] = take8(a->in) & 1;
		return;
	case 'i':
	case 'q':
		slot[0] = tarn__slot_head(TARN_KIND_INT, 0, 0);
		slot[1] = a->word(a->arg);
		return;
	case 'I':
	case 'Q':
	case 'd':
		slot[0] = tarn__slot_head(letter == 'd' ? TARN_KIND_DOUBLE : TARN_KIND_UINT, 0, 0);
		slot[1] = a->word(a->arg);
		return;
	case 's':
	case 'S':
		put_text(a, slot, TARN_KIND_STRING);
		return;
	case 'y':
		put_text(a, slot, TARN_KIND_BYTES);
		return;
	case 'B':
		put_ref(a, slot, TARN_KIND_BLOCK);
		return;
	case 'O':
		put_ref(a, slot, TARN_KIND_OBJECT);
		return;
	case 'C':
		put_ref(a, slot, TARN_KIND_CHANNEL);
		return;
	case '[':
	case '{':
		put_many(a, slot, letter == '{', depth);
		return;
	case 'v':
		put(a, slot, letters[take8(a->in) % 15], depth);
		return;
	default:
		slot[0] = tarn__slot_head(TARN_KIND_NIL, 0, 0);
		slot[1] = 0;
	}
}

static void put_top(struct args *a, char letter)
{
	if (a->n < ARGS_TOP) {
		put(a, &a->top[2 * a->n], letter, 0);
		a->n++;
	}
}

/* Behind what the bracket at @p closes. */
static const char *skip(const char *p)
{
	unsigned depth = 0;

	do {
		depth += *p == '[' || *p == '{';
		depth -= *p == ']' || *p == '}';
	} while (*p++ != '\0' && depth != 0);
	return p;
}

void args_make(struct args *a, const char *signature)
{
	unsigned how = take8(a->in);

	a->n = a->n_heap = a->n_refs = 0;
	if (signature == NULL || how >= 240) {
		for (unsigned n = how % 5; n > 0; n--)
			put_top(a, 'v');
		return;
	}
	for (const char *p = signature; *p != '\0';) {
		char letter = *p;

		if (letter == '|' && (how & 1))
			return;
		p = letter == '[' || letter == '{' ? skip(p) : p + 1;
		if (strchr(letters, letter) == NULL)
			continue;
		put_top(a, *p == '?' && (how & 2) ? 'n' : letter);
		for (unsigned n = how >> 2 & 3; *p == '*' && n > 0; n--)
			put_top(a, letter);
	}
}

unsigned args_words(const struct args *a, uint64_t *ret)
{
	memcpy(ret, a->top, 16ull * a->n);
	memcpy(ret + 2 * a->n, a->heap, 8ull * a->n_heap);
	return 2 * a->n + a->n_heap;
}
