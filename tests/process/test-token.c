/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens: their text (P3), what they are worth to whom (P4, P5), and their terms.
 */
#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/client/client.h"
#include "shm/hash.h"
#include "tests/common/scene.h"
#include "tests/common/user.h"

/* A client with a block of 1000 known bytes. */
struct issuer {
	struct scene s;
	tarn_client *c;
	tarn_block *b;
};

static void fill(tarn_block *b)
{
	for (size_t i = 0; i < 1000; i++)
		((unsigned char *)tarn_block_data(b))[i] = (unsigned char)(i * 7);
}

static void check_filled(const tarn_block *b)
{
	PLAIN_EQ(tarn_block_size(b), 1000);
	for (size_t i = 0; i < 1000; i++)
		PLAIN_EQ(((const unsigned char *)tarn_block_data(b))[i], (unsigned char)(i * 7));
}

static struct issuer issuer_open(const tarn_server_options *o)
{
	struct issuer u = { .s = scene_open(o) };

	u.c = scene_client(&u.s);
	OK(tarn_block_new(u.c, 1000, 0, &u.b));
	fill(u.b);
	return u;
}

static void issuer_close(struct issuer *u)
{
	tarn_block_unref(u->b);
	tarn_client_close(u->c);
	scene_close(&u->s);
}

/* ---- P3: the text ---- */

PLAIN_TEST(p3_a_token_survives_its_text_form)
{
	const tarn_export_options o = { .uses = 10 };
	struct issuer u = issuer_open(NULL);
	char text[TARN_TOKEN_TEXT_BYTES];
	tarn_token t, back;

	OK(tarn_block_export(u.b, &o, &t));
	tarn_token_format(&t, text);
	PLAIN_EQ(strlen(text), TARN_TOKEN_TEXT_BYTES - 1);
	PLAIN_EQ(strspn(text + 6, "0123456789abcdef"), 128);
	OK(tarn_token_parse(text, &back));
	PLAIN_EQ(memcmp(&t, &back, sizeof t), 0);
	for (int i = 0; i < 10; i++) {
		tarn_client *other = scene_client(&u.s);
		tarn_block *b;

		OK(tarn_block_import(other, &back, &b));
		PLAIN_EQ(tarn_block_id(b), tarn_block_id(u.b));
		check_filled(b);
		tarn_block_unref(b);
		tarn_client_close(other);
	}
	issuer_close(&u);
}

PLAIN_TEST(p3_every_wrong_character_is_refused)
{
	struct issuer u = issuer_open(NULL);
	char text[TARN_TOKEN_TEXT_BYTES], bad[TARN_TOKEN_TEXT_BYTES + 2];
	tarn_token t, back;

	OK(tarn_block_export(u.b, NULL, &t));
	tarn_token_format(&t, text);
	for (size_t at = 0; at < sizeof text - 1; at++) {
		for (int c = 1; c < 256; c++) {
			memcpy(bad, text, sizeof text);
			bad[at] = (char)c;
			memset(&back, 0x55, sizeof back);
			int r = tarn_token_parse(bad, &back);
			/* Upper case is the same digit. */
			if (at >= 6 && isupper(c) && tolower(c) == text[at])
				PLAIN_CHECK(r == 0 && memcmp(&t, &back, sizeof t) == 0);
			else if ((char)c != text[at])
				PLAIN_CHECKF(r == -EINVAL && back.bytes[0] == 0x55,
					     "character %zu may be 0x%02x", at, c);
			else
				OK(r);
		}
	}
	/* Two digits exchanged. */
	for (size_t at = 6; at + 1 < sizeof text - 1; at++) {
		memcpy(bad, text, sizeof text);
		bad[at] = text[at + 1];
		bad[at + 1] = text[at];
		if (bad[at] != text[at])
			FAILS(tarn_token_parse(bad, &back), EINVAL);
	}
	for (size_t n = 0; n < sizeof text - 1; n++) {
		memcpy(bad, text, n);
		bad[n] = '\0';
		FAILS(tarn_token_parse(bad, &back), EINVAL);
	}
	snprintf(bad, sizeof bad, "%s0", text);
	FAILS(tarn_token_parse(bad, &back), EINVAL);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "135") != NULL);
	FAILS(tarn_token_parse(NULL, &back), EINVAL);
	issuer_close(&u);
}

