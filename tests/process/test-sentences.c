/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What callers do wrong, continued: mistakes whose codes are looked at by the tests of what they are made with,
 * and whose sentences are looked at here, because one code stands for many mistakes.
 */
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/image.h"
#include "lib/process/order.h"
#include "tarn/stub.h"
#include "tarn/type.h"
#include "lib/client/object.h"
#include "lib/types/types.h"
#include "lib/value/value.h"
#include "shm/topic.h"
#include "tests/common/arena.h"
#include "tests/common/box.h"
#include "tests/common/scene.h"

/* Everything after the first mistake with a builder fails with that one. */
#define PUT_WRONG(call, code, ...)                      \
	do {                                            \
		WRONG(call, code, __VA_ARGS__);         \
		PLAIN_EQ(tarn_builder_error(&b), -(code)); \
		tarn_builder_reset(&b);                 \
	} while (0)

/* ---- servers ---- */

PLAIN_TEST(a_servers_name_says_what_is_wrong_with_it)
{
	tarn_client *c = NULL;

	WRONG(tarn_client_open("", NULL, &c), EINVAL, "name of a server is empty", "plain name", "'@'");
	WRONG(tarn_client_open("a\nb", NULL, &c), EINVAL, "control character 0x0a at position 1");
	WRONG(tarn_client_open(".hidden", NULL, &c), EINVAL, "'.hidden' begins with a dot");
	WRONG(tarn_client_open("@", NULL, &c), EINVAL, "nothing follows");
	char *text = arena_text(200), *before = strdup(getenv("XDG_RUNTIME_DIR"));
	WRONG(tarn_client_open(text, NULL, &c), EINVAL, "The server name 'xxx", "has 200 bytes", "possible");
	text[95] = '\0';
	text[0] = '/';
	PLAIN_EQ(setenv("XDG_RUNTIME_DIR", text, 1), 0);
	WRONG(tarn_client_open("a-longer-name", NULL, &c), EINVAL, "The socket path", "a-longer-name.sock", "too long",
	      "XDG_RUNTIME_DIR");
	PLAIN_EQ(setenv("XDG_RUNTIME_DIR", before, 1), 0);
	free(before);
	free(text);
	WRONG(tarn_server_run(&(tarn_server_options){ .log_level = 99 }), EINVAL, "unknown log level 99");
	WRONG(tarn_server_run(&(tarn_server_options){ .listen_fd = 2, .log_level = 3 }), ENOTSUP,
	      "descriptor 2 is no listening Unix socket", "SOCK_SEQPACKET");
	PLAIN_CHECK(c == NULL);
}

PLAIN_TEST(what_a_server_object_cannot_do_now_is_told_with_its_state)
{
	char text[TARN_SERVER_TEXT];
	tarn_server *s, *back;
	tarn_client *c;

	OK(tarn_server_new(&(tarn_server_options){ .arena_bytes = 8u << 20, .name = "states", .log_level = 3 }, &s));
	WRONG(tarn_server_client_open(s, NULL, &c), TARN_ESTATE, "the server \"states\"", "INITIAL", "not started yet");
	WRONG(tarn_server_export(s, text), TARN_ESTATE, "states", "not started yet");
	WRONG(tarn_server_wait(s, 0, NULL), TARN_ESTATE, "cannot wait for", "states", "not started yet");
	WRONG(tarn_server_shutdown(s, 0), TARN_ESTATE, "cannot shut down", "states", "not started yet");
	OK(tarn_server_launch(s));
	WRONG(tarn_server_launch(s), TARN_ESTATE, "states", "STARTED", "running already");
	OK(tarn_server_export(s, text));
	pid_t child = plain_fork();
	if (child == 0) {
		char owner[32];

		snprintf(owner, sizeof owner, "process %d", (int)getppid());
		WRONG(tarn_server_launch(s), TARN_EFORKED, "\"states\" belongs to", owner, "whose child this is");
		WRONG(tarn_server_wait(s, 0, NULL), TARN_EFORKED, "\"states\" belongs to", owner, "whose child this is");
		WRONG(tarn_server_shutdown(s, 0), TARN_EFORKED, "\"states\" belongs to", owner, "whose child this is");
		_exit(0);
	}
	PLAIN_EQ(plain_reap(child), 0);
	OK(tarn_server_import(text, &back));
	WRONG(tarn_server_launch(back), TARN_ESTATE, "cannot start", "states", "BORROWED");
	WRONG(tarn_server_wait(back, 0, NULL), TARN_ESTATE, "cannot wait for", "states", "BORROWED");
	WRONG(tarn_server_shutdown(back, 0), TARN_ESTATE, "cannot shut down", "states", "BORROWED");
	tarn_server_unref(back);
	OK(tarn_server_shutdown(s, TARN_FOREVER));
	WRONG(tarn_server_launch(s), TARN_ESTATE, "states", "SHUTDOWN", "for good");
	tarn_server_unref(s);
	WRONG(tarn_server_import("tarn:2:what", &back), EINVAL, "'tarn:2:what' is no server as text");
	WRONG(tarn_server_import(NULL, &back), EINVAL, "'' is no server as text");
}

static void *stay(void *gate)
{
	pthread_mutex_lock(gate);
	pthread_mutex_unlock(gate);
	return NULL;
}

PLAIN_TEST(a_keeper_among_threads_says_how_many_there_are)
{
	pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
	pthread_t thread;

	pthread_mutex_lock(&gate);
	PLAIN_EQ(pthread_create(&thread, NULL, stay, &gate), 0);
	WRONG(tarn_server_run(&(tarn_server_options){ .name = "@tarn-crowded", .keep = true, .log_level = 3 }), EBUSY,
	      "this process has ", " threads: a keeper must have one", "forked from it");
	pthread_mutex_unlock(&gate);
	pthread_join(thread, NULL);
}

static const char *key_of(const char *contents, mode_t mode)
{
	static char path[200];

	snprintf(path, sizeof path, "%s/key", plain_dir());
	FILE *f = fopen(path, "w");
	PLAIN_CHECK(f != NULL && fputs(contents, f) >= 0 && fchmod(fileno(f), mode) == 0 && fclose(f) == 0);
	PLAIN_EQ(setenv("TARN_AUTHKEY_FILE", path, 1), 0);
	return path;
}

