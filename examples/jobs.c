/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs go to three workers through a queue; the queue for the answer is in the job. One worker is
 * killed with a job in its hands: another gets that job.
 */
#include "must.h"

#include <signal.h>

enum { JOBS = 30, WORKERS = 3 };

TARN_WORKER(square)
{
	tarn_object *jobs, *answers;
	tarn_parcel job;
	unsigned me;
	int n, r = tarn_worker_get(worker, "OI", &jobs, &me);

	while (r == 0 && tarn_queue_get(jobs, &job, TARN_FOREVER) == 0) { /* until it is closed */
		r = tarn_parcel_get(&job, "iO", &n, &answers);
		if (me == 0)
			raise(SIGKILL);
		if (r == 0)
			r = tarn_queue_putf(answers, TARN_FOREVER, "i", n * n);
		tarn_parcel_fini(&job);
		if (r == 0)
			r = tarn_queue_task_done(jobs);
	}
	return r;
}

int main(void)
{
	const tarn_queue_options o = { .flags = TARN_QUEUE_JOINABLE | TARN_QUEUE_REDELIVER };
	tarn_object *jobs, *answers;
	tarn_process *process[WORKERS];
	tarn_server *server;
	tarn_client *client;
	tarn_builder args;
	int sum = 0, n;

	must_begin(&server, &client);
	must(tarn_queue_new(client, &o, &jobs));
	must(tarn_queue_new(client, NULL, &answers));
	for (int i = 0; i < JOBS; i++)
		must(tarn_queue_putf(jobs, TARN_FOREVER, "iO", i, answers));
	for (unsigned i = 0; i < WORKERS; i++) {
		tarn_builder_init(&args);
		tarn_put(&args, "OI", jobs, i);
		const tarn_process_options how = { .entry = "square", .args = &args };
		must(tarn_process_spawn(client, &how, &process[i]));
		tarn_builder_fini(&args);
	}
	must(tarn_queue_join(jobs, TARN_FOREVER)); /* every job is done, also the dead worker's */
	must(tarn_queue_close(jobs));
	for (; tarn_queue_getf(answers, 0, "i", &n) == 0; sum += n)
		;
	printf("the sum of %d squares is %d\n", JOBS, sum);
	for (unsigned i = 0; i < WORKERS; i++) {
		if (tarn_process_join(process[i], TARN_FOREVER) < 0)
			tarn_error_print(stdout);
		tarn_process_unref(process[i]);
	}
	tarn_object_unref(jobs);
	tarn_object_unref(answers);
	must_end(server, client);
	return sum == JOBS * (JOBS - 1) * (2 * JOBS - 1) / 6 ? 0 : 1;
}