PLAIN_TEST(p3_every_flipped_bit_of_the_bytes_is_refused)
{
	struct issuer u = issuer_open(NULL);
	tarn_token t, bad;
	tarn_block *b;

	OK(tarn_block_export(u.b, NULL, &t));
	for (unsigned bit = 0; bit < 8 * sizeof t; bit++) {
		bad = t;
		bad.bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
		FAILS(tarn_block_import(u.c, &bad, &b), EINVAL);
		FAILS(tarn_token_revoke(u.c, &bad), EINVAL);
	}
	OK(tarn_block_import(u.c, &t, &b)); /* its use is still there */
	tarn_block_unref(b);
	issuer_close(&u);
}

/* ---- forgery: whoever knows the format can make the checksum right ---- */

struct wire {
	char magic[4];
	uint8_t version, kind, zero[2];
	uint64_t uuid[2], id, nonce[2], spare, sum;
};

static tarn_token sealed(struct wire w)
{
	tarn_token t;

	w.sum = tarn__hash64(&w, offsetof(struct wire, sum), 0x6e656b6f74ull);
	memcpy(&t, &w, sizeof t);
	return t;
}

static struct wire opened(const tarn_token *t)
{
	struct wire w;

	memcpy(&w, t, sizeof w);
	return w;
}

static void refused(struct issuer *u, struct wire w, int code)
{
	tarn_token t = sealed(w);
	tarn_block *b = NULL;

	/* Each time, not only the first. */
	for (int i = 0; i < 3; i++) {
		PLAIN_EQ(tarn_block_import(u->c, &t, &b), code);
		PLAIN_EQ(tarn_token_revoke(u->c, &t), code);
	}
	PLAIN_CHECK(b == NULL);
}

PLAIN_TEST(p3_a_forged_token_opens_nothing)
{
	struct issuer u = issuer_open(NULL);
	uint64_t random = scene_now() | 1;
	tarn_block *other, *b;
	tarn_channel *ch;
	tarn_token t;

	OK(tarn_block_new(u.c, 1000, 0, &other));
	OK(tarn_block_export(other, NULL, &t));
	OK(tarn_block_export(u.b, NULL, &t));
	struct wire w = opened(&t), f;

	tarn_token same = sealed(w);
	PLAIN_EQ(memcmp(&same, &t, sizeof t), 0); /* this test knows the format */
	for (unsigned bit = 0; bit < 128; bit++) {
		f = w;
		f.nonce[bit / 64] ^= 1ull << bit % 64;
		refused(&u, f, -TARN_ESTALE);
	}
	for (int i = 0; i < 1000; i++) {
		f = w;
		f.nonce[0] = scene_random(&random);
		f.nonce[1] = scene_random(&random);
		f.id = i % 2 ? w.id : tarn_block_id(other);
		refused(&u, f, -TARN_ESTALE);
	}
	f = w;
	f.id = tarn_block_id(other); /* the nonce of another export */
	refused(&u, f, -TARN_ESTALE);
	f = w;
	f.id += 1ull << 28; /* another generation */
	refused(&u, f, -TARN_ESTALE);
	f = w;
	f.id -= 1ull << 28;
	refused(&u, f, -TARN_ESTALE);
	f = w;
	f.uuid[1] ^= 1;
	refused(&u, f, -EXDEV);
	f = w;
	f.version = 2;
	refused(&u, f, -EINVAL);
	f = w;
	f.kind = 77;
	refused(&u, f, -EINVAL);
	/* A block's token dressed as a channel's. */
	f = w;
	f.kind = 2;
	tarn_token dressed = sealed(f);
	FAILS(tarn_block_import(u.c, &dressed, &b), TARN_EKIND);
	FAILS(tarn_channel_import(u.c, &t, &ch), TARN_EKIND);
	FAILS(tarn_channel_import(u.c, &dressed, &ch), TARN_ESTALE);
	scene_settle(&u.s);
	PLAIN_EQ(scene_units(&u.s, tarn_block_id(u.b), TARN_CLAIM_HELD, 0), 1);
	check_filled(u.b);
	tarn_block_unref(other);
	issuer_close(&u);
}

