/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables of entries and types: ELF notes "Tarn", type 1 and 2, in whatever is loaded.
 *
 * Why notes and not constructors that register: the constructor that turns a fresh image
 * into a server runs before those of the executable (libtarn is its dependency), so it
 * would look into a table that is still empty. Notes are mapped before any code runs.
 */
#include "entry.h"

#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <string.h>

struct walk {
	uint32_t type;
	tarn__note_fn *fn;
	void *arg;
	bool done;
};

/* In @bytes of notes that begin at @p. All of this lies in a mapping that the linker made. */
static void look(const unsigned char *p, size_t bytes, size_t align, struct walk *w)
{
	while (bytes >= sizeof(ElfW(Nhdr))) {
		ElfW(Nhdr) h;
		int64_t distance;

		memcpy(&h, p, sizeof h);
		const size_t at = (sizeof h + h.n_namesz + align - 1) & ~(align - 1);
		const size_t next = (at + h.n_descsz + align - 1) & ~(align - 1);

		if (at + h.n_descsz > bytes || next == 0)
			return;
		const unsigned char *d = p + at;
		if (h.n_type == w->type && h.n_namesz == 5 &&
		    memcmp(p + sizeof h, "Tarn", 5) == 0 && h.n_descsz >= sizeof distance) {
			memcpy(&distance, d, sizeof distance);
			w->done = w->fn((void *)((uintptr_t)d + (uintptr_t)distance),
					(const char *)d + sizeof distance,
					h.n_descsz - sizeof distance, w->arg);
		}
		if (w->done)
			return;
		if (next >= bytes)
			return;
		p += next;
		bytes -= next;
	}
}

static int look_in_object(struct dl_phdr_info *o, size_t size, void *arg)
{
	struct walk *w = arg;

	(void)size;
	for (unsigned i = 0; i < o->dlpi_phnum && !w->done; i++) {
		const ElfW(Phdr) *h = &o->dlpi_phdr[i];

		if (h->p_type == PT_NOTE)
			look((const unsigned char *)(uintptr_t)(o->dlpi_addr + h->p_vaddr),
			     h->p_memsz, h->p_align >= 8 ? 8 : 4, w);
	}
	return w->done;
}

void tarn__notes_walk(uint32_t type, tarn__note_fn *fn, void *arg)
{
	struct walk w = { .type = type, .fn = fn, .arg = arg };

	dl_iterate_phdr(look_in_object, &w);
}

/* ---- entries ---- */

struct search {
	const char *name;
	void *found;
};

static bool is_entry(void *target, const char *text, size_t bytes, void *arg)
{
	struct search *s = arg;

	if (strnlen(text, bytes) == bytes || strcmp(text, s->name) != 0)
		return false;
	s->found = target;
	return true;
}

static void *find(uint32_t note, const char *name)
{
	struct search s = { .name = name };

	if (name != NULL)
		tarn__notes_walk(note, is_entry, &s);
	return s.found;
}

tarn_entry_fn *tarn_entry_find(const char *name)
{
	return (tarn_entry_fn *)find(TARN__NOTE_ENTRY, name);
}

tarn__worker_entry *tarn__worker_find(const char *name)
{
	return (tarn__worker_entry *)find(TARN__NOTE_WORKER, name);
}
