/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client is told of a server that is not the one meant, of another version, or lies: each time by a relay
 * between the two that changes one thing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/auth.h"
#include "shm/layout.h"
#include "tests/common/arena.h"
#include "tests/common/relay.h"
#include "tests/common/scene.h"

static const char key[] = "a key that nobody would find by chance";
static const tarn_client_options with_key = { .authkey = key, .authkey_bytes = sizeof key - 1 };

enum lie {
	ANOTHER_PROOF,
	ANOTHER_LAYOUT,
	NO_ARENA,
	TOO_FEW_DESCRIPTORS,
	SHORT_SEGMENT,
	ENDLESS_DIRECTORY,
	DIRECTORY_OF_NOTHING,
	DIRECTORY_OF_OLD,
};

struct liar {
	struct relay relay;
	enum lie lie;
	struct tarn__dir_entry *directory; /* what the client takes for DIR */
	size_t bytes;
};

/* A file for *fd that begins as the other does, mapped here for writing. */
static void *replace(int *fd, size_t *ret_bytes)
{
	struct stat st;

	PLAIN_EQ(fstat(*fd, &st), 0);
	const size_t bytes = (size_t)st.st_size;
	int copy = memfd_create("liar", MFD_CLOEXEC);
	PLAIN_CHECK(copy >= 0);
	PLAIN_EQ(ftruncate(copy, st.st_size), 0);
	void *from = mmap(NULL, bytes, PROT_READ, MAP_SHARED, *fd, 0);
	void *to = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, copy, 0);
	PLAIN_CHECK(from != MAP_FAILED && to != MAP_FAILED);
	/* Sparse, and large: DIR's entries are used from the first on. */
	memcpy(to, from, bytes < 1u << 20 ? bytes : 1u << 20);
	munmap(from, bytes);
	close(*fd);
	*fd = copy;
	*ret_bytes = bytes;
	return to;
}

static void lie_about_the_arena(struct liar *liar, struct tarn__answer *a, int *fds, unsigned *n_fds)
{
	size_t bytes;

	switch (liar->lie) {
	case ANOTHER_LAYOUT: {
		struct tarn__ctrl *ctrl = replace(&fds[0], &bytes);

		ctrl->layout = 0x1234;
		munmap(ctrl, bytes);
		break;
	}
	case NO_ARENA: {
		struct tarn__ctrl *ctrl = replace(&fds[0], &bytes);

		memset(ctrl, 0, bytes);
		munmap(ctrl, bytes);
		break;
	}
	case TOO_FEW_DESCRIPTORS:
		close(fds[--*n_fds]);
		a->n_fds = *n_fds;
		break;
	case SHORT_SEGMENT:
		a->value[6] += 1u << 20;
		break;
	case ENDLESS_DIRECTORY: /* in bytes it is 32 */
		a->value[3] = UINT64_MAX / sizeof(struct tarn__dir_entry) + 2;
		break;
	case DIRECTORY_OF_NOTHING:
	case DIRECTORY_OF_OLD:
		liar->directory = replace(&fds[1], &liar->bytes);
		if (liar->lie == DIRECTORY_OF_NOTHING)
			memset(liar->directory, 0, 1u << 20);
		break;
	case ANOTHER_PROOF:
		break;
	}
}

static void lie(struct relay *r, bool of_server, void *data, size_t bytes, int *fds, unsigned *n_fds)
{
	struct liar *liar = r->arg;
	struct tarn__answer *a = data;

	if (!of_server || bytes != sizeof *a)
		return;
	if (a->kind == TARN__CTL_PROVE && liar->lie == ANOTHER_PROOF)
		((unsigned char *)a->value)[TARN__MAC_BYTES - 1] ^= 1;
	else if (a->kind == TARN__CTL_ATTACH && *n_fds == TARN__CONTROL_FDS)
		lie_about_the_arena(liar, a, fds, n_fds);
}

static const char *liar_open(struct liar *liar, const struct scene *s, enum lie what)
{
	*liar = (struct liar){ .lie = what };
	relay_open(&liar->relay, s->name, lie, liar);
	return liar->relay.at.sun_path;
}

static void liar_close(struct liar *liar)
{
	relay_close(&liar->relay);
	if (liar->directory != NULL)
		munmap(liar->directory, liar->bytes);
}

PLAIN_TEST(a_server_that_cannot_prove_that_it_knows_the_key_is_not_the_one_that_was_meant)
{
	struct scene s = scene_open(&(tarn_server_options){ .arena_bytes = 8u << 20, .authkey = key,
							    .authkey_bytes = sizeof key - 1 });
	char path[128];
	struct liar liar;
	tarn_client *c = NULL;

	WRONG(tarn_client_open(liar_open(&liar, &s, ANOTHER_PROOF), &with_key, &c), TARN_EAUTH,
	      "cannot prove that it knows the authkey", "not the one that you mean");
	PLAIN_CHECK(c == NULL);
	liar_close(&liar);
	/* The end of the scene asks questions. */
	snprintf(path, sizeof path, "%s/key", plain_dir());
	FILE *f = fopen(path, "w");
	PLAIN_CHECK(f != NULL && fchmod(fileno(f), 0600) == 0 && fputs(key, f) >= 0 && fclose(f) == 0);
	PLAIN_EQ(setenv("TARN_AUTHKEY_FILE", path, 1), 0);
	scene_close(&s);
}

static void not_attached(const struct scene *s, enum lie what, int code, const char *text, const char *more)
{
	struct liar liar;
	tarn_client *c = NULL;
	const char *path = liar_open(&liar, s, what);
	const unsigned fds = arena_fds(getpid());

	WRONG(tarn_client_open(path, NULL, &c), code, text, more);
	PLAIN_CHECK(c == NULL);
	liar_close(&liar);
	PLAIN_EQ(arena_fds(getpid()), fds - 1); /* the relay's listener */
}

