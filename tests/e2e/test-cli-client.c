/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plays the other side for test-cli.sh: a client with something to look at, a program
 * with a server of its own, and whoever damages a server's books. Prints what it did as
 * "WORD VALUE" lines, then READY, and stays until SIGTERM, which lets it end in order.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/client/lane.h"
#include "lib/server/state.h"
#include "tests/common/seccomp.h"
#include "tarn/tarn.h"

static void must(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "%s: %s\n", what, tarn_error_last()->message);
	exit(1);
}

static sigset_t sigterm; /* blocked: it is waited for */

static void stay(void)
{
	int got;

	printf("READY\n");
	fflush(stdout);
	sigwait(&sigterm, &got);
}

static tarn_client *attach(const char *server)
{
	tarn_client *client;

	must(tarn_client_open(server, NULL, &client), "tarn_client_open");
	return client;
}

static tarn_block *block(tarn_client *client, size_t size, const char *word)
{
	tarn_block *b;
	char text[80];

	must(tarn_block_new(client, size, 0, &b), "tarn_block_new");
	tarn_block_format(b, text, sizeof text);
	printf("%s 0x%" PRIx64 "\n%s_text %s\n", word, tarn_block_id(b), word, text);
	return b;
}

/* One block in every way to be held, and one that lies in the cache again. */
static void hold(const char *server)
{
	tarn_client *client = attach(server);
	tarn_export_options forever = { .uses = TARN_USES_UNLIMITED };
	tarn_block *held = block(client, 1000, "held"), *sealed = block(client, 5000, "sealed"),
		   *sent = block(client, 3000, "sent");
	char text[TARN_TOKEN_TEXT_BYTES];
	tarn_channel *channel;
	tarn_token token;

	tarn_block_unref(block(client, 100, "granted"));
	must(tarn_block_seal(sealed), "tarn_block_seal");
	must(tarn_channel_new(client, 4, "test-cli", &channel), "tarn_channel_new");
	must(tarn_channel_bind(channel, TARN_PRODUCER), "tarn_channel_bind");
	must(tarn_channel_give(channel, sent, 7, TARN_FOREVER), "tarn_channel_give");
	must(tarn_block_export(held, NULL, &token), "tarn_block_export");
	tarn_token_format(&token, text);
	must(tarn_block_export(sealed, &forever, &token), "tarn_block_export");
	must(tarn_client_flush(client, true, TARN_FOREVER), "tarn_client_flush");
	printf("channel 0x%" PRIx64 "\ntoken %s\nclient %u\n", tarn_channel_id(channel), text,
	       tarn_client_id(client));
	stay();
	tarn_block_unref(held);
	tarn_block_unref(sealed);
	tarn_channel_unref(channel);
	tarn_client_close(client);
}

static void import(const char *server, const char *text)
{
	tarn_client *client = attach(server);
	tarn_block *b;
	tarn_token token;

	must(tarn_token_parse(text, &token), "tarn_token_parse");
	must(tarn_block_import(client, &token, &b), "tarn_block_import");
	must(tarn_client_flush(client, true, TARN_FOREVER), "tarn_client_flush");
	printf("client %u\n", tarn_client_id(client));
	stay();
	tarn_block_unref(b);
	tarn_client_close(client);
}

static tarn_object *lens(tarn_client *client, double factor, const char *word)
{
	tarn_object *o;

	must(tarn_object_newf(client, "Lens", &o, "d", factor), "tarn_object_newf");
	printf("%s 0x%" PRIx64 "\n", word, tarn_object_id(o));
	return o;
}

/* Objects: one with a name that holds another, with a token; one in a channel; a call that goes
 * on; and who waits for an end. */
static void objects(const char *server)
{
	const tarn_export_options twice = { .uses = 2 };
	tarn_client *client = attach(server);
	tarn_object *outer = lens(client, 2, "outer"), *inner = lens(client, 3, "inner"),
		    *sent = lens(client, 4, "sent");
	char text[TARN_TOKEN_TEXT_BYTES];
	tarn_pending *call, *notice;
	tarn_channel *channel;
	tarn_token token;

	must(tarn_callf(outer, "hold", TARN_FOREVER, "O", "", inner), "hold");
	must(tarn_object_publish(outer, "lens", 0), "tarn_object_publish");
	must(tarn_object_export(outer, &twice, &token), "tarn_object_export");
	tarn_token_format(&token, text);
	must(tarn_channel_new(client, 4, "lenses", &channel), "tarn_channel_new");
	must(tarn_channel_bind(channel, TARN_PRODUCER), "tarn_channel_bind");
	must(tarn_channel_send_object(channel, sent, 7, TARN_FOREVER), "tarn_channel_send_object");
	must(tarn_call_start(outer, "linger", NULL, &call), "tarn_call_start");
	must(tarn_object_watch(sent, &notice), "tarn_object_watch");
	tarn_object_unref(inner);
	must(tarn_client_flush(client, true, TARN_FOREVER), "tarn_client_flush");
	printf("channel 0x%" PRIx64 "\ntoken %s\nclient %u\n", tarn_channel_id(channel), text,
	       tarn_client_id(client));
	stay();
	tarn_call_free(call);
	tarn_call_free(notice);
	tarn_object_unref(outer);
	tarn_object_unref(sent);
	tarn_channel_unref(channel);
	tarn_client_close(client);
}