PLAIN_TEST(a_key_file_says_what_is_wrong_with_it)
{
	static const char good[] = "a key that nobody would find by chance";
	tarn_server_options o = { .arena_bytes = 8u << 20, .authkey = good, .authkey_bytes = sizeof good - 1 };
	char *text = arena_text(1100);

	const char *path = key_of(good, 0600);
	struct scene s = scene_open(&o);
	tarn_client *c;
	key_of(good, 0640);
	WRONG(tarn_client_open(s.name, NULL, &c), EACCES, path, "accessible to others", "0640", "chmod 600");
	key_of("short", 0600);
	WRONG(tarn_client_open(s.name, NULL, &c), EINVAL, path, "holds 5 bytes", "16 to 1024");
	key_of(text, 0600);
	WRONG(tarn_client_open(s.name, NULL, &c), EINVAL, path, "holds more than 1024 bytes");
	key_of(good, 0600);
	free(text);
	scene_close(&s);
}

/* What a keeper's registry has more by the time of the second server. */
static void register_one_more(void)
{
	static const tarn_type more[] = { { .name = "OneMore" }, { .name = "AndAnother" } };
	static unsigned n;

	if (n < 2)
		tarn_type_register(tarn_registry_default(), &more[n++]);
}

PLAIN_TEST(a_successor_with_other_types_does_not_take_over)
{
	char name[64], log[200], line[400];
	bool told = false;
	tarn_client *c;

	snprintf(name, sizeof name, "@tarn-types-%d", (int)getpid());
	snprintf(log, sizeof log, "%s/keeper", plain_dir());
	pid_t keeper = plain_fork();
	if (keeper == 0) {
		PLAIN_CHECK(freopen(log, "w", stderr) != NULL);
		PLAIN_EQ(pthread_atfork(NULL, register_one_more, NULL), 0);
		int r = tarn_server_run(&(tarn_server_options){ .name = name, .keep = true, .arena_bytes = 8u << 20 });
		_exit(r < 0 ? 3 : 0);
	}
	OK(tarn_client_open(name, &(tarn_client_options){ .connect_timeout_ns = TARN_FOREVER }, &c));
	PLAIN_EQ(kill((pid_t)tarn_client_server_pid(c), SIGKILL), 0);
	PLAIN_EQ(plain_reap(keeper), 3);
	tarn_client_close(c);
	FILE *f = fopen(log, "r");
	PLAIN_CHECK(f != NULL);
	while (fgets(line, sizeof line, f) != NULL)
		told = told || strstr(line, "cannot take over: this server's types are not those") != NULL;
	fclose(f);
	PLAIN_CHECKF(told, "%s", log);
}

/* ---- tokens ---- */

PLAIN_TEST(a_text_or_bytes_that_are_no_token_are_told_where)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	char text[TARN_TOKEN_TEXT_BYTES], wrong[TARN_TOKEN_TEXT_BYTES + 8];
	tarn_block *b, *back;
	tarn_channel *ch;
	tarn_token t, u;

	WRONG(tarn_block_new_with(c, 100, &(tarn_block_options){ .align = TARN__ALIGN_MAX }, &b), EINVAL,
	      "the whole arena has");
	OK(tarn_block_new(c, 100, 0, &b));
	WRONG(tarn_block_export(b, &(tarn_export_options){ .lifetime_ns = -5 }, &t), EINVAL, "lifetime of -5 ns",
	      "0 for no deadline");
	WRONG(tarn_block_export(b, &(tarn_export_options){ .uses = TARN_USES_UNLIMITED, .outlive_issuer = true }, &t),
	      EINVAL, "");
	/* A block that the server does not have (any more): no caller of ours can hold one. */
	b->id += UINT64_C(1) << 40;
	WRONG(tarn_block_wait_sealed(b, TARN_FOREVER), TARN_ESTALE, "The block is no more");
	b->id -= UINT64_C(1) << 40;
	OK(tarn_block_export(b, NULL, &t));
	tarn_token_format(&t, text);
	WRONG(tarn_token_parse(NULL, &u), EINVAL, "no text to parse as a token");
	memcpy(wrong, text, 20);
	wrong[20] = '\0';
	WRONG(tarn_token_parse(wrong, &u), EINVAL, "ends after 20 characters of 134");
	strcpy(wrong, text);
	wrong[2] = '!';
	WRONG(tarn_token_parse(wrong, &u), EINVAL, "Character 3", "\"tarn1:\"");
	strcpy(wrong, text);
	wrong[50] = 'g';
	WRONG(tarn_token_parse(wrong, &u), EINVAL, "Character 51", "hexadecimal digit");
	strcat(strcpy(wrong, text), "0");
	WRONG(tarn_token_parse(wrong, &u), EINVAL, "goes on after 134 characters");
	memset(&u, 0, sizeof u);
	WRONG(tarn_block_import(c, &u, &back), EINVAL, "64 bytes are not a token", "begin with 'tarn'");
	u = t;
	u.bytes[30] ^= 1;
	WRONG(tarn_block_import(c, &u, &back), EINVAL, "damaged", "checksum");
	WRONG(tarn_channel_import(c, &t, &ch), TARN_EKIND, "stands for a block", "a channel was asked for");
	OK(tarn_token_revoke(c, &t));
	tarn_block_unref(b);
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- channels ---- */

