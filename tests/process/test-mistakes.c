/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What callers do wrong: each mistake has its code, and a sentence with what was given or what
 * is possible. (Mistakes with their own tests elsewhere are not here again.)
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tarn/type.h"
#include "tests/common/arena.h"
#include "tests/common/scene.h"

/* ---- servers ---- */

PLAIN_TEST(mistakes_in_a_servers_options_are_named)
{
	static uint32_t list[2000];
	tarn_server *s = NULL;
	char *text = arena_text(5000);

#define START(...) tarn_server_start(&(tarn_server_options){ __VA_ARGS__ }, &s)
	WRONG(START(.arena_bytes = 1000), EINVAL, "1000 bytes", "the least is");
	WRONG(START(.arena_bytes = UINT64_MAX), EINVAL, "18446744073709551615", "the most is");
	WRONG(START(.max_blocks = UINT64_MAX), EINVAL, "blocks", "the most is");
	WRONG(START(.backing = (enum tarn_backing)7), EINVAL, "backing 7");
	WRONG(START(.io = (enum tarn_io)7), EINVAL, "event loop 7");
	WRONG(START(.keep_names = true, .backing = TARN_BACKING_MEMFD), EINVAL, "memfds have none");
	WRONG(START(.n_allow_uids = 1), EINVAL, "there is no list");
	WRONG(START(.n_allow_gids = 1), EINVAL, "there is no list");
	WRONG(START(.allow_uids = list, .n_allow_uids = 2000), EINVAL, "2000 users", "at most 1024");
	WRONG(START(.authkey_bytes = 20), EINVAL, "authkey has 20 bytes");
	WRONG(START(.authkey = "short", .authkey_bytes = 5), EINVAL, "authkey has 5 bytes", "16 to");
	WRONG(START(.lifetime = (enum tarn_lifetime)5), EINVAL, "lifetime 5");
	WRONG(START(.max_executors = 5000), EINVAL, "5000 executors", "the most is");
	WRONG(START(.name = ""), EINVAL, "empty");
	WRONG(START(.name = text), ENAMETOOLONG, "longer than 107");
	WRONG(START(.process_name = text), ENAMETOOLONG, "process name", "longer than");
	WRONG(START(.process_name = ""), EINVAL, "process name is empty");
	WRONG(START(.cpus = text), EINVAL, "list of CPUs is longer than 4096");
	WRONG(START(.initializer = text), EINVAL, "initializer's name is longer than 4096");
	WRONG(START(.initializer_arg_bytes = 7), EINVAL, "argument has 7 bytes");
	WRONG(START(.cpus = "0-"), EINVAL, "0-", "no list of CPUs");
	WRONG(START(.cpus = "nodeX"), EINVAL, "nodeX", "no NUMA node");
	WRONG(START(.cpus = "node1000"), EINVAL, "no NUMA node 1000");
	WRONG(START(.initializer = "no such entry"), ENOENT, "no such entry", "TARN_ENTRY");
#undef START
	PLAIN_CHECK(s == NULL);
	free(text);
}

static void no_tarn_at(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	tarn_client *c;

	strcpy(a.sun_path, path);
	PLAIN_EQ(bind(fd, (const struct sockaddr *)(const void *)&a, sizeof a), 0);
	PLAIN_EQ(listen(fd, 1), 0);
	WRONG(tarn_client_open(path, NULL, &c), EINVAL, path, "not of a Tarn server");
	close(fd);
	WRONG(tarn_client_open(path, NULL, &c), ENOENT, path, "nobody listens");
	/* One is not told to start a server where none can be. */
	WRONG(tarn_client_open(plain_dir(), NULL, &c), ENOENT, plain_dir(), "is no socket");
	PLAIN_CHECK(strstr(tarn_error_last()->message, "tarnd") == NULL);
	PLAIN_EQ(unlink(path), 0);
}

PLAIN_TEST(mistakes_in_where_a_server_is_are_named)
{
	const char *before = getenv("XDG_RUNTIME_DIR");
	char path[100], *text = arena_text(120);
	tarn_client *c;

	snprintf(path, sizeof path, "%s/stream", plain_dir());
	no_tarn_at(path);
	text[0] = '/';
	setenv("XDG_RUNTIME_DIR", text, 1);
	WRONG(tarn_client_open("plain", NULL, &c), EINVAL, "too long", "XDG_RUNTIME_DIR");
	setenv("XDG_RUNTIME_DIR", "/nowhere/at/all", 1);
	tarn_server *s;
	WRONG(tarn_server_start(&(tarn_server_options){ .name = "plain" }, &s), ENOENT,
	      "/nowhere/at/all/tarn");
	WRONG(tarn_client_open("plain", NULL, &c), ENOENT, "plain", "tarnd --name");
	setenv("XDG_RUNTIME_DIR", before != NULL ? before : plain_dir(), 1);
	free(text);
}

/* ---- blocks and objects ---- */