/* What tarn show is to show: a dict, a list and a lock that is taken. */
static void contents(const char *server)
{
	tarn_client *client = attach(server);
	tarn_object *dict, *list, *lock;

	must(tarn_dict_newf(client, &dict, "{s:is:[ii]}", "a", 1, "pair", 2, 3), "tarn_dict_newf");
	must(tarn_list_new(client, &list), "tarn_list_new");
	for (int i = 0; i < 5; i++)
		must(tarn_list_appendf(list, "i", 10 * i), "tarn_list_appendf");
	must(tarn_lock_new(client, 0, &lock), "tarn_lock_new");
	must(tarn_lock_acquire(lock, 0), "tarn_lock_acquire");
	must(tarn_object_publish(dict, "settings", 0), "tarn_object_publish");
	must(tarn_object_publish(list, "numbers", 0), "tarn_object_publish");
	must(tarn_object_publish(lock, "gate", 0), "tarn_object_publish");
	printf("client %u\n", tarn_client_id(client));
	stay();
	tarn_object_unref(dict);
	tarn_object_unref(list);
	tarn_object_unref(lock);
	tarn_client_close(client);
}

/* A client whose name is no text at all. */
static void named(const char *server)
{
	prctl(PR_SET_NAME, "a\"\\\x1b[1m\xff" "b", 0, 0, 0);
	tarn_client *client = attach(server);

	stay();
	tarn_client_close(client);
}

/* One whose last request failed, and then one that breaks a rule. */
static void fail(const char *server, bool offend)
{
	tarn_client *client = attach(server);
	tarn_block *most, *b;

	must(tarn_block_new(client, 40 << 20, 0, &most), "tarn_block_new");
	if (tarn_block_new(client, 40 << 20, 0, &b) >= 0)
		exit(1);
	if (offend) {
		const uint64_t word[7] = { tarn__header(200, 1, 0, 0) };

		tarn__requests_post(&tarn__lane_mine(client)->requests, word);
		while (tarn_client_ping(client, TARN_FOREVER) >= 0)
			;
	}
	printf("client %u\n", tarn_client_id(client));
	stay();
	tarn_block_unref(most);
	tarn_client_close(client);
}

/* Runs a program in a container that refuses io_uring. */
static void confine(char **argv)
{
	must(tarn_test__refuse_io_uring(EPERM), "seccomp");
	execv(argv[0], argv);
	exit(127);
}

static void start(const char *name)
{
	tarn_server_options options = { .name = name, .arena_bytes = 16 << 20 };
	tarn_server *server;

	must(tarn_server_start(&options, &server), "tarn_server_start");
	printf("name %s\npid %d\n", tarn_server_name(server), tarn_server_pid(server));
	stay();
	int how = tarn_server_shutdown(server, INT64_C(10000000000));
	tarn_server_unref(server);
	exit(how);
}

/* The server's descriptor of META, found by what is in it. NULL: @path is not it. */
static struct state *open_meta(const char *path)
{
	static struct state state;
	struct stat st;
	int fd = open(path, O_RDWR | O_CLOEXEC);
	unsigned char *base;

	/* Not bytes of a socket or an eventfd, which open() refuses or which have no size. */
	if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
		return NULL;
	base = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base != MAP_FAILED && tarn__state_adopt(&state, base, (uint64_t)st.st_size) == 0)
		return &state;
	return NULL;
}

static void damage(int pid, uint64_t index)
{
	char path[64];

	for (int fd = 3; fd < 64; fd++) {
		snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
		struct state *st = open_meta(path);

		if (st == NULL)
			continue;
		st->object[index].ext++;
		return;
	}
	fprintf(stderr, "process %d has no META\n", pid);
	exit(1);
}

/* Lists that hold each other and that nobody can reach, one pair after the other: the server ends them when it
 * has nothing else to do, which it has. */
static void leak(const char *server)
{
	const struct timespec none = { 0 };
	tarn_client *client = attach(server);
	tarn_object *a, *b;

	printf("client %u\nREADY\n", tarn_client_id(client));
	fflush(stdout);
	while (sigtimedwait(&sigterm, NULL, &none) < 0) {
		must(tarn_list_new(client, &a), "tarn_list_new");
		must(tarn_list_newf(client, &b, "[O]", a), "tarn_list_newf");
		must(tarn_list_appendf(a, "O", b), "tarn_list_appendf");
		tarn_object_unref(a);
		tarn_object_unref(b);
	}
	tarn_client_close(client);
}

int main(int argc, char **argv)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigemptyset(&sigterm);
	sigaddset(&sigterm, SIGTERM);
	sigprocmask(SIG_BLOCK, &sigterm, NULL);
	if (argc == 3 && strcmp(argv[1], "hold") == 0)
		hold(argv[2]);
	else if (argc == 3 && strcmp(argv[1], "objects") == 0)
		objects(argv[2]);
	else if (argc == 3 && strcmp(argv[1], "contents") == 0)
		contents(argv[2]);
	else if (argc == 4 && strcmp(argv[1], "import") == 0)
		import(argv[2], argv[3]);
	else if (argc == 3 && strcmp(argv[1], "named") == 0)
		named(argv[2]);
	else if (argc == 3 && strcmp(argv[1], "fail") == 0)
		fail(argv[2], false);
	else if (argc == 3 && strcmp(argv[1], "offend") == 0)
		fail(argv[2], true);
	else if (argc >= 3 && strcmp(argv[1], "confine") == 0)
		confine(argv + 2);
	else if (argc == 3 && strcmp(argv[1], "start") == 0)
		start(argv[2]);
	else if (argc == 3 && strcmp(argv[1], "leak") == 0)
		leak(argv[2]);
	else if (argc == 4 && strcmp(argv[1], "damage") == 0)
		damage(atoi(argv[2]), strtoull(argv[3], NULL, 0));
	else
		return 2;
	return 0;
}
