/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/error.h"
#include "shm/layout.h"
#include "shm/segment.h"

#define ARENA_LEAST (1u << 20)
#define KEY_LEAST 16u
#define KEY_MOST 1024u
#define LIST_MOST 1024u     /* users, groups */
#define ARGUMENT_MOST (1u << 20)
#define TEXT_MOST 4096u
#define PROCESS_NAME_MOST 15u /* as the kernel has it */

/* ---- what is wrong with them ---- */

static int check_memory(const tarn_server_options *o)
{
	if (o->arena_bytes != 0 && o->arena_bytes < ARENA_LEAST)
		return tarn__fail(-EINVAL, "an arena of %llu bytes was asked for; the least is %u",
				  (unsigned long long)o->arena_bytes, ARENA_LEAST);
	if (o->arena_bytes > TARN__SIZE_MAX)
		return tarn__fail(-EINVAL, "an arena of %llu bytes was asked for; the most is %llu",
				  (unsigned long long)o->arena_bytes,
				  (unsigned long long)TARN__SIZE_MAX);
	if (o->max_blocks > TARN__INDEX_MASK)
		return tarn__fail(-EINVAL, "%llu blocks were asked for; the most is %u",
				  (unsigned long long)o->max_blocks, TARN__INDEX_MASK);
	if (o->backing > TARN_BACKING_MEMFD || o->io > TARN_IO_EPOLL)
		return tarn__fail(-EINVAL, "unknown backing %d or event loop %d", (int)o->backing,
				  (int)o->io);
	if (o->keep_names && o->backing == TARN_BACKING_MEMFD)
		return tarn__fail(-EINVAL, "names are to be kept, but memfds have none: take POSIX "
				  "shared memory");
	return 0;
}

static int check_access(const tarn_server_options *o)
{
	if ((o->allow_uids == NULL && o->n_allow_uids != 0) ||
	    (o->allow_gids == NULL && o->n_allow_gids != 0))
		return tarn__fail(-EINVAL, "users or groups are announced, but there is no list");
	if (o->n_allow_uids > LIST_MOST || o->n_allow_gids > LIST_MOST)
		return tarn__fail(-EINVAL, "%zu users and %zu groups are to be allowed; at most %u "
				  "are possible", o->n_allow_uids, o->n_allow_gids, LIST_MOST);
	if (o->authkey == NULL ? o->authkey_bytes != 0
			       : o->authkey_bytes < KEY_LEAST || o->authkey_bytes > KEY_MOST)
		return tarn__fail(-EINVAL, "the authkey has %zu bytes; %u to %u are possible (whoever "
				  "records a proof can try short ones at leisure)", o->authkey_bytes,
				  KEY_LEAST, KEY_MOST);
	return 0;
}

static int check_life(const tarn_server_options *o)
{
	if (o->lifetime > TARN_LIFETIME_DETACHED)
		return tarn__fail(-EINVAL, "unknown lifetime %d", (int)o->lifetime);
	if (o->name != NULL && o->name[0] == '\0')
		return tarn__fail(-EINVAL, "the server name is empty (NULL asks for a fresh one)");
	if (o->name != NULL && strlen(o->name) > 107)
		return tarn__fail(-ENAMETOOLONG, "the server name \"%.40s...\" is longer than 107",
				  o->name);
	if (o->process_name != NULL && strlen(o->process_name) > PROCESS_NAME_MOST)
		return tarn__fail(-ENAMETOOLONG, "the process name \"%.40s\" is longer than %u bytes",
				  o->process_name, PROCESS_NAME_MOST);
	if (o->process_name != NULL && o->process_name[0] == '\0')
		return tarn__fail(-EINVAL, "the process name is empty");
	if (o->cpus != NULL && strlen(o->cpus) > TEXT_MOST)
		return tarn__fail(-EINVAL, "the list of CPUs is longer than %u bytes", TEXT_MOST);
	if (o->initializer != NULL && strlen(o->initializer) > TEXT_MOST)
		return tarn__fail(-EINVAL, "the initializer's name is longer than %u bytes", TEXT_MOST);
	if (o->initializer_arg_bytes > ARGUMENT_MOST ||
	    (o->initializer_arg == NULL && o->initializer_arg_bytes != 0))
		return tarn__fail(-EINVAL, "the initializer's argument has %zu bytes; at most %u are "
				  "possible", o->initializer_arg_bytes, ARGUMENT_MOST);
	if (o->log_level < 0 || o->log_level > 7)
		return tarn__fail(-EINVAL, "unknown log level %d", o->log_level);
	return 0;
}