PLAIN_TEST(mistakes_with_blocks_and_names_are_named)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_block *b, *other;
	tarn_object *o;
	void *view;

	WRONG(tarn_block_new_with(c, 100, &(tarn_block_options){ .flags = 64 }, &b), EINVAL, "0x40",
	      "TARN_BLOCK_ZEROED");
	WRONG(tarn_block_new_with(c, 100, &(tarn_block_options){ .align = 96 }, &b), EINVAL, "96",
	      "power of two");
	OK(tarn_block_new(c, 10000, 0, &b));
	OK(tarn_block_cow(b, &view));
	WRONG(tarn_block_cow_end(b, (char *)view + 8), EINVAL, "not a view of that block");
	OK(tarn_block_cow_end(b, view));
	WRONG(tarn_block_wait_sealed(b, 0), EAGAIN, "not sealed");
	OK(tarn_block_new(c, 100, 0, &other));
	tarn_block_unref(other);
	tarn_block_unref(b);
	char *text = arena_text(100);
	WRONG(tarn_object_new(c, text, NULL, &o), TARN_ENOTYPE, "A type's name has 1 to", "100");
	WRONG(tarn_object_new(c, "", NULL, &o), TARN_ENOTYPE, "A type's name has 1 to");
	free(text);
	OK(tarn_lock_new(c, 0, &o));
	WRONG(tarn_object_publish(o, "name", 64), EINVAL, "0x40", "TARN_PUBLISH_PINNED");
	WRONG(tarn_object_publish(o, "", 0), EINVAL, "");
	tarn_pending *p[2];
	WRONG(tarn_call_start_n(o, 1u << 30, NULL, &p[0]), TARN_ENOMETHOD, "1073741824");
	/* Notices of two clients are not waited for at once. */
	tarn_client *d = scene_client(&s);
	tarn_object *theirs;
	size_t first;
	OK(tarn_lock_new(d, 0, &theirs));
	OK(tarn_object_watch(o, &p[0]));
	OK(tarn_object_watch(theirs, &p[1]));
	WRONG(tarn_call_wait_any(p, 2, 0, &first), EPERM, "several threads or clients");
	tarn_call_free(p[0]);
	tarn_call_free(p[1]);
	tarn_object_unref(theirs);
	tarn_client_close(d);
	tarn_object_unref(o);
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- synchronisation and numbers ---- */

PLAIN_TEST(mistakes_with_locks_and_their_like_are_named)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *event, *lock, *rlock, *sem, *number, *cond, *o;

	WRONG(tarn_event_new(c, 3, &o), EINVAL, "0x3", "event");
	WRONG(tarn_lock_new(c, 3, &o), EINVAL, "0x3", "lock");
	WRONG(tarn_rlock_new(c, 3, &o), EINVAL, "0x3", "lock");
	WRONG(tarn_sem_new(c, UINT64_MAX, &o), TARN_EREMOTE, "18446744073709551615 permits");
	OK(tarn_event_new(c, 0, &event));
	OK(tarn_lock_new(c, 0, &lock));
	OK(tarn_rlock_new(c, 0, &rlock));
	OK(tarn_sem_new(c, INT64_MAX, &sem));
	/* One in the place of another. */
	tarn_object *const not_locks[] = { event, rlock, sem };
	for (unsigned i = 0; i < 3; i++) {
		WRONG(tarn_lock_acquire(not_locks[i], 0), TARN_EKIND, "tarn.Lock");
		WRONG(tarn_lock_release(not_locks[i]), TARN_EKIND, "tarn.Lock");
		WRONG(tarn_lock_locked(not_locks[i]), TARN_EKIND, "tarn.Lock");
	}
	tarn_object *const not_rlocks[] = { event, lock, sem };
	for (unsigned i = 0; i < 3; i++) {
		WRONG(tarn_rlock_acquire(not_rlocks[i], 0), TARN_EKIND, "tarn.RLock");
		WRONG(tarn_rlock_release(not_rlocks[i]), TARN_EKIND, "tarn.RLock");
		WRONG(tarn_rlock_depth(not_rlocks[i]), TARN_EKIND, "tarn.RLock");
	}
	WRONG(tarn_sem_acquire(lock, 0), TARN_EKIND, "tarn.Semaphore or tarn.BoundedSemaphore", "this is a tarn.Lock");
	WRONG(tarn_sem_release(event, 1), TARN_EKIND, "tarn.Semaphore or tarn.BoundedSemaphore", "this is a tarn.Event");
	WRONG(tarn_event_set(lock), TARN_EKIND, "tarn.Event");
	OK(tarn_cond_new(c, lock, &cond));
	WRONG(tarn_cond_notify(cond, 1), EPERM, "takes its lock first", "does not hold");
	WRONG(tarn_cond_wait(cond, 0), EPERM, "takes its lock first");
	WRONG(tarn_cond_release(cond), TARN_ESTATE, "nobody holds it");
	tarn_object_unref(cond);
	WRONG(tarn_barrier_new(c, 0, &o), TARN_EREMOTE, "a barrier has 1 to", "not 0");
	/* Given back by who has none, or more than can be counted. */
	WRONG(tarn_lock_release(lock), TARN_ESTATE, "nobody holds it");
	WRONG(tarn_rlock_release(rlock), TARN_ESTATE, "nobody holds it");
	WRONG(tarn_sem_release(sem, 1), EOVERFLOW, "more permits");
	WRONG(tarn_array_new(c, 'Z', 5, &number), EINVAL, "'Z'", "typecode");
	WRONG(tarn_array_new(c, 'q', SIZE_MAX / 2, &number), EINVAL, "An array of");
	tarn_object_unref(event);
	tarn_object_unref(lock);
	tarn_object_unref(rlock);
	tarn_object_unref(sem);
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- queues, topics, containers ---- */