PLAIN_TEST(mistakes_with_channels_are_named)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s), *d = scene_client(&s);
	tarn_channel *ch, *o;
	tarn_block *b, *theirs;
	char *text = arena_text(300);
	uint64_t tag;

	WRONG(tarn_channel_new(c, 16, text, &ch), EINVAL, "A channel's name has 1 to", "this one has 300");
	WRONG(tarn_channel_new(c, 16, "", &ch), EINVAL, "this one has 0");
	WRONG(tarn_channel_new(c, 0, NULL, &ch), EINVAL, "A channel of 0 slots");
	WRONG(tarn_channel_open(c, NULL, 0, &ch), EINVAL, "name is missing");
	WRONG(tarn_channel_open(c, "nothing", 0, &ch), ENOENT, "No channel is named 'nothing'");
	WRONG(tarn_channel_open(c, "nothing", 1000, &ch), ETIMEDOUT, "'nothing'", "also after waiting");
	OK(tarn_channel_new(c, 16, NULL, &ch));
	OK(tarn_block_new(c, 100, 0, &b));
	OK(tarn_block_new(d, 100, 0, &theirs));
	WRONG(tarn_channel_bind(ch, (enum tarn_channel_end)7), EINVAL, "no end 7", "TARN_PRODUCER or TARN_CONSUMER");
	WRONG(tarn_channel_send(ch, b, 0, 0), EPERM, "not the producer", "bind that end first");
	WRONG(tarn_channel_recv(ch, &b, &tag, 0), EPERM, "not the consumer", "bind that end first");
	OK(tarn_channel_bind(ch, TARN_PRODUCER));
	OK(tarn_channel_bind(ch, TARN_CONSUMER));
	WRONG(tarn_channel_send(ch, theirs, 0, 0), EXDEV, "belong to different clients");
	OK(tarn_channel_send(ch, b, 0, 0));
	WRONG(tarn_channel_recv_channel(ch, &o, &tag, 0), TARN_EKIND, "is a block", "tarn_channel_recv()");
	OK(tarn_channel_new(c, 16, NULL, &o));
	OK(tarn_channel_send_channel(ch, o, 0, 0));
	tarn_channel_unref(o);
	tarn_block_unref(b);
	OK(tarn_channel_recv(ch, &b, &tag, 0));
	tarn_block_unref(b);
	WRONG(tarn_channel_recv(ch, &b, &tag, 0), TARN_EKIND, "is a channel", "tarn_channel_recv_channel()");
	OK(tarn_channel_recv_channel(ch, &o, &tag, 0));
	tarn_channel_unref(o);
	tarn_object *event;
	OK(tarn_event_new(c, 0, &event));
	OK(tarn_channel_send_object(ch, event, 0, 0));
	WRONG(tarn_channel_recv(ch, &b, &tag, 0), TARN_EKIND, "is an object", "tarn_channel_recv_object()");
	tarn_object_unref(event);
	tarn_block_unref(theirs);
	tarn_channel_unref(ch);
	tarn_client_close(d);
	tarn_client_close(c);
	free(text);
	scene_close(&s);
}

/* ---- objects ---- */

PLAIN_TEST(what_an_object_has_not_is_told_with_what_it_has)
{
	static const tarn_method_facts beyond[] = { { .name = "one", .args = "", .result = "" }, { .name = NULL } };
	static const tarn_stub of_lock = { .type = "tarn.Lock", .methods = beyond };
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	char *text = arena_text(100);
	tarn_method_facts facts;
	tarn_object *o, *lock;
	tarn_pending *p;
	size_t first;
	unsigned n;

	OK(tarn_event_new(c, 0, &o));
	OK(tarn_lock_new(c, 0, &lock));
	WRONG(tarn_object_publish(o, text, 0), EINVAL, "A name has 1 to", "this one has 100");
	/* A reference to what the server does not have (any more): no caller of ours can have one. */
	o->base.id += UINT64_C(1) << 40;
	WRONG(tarn_object_publish(o, "late", 0), TARN_ESTALE, "The object is gone");
	o->base.id -= UINT64_C(1) << 40;
	OK(tarn_object_publish(o, "taken", 0));
	WRONG(tarn_object_publish(lock, "taken", 0), EEXIST, "The name 'taken' is in use", "Unpublish it first");
	OK(tarn_object_unpublish(c, "taken"));
	WRONG(tarn_object_unpublish(c, "taken"), ENOENT, "Nothing is published as 'taken'");
	WRONG(tarn_object_new(c, "NoSuchType", NULL, &o), TARN_ENOTYPE, "has no type \"NoSuchType\"", "tarnd --load");
	WRONG(tarn_object_lookup(c, text, 0, &o), EINVAL, "A name has 1 to", "this one has 100");
	WRONG(tarn_object_lookup(c, "nothing", 0, &o), ENOENT, "No object is named 'nothing'");
	WRONG(tarn_object_lookup(c, "nothing", 1000, &o), ETIMEDOUT, "'nothing'", "also after waiting");
	WRONG(tarn_object_method_at(o, 1000, &facts), TARN_ENOMETHOD, "'tarn.Event' has", "no method 1000");
	WRONG(tarn_method_find(o, "explode", &n), TARN_ENOMETHOD, "'tarn.Event' has no method 'explode'", "It has:");
	WRONG(tarn_call_n(o, 1u << 30, NULL, NULL, 0), TARN_ENOMETHOD, "No type has a method 1073741824");
	WRONG(tarn_call_start_n(o, 1u << 30, NULL, &p), TARN_ENOMETHOD, "No type has a method 1073741824");
	WRONG(tarn_call_wait_any(NULL, 0, 0, &first), EINVAL, "no call to wait for");
	WRONG(tarn_stub_check(o, &of_lock), TARN_EKIND, "The object is a 'tarn.Event', not a 'tarn.Lock'");
	WRONG(tarn_stub_check(lock, &of_lock), TARN_EVERSION, "'tarn.Lock' of the server", "one");
	WRONG(tarn_event_new(c, 7, &o), EINVAL, "Unknown flags 0x7 for an event");
	WRONG(tarn_lock_new(c, 7, &o), EINVAL, "Unknown flags 0x7 for a lock");
	WRONG(tarn_rlock_new(c, 7, &o), EINVAL, "Unknown flags 0x7 for a lock");
	tarn_object_unref(lock);
	tarn_object_unref(o);
	free(text);
	tarn_client_close(c);
	scene_close(&s);
}

