/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Redis over a unix socket: GET of 64 bytes by one client that speaks the protocol itself, so that no
 * client library is in the figure. Both sides sleep in the system. The server is started
 * for this, keeps nothing, and is stopped again.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "pair.h"

#define VALUE_BYTES 64u
#define CONNECT_MS 10000u

static char dir[64];

/* ---- the protocol ---- */

static void put(int fd, const char *text, size_t n)
{
	for (size_t sent = 0; sent < n;) {
		ssize_t r = write(fd, text + sent, n - sent);

		if (r <= 0)
			die("write to redis: %s", strerror(errno));
		sent += (size_t)r;
	}
}

/* Reads exactly what is expected. */
static void expect(int fd, const char *text, size_t n)
{
	char in[256];

	for (size_t got = 0; got < n;) {
		ssize_t r = read(fd, in + got, sizeof in - got);

		if (r <= 0)
			die("read from redis: %s", r == 0 ? "it closed" : strerror(errno));
		got += (size_t)r;
		if (got > n || memcmp(in, text, got) != 0)
			die("redis answered '%.*s'", (int)got, in);
	}
}

static int connect_to(pid_t server)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd;

	snprintf(to.sun_path, sizeof to.sun_path, "%s/redis", dir);
	for (unsigned ms = 0; ms < CONNECT_MS; ms += 5) {
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0)
			die("socket: %s", strerror(errno));
		if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
			return fd;
		close(fd);
		if (helper_ended(server))
			die("redis-server ended at once");
		sleep_ms(5);
	}
	die("redis-server does not listen");
}

/* ---- rows ---- */

static struct digest time_gets(int fd, bool rest)
{
	static const char get[] = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
	char set[160], answer[96], value[VALUE_BYTES + 1];
	uint64_t n = often(rest ? 1000 : 4000);
	struct samples s = { 0 };

	memset(value, 'v', VALUE_BYTES);
	value[VALUE_BYTES] = '\0';
	snprintf(set, sizeof set, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%u\r\n%s\r\n", VALUE_BYTES, value);
	snprintf(answer, sizeof answer, "$%u\r\n%s\r\n", VALUE_BYTES, value);
	put(fd, set, strlen(set));
	expect(fd, "+OK\r\n", 5);
	samples_grow(&s, n);
	for (uint64_t i = 0; i < n + n / 10; i++) {
		if (rest)
			take_a_rest();
		uint64_t from = ticks();

		put(fd, get, sizeof get - 1);
		expect(fd, answer, strlen(answer));
		if (i >= n / 10)
			samples_add(&s, ticks() - from);
	}
	struct digest d = digest_of(&s);
	samples_free(&s);
	return d;
}

static void measure(unsigned round, const char *row, int server_cpu, bool rest)
{
	char path[80];
	char *const argv[] = { (char[]){ "redis-server" }, (char[]){ "--port" }, (char[]){ "0" },
			       (char[]){ "--unixsocket" }, path, (char[]){ "--dir" }, dir,
			       (char[]){ "--save" }, (char[]){ "" }, (char[]){ "--appendonly" },
			       (char[]){ "no" }, NULL };

	if (!wanted_row(row) || server_cpu < 0)
		return;
	snprintf(dir, sizeof dir, "%s", directory_make());
	snprintf(path, sizeof path, "%s/redis", dir);
	pid_t server = helper_start(argv, server_cpu, "redis-server");
	int fd = connect_to(server);

	run_begin(round, false);
	pin(bench.cpu[0]);
	struct digest d = time_gets(fd, rest);
	unpin();
	record_digest(row, &d, VERSUS_LINE);
	bool again = run_again();
	close(fd);
	helper_stop(server);
	directory_remove();
	if (again)
		measure(round, row, server_cpu, rest);
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "redis",
		.question = "Redis over a unix socket: what does a GET of 64 bytes cost?",
		.rounds = 5,
		.only = true,
	};

	bench_start(argc, argv, &about);
	if (!helper_exists("redis-server"))
		skip("redis-server is not installed (Debian: redis-server)");
	for (unsigned r = 0; r < bench.rounds; r++) {
		int other = two_cpus() ? bench.cpu[1] : -1;

		measure(r, TOPIC_CALL_TWO, other, false);
		measure(r, TOPIC_CALL_ONE, bench.cpu[0], false);
		measure(r, TOPIC_CALL_REST_TWO, other, true);
		measure(r, TOPIC_CALL_REST_ONE, bench.cpu[0], true);
	}
	report();
	return 0;
}