PLAIN_TEST(mistakes_with_queues_topics_and_containers_are_named)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q, *t, *d, *list, *it;
	tarn_subscription *sub;
	tarn_parcel p;
	int i;

	WRONG(tarn_queue_new(c, &(tarn_queue_options){ .slot_bytes = 1 << 20 }, &q), TARN_EREMOTE,
	      "slots of 1048576 bytes", "the most is");
	WRONG(tarn_topic_new(c, &(tarn_topic_options){ .slot_bytes = 1 << 20 }, &t), TARN_EREMOTE,
	      "slots of 1048576 bytes", "the most is");
	OK(tarn_queue_new(c, NULL, &q));
	OK(tarn_topic_new(c, NULL, &t));
	WRONG(tarn_queue_getf(q, 0, "s", (char *)NULL), EINVAL, "\"s\"", "tarn_queue_get()");
	WRONG(tarn_queue_getf(q, 0, "i", &i), EAGAIN, "empty");
	WRONG(tarn_queue_join(q, 0), TARN_ESTATE, "TARN_QUEUE_JOINABLE");
	WRONG(tarn_queue_join(t, 0), TARN_EKIND, "tarn.Queue");
	OK(tarn_queue_new(c, &(tarn_queue_options){ .flags = TARN_QUEUE_REDELIVER }, &d));
	WRONG(tarn_queue_join(d, 0), TARN_ESTATE, "made without TARN_QUEUE_JOINABLE");
	tarn_object_unref(d);
	WRONG(tarn_topic_subscribe(t, &(tarn_subscription_options){ .policy = (enum tarn_topic_policy)9 },
				   &sub), EINVAL, "9 is no policy");
	WRONG(tarn_topic_subscribe(q, NULL, &sub), TARN_EKIND, "tarn.Topic");
	OK(tarn_dict_new(c, &d));
	tarn_key key = { .kind = TARN_KIND_LIST };
	WRONG(tarn_dict_get_key(d, key, &p), EINVAL, "list", "cannot be a key");
	OK(tarn_list_newf(c, &list, "[iii]", 1, 2, 3));
	OK(tarn_list_iter(list, &it));
	WRONG(tarn_iter_next_n(it, 0, &p), EINVAL, "Nothing was asked for");
	WRONG(tarn_iter_next_n(it, 3, NULL), EINVAL, "Nothing was asked for");
	tarn_object_unref(it);
	tarn_object_unref(list);
	tarn_object_unref(d);
	tarn_object_unref(q);
	tarn_object_unref(t);
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- one type for another ---- */

enum of { LIST, DICT, NAMESPACE, ITERATOR, QUEUE, TOPIC, LOCK, RLOCK, SEMAPHORE, CONDITION, EVENT, BARRIER, VALUE, ARRAY, TYPES };
static const char *const type_names[TYPES] = {
	"tarn.List", "tarn.Dict", "tarn.Namespace", "tarn.Iterator", "tarn.Queue", "tarn.Topic", "tarn.Lock",
	"tarn.RLock", "tarn.Semaphore", "tarn.Condition", "tarn.Event", "tarn.Barrier", "tarn.Value", "tarn.Array",
};

static void make_all(tarn_client *c, tarn_object *made[TYPES])
{
	OK(tarn_list_newf(c, &made[LIST], "[iii]", 3, 1, 2));
	OK(tarn_dict_newf(c, &made[DICT], "{s:i}", "a", 1));
	OK(tarn_ns_newf(c, &made[NAMESPACE], "{s:i}", "a", 1));
	OK(tarn_list_iter(made[LIST], &made[ITERATOR]));
	OK(tarn_queue_new(c, NULL, &made[QUEUE]));
	OK(tarn_topic_new(c, NULL, &made[TOPIC]));
	OK(tarn_lock_new(c, 0, &made[LOCK]));
	OK(tarn_rlock_new(c, 0, &made[RLOCK]));
	OK(tarn_sem_new(c, 1, &made[SEMAPHORE]));
	OK(tarn_cond_new(c, made[LOCK], &made[CONDITION]));
	OK(tarn_event_new(c, 0, &made[EVENT]));
	OK(tarn_barrier_new(c, 2, &made[BARRIER]));
	OK(tarn_shared_new(c, 'i', &made[VALUE]));
	OK(tarn_array_new(c, 'i', 3, &made[ARRAY]));
}

/* @call asks this of @o, an object of each type but its own. */
#define ALL_BUT(own, call)                                                                     \
	for (unsigned k = 0; k < TYPES; k++) {                                                 \
		tarn_object *o = made[k];                                                      \
									                       \
		if (k != (own))                                                                \
			WRONG((int)(call), TARN_EKIND, type_names[own], type_names[k],         \
			      "tarn_object_type_name()");                                      \
	}

