/* SPDX-License-Identifier: Apache-2.0 */
/* Worker processes: each sums a part of a block that all share, one fails, and what they log appears here. */
#include "must.h"

enum { PARTS = 4, NUMBERS = 1000 /* of each */ };

TARN_WORKER(sum)
{
	const uint64_t *numbers;
	tarn_block *block;
	unsigned part;
	uint64_t sum = 0;
	int r = tarn_worker_get(worker, "BI", &block, &part);

	if (r < 0)
		return r;
	if (part >= PARTS)
		return tarn_worker_throw(worker, "ValueError", "there is no part %u", part);
	numbers = (const uint64_t *)tarn_block_data(block) + part * NUMBERS; /* nothing is copied */
	for (unsigned i = 0; i < NUMBERS; i++)
		sum += numbers[i];
	tarn_log(TARN_LOG_INFO, "sum", "part %u is done", part);
	return tarn_put_uint(tarn_worker_result(worker), sum);
}

int main(void)
{
	tarn_process *process[PARTS + 1]; /* the last one is asked for too much */
	uint64_t all = 0, sum;
	tarn_server *server;
	tarn_client *client;
	tarn_builder args;
	tarn_block *block;

	must_begin(&server, &client);
	must(tarn_block_new(client, PARTS * NUMBERS * sizeof sum, 0, &block));
	for (unsigned i = 0; i < PARTS * NUMBERS; i++)
		((uint64_t *)tarn_block_data(block))[i] = i;
	for (unsigned i = 0; i <= PARTS; i++) {
		tarn_builder_init(&args);
		tarn_put(&args, "BI", block, i);
		const tarn_process_options o = { .entry = "sum", .args = &args };
		must(tarn_process_spawn(client, &o, &process[i]));
		tarn_builder_fini(&args);
	}
	tarn_block_unref(block);
	for (unsigned i = 0; i <= PARTS; i++) {
		if (tarn_process_get(process[i], TARN_FOREVER, "Q", &sum) == 0)
			all += sum;
		else
			tarn_error_print(stdout); /* with the stack of the process */
		tarn_process_unref(process[i]);
	}
	printf("the sum is %llu\n", (unsigned long long)all);
	must_end(server, client);
	return all != (uint64_t)PARTS * NUMBERS * (PARTS * NUMBERS - 1) / 2;
}