PLAIN_TEST(p3_a_token_of_another_arena_is_told_apart)
{
	struct issuer u = issuer_open(NULL), v = issuer_open(NULL);
	tarn_channel *ch;
	tarn_block *b;
	tarn_token t;

	OK(tarn_block_export(u.b, NULL, &t));
	FAILS(tarn_block_import(v.c, &t, &b), EXDEV);
	FAILS(tarn_token_revoke(v.c, &t), EXDEV);
	OK(tarn_channel_new(u.c, 4, NULL, &ch));
	FAILS(tarn_channel_send(ch, v.b, 0, 0), EXDEV);
	FAILS(tarn_channel_give(ch, v.b, 0, 0), EXDEV);
	tarn_channel_unref(ch);
	issuer_close(&u);
	issuer_close(&v);
}

/* ---- P4, P5: no secret in it, worth nothing to strangers ---- */

PLAIN_TEST(p4_a_token_holds_the_arenas_name_an_id_a_nonce_and_nothing_else)
{
	struct issuer u = issuer_open(NULL);
	tarn_token t, second;

	OK(tarn_block_export(u.b, NULL, &t));
	OK(tarn_block_export(u.b, NULL, &second));
	struct wire a = opened(&t), b = opened(&second);

	PLAIN_CHECK(memcmp(a.magic, "tarn", 4) == 0 && a.version == 1 && a.kind == 1);
	PLAIN_CHECK(a.zero[0] == 0 && a.zero[1] == 0 && a.spare == 0);
	PLAIN_CHECK(a.uuid[0] == u.c->ctrl->uuid[0] && a.uuid[1] == u.c->ctrl->uuid[1]);
	PLAIN_EQ(a.id, tarn_block_id(u.b));
	PLAIN_CHECK(a.nonce[0] != b.nonce[0] && a.nonce[1] != b.nonce[1]);
	issuer_close(&u);
}

/* Who has found out where the sockets are. */
static void become_nobody(void)
{
	char *runtime = strdup(getenv("XDG_RUNTIME_DIR"));

	user_become(65534, 65534, 65534);
	PLAIN_EQ(setenv("XDG_RUNTIME_DIR", runtime, 1), 0);
	free(runtime);
}

/* Tries @name as another user: attaching and asking. */
static void is_refused(const char *name, const tarn_token *t)
{
	tarn_client *c = NULL;
	tarn_inspector *in = NULL;
	tarn_stat st;
	char stolen[TARN_TOKEN_TEXT_BYTES];
	tarn_token back;

	tarn_token_format(t, stolen);
	OK(tarn_token_parse(stolen, &back)); /* it has the text, all of it */
	become_nobody();
	FAILS(tarn_client_open(name, NULL, &c), EACCES);
	/* By the server, or by a mode of a socket or of the folder. */
	const char *text = name[0] == '@' ? "user 65534 may not attach"
			   : name[0] == '/' ? "Not allowed to connect to server" : "Cannot look at";
	PLAIN_CHECKF(strstr(tarn_error_last()->message, text) != NULL, "%s", tarn_error_last()->message);
	PLAIN_CHECK(c == NULL);
	PLAIN_CHECKF(tarn_inspector_open(name, 0, &in) < 0 || tarn_inspector_stat(in, &st) < 0,
		     "another user may ask");
	_exit(0);
}

static void strangers_stay_out(const char *name)
{
	const tarn_export_options o = { .uses = 2 };
	tarn_server_options so = { .name = name };
	struct issuer u;
	tarn_block *b;
	tarn_token t;

	if (getuid() != 0)
		PLAIN_SKIP("needs root, to become another user");
	u = issuer_open(&so);
	OK(tarn_block_export(u.b, &o, &t));
	for (int i = 0; i < 20; i++) {
		pid_t child = plain_fork();

		if (child == 0)
			is_refused(u.s.name, &t);
		PLAIN_EQ(plain_reap(child), 0);
	}
	OK(tarn_block_import(u.c, &t, &b));
	tarn_block_unref(b);
	PLAIN_EQ(scene_stat(&u.s).clients, 1);
	issuer_close(&u);
}

