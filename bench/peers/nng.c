/* SPDX-License-Identifier: Apache-2.0 */
/* nng: req0 and rep0 over ipc. Each side sleeps in the library, whose threads serve the
 * sockets; a pair of messages is a call. */
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pair.h"

static void check_nng(int r, const char *what)
{
	if (r != 0)
		die("%s: %s", what, nng_strerror(r));
}

static void address_of(const struct pair *p, char *ret, size_t bytes)
{
	snprintf(ret, bytes, "ipc://%s/nng", p->dir);
}

static void first(struct pair *p)
{
	char address[128], *out = calloc(1, p->size), *in = calloc(1, p->size);
	nng_socket s;

	if (out == NULL || in == NULL)
		die("no memory");
	pair_meet(p); /* the other listens */
	address_of(p, address, sizeof address);
	check_nng(nng_req0_open(&s), "open");
	check_nng(nng_socket_set_size(s, NNG_OPT_RECVMAXSZ, 0), "no limit");
	check_nng(nng_dial(s, address, NULL, 0), address);
	pair_start(p);
	while (pair_next(p)) {
		size_t n = p->size;

		memcpy(out, &p->trip, sizeof p->trip);
		check_nng(nng_send(s, out, p->size, 0), "send");
		check_nng(nng_recv(s, in, &n, 0), "receive");
		pair_check(p, in);
	}
	pair_meet(p);
	nng_close(s);
	free(out);
	free(in);
}

static void second(struct pair *p)
{
	char address[128], *in = calloc(1, p->size);
	nng_socket s;

	if (in == NULL)
		die("no memory");
	address_of(p, address, sizeof address);
	check_nng(nng_rep0_open(&s), "open");
	check_nng(nng_socket_set_size(s, NNG_OPT_RECVMAXSZ, 0), "no limit");
	check_nng(nng_listen(s, address, NULL, 0), address);
	pair_meet(p);
	pair_start(p);
	while (pair_next(p)) {
		size_t n = p->size;

		check_nng(nng_recv(s, in, &n, 0), "receive");
		pair_check(p, in);
		check_nng(nng_send(s, in, n, 0), "send");
	}
	pair_meet(p); /* the last answer has arrived: closing may drop it */
	nng_close(s);
	free(in);
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "nng",
		.question = "nng, req0 and rep0 over ipc: what does a message there and one back cost?",
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