static void ask_for_containers(tarn_object *made[TYPES])
{
	tarn_object *other;
	tarn_builder one;
	tarn_parcel p;
	uint64_t n;
	bool found;
	char text[100];
	int i;

	tarn_builder_init(&one);
	tarn_put_int(&one, 5);
	ALL_BUT(LIST, tarn_list_len(o, &n));
	ALL_BUT(LIST, tarn_list_get(o, 0, &p));
	ALL_BUT(LIST, tarn_list_getf(o, 0, "i", &i));
	ALL_BUT(LIST, tarn_list_get_ref(o, 0, &other));
	ALL_BUT(LIST, tarn_list_set(o, 0, &one));
	ALL_BUT(LIST, tarn_list_setf(o, 0, "i", 1));
	ALL_BUT(LIST, tarn_list_del(o, 0));
	ALL_BUT(LIST, tarn_list_append(o, &one));
	ALL_BUT(LIST, tarn_list_appendf(o, "i", 1));
	ALL_BUT(LIST, tarn_list_extend(o, &one));
	ALL_BUT(LIST, tarn_list_extendf(o, "i", 1));
	ALL_BUT(LIST, tarn_list_extend_from(o, made[LIST]));
	ALL_BUT(LIST, tarn_list_insertf(o, 0, "i", 1));
	ALL_BUT(LIST, tarn_list_popf(o, -1, "i", &i));
	ALL_BUT(LIST, tarn_list_removef(o, "i", 1));
	ALL_BUT(LIST, tarn_list_index(o, &one, 0, 3, &n));
	ALL_BUT(LIST, tarn_list_indexf(o, &n, "i", 1));
	ALL_BUT(LIST, tarn_list_countf(o, &n, "i", 1));
	ALL_BUT(LIST, tarn_list_containsf(o, &found, "i", 1));
	ALL_BUT(LIST, tarn_list_clear(o));
	ALL_BUT(LIST, tarn_list_reverse(o));
	ALL_BUT(LIST, tarn_list_sort(o, false));
	ALL_BUT(LIST, tarn_list_slice(o, 0, 1, 1, &p));
	ALL_BUT(LIST, tarn_list_set_slice(o, 0, 1, 1, &one));
	ALL_BUT(LIST, tarn_list_del_slice(o, 0, 1, 1));
	ALL_BUT(LIST, tarn_list_copy(o, &other));
	ALL_BUT(LIST, tarn_list_concat(o, made[LIST], &other));
	ALL_BUT(LIST, tarn_list_repeat(o, 2, &other));
	ALL_BUT(LIST, tarn_list_repeat_in_place(o, 2));
	ALL_BUT(LIST, tarn_list_iter(o, &other));
	ALL_BUT(LIST, tarn_dict_fromkeys(o, NULL, &other));
	ALL_BUT(DICT, tarn_dict_len(o, &n));
	ALL_BUT(DICT, tarn_dict_get(o, "a", &p));
	ALL_BUT(DICT, tarn_dict_getf(o, "a", "i", &i));
	ALL_BUT(DICT, tarn_dict_get_ref(o, "a", &other));
	ALL_BUT(DICT, tarn_dict_find(o, "a", &p));
	ALL_BUT(DICT, tarn_dict_contains(o, "a", &found));
	ALL_BUT(DICT, tarn_dict_set(o, "a", &one));
	ALL_BUT(DICT, tarn_dict_setf(o, "si", "a", 2));
	ALL_BUT(DICT, tarn_dict_del(o, "a"));
	ALL_BUT(DICT, tarn_dict_pop(o, "a", &p));
	ALL_BUT(DICT, tarn_dict_popitem(o, &p));
	ALL_BUT(DICT, tarn_dict_setdefault(o, "a", &one, &p));
	ALL_BUT(DICT, tarn_dict_updatef(o, "{s:i}", "a", 2));
	ALL_BUT(DICT, tarn_dict_update_from(o, made[DICT]));
	ALL_BUT(DICT, tarn_dict_clear(o));
	ALL_BUT(DICT, tarn_dict_copy(o, &other));
	ALL_BUT(DICT, tarn_dict_merged(o, made[DICT], &other));
	ALL_BUT(DICT, tarn_dict_keys(o, &p));
	ALL_BUT(DICT, tarn_dict_values(o, &p));
	ALL_BUT(DICT, tarn_dict_items(o, &p));
	ALL_BUT(DICT, tarn_dict_iter(o, TARN_ITERATE_KEYS, &other));
	ALL_BUT(NAMESPACE, tarn_ns_get(o, "a", &p));
	ALL_BUT(NAMESPACE, tarn_ns_getf(o, "a", "i", &i));
	ALL_BUT(NAMESPACE, tarn_ns_get_ref(o, "a", &other));
	ALL_BUT(NAMESPACE, tarn_ns_set(o, "a", &one));
	ALL_BUT(NAMESPACE, tarn_ns_setf(o, "a", "i", 2));
	ALL_BUT(NAMESPACE, tarn_ns_del(o, "a"));
	ALL_BUT(NAMESPACE, tarn_ns_format(o, text, sizeof text));
	ALL_BUT(ITERATOR, tarn_iter_next(o, &p));
	ALL_BUT(ITERATOR, tarn_iter_nextf(o, "i", &i));
	ALL_BUT(ITERATOR, tarn_iter_next_n(o, 1, &p));
	ALL_BUT(ITERATOR, tarn_iter_close(o));
	tarn_builder_fini(&one);
}

static bool always(void *arg)
{
	(void)arg;
	return true;
}

