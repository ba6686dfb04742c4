/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs, each with the queue for its answer, go to workers. One is killed with a job in its hands: another gets it. */
#include <signal.h>
#include "must.h"

enum { JOBS = 30, WORKERS = 3 };

TARN_WORKER(square)
{
	tarn_object *jobs, *answers;
	tarn_parcel job;
	int n, me;

	must(tarn_worker_get(worker, "Oi", &jobs, &me));
	while (tarn_queue_get(jobs, &job, TARN_FOREVER) == 0) { /* until it is closed */
		if (me == 0)
			raise(SIGKILL);
		must(tarn_parcel_get(&job, "iO", &n, &answers));
		must(tarn_queue_putf(answers, TARN_FOREVER, "i", n * n));
		tarn_parcel_fini(&job);
		must(tarn_queue_task_done(jobs));
	}
	return 0;
}

int main(void)
{
	tarn_object *jobs, *answers;
	tarn_process *process[WORKERS];
	tarn_server *server;
	tarn_client *c;
	tarn_builder args;
	int sum = 0, n;

	must_begin(&server, &c);
	must(tarn_queue_new(c, &(tarn_queue_options){ .flags = TARN_QUEUE_JOINABLE | TARN_QUEUE_REDELIVER }, &jobs));
	must(tarn_queue_new(c, NULL, &answers));
	for (int i = 0; i < JOBS; i++)
		must(tarn_queue_putf(jobs, TARN_FOREVER, "iO", i, answers));
	for (int i = 0; i < WORKERS; i++) {
		tarn_builder_init(&args);
		tarn_put(&args, "Oi", jobs, i);
		must(tarn_process_spawn(c, &(tarn_process_options){ "square", .args = &args }, &process[i]));
		tarn_builder_fini(&args);
	}
	must(tarn_queue_join(jobs, TARN_FOREVER)); /* every job is done, also the dead worker's */
	must(tarn_queue_close(jobs));
	while (tarn_queue_getf(answers, 0, "i", &n) == 0)
		sum += n;
	printf("the sum of %d squares is %d\n", JOBS, sum);
	for (int i = 0; i < WORKERS; i++) {
		if (tarn_process_join(process[i], TARN_FOREVER) < 0)
			tarn_error_print(stdout);
		tarn_process_unref(process[i]);
	}
	tarn_object_unref(jobs);
	tarn_object_unref(answers);
	must_end(server, c);
	return sum == JOBS * (JOBS - 1) * (2 * JOBS - 1) / 6 ? 0 : 1;
}