PLAIN_TEST(p5_another_user_cannot_reach_a_socket_in_the_runtime_directory)
{
	strangers_stay_out("p5");
}

PLAIN_TEST(p5_another_user_cannot_reach_a_socket_in_an_open_directory)
{
	char path[128];

	PLAIN_EQ(chmod(plain_dir(), 0755), 0);
	snprintf(path, sizeof path, "%s/open.sock", plain_dir());
	strangers_stay_out(path);
}

PLAIN_TEST(p5_another_user_is_refused_at_an_abstract_socket)
{
	char name[64];

	snprintf(name, sizeof name, "@tarn-p5-%d", (int)getpid());
	strangers_stay_out(name);
}

/* ---- terms ---- */

PLAIN_TEST(a_token_is_good_for_as_many_uses_as_it_says)
{
	static const uint32_t uses[] = { 0, 1, 2, 7, 100 };
	struct issuer u = issuer_open(NULL);
	tarn_client *other = scene_client(&u.s);
	tarn_block *b;
	tarn_token t;

	for (unsigned k = 0; k < sizeof uses / sizeof *uses; k++) {
		tarn_export_options o = { .uses = uses[k] };

		OK(tarn_block_export(u.b, &o, &t));
		for (uint32_t i = 0; i < (uses[k] != 0 ? uses[k] : 1); i++) {
			OK(tarn_block_import(i % 2 ? u.c : other, &t, &b));
			check_filled(b);
			tarn_block_unref(b);
		}
		FAILS(tarn_block_import(other, &t, &b), TARN_ESTALE);
		FAILS(tarn_block_import(u.c, &t, &b), TARN_ESTALE);
		FAILS(tarn_token_revoke(u.c, &t), TARN_ESTALE);
		PLAIN_EQ(scene_stat(&u.s).exports, 0);
	}
	tarn_client_close(other);
	issuer_close(&u);
}

PLAIN_TEST(a_token_without_limit_ends_with_its_revocation)
{
	const tarn_export_options o = { .uses = TARN_USES_UNLIMITED };
	struct issuer u = issuer_open(NULL);
	tarn_client *other = scene_client(&u.s);
	tarn_block *b;
	tarn_token t;

	OK(tarn_block_export(u.b, &o, &t));
	for (int i = 0; i < 10000; i++) {
		OK(tarn_block_import(other, &t, &b));
		tarn_block_unref(b);
	}
	OK(tarn_token_revoke(other, &t)); /* a bearer's right */
	FAILS(tarn_block_import(other, &t, &b), TARN_ESTALE);
	FAILS(tarn_token_revoke(u.c, &t), TARN_ESTALE);
	tarn_client_close(other);
	issuer_close(&u);
}

PLAIN_TEST(an_export_alone_keeps_its_block)
{
	struct issuer u = issuer_open(NULL);
	tarn_client *other = scene_client(&u.s);
	uint64_t id = tarn_block_id(u.b);
	tarn_block *b;
	tarn_token t;

	OK(tarn_block_export(u.b, NULL, &t));
	u.b = tarn_block_unref(u.b);
	scene_settle(&u.s);
	PLAIN_EQ(scene_count(&u.s, id), 1);
	OK(tarn_block_import(other, &t, &b));
	check_filled(b);
	PLAIN_EQ(tarn_block_id(b), id);
	tarn_block_unref(b);
	scene_settle(&u.s);
	PLAIN_EQ(scene_count(&u.s, id), 0);
	tarn_client_close(other);
	issuer_close(&u);
}