static void ask_for_the_others(tarn_object *made[TYPES])
{
	tarn_subscription *sub;
	tarn_barrier_state state;
	uint32_t index;
	uint64_t n;
	int64_t v;
	double d;
	char room[16];
	void *data;
	tarn_parcel p;

	ALL_BUT(QUEUE, tarn_queue_putf(o, 0, "i", 1));
	ALL_BUT(QUEUE, tarn_queue_get(o, &p, 0));
	ALL_BUT(QUEUE, tarn_queue_get_item(o, &p, &n, 0));
	ALL_BUT(QUEUE, tarn_queue_get_bytes(o, room, sizeof room, 0));
	ALL_BUT(QUEUE, tarn_queue_ack(o, 1));
	ALL_BUT(QUEUE, tarn_queue_attempts(o, 1));
	ALL_BUT(QUEUE, tarn_queue_task_done(o));
	ALL_BUT(QUEUE, tarn_queue_join(o, 0));
	ALL_BUT(QUEUE, tarn_queue_close(o));
	ALL_BUT(QUEUE, tarn_queue_closed(o));
	ALL_BUT(QUEUE, tarn_queue_size(o));
	ALL_BUT(QUEUE, tarn_queue_empty(o));
	ALL_BUT(QUEUE, tarn_queue_full(o));
	ALL_BUT(QUEUE, tarn_queue_maxsize(o));
	ALL_BUT(QUEUE, tarn_queue_redelivered(o));
	ALL_BUT(TOPIC, tarn_topic_publishf(o, 0, "i", 1));
	ALL_BUT(TOPIC, tarn_topic_leave(o));
	ALL_BUT(TOPIC, tarn_topic_close(o));
	ALL_BUT(TOPIC, tarn_topic_subscribers(o));
	ALL_BUT(TOPIC, tarn_topic_subscribe(o, NULL, &sub));
	ALL_BUT(LOCK, tarn_lock_acquire(o, 0));
	ALL_BUT(LOCK, tarn_lock_release(o));
	ALL_BUT(LOCK, tarn_lock_locked(o));
	ALL_BUT(RLOCK, tarn_rlock_acquire(o, 0));
	ALL_BUT(RLOCK, tarn_rlock_release(o));
	ALL_BUT(RLOCK, tarn_rlock_depth(o));
	ALL_BUT(SEMAPHORE, tarn_sem_acquire(o, 0));
	ALL_BUT(SEMAPHORE, tarn_sem_release(o, 1));
	ALL_BUT(SEMAPHORE, tarn_sem_value(o, &n));
	ALL_BUT(CONDITION, tarn_cond_acquire(o, 0));
	ALL_BUT(CONDITION, tarn_cond_release(o));
	ALL_BUT(CONDITION, tarn_cond_wait(o, 0));
	ALL_BUT(CONDITION, tarn_cond_wait_for(o, always, NULL, 0));
	ALL_BUT(CONDITION, tarn_cond_notify(o, 1));
	ALL_BUT(CONDITION, tarn_cond_notify_all(o));
	ALL_BUT(EVENT, tarn_event_set(o));
	ALL_BUT(EVENT, tarn_event_clear(o));
	ALL_BUT(EVENT, tarn_event_is_set(o));
	ALL_BUT(EVENT, tarn_event_wait(o, 0));
	ALL_BUT(BARRIER, tarn_barrier_wait(o, 0, &index));
	ALL_BUT(BARRIER, tarn_barrier_abort(o));
	ALL_BUT(BARRIER, tarn_barrier_reset(o));
	ALL_BUT(BARRIER, tarn_barrier_facts(o, &state));
	ALL_BUT(VALUE, tarn_shared_typecode(o));
	ALL_BUT(VALUE, tarn_shared_get(o, &v));
	ALL_BUT(VALUE, tarn_shared_set(o, 1));
	ALL_BUT(VALUE, tarn_shared_get_double(o, &d));
	ALL_BUT(VALUE, tarn_shared_set_double(o, 1));
	ALL_BUT(VALUE, tarn_shared_add(o, 1, &v));
	ALL_BUT(VALUE, tarn_shared_add_double(o, 1, &d));
	ALL_BUT(VALUE, tarn_shared_cas(o, 0, 1, &v));
	ALL_BUT(ARRAY, tarn_array_typecode(o));
	ALL_BUT(ARRAY, tarn_array_len(o, &n));
	ALL_BUT(ARRAY, tarn_array_data(o, &data));
	ALL_BUT(ARRAY, tarn_array_get(o, 0, &v));
	ALL_BUT(ARRAY, tarn_array_set(o, 0, 1));
	ALL_BUT(ARRAY, tarn_array_get_double(o, 0, &d));
	ALL_BUT(ARRAY, tarn_array_set_double(o, 0, 1));
	ALL_BUT(ARRAY, tarn_array_add(o, 0, 1, &v));
	ALL_BUT(ARRAY, tarn_array_read(o, 0, 1, 1, room, 1, &n));
	ALL_BUT(ARRAY, tarn_array_write(o, 0, 1, 1, room, 1));
}

PLAIN_TEST_TIMEOUT(what_is_asked_of_an_object_of_another_type_names_both, 60)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *made[TYPES];
	uint64_t n;
	int i;

	make_all(c, made);
	ask_for_containers(made);
	ask_for_the_others(made);
	/* A list's "clear" was not a dict's. */
	OK(tarn_list_len(made[LIST], &n));
	PLAIN_EQ(n, 3);
	OK(tarn_dict_getf(made[DICT], "a", "i", &i));
	PLAIN_EQ(i, 1);
	OK(tarn_ns_getf(made[NAMESPACE], "a", "i", &i));
	PLAIN_EQ(i, 1);
	for (unsigned k = 0; k < TYPES; k++)
		tarn_object_unref(made[k]);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST(nothing_can_be_ended_too)
{
	PLAIN_CHECK(tarn_block_unref(NULL) == NULL && tarn_channel_unref(NULL) == NULL);
	PLAIN_CHECK(tarn_object_unref(NULL) == NULL && tarn_call_free(NULL) == NULL);
	PLAIN_CHECK(tarn_client_close(NULL) == NULL && tarn_inspector_close(NULL) == NULL);
	PLAIN_CHECK(tarn_server_unref(NULL) == NULL && tarn_registry_free(NULL) == NULL);
	PLAIN_CHECK(tarn_subscription_free(NULL) == NULL && tarn_stream_close(NULL) == NULL);
	PLAIN_CHECK(tarn_process_unref(NULL) == NULL && tarn_thread_unref(NULL) == NULL);
	PLAIN_CHECK(tarn_pool_unref(NULL) == NULL && tarn_pool_result_unref(NULL) == NULL);
	PLAIN_CHECK(tarn_pool_iterator_free(NULL) == NULL && tarn_runner_unref(NULL) == NULL);
	PLAIN_CHECK(tarn_completion_free(NULL) == NULL && tarn_fault_unref(NULL) == NULL);
}

