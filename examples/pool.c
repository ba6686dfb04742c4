/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool: worker processes that work off a list. One is killed in the middle of a task: the pool
 * replaces it and tries the task again, as often as it was told to.
 */
#include "must.h"

#include <signal.h>

enum { NUMBERS = 20 };

TARN_WORKER(square)
{
	tarn_object *deaths;
	int n, r = tarn_worker_get(worker, "iO", &n, &deaths);

	if (r < 0)
		return r;
	if (n == 13 && tarn_shared_cas(deaths, 0, 1, NULL) == 1)
		raise(SIGKILL); /* only one ever comes here */
	return tarn_put_int(tarn_worker_result(worker), n * n);
}

int main(void)
{
	tarn_parcel items, squares;
	tarn_object *deaths;
	tarn_server *server;
	tarn_client *client;
	int64_t n, sum = 0;
	tarn_builder b;
	tarn_pool *pool;

	must_begin(&server, &client);
	must(tarn_shared_new(client, 'i', &deaths));
	must(tarn_pool_new(client, &(tarn_pool_options){ .workers = 3, .retries = 1 }, &pool));
	tarn_builder_init(&b);
	tarn_list_begin(&b);
	for (int i = 0; i < NUMBERS; i++)
		tarn_put(&b, "[iO]", i, deaths); /* arguments of one task */
	tarn_list_end(&b);
	must(tarn_parcel_from(&b, &items));
	must(tarn_pool_starmap(pool, "square", tarn_parcel_at(&items, 0), 0, TARN_FOREVER, &squares));
	for (size_t i = 0; i < NUMBERS; i++) {
		must(tarn_value_int(tarn_value_at(tarn_parcel_at(&squares, 0), i), &n));
		sum += n;
	}
	must(tarn_shared_get(deaths, &n));
	printf("the sum is %d, %d worker was killed\n", (int)sum, (int)n);
	tarn_parcel_fini(&squares);
	tarn_parcel_fini(&items);
	tarn_builder_fini(&b);
	tarn_object_unref(deaths);
	must(tarn_pool_close(pool));
	must(tarn_pool_join(pool, TARN_FOREVER));
	tarn_pool_unref(pool);
	must_end(server, client);
	return n != 1 || sum != (NUMBERS - 1) * NUMBERS * (2 * NUMBERS - 1) / 6;
}
