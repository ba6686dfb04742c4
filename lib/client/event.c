/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One descriptor for event loops, per thread: the reading end of a pipe, so that it is readable
 * also when the server is gone.
 *
 * The server writes once for each value of the lane's notify word that it finds there after a
 * reply: clearing changes the word, so a loop wakes once per batch, and a thread that is
 * busy with answers costs the server no system call.
 */
#include <unistd.h>

#include "call.h"
#include "pending.h"


/* SYNC event: the word changes, barrier, replies are taken in; the server: reply, barrier, looks
 * at the word. So an answer is taken in here, or the server writes. */
static void arm(struct tarn__lane *l)
{
	uint32_t *word = &l->area->client.notify;
	uint32_t next = tarn__load32_relaxed(word) + 1;

	tarn__store32_relaxed(word, next != 0 ? next : 1);
	tarn__sleep_barrier(l->client->fence);
	tarn__lane_drain(l);
}

static int open_event(struct tarn__lane *l)
{
	struct tarn__answer answer;
	int fd = -1, r = tarn__calls_init(l);

	if (r < 0 || l->calls->event >= 0)
		return r;
	r = tarn__client_ask_fd(l->client, TARN__CTL_EVENT, l->number, tarn__deadline(l->client->answer_ns),
				&answer, &fd);
	if (r < 0)
		return r;
	if (fd < 0)
		return tarn__fail(-TARN_EPROTO, "The server sent no descriptor for events.");
	l->calls->event = fd;
	arm(l);
	return 0;
}

int tarn_client_event_fd(tarn_client *client, int *ret_fd)
{
	struct tarn__lane *l;
	int r = tarn__lane_enter(client, &l);

	if (r < 0)
		return r;
	r = open_event(l);
	if (r == 0)
		*ret_fd = l->calls->event;
	tarn__lane_leave(l);
	return r;
}

static void empty(int fd)
{
	char bytes[64];

	while (read(fd, bytes, sizeof bytes) == (ssize_t)sizeof bytes)
		;
}

int tarn_client_event_clear(tarn_client *client)
{
	struct tarn__lane *l;
	int r = tarn__lane_enter(client, &l);

	if (r < 0)
		return r;
	r = open_event(l);
	if (r == 0) {
		empty(l->calls->event);
		arm(l);
		tarn__lane_notice(l);
	}
	if (r == 0)
		r = tarn__client_health(client, l);
	tarn__lane_leave(l);
	return r;
}