/* No text where one is needed: as empty text, not the end of the program. */
PLAIN_TEST(a_text_that_is_missing_is_a_mistake_like_others)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_registry *r = tarn_registry_new();
	tarn_object *o, *q;
	tarn_pending *p;
	tarn_builder b;
	tarn_block *block;
	unsigned n;

	OK(tarn_event_new(c, 0, &o));
	OK(tarn_queue_new(c, NULL, &q));
	WRONG(tarn_object_new(c, NULL, NULL, &o), EINVAL, "The name of a type is missing");
	WRONG(tarn_call(o, NULL, NULL, NULL, 0), TARN_ENOMETHOD, "'tarn.Event' has no method ''");
	WRONG(tarn_call_start(o, NULL, NULL, &p), TARN_ENOMETHOD, "'tarn.Event' has no method ''");
	WRONG(tarn_method_find(o, NULL, &n), TARN_ENOMETHOD, "'tarn.Event' has no method ''");
	WRONG(tarn_queue_putf(q, 0, NULL), EINVAL, "The format of the values is missing");
	tarn_builder_init(&b);
	PUT_WRONG(tarn_put(&b, NULL), EINVAL, "The format of the values is missing");
	PUT_WRONG(tarn_value_parse(NULL, &b, NULL, NULL), EINVAL, "There is no text to read values from");
	tarn_builder_fini(&b);
	WRONG(tarn_block_import(c, NULL, &block), EINVAL, "There is no token");
	WRONG(tarn_registry_load(r, NULL), EINVAL, "The path of a module is missing");
	WRONG(tarn_registry_load(r, ""), EINVAL, "The path of a module is missing");
	WRONG(tarn_type_unregister(r, NULL), TARN_ENOTYPE, "The registry has no type");
	PLAIN_CHECK(tarn_type_find(r, NULL) == NULL);
	tarn_registry_free(r);
	tarn_object_unref(q);
	tarn_object_unref(o);
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- queues, containers, numbers ---- */

PLAIN_TEST(what_containers_and_numbers_cannot_do_is_named)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q, *d, *ns, *a, *it, *real, *small, *list;
	tarn_parcel p;
	const char *text;
	int64_t n = 0;
	size_t which;

	OK(tarn_queue_new(c, &(tarn_queue_options){ .flags = TARN_QUEUE_REDELIVER }, &q));
	WRONG(tarn_queue_ack(q, 77), TARN_ESTATE, "no item 77", "not acknowledged");
	WRONG(tarn_queue_attempts(q, 77), TARN_ESTATE, "no item 77", "not acknowledged");
	WRONG(tarn_queue_get_any(&q, 0, &p, &which, 0), EINVAL, "0 queues to get from", "1 to 64");
	WRONG(tarn_queue_get_any(&q, 65, &p, &which, 0), EINVAL, "65 queues to get from");
	tarn_object *number[64];
	tarn_builder item;
	tarn_builder_init(&item);
	for (unsigned i = 0; i < 64; i++) {
		OK(tarn_shared_new(c, 'q', &number[i]));
		OK(tarn_put_object(&item, number[i]));
	}
	WRONG(tarn_queue_put(q, &item, 0), E2BIG, "The item refers to 64 things", "a slot here has room for", "list object");
	tarn_builder_fini(&item);
	WRONG(tarn_shared_set_double(number[0], 1.5), TARN_EKIND, "A number of kind 'q' is an integer");
	WRONG(tarn_shared_add_double(number[0], 1.5, NULL), TARN_EKIND, "A number of kind 'q' is an integer");
	OK(tarn_shared_new(c, 'd', &real));
	WRONG(tarn_shared_get(real, &n), TARN_EKIND, "A number of kind 'd' is no integer");
	WRONG(tarn_shared_cas(real, 0, 1, &n), TARN_EKIND, "A number of kind 'd' is no integer");
	tarn_object_unref(real);
	OK(tarn_shared_new(c, 'b', &small));
	WRONG(tarn_shared_cas(small, 0, 128, &n), ERANGE, "128 is no number of kind 'b'");
	WRONG(tarn_shared_add(small, 128, NULL), ERANGE, "128 is no number of kind 'b'");
	tarn_object_unref(small);
	OK(tarn_list_new(c, &list));
	WRONG(tarn_list_appendf(list, "ii", 1, 2), EINVAL, "One value is expected, found 2", "as a list");
	tarn_object_unref(list);
	for (unsigned i = 0; i < 64; i++)
		tarn_object_unref(number[i]);
	OK(tarn_dict_new(c, &d));
	WRONG(tarn_dict_iter(d, (enum tarn_iterate)9, &it), EINVAL, "9 is none of enum tarn_iterate");
	OK(tarn_dict_setf(d, "ss", "key", "value"));
	WRONG(tarn_dict_getf(d, "key", "s", &text), EINVAL, "\"s\" asks for what points into the parcel");
	OK(tarn_ns_new(c, &ns));
	WRONG(tarn_ns_get(ns, "nothing", &p), ENOENT, "'Namespace' object has no attribute 'nothing'");
	OK(tarn_array_new(c, 'q', 10, &a));
	WRONG(tarn_array_get(a, 10, &n), ERANGE, "Index 10 of an array of 10");
	WRONG(tarn_array_get(a, -11, &n), ERANGE, "Index -11 of an array of 10");
	WRONG(tarn_array_read(a, 0, 5, 0, &n, 1, &which), EINVAL, "A slice with step 0");
	WRONG(tarn_array_write(a, 0, 5, 1, &n, 1), EINVAL, "The slice has 5 numbers, 1 were given");
	WRONG(tarn_array_read(a, 0, 5, 1, &n, 1, &which), EINVAL, "The slice has 5 numbers, 1 have room");
	tarn_object_unref(a);
	tarn_object_unref(ns);
	tarn_object_unref(d);
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST(more_permits_than_a_client_can_have_are_refused)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *sem;
	int r = 0, n = 0;

	OK(tarn_sem_new(c, UINT32_MAX, &sem));
	while ((r = tarn_sem_acquire(sem, 0)) == 0)
		n++;
	char had[64];
	snprintf(had, sizeof had, "This client has %d permits", n);
	WRONG(r, ERANGE, had, "more cannot be noted");
	tarn_object_unref(sem);
	tarn_client_close(c);
	scene_close(&s);
}

static pid_t takes_one(const struct scene *s, uint32_t *step)
{
	pid_t child = plain_fork();

	if (child == 0) {
		tarn_object *o;
		tarn_stream *st;
		tarn_parcel p;

		OK(tarn_object_lookup(scene_client(s), "stream", 0, &o));
		OK(tarn_stream_open(o, &st));
		OK(tarn_stream_next(st, &p, 0));
		scene_say(step, 1);
		scene_await(step, 2); /* never */
	}
	scene_await(step, 1);
	return child;
}