PLAIN_TEST(a_token_ends_at_its_deadline_without_anybodys_doing)
{
	const tarn_export_options o = { .uses = 5, .lifetime_ns = 30000000 };
	struct issuer u = issuer_open(NULL);
	tarn_channel *ch;
	tarn_block *b;
	tarn_token t;
	int r;

	/* A channel, whose end can be seen in the directory. */
	OK(tarn_channel_new(u.c, 4, NULL, &ch));
	uint64_t id = tarn_channel_id(ch);
	const struct tarn__dir_entry *entry = &u.c->dir[tarn__id_index(id)];
	OK(tarn_channel_export(ch, &o, &t));
	tarn_channel_unref(ch);
	OK(tarn_client_flush(u.c, true, TARN_FOREVER));
	/* No message and no question from here on. */
	PLAIN_WAIT_FOR(tarn__load_acquire(&entry->id) != id);
	FAILS(tarn_channel_import(u.c, &t, &ch), TARN_ESTALE);
	PLAIN_EQ(scene_stat(&u.s).exports, 0);
	PLAIN_EQ(scene_stat(&u.s).channels, 0);

	OK(tarn_block_export(u.b, &o, &t));
	PLAIN_WAIT_FOR((r = tarn_block_import(u.c, &t, &b)) != 0 || (tarn_block_unref(b), false));
	PLAIN_EQ(r, -TARN_ESTALE);
	issuer_close(&u);
}

PLAIN_TEST(the_earliest_of_many_deadlines_counts)
{
	struct issuer u = issuer_open(NULL);
	tarn_token t[10];

	for (int i = 0; i < 10; i++) {
		/* Long ones and short ones, mixed. */
		tarn_export_options o = { .uses = 1,
					  .lifetime_ns = i % 2 ? 20000000 * i : 3600000000000 };

		OK(tarn_block_export(u.b, &o, &t[i]));
	}
	PLAIN_WAIT_FOR(scene_stat(&u.s).exports == 5);
	for (int i = 0; i < 10; i++) {
		if (i % 2)
			FAILS(tarn_token_revoke(u.c, &t[i]), TARN_ESTALE);
		else
			OK(tarn_token_revoke(u.c, &t[i]));
	}
	issuer_close(&u);
}

/* Exports with @o, hands the token over, and ends. */
static void issue(const struct scene *s, const tarn_export_options *o, tarn_token *t, bool killed)
{
	tarn_client *c = scene_client(s);
	tarn_block *b;

	OK(tarn_block_new(c, 1000, 0, &b));
	fill(b);
	OK(tarn_block_export(b, o, t));
	if (killed)
		kill(getpid(), 9);
	tarn_client_close(c);
	_exit(0);
}