/* ---- processes, pools, threads, waiting ---- */

TARN_WORKER(nothing_at_all)
{
	(void)worker;
	return 0;
}

PLAIN_TEST(mistakes_with_processes_pools_and_threads_are_named)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	char *text = arena_text(100);
	tarn_process *p;
	tarn_pool *pool;
	tarn_runner *runner;
	tarn_thread *thread;
	tarn_builder args;
	bool done;

	tarn_builder_init(&args);
	tarn_put_int(&args, 7);
#define PROCESS(client, ...) tarn_process_new(client, &(tarn_process_options){ __VA_ARGS__ }, &p)
	WRONG(PROCESS(c, .entry = "no such entry"), ENOENT, "no such entry");
	WRONG(PROCESS(c, .on_error = "no such entry"), ENOENT, "no such entry");
	WRONG(PROCESS(c, .entry = "some entry", .program = "/bin/true"), EINVAL, "not both", "some entry", "/bin/true");
	WRONG(PROCESS(c, .name = text), ENAMETOOLONG, "100 bytes");
	WRONG(PROCESS(NULL, .args = &args), EINVAL, "without a client");
	WRONG(PROCESS(c, .client = &(tarn_client_options){ .authkey = text, .authkey_bytes = 5000 }), EINVAL,
	      "5000 bytes", "at most 1024");
	OK(PROCESS(c, .program = "/bin/sleep", .argv = (char *[]){ (char *)"sleep", (char *)"1000", NULL }));
	OK(tarn_process_start(p));
	WRONG(tarn_process_signal(p, 1000), EINVAL, "Signal 1000");
	OK(tarn_process_kill(p));
	PLAIN_CHECK(tarn_process_join(p, TARN_FOREVER) != -ETIMEDOUT);
	tarn_process_unref(p);
#undef PROCESS
	WRONG(tarn_pool_new(c, &(tarn_pool_options){ .initializer = "no such" }, &pool), ENOENT, "no such");
	WRONG(tarn_pool_new(c, &(tarn_pool_options){ .name = text }, &pool), ENAMETOOLONG, "100 bytes");
	WRONG(tarn_pool_new(c, &(tarn_pool_options){ .workers = 5000 }, &pool), EINVAL, "5000 workers",
	      "the most is 1024");
	WRONG(tarn_runner_new(c, &(tarn_runner_options){ 0 }, &runner), EINVAL, "runner");
	WRONG(tarn_runner_new(c, &(tarn_runner_options){ .call = "no such" }, &runner), ENOENT, "no such");
	WRONG(tarn_runner_new(c, &(tarn_runner_options){ .call = "nothing_at_all", .name = text }, &runner),
	      ENAMETOOLONG, "name of a runner", "100 bytes", "at most");
	WRONG(tarn_runner_new(c, NULL, &runner), EINVAL, "A runner needs an entry that is called");
	OK(tarn_thread_spawn(NULL, &thread)); /* all by default: it runs nothing */
	OK(tarn_thread_join(thread, TARN_FOREVER));
	tarn_thread_unref(thread);
	WRONG(tarn_thread_spawn(&(tarn_thread_options){ .name = text }, &thread), ENAMETOOLONG, "100 bytes");
	tarn_waitable w = { .kind = (enum tarn_waitable_kind)77, .fd = -1 };
	WRONG(tarn_wait(&w, 1, TARN_WAIT_FIRST, 0, &done), EINVAL, "77 is no kind");
	w = (tarn_waitable){ .kind = TARN_WAITABLE_FD, .fd = 1000000 };
	WRONG(tarn_wait(&w, 1, TARN_WAIT_FIRST, 0, &done), EBADF, "1000000");
	tarn_builder_fini(&args);
	free(text);
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- types ---- */

static int nothing(tarn_context *ctx, void *self)
{
	(void)ctx, (void)self;
	return 0;
}