PLAIN_TEST(a_stream_that_is_not_through_says_who_has_what)
{
	uint32_t *step = scene_shared(sizeof *step);
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q;
	tarn_stream *st;
	tarn_builder b;
	tarn_parcel p;

	OK(tarn_queue_new(c, &(tarn_queue_options){ .flags = TARN_QUEUE_REDELIVER }, &q));
	OK(tarn_stream_new(c, &(tarn_stream_options){ .queue = q }, &st));
	tarn_builder_init(&b);
	OK(tarn_put_int(&b, 7));
	OK(tarn_stream_put(st, &b, 0));
	WRONG(tarn_stream_renew(st), TARN_ESTATE, "1 of the 1 suppliers", "not ended");
	OK(tarn_stream_end(st));
	WRONG(tarn_stream_put(st, &b, 0), TARN_ESTATE, "All 1 suppliers", "renew it");
	WRONG(tarn_stream_end(st), TARN_ESTATE, "All 1 suppliers");
	WRONG(tarn_stream_renew(st), TARN_ESTATE, "Items of this round are left");
	tarn_builder_fini(&b);
	OK(tarn_object_publish(tarn_stream_object(st), "stream", 0));
	pid_t child = takes_one(&s, step);
	WRONG(tarn_stream_renew(st), TARN_ESTATE, "in the hands of consumers");
	plain_kill(child);
	OK(tarn_stream_next(st, &p, TARN_FOREVER));
	tarn_parcel_fini(&p);
	OK(tarn_queue_task_done(q));
	OK(tarn_stream_renew(st));
	tarn_stream_close(st);
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}

/* A client that calls what only the library calls, or has written where everybody may. */
PLAIN_TEST(a_topic_that_cannot_be_used_so_says_why)
{
#define REFUSED(o, method, args, ...) \
	WRONG(tarn_callf(o, method, TARN_FOREVER, args, NULL, __VA_ARGS__), TARN_EREMOTE
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *t, *o;
	tarn_subscription *sub[TARN__TOPIC_SUBSCRIBERS + 1];
	tarn_client *crowd[TARN__TOPIC_PUBLISHERS + 1];
	unsigned n = 0;
	int r;

	WRONG(tarn_object_newf(c, "tarn.Topic", &o, "II", 8, 8), TARN_EREMOTE, "a topic of 8 items that keeps 8");
	OK(tarn_topic_new(c, NULL, &t));
	OK(tarn_object_publish(t, "topic", 0));
	REFUSED(t, "stash", "Qi", UINT64_C(0), 5), "references are expected behind the turn");
	REFUSED(t, "stash", "QO", UINT64_C(1) << 40, t), "there is no item 1099511627776");
	while ((r = tarn_topic_subscribe(t, NULL, &sub[n])) == 0 && n < TARN__TOPIC_SUBSCRIBERS)
		n++;
	WRONG(r, TARN_EREMOTE, "as many as there can be", arena_number(TARN__TOPIC_SUBSCRIBERS));
	while (n > 0)
		tarn_subscription_free(sub[--n]);
	for (r = 0; r == 0 && n <= TARN__TOPIC_PUBLISHERS; n++) {
		tarn_object *theirs;

		crowd[n] = scene_client(&s);
		OK(tarn_object_lookup(crowd[n], "topic", 0, &theirs));
		r = tarn_callf(theirs, "publisher", TARN_FOREVER, "b", NULL, true);
		if (n == TARN__TOPIC_PUBLISHERS)
			WRONG(r, TARN_EREMOTE, "clients publish here, that is as many as there can be");
		tarn_object_unref(theirs);
	}
	PLAIN_EQ(n, TARN__TOPIC_PUBLISHERS + 1);
	while (n > 0)
		tarn_client_close(crowd[--n]);
	struct tarn__topic *in = tarn__object_instance(t, &tarn__type_topic);
	const uint64_t ring = in->ring_id;
	in->ring_id = 7;
	REFUSED(t, "stash", "Q", UINT64_C(0)), "the topic is damaged");
	REFUSED(t, "taken", "Q", UINT64_C(0)), "the topic is damaged");
	REFUSED(t, "subscribe", "Qb", UINT64_C(0), false), "the topic is damaged");
	in->ring_id = ring;
	tarn_object_unref(t);
	tarn_client_close(c);
	scene_close(&s);
#undef REFUSED
}

/* Objects that the library makes after it has looked at the numbers; whoever makes them by hand is told, too. */
PLAIN_TEST(pools_and_streams_made_by_hand_are_looked_at_too)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q, *o;
	char *text = arena_text(100);

	OK(tarn_queue_new(c, NULL, &q));
	WRONG(tarn_object_newf(c, tarn__type_pool.name, &o, "OIs", q, 0, "p"), TARN_EREMOTE, "0 workers: 1 to");
	WRONG(tarn_object_newf(c, tarn__type_pool.name, &o, "OIs", q, 1, text), TARN_EREMOTE, "the name has 100 bytes");
	WRONG(tarn_object_newf(c, tarn__type_stream.name, &o, "OIO", q, 0, NULL), TARN_EREMOTE, "0 suppliers: 1 to");
	WRONG(tarn_object_newf(c, tarn__type_queue.name, &o, "QII", UINT64_C(0), 1u << 30, 0), TARN_EREMOTE,
	      "unknown flags 0x40000000 for a queue");
	WRONG(tarn_object_newf(c, tarn__type_queue.name, &o, "QII", UINT64_C(1) << 60, 0, 0), TARN_EREMOTE,
	      "a queue of 1152921504606846976 items", "the most is");
	tarn_object_unref(q);
	free(text);
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- a machine without what is asked for ---- */

/* In a file system of its own: a node of memory alone, as some machines have. */
static void serve_on_a_node_without_cpus(void *arg)
{
	FILE *f;

	(void)arg;
	if (mount("none", "/sys/devices/system/node", "tmpfs", 0, NULL) != 0 ||
	    mkdir("/sys/devices/system/node/node0", 0755) != 0 ||
	    (f = fopen("/sys/devices/system/node/node0/cpulist", "w")) == NULL)
		_exit(77);
	fputs("\n", f);
	fclose(f);
	WRONG(tarn_server_run(&(tarn_server_options){ .name = "@tarn-node", .cpus = "node0", .log_level = 3 }), EINVAL,
	      "NUMA node 0 has no CPUs");
}

PLAIN_TEST(a_node_without_cpus_is_named)
{
	char why[128];
	int r = box_run(&(struct box){ .shm_bytes = 1 << 20 }, serve_on_a_node_without_cpus, NULL, why);

	if (r == BOX_IMPOSSIBLE || r == 77)
		PLAIN_SKIP("%s", r == 77 ? "nothing can be mounted on /sys here" : why);
	PLAIN_EQ(r, 0);
}