PLAIN_TEST(a_token_dies_with_its_issuer_unless_it_may_outlive_it)
{
	struct scene s = scene_open(NULL);
	tarn_token *t = scene_shared(sizeof *t);
	tarn_client *c = scene_client(&s);
	tarn_block *b;

	for (int i = 0; i < 8; i++) {
		tarn_export_options o = { .uses = 2, .outlive_issuer = i % 2 };
		pid_t child = plain_fork();

		if (child == 0)
			issue(&s, &o, t, i % 4 >= 2);
		plain_reap(child);
		PLAIN_WAIT_FOR(scene_client_gone(&s, child));
		if (!o.outlive_issuer) {
			FAILS(tarn_block_import(c, t, &b), TARN_ESTALE);
			continue;
		}
		for (int k = 0; k < 2; k++) {
			OK(tarn_block_import(c, t, &b));
			check_filled(b);
			tarn_block_unref(b);
		}
		FAILS(tarn_block_import(c, t, &b), TARN_ESTALE);
	}
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST(terms_that_would_never_end_or_make_no_sense_are_refused)
{
	struct issuer u = issuer_open(NULL);
	const tarn_export_options eternal = { .uses = TARN_USES_UNLIMITED, .outlive_issuer = true };
	const tarn_export_options past = { .lifetime_ns = -1 };
	const tarn_export_options both = { .uses = TARN_USES_UNLIMITED, .outlive_issuer = true,
					   .lifetime_ns = 20000000 };
	tarn_token t;

	FAILS(tarn_block_export(u.b, &eternal, &t), EINVAL);
	FAILS(tarn_block_export(u.b, &past, &t), EINVAL);
	OK(tarn_block_export(u.b, &both, &t));
	PLAIN_WAIT_FOR(scene_stat(&u.s).exports == 0);
	issuer_close(&u);
}

PLAIN_TEST(too_many_exports_are_an_error_and_revoking_helps)
{
	static tarn_token t[100000];
	struct issuer u = issuer_open(NULL);
	unsigned n = 0;
	tarn_token one;
	int r = 0;

	while (n < 100000 && (r = tarn_block_export(u.b, NULL, &t[n])) == 0)
		n++;
	PLAIN_EQ(r, -ENOSPC);
	scene_note("%u exports of one client", n);
	PLAIN_CHECK(n >= 1000);
	FAILS(tarn_block_export(u.b, NULL, &one), ENOSPC);
	OK(tarn_token_revoke(u.c, &t[n / 2]));
	OK(tarn_block_export(u.b, NULL, &t[n / 2]));
	FAILS(tarn_block_export(u.b, NULL, &one), ENOSPC);
	/* Another client has its own allowance. */
	tarn_client *other = scene_client(&u.s);
	tarn_block *b;
	OK(tarn_block_import(other, &t[0], &b));
	OK(tarn_block_export(b, NULL, &one));
	tarn_block_unref(b);
	tarn_client_close(other);
	scene_settle(&u.s);
	PLAIN_EQ(scene_stat(&u.s).exports, n - 1);
	for (unsigned i = 1; i < n; i += 2)
		OK(tarn_token_revoke(u.c, &t[i]));
	issuer_close(&u); /* the others go with the client */
}

PLAIN_TEST(a_token_of_a_slice_or_a_sealed_block_opens_just_that)
{
	struct issuer u = issuer_open(NULL);
	tarn_client *other = scene_client(&u.s);
	tarn_block *slice, *b;
	tarn_token t;

	OK(tarn_block_slice(u.b, 100, 50, &slice));
	OK(tarn_block_export(slice, NULL, &t));
	tarn_block_unref(slice);
	OK(tarn_block_import(other, &t, &b));
	PLAIN_EQ(tarn_block_size(b), 50);
	PLAIN_EQ(((unsigned char *)tarn_block_data(b))[0], (unsigned char)(100 * 7));
	tarn_block_unref(b);
	OK(tarn_block_seal(u.b));
	OK(tarn_block_export(u.b, NULL, &t));
	OK(tarn_block_import(other, &t, &b));
	PLAIN_CHECK(tarn_block_sealed(b));
	check_filled(b);
	tarn_block_unref(b);
	tarn_client_close(other);
	issuer_close(&u);
}

/* ---- P1: any way that carries bytes ---- */

PLAIN_TEST(p1_a_token_travels_through_a_pipe_and_a_command_line)
{
	const tarn_export_options twice = { .uses = 2 };
	struct issuer u = issuer_open(NULL);
	int pipe_fd[2];
	tarn_token t;

	PLAIN_EQ(pipe2(pipe_fd, O_CLOEXEC), 0);
	pid_t child = plain_fork();
	if (child == 0) {
		char text[TARN_TOKEN_TEXT_BYTES];
		tarn_client *c = scene_client(&u.s);
		tarn_block *b;

		PLAIN_EQ(read(pipe_fd[0], text, sizeof text), sizeof text);
		OK(tarn_token_parse(text, &t));
		OK(tarn_block_import(c, &t, &b));
		check_filled(b);
		((unsigned char *)tarn_block_data(b))[0] = 200; /* the same bytes, not a copy */
		_exit(0);
	}
	char text[TARN_TOKEN_TEXT_BYTES];
	OK(tarn_block_export(u.b, &twice, &t));
	tarn_token_format(&t, text);
	PLAIN_EQ(write(pipe_fd[1], text, sizeof text), sizeof text);
	PLAIN_EQ(plain_reap(child), 0);
	PLAIN_EQ(((unsigned char *)tarn_block_data(u.b))[0], 200);
	issuer_close(&u);
}

PLAIN_MAIN()
