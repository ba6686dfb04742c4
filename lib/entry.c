/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of entries: ELF notes "Tarn", type 1, in whatever is loaded.
 *
 * Why notes and not constructors that register: the constructor that turns a fresh image
 * into a server runs before those of the executable (libtarn is its dependency), so it
 * would look into a table that is still empty. Notes are mapped before any code runs.
 */
#include "tarn/entry.h"

#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <string.h>

#define NOTE_ENTRY 1u

struct search {
	const char *name;
	tarn_entry_fn *found;
};

/* In @bytes of notes that begin at @p. All of this lies in a mapping that the linker made. */
static void look(const unsigned char *p, size_t bytes, size_t align, struct search *s)
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
		const char *name = (const char *)d + sizeof distance;
		if (h.n_type == NOTE_ENTRY && h.n_namesz == 5 &&
		    memcmp(p + sizeof h, "Tarn", 5) == 0 && h.n_descsz > sizeof distance &&
		    strnlen(name, h.n_descsz - sizeof distance) < h.n_descsz - sizeof distance &&
		    strcmp(name, s->name) == 0) {
			memcpy(&distance, d, sizeof distance);
			s->found = (tarn_entry_fn *)((uintptr_t)d + (uintptr_t)distance);
			return;
		}
		if (next >= bytes)
			return;
		p += next;
		bytes -= next;
	}
}

static int look_in_object(struct dl_phdr_info *o, size_t size, void *arg)
{
	struct search *s = arg;

	(void)size;
	for (unsigned i = 0; i < o->dlpi_phnum && s->found == NULL; i++) {
		const ElfW(Phdr) *h = &o->dlpi_phdr[i];

		if (h->p_type == PT_NOTE)
			look((const unsigned char *)(uintptr_t)(o->dlpi_addr + h->p_vaddr),
			     h->p_memsz, h->p_align >= 8 ? 8 : 4, s);
	}
	return s->found != NULL;
}

tarn_entry_fn *tarn_entry_find(const char *name)
{
	struct search s = { .name = name };

	if (name != NULL)
		dl_iterate_phdr(look_in_object, &s);
	return s.found;
}
