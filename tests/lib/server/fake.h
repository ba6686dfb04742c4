/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server without sockets and processes, with clients whose messages a test writes by
 * hand: every schedule of lanes and epochs can be played, and META looked at after each.
 */
#ifndef TARN_TESTS_FAKE_H
#define TARN_TESTS_FAKE_H

#include "lib/server/server.h"

struct fake_lane {
	uint32_t client, number;
	struct tarn__requests requests;
	struct tarn__replies replies;
};

/* A server with an arena of @mib MiB. Aborts on failure, as all of these do. */
struct server *fake_server(unsigned mib);
/* The same, with at most @max_objects. */
struct server *fake_server_of(unsigned mib, uint64_t max_objects);
void fake_server_free(struct server *s);

uint32_t fake_client(struct server *s);
struct fake_lane fake_lane(struct server *s, uint32_t client);
/* The client is dead from here on; epochs notice. */
void fake_kill(struct server *s, uint32_t client);

/* Posts one message of one slot: kind, count, and up to six words. */
void fake_post(struct fake_lane *l, enum tarn__message kind, unsigned count, uint64_t a, uint64_t b,
	       uint64_t c, uint64_t d, uint64_t e, uint64_t f);
void fake_post_name(struct fake_lane *l, enum tarn__message kind, uint64_t first, bool has_first,
		    const char *name);

#define fake_send(l, ch, p, id, size, units) \
	fake_post(l, TARN__MSG_SEND, 0, ch, p, id, size, units, 0)
#define fake_recv(l, ch, p, id) fake_post(l, TARN__MSG_RECV, 0, ch, p, id, 0, 0, 0)
#define fake_absorb(l, ch, p, id) fake_post(l, TARN__MSG_ABSORB, 0, ch, p, id, 0, 0, 0)
#define fake_release(l, id, units) fake_post(l, TARN__MSG_RELEASE, 0, id, units, 0, 0, 0, 0)

/* Takes the next reply; aborts if there is none. */
struct tarn__slot fake_reply(struct fake_lane *l);
bool fake_no_reply(struct fake_lane *l);

/* What a producer does after its SENDs: the slots below @tail can be seen. */
void fake_show(struct server *s, uint64_t channel, uint64_t tail);

/* Runs epochs until a block is granted; its id. */
uint64_t fake_alloc(struct server *s, struct fake_lane *l, uint64_t bytes);
/* A channel of @slots whose ends are bound to @producer and @consumer; its id. */
uint64_t fake_channel(struct server *s, struct fake_lane *producer, struct fake_lane *consumer,
		      uint64_t slots);

/* ---- objects: a host without executors, unless a test plays them ---- */

/* A host with these types (the list ends with NULL), the real one for what runs inline. */
void fake_types(struct server *s, const tarn_type *const *types);
/* The number of a type; 0: none. */
uint32_t fake_type(const struct server *s, const char *name);
/* A client that is the host of @s: jobs are queued, see fake_job(). */
uint32_t fake_host(struct server *s);
/* The next job that was submitted and not taken yet; NULL. It stays the server's. */
struct tarn__job *fake_job(struct server *s);
/* As a successor: the host's private part is made anew; jobs of calls that META knows are there. */
void fake_host_restart(struct server *s, const tarn_type *const *types);
/* Posts a message with values: @refs are ids and second words, @words what a builder made. */
struct fake_values {
	const uint64_t *words;
	unsigned n_words, n_values;
	const uint64_t *refs;
	unsigned n_refs;
};
void fake_post_values(struct fake_lane *l, enum tarn__message kind, unsigned count, uint64_t first,
		      unsigned method, unsigned flags, unsigned reply_slots,
		      const struct fake_values *v);
/* The next reply with all its slots. */
struct fake_answer {
	int error;
	uint32_t cookie;
	unsigned kind, slots, n_values, n_refs, flags, n_words;
	uint64_t words[7 * TARN__MESSAGE_SLOTS];
	uint64_t refs[2 * TARN__CALL_REFS];
	uint64_t spilled;
};
struct fake_answer fake_answer(struct fake_lane *l);
/* Creates, with one epoch; the id, or 0 and the answer. */
uint64_t fake_create(struct server *s, struct fake_lane *l, const char *type,
		     const struct fake_values *v, struct fake_answer *ret);
/* Calls an inline method, with one epoch. */
struct fake_answer fake_call(struct server *s, struct fake_lane *l, uint64_t id, unsigned method,
			     const struct fake_values *v);
/* The sentence of a failure, or "". Static. */
const char *fake_sentence(const struct fake_answer *a);

/* Reads only lane @l (phase A of a part of an epoch), as far as it is published. */
void fake_read(struct server *s, struct fake_lane *l);
/* Full epochs until nothing is left to do. */
void fake_settle(struct server *s);
/* Phase B and the change of buffers, without reading any lane. */
void fake_phase_b(struct server *s);

/* Findings of the full check, printed to stderr. */
int fake_verify(const struct server *s);
/* LIVE or GRANTED, and its count. */
bool fake_alive(const struct server *s, uint64_t id);
uint32_t fake_count(const struct server *s, uint64_t id);

#endif