int tarn__options_check(const tarn_server_options *o)
{
	int r = check_memory(o);

	if (r == 0)
		r = check_access(o);
	return r == 0 ? check_life(o) : r;
}

/* ---- in one piece ---- */

/* What an option points to, and how much of it. */
struct part {
	const void **at;
	size_t bytes;
};
#define PARTS 8u

static size_t text_bytes(const char *text)
{
	return text != NULL ? strlen(text) + 1 : 0;
}

/* Of options whose pointers are pointers, unless @placed: then texts are not looked at. */
static void list_parts(tarn_server_options *o, bool placed, struct part part[PARTS])
{
	const struct part list[PARTS] = {
		/* Numbers first, for their alignment. */
		{ (const void **)&o->allow_uids, o->n_allow_uids * sizeof *o->allow_uids },
		{ (const void **)&o->allow_gids, o->n_allow_gids * sizeof *o->allow_gids },
		{ (const void **)&o->authkey, o->authkey_bytes },
		{ (const void **)&o->initializer_arg, o->initializer_arg_bytes },
		{ (const void **)&o->name, placed ? 0 : text_bytes(o->name) },
		{ (const void **)&o->process_name, placed ? 0 : text_bytes(o->process_name) },
		{ (const void **)&o->cpus, placed ? 0 : text_bytes(o->cpus) },
		{ (const void **)&o->initializer, placed ? 0 : text_bytes(o->initializer) },
	};

	memcpy(part, list, sizeof list);
}

struct tarn__packed *tarn__options_pack(const tarn_server_options *o)
{
	tarn_server_options copy = *o;
	struct part part[PARTS];
	size_t bytes = 0, at = 0;

	list_parts(&copy, false, part);
	for (unsigned i = 0; i < PARTS; i++)
		bytes += part[i].bytes;
	struct tarn__packed *p = calloc(1, sizeof *p + bytes);
	if (p == NULL)
		return NULL;
	for (unsigned i = 0; i < PARTS; i++) {
		if (part[i].bytes != 0)
			memcpy(p->data + at, *part[i].at, part[i].bytes);
		*part[i].at = part[i].bytes != 0 ? (const void *)(uintptr_t)(at + 1) : NULL;
		at += part[i].bytes;
	}
	copy.log = NULL;
	copy.log_arg = copy.event_arg = NULL;
	copy.event = NULL;
	copy.ready_fd = copy.listen_fd = 0;
	p->o = copy;
	p->bytes = sizeof *p + bytes;
	return p;
}

bool tarn__options_unpack(struct tarn__packed *p, size_t bytes)
{
	struct part part[PARTS];

	if (bytes < sizeof *p || p->bytes != bytes)
		return false;
	const size_t room = bytes - sizeof *p;
	list_parts(&p->o, true, part);
	for (unsigned i = 0; i < PARTS; i++) {
		const size_t place = (size_t)(uintptr_t)*part[i].at;

		if (place == 0)
			continue;
		if (place > room || part[i].bytes > room - (place - 1))
			return false;
		*part[i].at = p->data + place - 1;
	}
	return true;
}

void tarn__options_free(struct tarn__packed *p)
{
	if (p == NULL)
		return;
	explicit_bzero(p, p->bytes);
	free(p);
}
