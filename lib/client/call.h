/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls: from values to messages and back.
 *
 * A message is built on the stack and posted in one go; its reply is read from where the lane
 * copied it. What does not fit goes into a block. Everything that may ask the server (a
 * block, the right to hold an id) comes before the post.
 */
#ifndef TARN_CLIENT_CALL_H
#define TARN_CLIENT_CALL_H

#include "lib/value/value.h"
#include "object.h"

#define TARN__MESSAGE_WORDS (7u * TARN__MESSAGE_SLOTS)
#define TARN__REPLY_WORDS (7u * TARN__REPLY_SLOTS)
#define TARN__SYNC_REPLY TARN__REPLY_SLOTS /* slots that a caller who waits asks a reply of */

/* A message with values, see layout.h. Not initialised but for what is used. */
struct tarn__message_out {
	uint64_t word[TARN__MESSAGE_WORDS];
	unsigned slots;
	struct tarn_block *spill; /* the block that the payload went to, or NULL */
};

/*
 * Makes the message (@kind, @target, packed, values). @p may be NULL: no values. What it refers
 * to is shared first. @count: the header's. Fails with a sentence; then there is nothing to
 * end. Else tarn__message_done() after the post.
 */
int tarn__message_build(struct tarn__lane *l, struct tarn__message_out *m, enum tarn__message kind,
			unsigned count, uint64_t target, unsigned method, unsigned flags,
			unsigned reply_slots, const struct tarn__payload *p);
void tarn__message_done(struct tarn__lane *l, struct tarn__message_out *m);

/* Posts a message that nobody answers here (a host's RESULT, a one-way call): builds it, waits
 * for room, rings. */
int tarn__message_send(struct tarn__lane *l, enum tarn__message kind, unsigned count,
		       uint64_t target, unsigned method, unsigned flags,
		       const struct tarn__payload *p, uint64_t deadline);

/*
 * What a reply of @n words says: 0 with the values in @ret (NULL: not wanted, and given back), or
 * its failure, as the calling thread's last. References in it become handles.
 */
int tarn__reply_read(struct tarn__lane *l, const uint64_t *word, unsigned n, tarn_parcel *ret);

/* The same of a reply of one slot with a few values: nearly all are. False: it is another, and
 * nothing was done. */
static inline bool tarn__reply_short(struct tarn__lane *l, const uint64_t word[7], tarn_parcel *ret)
{
	uint64_t packed = word[1];

	if (tarn__unlikely(tarn__header_count(word[0]) != 0 || tarn__header_slots(word[0]) > 1 ||
			   tarn__pack_refs(packed) != 0 || tarn__pack_flags(packed) != 0))
		return false;
	tarn__from_server(l->client);
	return ret == NULL || tarn__parcel_set_short(ret, word + 2, tarn__pack_words(packed),
						     tarn__pack_values(packed));
}

/* The same of the reply that was awaited. */
int tarn__reply_awaited(struct tarn__lane *l, tarn_parcel *ret);

/* Gives back what a reply brought that nobody takes. */
void tarn__reply_drop(struct tarn__lane *l, const uint64_t *word, unsigned n);

/* Asks for the description of a type (by @index, or by name), and reads the answer. */
int tarn__ask_type(struct tarn__lane *l, const char *name, uint32_t index, tarn_parcel *ret);

/* Sends CANCEL for @cookie, if there is room. */
void tarn__call_cancel(struct tarn__lane *l, uint32_t cookie);

/* The payload of @args, which may be NULL. */
static inline int tarn__args_payload(const tarn_builder *args, struct tarn__payload *ret)
{
	if (args == NULL) {
		*ret = (struct tarn__payload){ .words = NULL };
		return 0;
	}
	return tarn__likely(tarn__builder_plain(args, ret)) ? 0 : tarn__builder_payload(args, ret);
}

/* The server's own client runs calls of its executors in place. */
struct tarn__direct {
	bool (*mine)(const tarn_client *client); /* is the calling thread one of its executors? */
	bool (*runs)(const tarn_object *object); /* its methods, in place? Else ask the server, as others do. */
	int (*call)(tarn_object *object, unsigned method, const tarn_builder *args,
		    tarn_parcel *ret, int64_t timeout_ns);
	/* -ENOTSUP: ask the server, as others do. */
	int (*create)(tarn_client *client, const char *type, const tarn_builder *args,
		      tarn_object **ret);
};

/* Polls for the next reply as long as this thread spins, at least once. True: it is in @word, each of its words
 * read once where it lies, and still in the ring. */
static inline bool tarn__reply_poll(struct tarn__lane *l, uint64_t word[7])
{
	const struct tarn__slot *s = &l->replies.slot[l->replies.next % TARN__REPLIES];
	uint64_t mark = l->replies.next + 1;
	uint32_t left = l->spin.rounds;

	/* SYNC slot-full, acquire: the words were written before. */
	while (tarn__load_acquire(&s->mark) != mark) {
		if (left-- == 0) {
			tarn__spin_failed(&l->spin);
			return false;
		}
		tarn__pause();
	}
	tarn__slot_read(s, word);
	return true;
}

#endif
