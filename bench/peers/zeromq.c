/* SPDX-License-Identifier: Apache-2.0 */
/* ZeroMQ: REQ and REP over ipc. Each side sleeps in the library, which has a thread for the
 * socket; a pair of messages is a call. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "pair.h"

static void check_zmq(bool ok, const char *what)
{
	if (!ok)
		die("%s: %s", what, zmq_strerror(zmq_errno()));
}

static void *open_socket(void *context, const struct pair *p, int type)
{
	char address[128];
	void *s = zmq_socket(context, type);

	snprintf(address, sizeof address, "ipc://%s/zmq", p->dir);
	check_zmq(s != NULL, "socket");
	check_zmq((type == ZMQ_REP ? zmq_bind : zmq_connect)(s, address) == 0, address);
	return s;
}

static void first(struct pair *p)
{
	void *context = zmq_ctx_new(), *s = open_socket(context, p, ZMQ_REQ);
	char *out = calloc(1, p->size), *in = calloc(1, p->size);

	if (out == NULL || in == NULL)
		die("no memory");
	pair_start(p);
	while (pair_next(p)) {
		memcpy(out, &p->trip, sizeof p->trip);
		check_zmq(zmq_send(s, out, p->size, 0) == (int)p->size, "send");
		check_zmq(zmq_recv(s, in, p->size, 0) == (int)p->size, "receive");
		pair_check(p, in);
	}
	free(out);
	free(in);
	zmq_close(s);
	zmq_ctx_term(context);
}

static void second(struct pair *p)
{
	void *context = zmq_ctx_new(), *s = open_socket(context, p, ZMQ_REP);
	char *in = calloc(1, p->size);

	if (in == NULL)
		die("no memory");
	pair_start(p);
	while (pair_next(p)) {
		check_zmq(zmq_recv(s, in, p->size, 0) == (int)p->size, "receive");
		pair_check(p, in);
		check_zmq(zmq_send(s, in, p->size, 0) == (int)p->size, "send");
	}
	free(in);
	zmq_close(s);
	zmq_ctx_term(context);
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "zeromq",
		.question = "ZeroMQ, REQ and REP over ipc: what does a message there and one back cost?",
		.rounds = 5,
		.only = true,
	};
	static const struct pair_kinds kinds = { first, second, .sleeps = true, .trips = true,
						 .calls = true, .large = LARGE_ASLEEP };

	bench_start(argc, argv, &about);
	for (unsigned r = 0; r < bench.rounds; r++)
		pair_measure_all(r, &kinds);
	report();
	return 0;
}
