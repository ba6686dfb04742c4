/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stack of a fault: addresses as (build id of the module, offset in it), which mean the
 * same in every process and after this one is gone. Names are looked for by who reads them.
 *
 * glibc's backtrace() costs about 1.6 us, reads unwind tables and so needs no frame pointers.
 */
#include <dlfcn.h>
#include <elf.h>
#include <execinfo.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"

#define LIBRARY_FRAMES 8u /* of ours, inside the place that throws */
#define ADDRESSES (TARN_FRAMES_MAX + LIBRARY_FRAMES)

/* The build id among the notes of a module; its length, 0: it has none. */
static size_t build_id_of(const struct dl_phdr_info *info, const unsigned char **ret_id)
{
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *h = &info->dlpi_phdr[i];
		const unsigned char *p = (const unsigned char *)(info->dlpi_addr + h->p_vaddr);
		const unsigned char *end = p + h->p_memsz;

		if (h->p_type != PT_NOTE || h->p_memsz > 65536)
			continue;
		while ((size_t)(end - p) > sizeof(ElfW(Nhdr))) {
			ElfW(Nhdr) note;
			size_t name, desc;

			memcpy(&note, p, sizeof note);
			name = tarn__round_up(note.n_namesz, 4);
			desc = tarn__round_up(note.n_descsz, 4);
			p += sizeof note;
			if (name > (size_t)(end - p) || desc > (size_t)(end - p) - name)
				break;
			if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
			    memcmp(p, "GNU", 4) == 0 && note.n_descsz <= TARN__BUILD_ID_MAX) {
				*ret_id = p + name;
				return note.n_descsz;
			}
			p += name + desc;
		}
	}
	return 0;
}

struct lookup {
	void *const *address;
	struct tarn__frame *frames;
	size_t n;
};

static char *module_name(const struct dl_phdr_info *info)
{
	char path[PATH_MAX];
	ssize_t n;

	if (info->dlpi_name != NULL && info->dlpi_name[0] != '\0')
		return strdup(info->dlpi_name);
	n = readlink("/proc/self/exe", path, sizeof path - 1);
	if (n <= 0)
		return NULL;
	path[n] = '\0';
	return strdup(path);
}

static bool contains(const struct dl_phdr_info *info, uintptr_t address)
{
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *h = &info->dlpi_phdr[i];

		if (h->p_type == PT_LOAD && address - (info->dlpi_addr + h->p_vaddr) < h->p_memsz)
			return true;
	}
	return false;
}

/* One call per module: fills the frames that lie in it. */
static int fill(struct dl_phdr_info *info, size_t bytes, void *user)
{
	const struct lookup *l = user;
	const unsigned char *id = NULL;
	size_t id_bytes = 0;
	bool read_id = false;

	(void)bytes;
	for (size_t i = 0; i < l->n; i++) {
		/* A return address is behind the call, perhaps behind its function. */
		uintptr_t address = (uintptr_t)l->address[i] - 1;
		struct tarn__frame *f = &l->frames[i];

		if (f->module != NULL || !contains(info, address))
			continue;
		if (!read_id)
			id_bytes = build_id_of(info, &id);
		read_id = true;
		f->module = module_name(info);
		f->offset = address - info->dlpi_addr;
		f->build_id_bytes = (uint8_t)id_bytes;
		if (id_bytes > 0)
			memcpy(f->build_id, id, id_bytes);
	}
	return 0;
}

/* The linker's: where the functions begin and end that call methods. NULL where there are none. */
extern const char __start_tarn_calls_methods[] __attribute__((weak, visibility("hidden")));
extern const char __stop_tarn_calls_methods[] __attribute__((weak, visibility("hidden")));

static bool calls_methods(const void *return_address)
{
	uintptr_t at = (uintptr_t)return_address - 1;

	return at >= (uintptr_t)__start_tarn_calls_methods && at < (uintptr_t)__stop_tarn_calls_methods;
}

size_t tarn__stack_take(const void *caller, struct tarn__frame *ret_frames)
{
	void *address[ADDRESSES];
	int n = backtrace(address, ADDRESSES), first = 0;
	struct lookup l;

	/* Inlining decides how many frames of ours come first: look for the caller. */
	for (int i = 0; i < n && i < (int)LIBRARY_FRAMES; i++)
		if (address[i] == caller)
			first = i;
	for (int i = first; i < n; i++)
		if (calls_methods(address[i]))
			n = i;
	n -= first;
	if (n > (int)TARN_FRAMES_MAX)
		n = (int)TARN_FRAMES_MAX;
	if (n <= 0)
		return 0;
	memset(ret_frames, 0, (size_t)n * sizeof *ret_frames);
	l = (struct lookup){ address + first, ret_frames, (size_t)n };
	dl_iterate_phdr(fill, &l);
	return (size_t)n;
}

void tarn__stack_prepare(void)
{
	void *address[2];

	backtrace(address, 2);
}

struct by_id {
	const unsigned char *id;
	size_t bytes;
	uintptr_t base;
	bool found;
};

static int find_id(struct dl_phdr_info *info, size_t bytes, void *user)
{
	struct by_id *b = user;
	const unsigned char *id;

	(void)bytes;
	if (build_id_of(info, &id) != b->bytes || memcmp(id, b->id, b->bytes) != 0)
		return 0;
	b->base = info->dlpi_addr;
	b->found = true;
	return 1;
}

const void *tarn__stack_address(const unsigned char *build_id, size_t build_id_bytes,
				uint64_t offset)
{
	struct by_id b = { .id = build_id, .bytes = build_id_bytes };

	if (build_id_bytes == 0)
		return NULL;
	dl_iterate_phdr(find_id, &b);
	return b.found ? (const void *)(b.base + offset) : NULL;
}
