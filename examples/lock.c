/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two numbers whose sum is 100, behind a lock. One process is killed between the two steps of a
 * payment; the next to take the lock has it, is told, and sets right what was half done.
 */
#include "must.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static tarn_client *client; /* each process has its own of these */
static tarn_object *lock, *from, *to;

/* A process of its own: killed when half of it is done. */
static void pay(const char *server)
{
	must(tarn_client_open(server, NULL, &client));
	must(tarn_object_lookup(client, "lock", TARN_FOREVER, &lock));
	must(tarn_object_lookup(client, "from", TARN_FOREVER, &from));
	must(tarn_lock_acquire(lock, TARN_FOREVER));
	must(tarn_shared_add(from, -30, NULL));
	kill(getpid(), SIGKILL);
}

int main(void)
{
	tarn_server *server;
	int64_t a, b;

	must_begin(&server, &client);
	must(tarn_lock_new(client, 0, &lock));
	must(tarn_shared_new(client, 'q', &from));
	must(tarn_shared_new(client, 'q', &to));
	must(tarn_shared_set(from, 100));
	must(tarn_object_publish(lock, "lock", 0));
	must(tarn_object_publish(from, "from", 0));
	pid_t pid = fork();
	if (pid == 0)
		pay(tarn_server_name(server));
	waitpid(pid, NULL, 0);
	int r = tarn_lock_acquire(lock, TARN_FOREVER);
	must(tarn_shared_get(from, &a));
	if (r == -EOWNERDEAD) {
		printf("The lock's holder died, with %lld left here\n", (long long)a);
		must(tarn_shared_set(to, 100 - a));
	} else {
		must(r);
	}
	must(tarn_shared_get(to, &b));
	must(tarn_lock_release(lock));
	printf("%lld + %lld = %lld\n", (long long)a, (long long)b, (long long)(a + b));
	must_end(server, client);
	return r != -EOWNERDEAD || a + b != 100;
}
