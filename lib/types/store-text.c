/* SPDX-License-Identifier: Apache-2.0 */
/* Contents of containers as text, for people. */
#include "contents.h"

#include <stdio.h>
#include <string.h>

#include "lib/value/text.h"
#include "shm/id.h"

#define SHOWN 12u /* elements */

/* One after which more could follow in a line for people. */
static void put_cell(struct tarn__text *t, const struct tarn__view *v, const uint64_t *cell)
{
	unsigned kind = tarn__head_kind(cell[0]);
	char text[80];
	tarn_builder b;
	tarn_parcel p;
	int n = -1;

	if (tarn__kind_is_ref(kind)) {
		tarn__text_printf(t, "<%s %u:%llu>", tarn_kind_name((enum tarn_kind)kind),
				  tarn__id_index(cell[1]), (unsigned long long)tarn__id_generation(cell[1]));
		return;
	}
	tarn_builder_init(&b);
	if (kind == TARN_KIND_STRING || kind == TARN_KIND_BYTES) {
		const void *data = cell[0] & TARN__CELL_BLOB ? (void *)tarn__blob(v, cell[1])->data
							     : &cell[1];
		size_t bytes = (size_t)(cell[0] >> 32);

		/* More is cut off anyway. */
		bytes = bytes < sizeof text ? bytes : sizeof text;
		n = kind == TARN_KIND_STRING ? tarn_put_string_n(&b, data, bytes)
					     : tarn_put_bytes(&b, data, bytes);
	} else if (cell[0] & TARN__CELL_BLOB) {
		const struct tarn__blob *blob = tarn__blob(v, cell[1]);

		if (blob->n_refs == 0 && tarn__parcel_lend(&p, blob->data, (uint32_t)(blob->size / 8), 1,
							   NULL, 0, false) == 0) {
			n = tarn_value_format(tarn_parcel_at(&p, 0), text, sizeof text);
			tarn__text_string(t, text);
			tarn__text_string(t, n >= (int)sizeof text ? "..." : "");
			tarn_builder_fini(&b);
			return;
		}
	} else {
		n = tarn_put_slot(&b, cell[0], cell[1]);
	}
	if (n == 0 && tarn_parcel_from(&b, &p) == 0) {
		n = tarn_value_format(tarn_parcel_at(&p, 0), text, sizeof text);
		tarn__text_string(t, text);
		tarn__text_string(t, n >= (int)sizeof text ? "..." : "");
		tarn_parcel_fini(&p);
	} else {
		tarn__text_printf(t, "%s of %u with references", tarn_kind_name((enum tarn_kind)kind),
				  tarn__head_length(cell[0]));
	}
	tarn_builder_fini(&b);
}

int tarn__store_describe(struct tarn__store *s, uint64_t id, char *text, size_t bytes)
{
	struct tarn__text t = { .text = text, .bytes = bytes };
	uint64_t words[TARN__ENTRY_WORDS];
	struct tarn__sight sight;

	/* Lines beyond are not there. */
	if (tarn__id_index(id) >= tarn__store_roots(s) ||
	    !tarn__view_begin(tarn__store_view(s), tarn__id_index(id), id, &sight))
		return -ENOENT;
	bool entries = sight.root.order != 0 &&
		       tarn__node(sight.view, sight.root.order)->form == TARN__FORM_ENTRIES;
	uint64_t from = sight.root.kind >= TARN__CONTENT_CELLS ? sight.root.next : 0, k;

	tarn__text_char(&t, entries ? '{' : '[');
	for (k = from; k < sight.root.count && k < from + SHOWN; k++) {
		if (!tarn__tree_at(&sight, sight.root.order, k,
				   entries ? TARN__ENTRY_WORDS : TARN__CELL_WORDS, words))
			return -EUCLEAN;
		tarn__text_string(&t, k > from ? ", " : "");
		put_cell(&t, sight.view, entries ? words + 1 : words);
		if (entries) {
			tarn__text_string(&t, ": ");
			put_cell(&t, sight.view, words + 3);
		}
	}
	if (k < sight.root.count)
		tarn__text_printf(&t, ", ... %llu in all", (unsigned long long)(sight.root.count - from));
	tarn__text_char(&t, entries ? '}' : ']');
	return tarn__text_end(&t);
}