/* ---- processes, pools ---- */

TARN_WORKER(nothing_of_note)
{
	(void)worker;
	return 0;
}

PLAIN_TEST(pools_and_processes_say_what_there_is_not)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_pool_result *result;
	tarn_process *process;
	tarn_runner *runner;
	tarn_pool *pool, *guest;
	tarn_object *shared;
	tarn_parcel p;
	tarn_builder b;
	char *text = arena_text(5000);

	OK(tarn_process_new(c, &(tarn_process_options){ .entry = "nothing_of_note", .name = "idle" }, &process));
	WRONG(tarn_process_join(process, 0), TARN_ESTATE, "Process idle was not started");
	WRONG(tarn_process_kill(process), TARN_ESTATE, "Process idle was not started");
	tarn_process_unref(process);
	OK(tarn_runner_new(c, &(tarn_runner_options){ .call = "nothing_of_note", .name = "resting" }, &runner));
	WRONG(tarn_runner_restart(runner, NULL, 0), TARN_ESTATE, "Runner resting was not started");
	WRONG(tarn_runner_rejoin(runner, 0, &p), TARN_ESTATE, "Runner resting was not started");
	WRONG(tarn_runner_call(runner, NULL, 0, &p), TARN_ESTATE, "Runner resting was not started");
	WRONG(tarn_runner_join(runner, 0), TARN_ESTATE, "Runner resting was not started");
	tarn_runner_unref(runner);
	WRONG(tarn_process_new(c, &(tarn_process_options){ .entry = "nowhere" }, &process), ENOENT,
	      "no entry \"nowhere\"", "TARN_WORKER(nowhere)", "linked with");
	WRONG(tarn_pool_new(c, &(tarn_pool_options){ .workers = 1, .initializer = "nowhere" }, &pool), ENOENT,
	      "no entry \"nowhere\" in this program");
	OK(tarn_pool_new(c, &(tarn_pool_options){ .workers = 1, .name = "lazy" }, &pool));
	WRONG(tarn_pool_apply(pool, "nowhere", NULL, TARN_FOREVER, &p), ENOENT, "no entry \"nowhere\" in this program");
	WRONG(tarn_pool_apply(pool, NULL, NULL, TARN_FOREVER, &p), ENOENT, "no entry \"(NULL)\"");
	WRONG(tarn_pool_apply(pool, text, NULL, TARN_FOREVER, &p), ENOENT, "no entry \"xxx");
	tarn_builder_init(&b);
	OK(tarn_put_int(&b, 7));
	OK(tarn_parcel_from(&b, &p));
	WRONG(tarn_pool_map_async(pool, "nothing_of_note", tarn_parcel_at(&p, 0), 0, &result), TARN_EKIND,
	      "The items of a map are a list, not int");
	tarn_parcel_fini(&p);
	tarn_builder_fini(&b);
	OK(tarn_pool_share(pool, &shared));
	OK(tarn_pool_open(shared, &guest));
	WRONG(tarn_pool_apply(guest, text, NULL, TARN_FOREVER, &p), ENAMETOOLONG, "entry's name is too long");
	WRONG(tarn_pool_apply(guest, "nowhere", NULL, TARN_FOREVER, &p), TARN_EREMOTE,
	      "no entry \"nowhere\" in this program");
	tarn_pool_unref(guest);
	tarn_object_unref(shared);
	WRONG(tarn_pool_join(pool, 0), TARN_ESTATE, "Pool lazy is neither closed nor terminated", "for ever");
	OK(tarn_pool_close(pool));
	WRONG(tarn_pool_apply(pool, "nothing_of_note", NULL, TARN_FOREVER, &p), TARN_ESTATE, "Pool lazy is closed");
	OK(tarn_pool_join(pool, TARN_FOREVER));
	tarn_pool_unref(pool);
	free(text);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST(an_entry_of_a_library_that_is_loaded_later_is_missed_in_the_fresh_image)
{
	const char *build = getenv("TARN_BUILD_DIR");
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_process *p;
	char path[4096];

	if (build == NULL)
		PLAIN_SKIP("run by meson");
	snprintf(path, sizeof path, "%s/tests/test-module.so", build);
	void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	PLAIN_CHECKF(module != NULL, "%s", dlerror());
	OK(tarn_process_spawn(c, &(tarn_process_options){ .entry = "loaded_later" }, &p));
	WRONG(tarn_process_join(p, TARN_FOREVER), TARN_EREMOTE, "no entry \"loaded_later\" in the fresh image",
	      "in a library that is loaded later");
	tarn_process_unref(p);
	dlclose(module);
	tarn_client_close(c);
	scene_close(&s);
}

/* Plays a worker whose libtarn came by dlopen(): the order is there, and nobody followed it. */
PLAIN_TEST(a_worker_that_runs_main_spawns_no_others)
{
	struct tarn__work *order;
	tarn_process *p = NULL;
	char number[16];
	int fd = tarn__order_open("a worker process", TARN__WORK_MAGIC, sizeof *order, (void **)&order);

	PLAIN_CHECK(fd >= 0);
	snprintf(number, sizeof number, "%d", fd);
	PLAIN_EQ(setenv(TARN__WORK_VARIABLE, number, 1), 0);
	WRONG(tarn_process_new(NULL, &(tarn_process_options){ .entry = "nothing_of_note" }, &p), TARN_ESTATE,
	      "was to run an entry, but runs main()", "not loaded when it started");
	PLAIN_CHECK(p == NULL);
	order->program = 1; /* that one is to run main() */
	OK(tarn_process_new(NULL, &(tarn_process_options){ .entry = "nothing_of_note" }, &p));
	tarn_process_unref(p);
	PLAIN_EQ(unsetenv(TARN__WORK_VARIABLE), 0);
	munmap(order, sizeof *order);
	close(fd);
}

/* ---- values ---- */

