/* SPDX-License-Identifier: Apache-2.0 */
/* UCX: tagged messages over its shared memory transports, both sides spinning in
 * ucp_worker_progress(). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucp/api/ucp.h>

#include "pair.h"

#define ADDRESS_MOST (PAIR_SHARED / 2 - sizeof(uint64_t))

/* Where the two sides leave their addresses. */
struct exchange {
	struct {
		uint64_t n;
		unsigned char bytes[ADDRESS_MOST];
	} side[2];
};

struct end {
	ucp_context_h context;
	ucp_worker_h worker;
	ucp_ep_h peer;
};

static void check_ucs(ucs_status_t s, const char *what)
{
	if (s != UCS_OK)
		die("%s: %s", what, ucs_status_string(s));
}

static void open_end(struct end *e, struct pair *p)
{
	const ucp_params_t params = { .field_mask = UCP_PARAM_FIELD_FEATURES,
				      .features = UCP_FEATURE_TAG };
	const ucp_worker_params_t worker_params = { .field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
						    .thread_mode = UCS_THREAD_MODE_SINGLE };
	struct exchange *x = p->shared;
	unsigned me = p->is_first ? 0 : 1;
	ucp_address_t *address;
	ucp_config_t *config;
	size_t n;

	check_ucs(ucp_config_read(NULL, NULL, &config), "read the configuration");
	check_ucs(ucp_init(&params, config, &e->context), "init");
	ucp_config_release(config);
	check_ucs(ucp_worker_create(e->context, &worker_params, &e->worker), "make a worker");
	check_ucs(ucp_worker_get_address(e->worker, &address, &n), "get the address");
	if (n > ADDRESS_MOST)
		die("the worker's address has %zu bytes", n);
	memcpy(x->side[me].bytes, address, n);
	x->side[me].n = n;
	ucp_worker_release_address(e->worker, address);
	pair_meet(p);
	const ucp_ep_params_t ep = { .field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS,
				     .address = (const ucp_address_t *)x->side[1 - me].bytes };
	check_ucs(ucp_ep_create(e->worker, &ep, &e->peer), "make an endpoint");
}

static void await(struct end *e, void *request, const char *what)
{
	ucs_status_t s;

	if (request == NULL)
		return; /* done already */
	if (UCS_PTR_IS_ERR(request))
		check_ucs(UCS_PTR_STATUS(request), what);
	while ((s = ucp_request_check_status(request)) == UCS_INPROGRESS)
		ucp_worker_progress(e->worker);
	check_ucs(s, what);
	ucp_request_free(request);
}

static void close_end(struct end *e, struct pair *p)
{
	await(e, ucp_ep_close_nb(e->peer, UCP_EP_CLOSE_MODE_FLUSH), "close");
	pair_meet(p);
	ucp_worker_destroy(e->worker);
	ucp_cleanup(e->context);
}

static void send_it(struct end *e, const void *bytes, size_t n)
{
	const ucp_request_param_t none = { 0 };

	await(e, ucp_tag_send_nbx(e->peer, bytes, n, 1, &none), "send");
}

static void receive_it(struct end *e, void *bytes, size_t n)
{
	const ucp_request_param_t none = { 0 };

	await(e, ucp_tag_recv_nbx(e->worker, bytes, n, 1, UINT64_MAX, &none), "receive");
}

static void first(struct pair *p)
{
	char *out = calloc(1, p->size), *in = calloc(1, p->size);
	struct end e;

	if (out == NULL || in == NULL)
		die("no memory");
	open_end(&e, p);
	pair_start(p);
	while (pair_next(p)) {
		memcpy(out, &p->trip, sizeof p->trip);
		send_it(&e, out, p->size);
		receive_it(&e, in, p->size);
		pair_check(p, in);
	}
	close_end(&e, p);
	free(out);
	free(in);
}

static void second(struct pair *p)
{
	char *in = calloc(1, p->size);
	struct end e;

	if (in == NULL)
		die("no memory");
	open_end(&e, p);
	pair_start(p);
	while (pair_next(p)) {
		receive_it(&e, in, p->size);
		pair_check(p, in);
		send_it(&e, in, p->size);
	}
	close_end(&e, p);
	free(in);
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "ucx",
		.question = "UCX, tagged messages over shared memory: what does one there and one back cost?",
		.rounds = 5,
		.only = true,
	};
	static const struct pair_kinds kinds = { first, second, .spins = true, .trips = true,
						 .large = LARGE_SPINNING };

	bench_start(argc, argv, &about);
	setenv("UCX_TLS", "shm,self", 0); /* no network */
	setenv("UCX_WARN_UNUSED_ENV_VARS", "n", 0);
	for (unsigned r = 0; r < bench.rounds; r++)
		pair_measure_all(r, &kinds);
	report();
	return 0;
}
