/* SPDX-License-Identifier: Apache-2.0 */
#include "tasks.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tarn/process.h"

/* ---- in the workers ---- */

TARN_WORKER(square)
{
	int64_t x;
	int r = tarn_worker_get(worker, "q", &x);

	if (r == 0 && x < 0)
		return tarn_worker_throw(worker, "ValueError", "%lld", (long long)x);
	return r < 0 ? r : tarn_put_int(tarn_worker_result(worker), x * x);
}

TARN_WORKER(add)
{
	int64_t a, b;
	int r = tarn_worker_get(worker, "qq", &a, &b);

	return r < 0 ? r : tarn_put_int(tarn_worker_result(worker), a + b);
}

TARN_WORKER(begin_and_wait)
{
	const char *begun, *go_on;
	char name[300];
	int r = tarn_worker_get(worker, "ss", &begun, &go_on);
	FILE *f;

	if (r < 0)
		return r;
	/* Under another name first: who finds it reads all of it. */
	snprintf(name, sizeof name, "%s.new", begun);
	f = fopen(name, "we");
	fprintf(f, "%d\n", getpid());
	fclose(f);
	rename(name, begun);
	while (!task_file_is_there(go_on))
		usleep(1000);
	return tarn_put_int(tarn_worker_result(worker), getpid());
}

TARN_WORKER(die_once)
{
	const char *path;
	int r = tarn_worker_get(worker, "s", &path);
	int fd = r == 0 ? open(path, O_CREAT | O_EXCL | O_WRONLY, 0600) : -1;

	if (fd >= 0)
		kill(getpid(), SIGKILL);
	return r < 0 ? r : tarn_put_string(tarn_worker_result(worker), "done");
}

/* ---- in the test ---- */

void task_path(char text[200], const char *what, int number)
{
	snprintf(text, 200, "%s/%s-%d", plain_dir(), what, number);
}

bool task_file_is_there(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0;
}

void task_args(tarn_builder *ret, int number)
{
	char begun[200], go_on[200];

	task_path(begun, "begun", number);
	task_path(go_on, "go", number);
	tarn_builder_init(ret);
	OK(tarn_put(ret, "ss", begun, go_on));
}

tarn_pool_result *task_begin(tarn_pool *pool, int number)
{
	tarn_pool_result *r;
	tarn_builder b;

	task_args(&b, number);
	OK(tarn_pool_apply_async(pool, "begin_and_wait", &b, &r));
	tarn_builder_fini(&b);
	return r;
}

bool task_begun(int number)
{
	char path[200];

	task_path(path, "begun", number);
	return task_file_is_there(path);
}

int task_pid(int number)
{
	char path[200];
	int pid = 0;
	FILE *f;

	PLAIN_WAIT_FOR(task_begun(number));
	task_path(path, "begun", number);
	f = fopen(path, "re");
	PLAIN_CHECK(f != NULL && fscanf(f, "%d", &pid) == 1);
	fclose(f);
	return pid;
}

void task_go(int number)
{
	char path[200];

	task_path(path, "go", number);
	close(open(path, O_CREAT | O_WRONLY, 0600));
}

void task_numbers(tarn_parcel *ret, int n)
{
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_list_begin(&b);
	for (int i = 0; i < n; i++)
		tarn_put_int(&b, i);
	tarn_list_end(&b);
	OK(tarn_parcel_from(&b, ret));
	tarn_builder_fini(&b);
}