PLAIN_TEST(mistakes_in_building_values_are_named)
{
	tarn_builder b;
	tarn_parcel p;
	int r = 0;

	tarn_builder_init(&b);
	while (tarn_builder_count(&b) < TARN_VALUES_MAX)
		OK(tarn_put_int(&b, 7));
	PUT_WRONG(tarn_put_int(&b, 7), E2BIG, "More than 255 values side by side", "into a list");
	OK(tarn_list_begin(&b));
	for (unsigned i = 0; i < TARN_SLOTS_MAX; i++)
		OK(tarn_put_int(&b, 7));
	PUT_WRONG(tarn_put_int(&b, 7), E2BIG, "More than 1048576 values in one message");
	while ((r = tarn_list_begin(&b)) == 0)
		;
	PUT_WRONG(r, E2BIG, "within each other more than 32 deep");
	PUT_WRONG(tarn_list_end(&b), EINVAL, "The end of a list where none is open");
	OK(tarn_map_begin(&b));
	PUT_WRONG(tarn_list_end(&b), EINVAL, "The end of a list where a map is open");
	OK(tarn_map_begin(&b));
	PUT_WRONG(tarn_put_int(&b, 7), EINVAL, "needs its key before it", "tarn_map_key()");
	OK(tarn_map_begin(&b));
	PUT_WRONG(tarn_map_key(&b, NULL), EINVAL, "key of a map is NULL");
	OK(tarn_map_begin(&b));
	OK(tarn_map_key(&b, "a"));
	PUT_WRONG(tarn_map_key(&b, "b"), EINVAL, "the one before it has no value");
	OK(tarn_map_begin(&b));
	OK(tarn_map_key(&b, "a"));
	PUT_WRONG(tarn_map_end(&b), EINVAL, "last key of a map has no value");
	PUT_WRONG(tarn_map_key(&b, "b"), EINVAL, "A key outside a map");
	OK(tarn_map_begin(&b));
	WRONG(tarn_parcel_from(&b, &p), EINVAL, "A map of the values to be sent is still open");
	tarn_builder_reset(&b);
	PUT_WRONG(tarn_put(&b, "{di}", 1.0, 1), EINVAL, "Keys of maps are s, S, i or q, not d");
	PUT_WRONG(tarn_put(&b, "?", 1), EINVAL, "'?' is no letter for a value");
	PUT_WRONG(tarn_put(&b, "i]", 1), EINVAL, "A ']' too many");
	PUT_WRONG(tarn_put(&b, "[i", 1), EINVAL, "A list or map is not closed in \"[i\"");
	tarn_builder_fini(&b);
}

/* Nothing of it is copied, so memory that nobody has written to will do. */
PLAIN_TEST(a_message_of_more_than_a_gibibyte_is_refused_before_it_is_copied)
{
	const size_t bytes = (size_t)TARN_PAYLOAD_MAX + 4096;
	char *large = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	tarn_builder b;

	if (large == MAP_FAILED)
		PLAIN_SKIP("no address space for 1 GiB");
	tarn_builder_init(&b);
	PUT_WRONG(tarn_put_bytes(&b, large, (size_t)TARN_PAYLOAD_MAX + 1), E2BIG, "bytes of 1073741825 bytes",
		  "a message takes 1073741824", "use a block");
	PUT_WRONG(tarn_put_string_n(&b, large, (size_t)TARN_PAYLOAD_MAX + 1), E2BIG, "string of 1073741825 bytes");
	OK(tarn_put_bytes(&b, large, 64));
	PUT_WRONG(tarn_put_bytes(&b, large, TARN_PAYLOAD_MAX - 32), E2BIG, "More than 1073741824 bytes of values in one",
		  "into blocks");
	OK(tarn_put_int(&b, 7));
	tarn_builder_fini(&b);
	munmap(large, bytes);
}

PLAIN_TEST(mistakes_with_references_in_values_are_named)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_block *block[TARN_REFS_MAX + 1];
	tarn_builder b;

	tarn_builder_init(&b);
	for (unsigned i = 0; i <= TARN_REFS_MAX; i++) {
		OK(tarn_block_new(c, 100, 0, &block[i]));
		if (i < TARN_REFS_MAX)
			OK(tarn_put_block(&b, block[i]));
	}
	PUT_WRONG(tarn_put_block(&b, block[TARN_REFS_MAX]), E2BIG, "More than 64 different blocks, objects and channels");
	PUT_WRONG(tarn_put_object(&b, (tarn_object *)(void *)block[0]), TARN_EKIND, "one of kind block, not object");
	for (unsigned i = 0; i <= TARN_REFS_MAX; i++)
		tarn_block_unref(block[i]);
	tarn_builder_fini(&b);
	tarn_client_close(c);
	scene_close(&s);
}

static int resolve_to_nothing(void *user, const char *reference, tarn_builder *builder)
{
	(void)user, (void)reference, (void)builder;
	return 0;
}