PLAIN_TEST(mistakes_in_the_table_of_a_type_are_named)
{
	tarn_registry *r = tarn_registry_new();
	char *text = arena_text(100);

	PLAIN_CHECK(r != NULL);
#define TYPE(...) tarn_type_register(r, &(tarn_type){ __VA_ARGS__ })
#define METHODS(...) .name = "T", .methods = (const tarn_method[]){ { __VA_ARGS__ }, { 0 } }
#define FIELDS(...) .name = "T", .size = 16, .fields = (const tarn_field[]){ __VA_ARGS__, { 0 } }
	WRONG(tarn_type_register(r, NULL), EINVAL, "without a name");
	WRONG(TYPE(.size = 8), EINVAL, "without a name");
	WRONG(TYPE(.name = ""), EINVAL, "0 bytes");
	WRONG(TYPE(.name = text), EINVAL, "100 bytes");
	WRONG(TYPE(.name = "tarn.Mine"), EINVAL, "Tarn's own");
	WRONG(TYPE(.name = "T", .flags = 1u << 20), EINVAL, "0x100000");
	WRONG(TYPE(.name = "T", .concurrency = (enum tarn_concurrency)9), EINVAL, "concurrency 9");
	WRONG(TYPE(.name = "T", .align = 24), EINVAL, "alignment 24");
	WRONG(TYPE(.name = "T", .size = SIZE_MAX), EINVAL, "fits into no arena");
	WRONG(TYPE(.name = "T", .flags = TARN_TYPE_ADOPT, .size = 8), EINVAL, "adopts");
	WRONG(TYPE(.name = "T", .args = "[i"), EINVAL, "[i", "create");
	WRONG(TYPE(METHODS("m", NULL)), EINVAL, "method m", "no function");
	WRONG(TYPE(METHODS("", nothing)), EINVAL, "0 bytes");
	WRONG(TYPE(METHODS("m", nothing, 1u << 20)), EINVAL, "method m", "0x100000");
	WRONG(TYPE(METHODS("m", nothing, .result_type = "")), EINVAL, "result type has no name");
	WRONG(TYPE(METHODS("m", nothing, .args = "?")), EINVAL, "\"?\"", "arguments");
	WRONG(TYPE(METHODS("m", nothing, .result = "i]")), EINVAL, "\"i]\"", "result");
	WRONG(TYPE(.name = "T", .methods = (const tarn_method[]){ { "m", nothing }, { "m", nothing }, { 0 } }),
	      EINVAL, "more than one", "m");
	WRONG(TYPE(FIELDS({ "f", 'z', false, 0 })), EINVAL, "field f", "'z'");
	WRONG(TYPE(FIELDS({ "f", 'q', false, 12 })), EINVAL, "8 bytes at 12", "16");
	WRONG(TYPE(FIELDS({ "f", 'q', false, 0 }, { "f", 'q', false, 8 })), EINVAL, "more than one", "f");
	WRONG(TYPE(FIELDS({ "", 'q', false, 0 })), EINVAL, "0 bytes");
	OK(TYPE(.name = "T"));
	WRONG(TYPE(.name = "T"), EEXIST, "T");
	OK(tarn_type_unregister(r, "T"));
	WRONG(tarn_type_unregister(r, "T"), TARN_ENOTYPE, "T");
	WRONG(tarn_registry_load(r, "/no/such/module.so"), ENOENT, "/no/such/module.so");
	WRONG(tarn_registry_load(r, "libc.so.6"), ENOENT, "libc.so.6"); /* a file, not a library */
	WRONG(tarn_registry_load(r, "/proc/self/exe"), ENOENT, "/proc/self/exe");
	tarn_method *crowd = calloc(5001, sizeof *crowd);
	char(*names)[16] = calloc(5000, sizeof *names);
	PLAIN_CHECK(crowd != NULL && names != NULL);
	for (unsigned i = 0; i < 5000; i++) {
		snprintf(names[i], sizeof names[i], "m%u", i);
		crowd[i] = (tarn_method){ names[i], nothing };
	}
	WRONG(TYPE(.name = "T", .methods = crowd), EINVAL, "5000 methods", "the most is 4096");
	free(crowd);
	free(names);
#undef TYPE
#undef METHODS
#undef FIELDS
	tarn_registry_free(r);
	free(text);
}

/* ---- in methods ---- */

struct blunderer {
	uint64_t word;
	uint64_t more;
};

enum blunder {
	HOLD_NOTHING,
	DROP_WHAT_IT_DOES_NOT_HOLD,
	MAKE_OF_NO_TYPE,
	MAKE_OF_ONE_THAT_ADOPTS,
	MOVE_NOTHING,
	NAME_NO_MEMORY_OF_THE_SERVER,
	NAME_NO_INSTANCE,
	GIVE_AN_OBJECT_IN_A_METHOD,
	MAKE_AN_UNSHORT_ONE,
	USE_WHAT_IS_GONE,
	BLUNDERS
};

static int do_wrong(tarn_context *ctx, struct blunderer *self, unsigned what)
{
	tarn_object *o;
	tarn_block *b;

	switch ((enum blunder)what) {
	case HOLD_NOTHING:
		return tarn_self_hold_object(ctx, NULL);
	case DROP_WHAT_IT_DOES_NOT_HOLD:
		return tarn_self_drop(ctx, 77);
	case MAKE_OF_NO_TYPE:
		return tarn_managed(ctx, "NoSuchType", NULL, &o);
	case MAKE_OF_ONE_THAT_ADOPTS:
		return tarn_managed(ctx, "Adopter", NULL, &o);
	case MOVE_NOTHING:
		return tarn_managed_move(ctx, "Blunderer", NULL, &o);
	case NAME_NO_MEMORY_OF_THE_SERVER:
		return tarn_managed_of(ctx, &what, &o);
	case NAME_NO_INSTANCE:
		self->word = self->more = 0;
		return tarn_managed_of(ctx, self + 1, &o);
	case GIVE_AN_OBJECT_IN_A_METHOD:
		return tarn_context_return_object(ctx, tarn_context_self(ctx));
	case MAKE_AN_UNSHORT_ONE:
		return tarn_managed(ctx, "Unshort", NULL, &o);
	case USE_WHAT_IS_GONE:
		return tarn_self_block(ctx, (UINT64_C(1) << 40) + 5, &b);
	case BLUNDERS:
		break;
	}
	return 0;
}

/* What came of it is the result: code and sentence. */
static int blunder(tarn_context *ctx, void *self)
{
	unsigned what;
	int r = tarn_context_get(ctx, "I", &what);

	if (r < 0)
		return r;
	r = do_wrong(ctx, self, what);
	return tarn_put(tarn_context_result(ctx), "is", r, r < 0 ? tarn_error_last()->message : "");
}

static const tarn_method blunders[] = {
	{ "blunder", blunder, TARN_METHOD_INLINE, "I", "is" },
	{ "blunder_slowly", blunder, 0, "I", "is" },
	{ 0 },
};
static const tarn_type blunderer_type = { .name = "Blunderer", .size = sizeof(struct blunderer),
					  .flags = TARN_TYPE_INLINE, .methods = blunders };
