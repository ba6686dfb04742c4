/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets of messages that a server has before it when it is killed: one entry each. A new kind of message is one
 * more entry here or one more actor; test-kill-server.c does the rest.
 *
 * Two clients, c and d, and up to SETS_ACTORS threads, each with a lane of its own to both. First prepare(),
 * which nobody watches. Then the server is stopped, and each actor posts: what does not wait, and at last one
 * thing that does. held() is called when all are waiting. The server goes on, and any instruction may be its
 * last. Its successor answers, posts return, and finish() looks that everything was done once, is whole, and
 * can be used.
 */
#ifndef TARN_TESTS_CRASH_SETS_H
#define TARN_TESTS_CRASH_SETS_H

#include "tests/common/arena.h"
#include "tests/common/types.h"

#define SETS_ACTORS 5u
#define SETS_OBJECTS 8u
#define SETS_CHANNELS 6u

struct world {
	struct arena a;
	tarn_client *c, *d, *e;
	tarn_block *b[SETS_OBJECTS];
	tarn_channel *ch[SETS_CHANNELS];
	tarn_object *o[SETS_OBJECTS];
	tarn_token token[6];
	tarn_subscription *reader;
	int64_t n;            /* of a counter */
	int result[SETS_ACTORS]; /* of what an actor waited for, where that may be interrupted */
	pid_t victim, other;  /* clients that are killed, or break rules, while the server is held */
	pid_t asleep;         /* one that is to sleep before the server goes on; 0: none */
	uint64_t interrupted; /* calls */
};

struct message_set {
	const char *name;
	void (*prepare)(struct world *w);
	void (*post[SETS_ACTORS])(struct world *w);
	void (*held)(struct world *w);   /* NULL: nothing more */
	void (*finish)(struct world *w); /* nothing that prepare() and posts made is left */
	bool uring;          /* the server's loop; else epoll */
	bool full;           /* its arena: nothing is there to be overwritten */
	unsigned takes_over; /* not this server is killed at each instruction, but its successor; it
			      * itself gets SIGKILL so many 16ths down the way */
};

extern const struct message_set message_sets[];
extern const size_t n_message_sets;

/* A call that may be interrupted. True: it was not. */
bool sets_went(struct world *w, int r);
/* The same of what has to be known: it is asked again. */
#define SETS_ASK(w, call)               \
	do {                            \
	} while (!sets_went((w), (call)))

/* A block, filled with the pattern of @seed; waits as long as a server that is stepped may take. */
tarn_block *sets_block(tarn_client *c, size_t size, unsigned seed);

/* sets-objects.c */
void sets_calls_prepare(struct world *w);
void sets_calls_add(struct world *w);
void sets_calls_link(struct world *w);
void sets_calls_make(struct world *w);
void sets_calls_text(struct world *w);
void sets_calls_finish(struct world *w);
void sets_slow_prepare(struct world *w);
void sets_slow_add(struct world *w);
void sets_slow_put(struct world *w);
void sets_slow_make(struct world *w);
void sets_slow_blocks(struct world *w);
void sets_slow_finish(struct world *w);
void sets_lists_prepare(struct world *w);
void sets_lists_append(struct world *w);
void sets_lists_extend(struct world *w);
void sets_lists_dict(struct world *w);
void sets_lists_sort(struct world *w);
void sets_lists_finish(struct world *w);
void sets_queues_prepare(struct world *w);
void sets_queues_put(struct world *w);
void sets_queues_get(struct world *w);
void sets_queues_publish(struct world *w);
void sets_queues_grow(struct world *w);
void sets_queues_finish(struct world *w);

/* sets-deaths.c, sets-room.c */
void sets_eviction_prepare(struct world *w);
void sets_eviction_held(struct world *w);
void sets_eviction_ping(struct world *w);
void sets_eviction_send(struct world *w);
void sets_eviction_finish(struct world *w);
void sets_stopped_prepare(struct world *w);
void sets_stopped_held(struct world *w);
void sets_stopped_send(struct world *w);
void sets_stopped_receive(struct world *w);
void sets_stopped_finish(struct world *w);
void sets_owner_prepare(struct world *w);
void sets_owner_held(struct world *w);
void sets_owner_lock(struct world *w);
void sets_owner_rlock(struct world *w);
void sets_owner_permit(struct world *w);
void sets_owner_party(struct world *w);
void sets_owner_called(struct world *w);
void sets_owner_finish(struct world *w);
void sets_users_prepare(struct world *w);
void sets_users_held(struct world *w);
void sets_users_again(struct world *w);
void sets_users_join(struct world *w);
void sets_users_put(struct world *w);
void sets_users_get(struct world *w);
void sets_users_publish(struct world *w);
void sets_users_finish(struct world *w);
void sets_room_prepare(struct world *w);
void sets_room_wait(struct world *w);
void sets_room_give(struct world *w);
void sets_room_refuse(struct world *w);
void sets_room_quota(struct world *w);
void sets_room_less(struct world *w);
void sets_room_finish(struct world *w);
void sets_numbers_prepare(struct world *w);
void sets_numbers_wait(struct world *w);
void sets_numbers_give(struct world *w);
void sets_numbers_make(struct world *w);
void sets_numbers_finish(struct world *w);
void sets_cycles_prepare(struct world *w);
void sets_cycles_links(struct world *w);
void sets_cycles_lists(struct world *w);
void sets_cycles_channels(struct world *w);
void sets_cycles_queues(struct world *w);
void sets_cycles_finish(struct world *w);

void sets_end(struct world *w); /* drops all that it has */

#endif