PLAIN_TEST(mistakes_in_reading_values_are_named_with_their_place)
{
	tarn_builder b;
	tarn_parcel p;
	const char *text;
	tarn_channel *ch;
	tarn_block *block;
	int64_t q;
	size_t n;
	double d;
	int i, j;

	tarn_builder_init(&b);
	OK(tarn_put(&b, "i[is]", 1, 2, "three"));
	OK(tarn_put_string_n(&b, "a\0b", 3));
	OK(tarn_put_int(&b, INT64_C(1) << 40));
	OK(tarn_parcel_from(&b, &p));
	WRONG(tarn_parcel_get(&p, "i", &i), TARN_EARGS, "Expected 1 values, found 4");
	WRONG(tarn_parcel_get(&p, "s[is]si", &text, &i, &text, &text, &i), TARN_EARGS,
	      "Argument 1: Expected string, found int");
	WRONG(tarn_parcel_get(&p, "i[ii]si", &i, &i, &j, &text, &i), TARN_EARGS, "Argument 2, entry 2", "found string");
	WRONG(tarn_parcel_get(&p, "i[i]si", &i, &i, &text, &i), TARN_EARGS, "Argument 2",
	      "Expected a list of 1, found one of 2");
	WRONG(tarn_parcel_get(&p, "i[is]si", &i, &i, &text, &text, &i), TARN_EARGS, "Argument 3", "NUL inside");
	WRONG(tarn_parcel_get(&p, "i[is]Ci", &i, &i, &text, &ch, &i), TARN_EARGS,
	      "Argument 3: Expected channel, found string");
	WRONG(tarn_parcel_get(&p, "i[is", &i, &i, &text), EINVAL, "The format has an open bracket");
	WRONG(tarn_parcel_get(&p, "i[is]Sq]", &i, &i, &text, &text, &n, &q), EINVAL, "no letter for a value at \"]\"");
	WRONG(tarn_parcel_get(&p, "i?[is]Si", &i, &i, &text, &text, &n, &i), EINVAL, "a '?' after a letter that has no NULL");
	WRONG(tarn_parcel_get(&p, "!", &i), EINVAL, "The format has no letter for a value at \"!\"");
	tarn_parcel_fini(&p);
	tarn_builder_reset(&b);
	OK(tarn_put(&b, "{si}", "key", 1));
	OK(tarn_parcel_from(&b, &p));
	WRONG(tarn_parcel_get(&p, "{di}", &d, &i), EINVAL, "a map whose key is not s, i or q");
	WRONG(tarn_parcel_get(&p, "[i]", &i), TARN_EARGS, "Argument 1: Expected list, found map");
	tarn_parcel_fini(&p);
	/* As deep as can be, and asked for one deeper. */
	tarn_builder_reset(&b);
	char deep[TARN_DEPTH_MAX + 3] = "";
	for (unsigned k = 0; k < TARN_DEPTH_MAX; k++)
		OK(tarn_list_begin(&b));
	OK(tarn_put_int(&b, -5));
	for (unsigned k = 0; k < TARN_DEPTH_MAX; k++)
		OK(tarn_list_end(&b));
	OK(tarn_put_bool(&b, true));
	OK(tarn_parcel_from(&b, &p));
	memset(deep, '[', TARN_DEPTH_MAX + 1);
	WRONG(tarn_parcel_get(&p, deep, &i), EINVAL, "too many brackets at \"[\"");
	WRONG(tarn__signature_check(deep), EINVAL, "Too many brackets");
	tarn_value v = tarn_parcel_at(&p, 0), none = tarn_parcel_at(&p, 77);
	for (unsigned k = 0; k < TARN_DEPTH_MAX; k++)
		v = tarn_value_at(v, 0);
	bool yes;
	uint64_t u;
	WRONG(tarn_value_bool(v, &yes), TARN_EKIND, "Expected bool, found int");
	WRONG(tarn_value_uint(v, &u), ERANGE, "Expected uint, found int -5, which is none");
	WRONG(tarn_value_uint(tarn_parcel_at(&p, 1), &u), TARN_EKIND, "Expected uint, found bool");
	WRONG(tarn_value_int(none, &q), ENOENT, "There is no such value");
	WRONG(tarn_put_value(&b, none), ENOENT, "There is no such value");
	WRONG(tarn_value_block(none, &block), ENOENT, "There is no such value");
	none.head = tarn__slot_head(TARN_KIND_BLOCK, 0, 0); /* made by hand */
	WRONG(tarn_value_block(none, &block), ENOENT, "There is no such value");
	tarn_builder_reset(&b);
	WRONG(tarn_value_parse("[<nothing>]", &b, resolve_to_nothing, NULL), EINVAL,
	      "Expected one value for the reference at character 2");
	tarn_parcel_fini(&p);
	tarn_builder_fini(&b);
}

PLAIN_TEST(mistakes_with_faults_and_types_are_named)
{
	tarn_fault *f = tarn_fault_new("ValueError", 0, "x"), *g = NULL;
	tarn_registry *r = tarn_registry_new();
	static const tarn_type t = { .name = "T" };
	int code = 0;

	WRONG(tarn_fault_set_cause(f, f), EINVAL, "its own cause or member");
	WRONG(tarn_fault_add_child(f, f), EINVAL, "its own cause or member");
	for (int i = 0; i < 1000 && code == 0; i++) {
		g = tarn_fault_new("ValueError", 0, "y");
		code = tarn_fault_set_cause(g, f);
		tarn_fault_unref(f);
		f = g;
	}
	WRONG(code, E2BIG, "causes and members within each other");
	tarn_fault_unref(f);
	WRONG(tarn_fault_domain_register(NULL, "Exception"), EINVAL, "A domain and its parent need names");
	WRONG(tarn_fault_domain_register("KeyError", "ValueError"), EEXIST, "KeyError", "LookupError", "not ValueError");
	OK(tarn_fault_domain_register("OfTheHen", "OfTheEgg"));
	WRONG(tarn_fault_domain_register("OfTheEgg", "OfTheHen"), ELOOP, "OfTheEgg would be its own ancestor");
	OK(tarn_type_register(r, &t));
	WRONG(tarn_type_register(r, &t), EEXIST, "has a type T already");
	WRONG(tarn_type_unregister(r, "U"), TARN_ENOTYPE, "has no type U");
	WRONG(tarn_registry_load(r, "/no/such/module.so"), ENOENT, "The module /no/such/module.so cannot be loaded");
	static const tarn_field odd[] = { { "f", 'z', false, 0 }, { 0 } }, beyond[] = { { "g", 'q', false, 12 }, { 0 } };
	WRONG(tarn_type_register(r, &(tarn_type){ .name = "U", .size = 16, .fields = odd }), EINVAL,
	      "Type U, field f: 'z' is none of b, i, I, q, Q and d");
	WRONG(tarn_type_register(r, &(tarn_type){ .name = "U", .size = 16, .fields = beyond }), EINVAL,
	      "field g: 8 bytes at 12 are not within the instance's 16");
	tarn_registry_free(r);
}

/* ---- more types than fit ---- */

PLAIN_TEST(a_server_of_more_types_than_have_numbers_does_not_start)
{
	enum { N = UINT16_MAX };
	tarn_registry *r = tarn_registry_new();
	tarn_type *type = calloc(N, sizeof *type);
	char(*name)[8] = calloc(N, sizeof *name);

	PLAIN_CHECK(r != NULL && type != NULL && name != NULL);
	for (unsigned i = 0; i < N; i++) {
		snprintf(name[i], sizeof name[i], "%05uT", i);
		type[i] = (tarn_type){ .name = name[i] };
		OK(tarn_type_register(r, &type[i]));
	}
	WRONG(tarn_server_run(&(tarn_server_options){ .registry = r, .name = "many", .log_level = 3 }), E2BIG,
	      "types are registered; the most is 65534");
	tarn_registry_free(r);
	free(type);
	free(name);
}

PLAIN_MAIN()