PLAIN_TEST(a_server_of_another_version_or_of_none_is_named_and_not_used)
{
	struct scene s = scene_open(NULL);

	not_attached(&s, ANOTHER_LAYOUT, TARN_EVERSION, "has layout 0000000000001234", tarn_version());
	not_attached(&s, ANOTHER_LAYOUT, TARN_EVERSION, "Use the same version on both sides", "relay");
	not_attached(&s, NO_ARENA, TARN_EVERSION, "has layout 0000000000000000", "Use the same version");
	not_attached(&s, TOO_FEW_DESCRIPTORS, TARN_EPROTO, "sent 5 descriptors", "not 6");
	not_attached(&s, SHORT_SEGMENT, TARN_EPROTO, "VIEW segment is smaller than", "bytes that the server says");
	scene_close(&s);
}

PLAIN_TEST(an_object_that_the_servers_directory_does_not_know_is_told_to_be_none)
{
	struct scene s = scene_open(NULL);
	tarn_channel *ch = NULL;
	struct liar liar;
	tarn_client *c;
	tarn_object *o = NULL;

	OK(tarn_client_open(liar_open(&liar, &s, DIRECTORY_OF_NOTHING), NULL, &c));
	WRONG(tarn_event_new(c, 0, &o), TARN_ESTALE, "no object with this reference");
	WRONG(tarn_channel_new(c, 16, NULL, &ch), TARN_ESTALE, "no channel with this reference");
	PLAIN_CHECK(o == NULL && ch == NULL);
	tarn_client_close(c);
	liar_close(&liar);
	scene_close(&s);
}

PLAIN_TEST(a_directory_with_more_entries_than_bytes_is_not_read_beyond_its_end)
{
	struct scene s = scene_open(NULL);
	struct liar liar;
	tarn_client *c;
	tarn_object *o = NULL;

	OK(tarn_client_open(liar_open(&liar, &s, ENDLESS_DIRECTORY), NULL, &c));
	WRONG(tarn_event_new(c, 0, &o), TARN_ESTALE, "no object with this reference");
	tarn_client_close(c);
	liar_close(&liar);
	scene_close(&s);
}

PLAIN_TEST(a_type_that_the_servers_directory_has_and_the_server_has_not_is_told_by_its_number)
{
	struct scene s = scene_open(NULL);
	tarn_client *honest = scene_client(&s), *c;
	struct liar liar;
	tarn_object *event, *o;

	OK(tarn_event_new(honest, 0, &event));
	OK(tarn_object_publish(event, "event", 0));
	OK(tarn_client_open(liar_open(&liar, &s, DIRECTORY_OF_OLD), NULL, &c));
	liar.directory[tarn__id_index(tarn_object_id(event))].state |= (uint64_t)0x7fff << TARN__DIR_TYPE_SHIFT;
	OK(tarn_object_lookup(c, "event", 0, &o));
	WRONG(tarn_event_set(o), TARN_ENOTYPE, "has no type number 32767");
	tarn_object_unref(o);
	tarn_client_close(c);
	liar_close(&liar);
	OK(tarn_object_unpublish(honest, "event"));
	tarn_object_unref(event);
	tarn_client_close(honest);
	scene_close(&s);
}

/* Whatever of an entry is wrong: what is used in place is looked up at its first use. */
PLAIN_TEST(an_instance_that_the_servers_directory_puts_nowhere_is_not_touched)
{
	static const struct tarn__dir_entry wrong[] = {
		{ .offset = UINT64_C(1) << 63 },
		{ .offset = UINT64_C(1) << 40 },
		{ .state = TARN__DIR_OBJECT },
		{ .state = (uint64_t)7 << TARN__DIR_TYPE_SHIFT },
		{ .id = UINT64_C(1) << 40 },
		{ 0 },
	};
	enum { N = sizeof wrong / sizeof *wrong };
	struct scene s = scene_open(NULL);
	tarn_client *honest = scene_client(&s), *c;
	tarn_object *event[N], *o;
	struct liar liar;
	char name[N][2];

	for (unsigned i = 0; i < N; i++) {
		memcpy(name[i], &(char[2]){ (char)('a' + i), '\0' }, 2);
		OK(tarn_event_new(honest, 0, &event[i]));
		OK(tarn_object_publish(event[i], name[i], 0));
	}
	OK(tarn_client_open(liar_open(&liar, &s, DIRECTORY_OF_OLD), NULL, &c));
	for (unsigned i = 0; i < N; i++) {
		struct tarn__dir_entry *e = &liar.directory[tarn__id_index(tarn_object_id(event[i]))];
		const bool right = i == N - 1;

		OK(tarn_object_lookup(c, name[i], 0, &o));
		e->id ^= wrong[i].id;
		e->offset += wrong[i].offset;
		e->state ^= wrong[i].state;
		if (right)
			OK(tarn_event_set(o));
		else
			WRONG(tarn_event_set(o), TARN_ESTALE, "no tarn.Event with this reference");
		PLAIN_EQ(tarn_event_is_set(event[i]), right);
		tarn_object_unref(o);
	}
	tarn_client_close(c);
	liar_close(&liar);
	for (unsigned i = 0; i < N; i++) {
		OK(tarn_object_unpublish(honest, name[i]));
		tarn_object_unref(event[i]);
	}
	tarn_client_close(honest);
	scene_close(&s);
}

PLAIN_MAIN()