TARN_TYPE_REGISTER(blunderer_type)
static const tarn_type adopter_type = { .name = "Adopter", .flags = TARN_TYPE_ADOPT | TARN_TYPE_RESULT_ONLY };
TARN_TYPE_REGISTER(adopter_type)
static const tarn_type unshort_type = { .name = "Unshort", .size = 8 };
TARN_TYPE_REGISTER(unshort_type)

PLAIN_TEST(mistakes_in_methods_are_named_to_them)
{
	static const struct {
		enum blunder what;
		int here, slowly; /* on the server's thread, on an executor; 0: no mistake there */
		const char *text;
	} want[] = {
		{ HOLD_NOTHING, EINVAL, EINVAL, "Nothing to hold" },
		{ DROP_WHAT_IT_DOES_NOT_HOLD, ENOENT, 0, "does not hold" },
		{ MAKE_OF_NO_TYPE, TARN_ENOTYPE, TARN_ENOTYPE, "no type \"NoSuchType\"" },
		{ MAKE_OF_ONE_THAT_ADOPTS, TARN_EKIND, TARN_EKIND, "Adopter adopts objects" },
		{ MOVE_NOTHING, EINVAL, EINVAL, "No instance was given" },
		{ NAME_NO_MEMORY_OF_THE_SERVER, ENOENT, ENOENT, "of this server" },
		{ NAME_NO_INSTANCE, ENOENT, ENOENT, "is not the instance of an object" },
		{ GIVE_AN_OBJECT_IN_A_METHOD, TARN_ESTATE, TARN_ESTATE, "Only a creator" },
		{ MAKE_AN_UNSHORT_ONE, TARN_ESTATE, 0, "TARN_TYPE_INLINE, which Unshort is not" },
		{ USE_WHAT_IS_GONE, TARN_ESTALE, TARN_ESTALE, "" },
	};
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *here, *there;

	static_assert(sizeof want / sizeof *want == BLUNDERS, "each has its row");
	/* Of its own each: what comes to an object whose executor is not quite done is the executor's, too. */
	OK(tarn_object_new(c, "Blunderer", NULL, &here));
	OK(tarn_object_new(c, "Blunderer", NULL, &there));
	for (unsigned i = 0; i < 2 * BLUNDERS; i++) {
		const bool slowly = i % 2 == 1;
		const int code = slowly ? want[i / 2].slowly : want[i / 2].here;
		tarn_builder args;
		tarn_parcel p;
		const char *text;
		int got;

		tarn_builder_init(&args);
		OK(tarn_put_uint(&args, want[i / 2].what));
		OK(tarn_call(slowly ? there : here, slowly ? "blunder_slowly" : "blunder", &args, &p, TARN_FOREVER));
		tarn_builder_fini(&args);
		OK(tarn_parcel_get(&p, "is", &got, &text));
		PLAIN_CHECKF(got == -code, "%u, %s: %s (%s)", i / 2, slowly ? "slowly" : "here",
			     tarn_error_name(got), text);
		PLAIN_CHECKF(code == 0 || strstr(text, want[i / 2].text) != NULL, "%u: %s", i / 2, text);
		tarn_parcel_fini(&p);
	}
	tarn_object_unref(here);
	tarn_object_unref(there);
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- values and faults ---- */

PLAIN_TEST(mistakes_with_values_and_faults_are_named)
{
	const unsigned char id[100] = { 0 };
	tarn_builder b;
	tarn_parcel p;
	unsigned small;

	tarn_builder_init(&b);
	WRONG(tarn_put_bytes(&b, NULL, 5), EINVAL, "5 bytes at address 0");
	tarn_builder_fini(&b);
	tarn_builder_init(&b);
	OK(tarn_put_uint(&b, UINT64_C(5000000000)));
	OK(tarn_parcel_from(&b, &p));
	WRONG(tarn_parcel_get(&p, "I", &small), TARN_EARGS, "32 bits", "5000000000");
	tarn_parcel_fini(&p);
	tarn_builder_fini(&b);
	tarn_fault *f = tarn_fault_new("ValueError", 0, "x"), *g = tarn_fault_new("ValueError", 0, "y");
	WRONG(tarn_fault_add_frame(f, &(tarn_frame){ .function = "f", .build_id = id, .build_id_bytes = 100 }),
	      EINVAL, "100 bytes");
	int r = 0, n = 0;
	while (r == 0 && n++ < 100000)
		r = tarn_fault_add_frame(f, &(tarn_frame){ .function = "f" });
	WRONG(r, E2BIG, "frames");
	WRONG(tarn_fault_add_stack(f), E2BIG, "frames");
	OK(tarn_fault_set_cause(g, f)); /* shared from here on */
	WRONG(tarn_fault_add_frame(f, &(tarn_frame){ .function = "f" }), EBUSY, "does not change");
	tarn_fault_unref(f);
	tarn_fault_unref(g);
	/* Brackets without end, and text that is no value. */
	char *open = arena_text(100);
	memset(open, '[', 100);
	tarn_builder_init(&b);
	PLAIN_CHECK(tarn_value_parse(open, &b, NULL, NULL) < 0 && tarn_error_last()->message[0] != '\0');
	tarn_builder_fini(&b);
	static const char *const bad[] = { "\"\\uZZZZ\"", "-", "<block 1", "<block 1>", "\"\\q\"", "{1 2" };
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		tarn_builder_init(&b);
		r = tarn_value_parse(bad[i], &b, NULL, NULL);
		PLAIN_CHECKF(r < 0 && strstr(tarn_error_last()->message, "xpected") != NULL, "%s: %s", bad[i],
			     tarn_error_last()->message);
		tarn_builder_fini(&b);
	}
	free(open);
}

PLAIN_MAIN()
