/* SPDX-License-Identifier: Apache-2.0 */
#include "history.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "input.h"
#include "shaken.h"
#include "world.h"

#define HISTORY_BYTES (8u << 20) /* more than all inputs of one server */
#define REPORT_SECONDS 60

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

static unsigned char *history; /* a mapped file: it is there whatever becomes of this process */
static size_t used;
static uint64_t wanted; /* epochs; 0: no end */
static time_t begun, reported;

static void say(const char *what)
{
	const struct world_count all = world_counted(), *c = &all;

	fprintf(stderr,
		"lanes: %s after %lld s: %" PRIu64 " inputs on %" PRIu64 " servers, %" PRIu64
		" epochs, %" PRIu64 " of them with something hostile: %" PRIu64
		" slots read, %" PRIu64 " words changed between two reads (%" PRIu64
		" of messages copied and not committed)\n",
		what, (long long)(time(NULL) - begun), c->inputs, c->worlds, c->epochs, c->fuzzed,
		c->messages, shaken_count.made, shaken_count.copied);
	fprintf(stderr,
		"lanes: %s: %" PRIu64 " evictions, %" PRIu64 " deaths, %" PRIu64
		" methods run by the server, %" PRIu64 " by executors; honest: %" PRIu64
		" messages, %" PRIu64 " answers; %" PRIu64 " full checks\n",
		what, c->evictions, c->deaths, c->calls, c->jobs, c->honest, c->answers, c->checks);
}

static void say_last(void)
{
	say("end");
}

static void replay(const char *path)
{
	static unsigned char all[HISTORY_BYTES];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t at = 0;

	CHECK(fd >= 0 && read(fd, all, sizeof all) > 0);
	close(fd);
	for (uint32_t n; memcpy(&n, all + at, 4), n != 0; at += 4 + n)
		LLVMFuzzerTestOneInput(all + at + 4, n - 1);
	fprintf(stderr, "lanes: %s was given again, with no finding\n", path);
	_exit(0);
}

void history_open(void)
{
	const char *epochs = getenv("FUZZ_EPOCHS"), *path = getenv("FUZZ_HISTORY"),
		   *again = getenv("FUZZ_REPLAY");

	begun = reported = time(NULL);
	if (again != NULL)
		replay(again);
	if (epochs != NULL)
		wanted = strtoull(epochs, NULL, 10);
	atexit(say_last);
	if (path == NULL)
		return;
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && ftruncate(fd, HISTORY_BYTES) == 0);
	history = mmap(NULL, HISTORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(history != MAP_FAILED);
	close(fd);
}

/* A word with the length + 1, the bytes, and a 0 behind the last. */
void history_add(const unsigned char *data, size_t bytes)
{
	uint32_t n = (uint32_t)bytes + 1;

	if (history == NULL || used + n + 8 > HISTORY_BYTES)
		return;
	memcpy(history + used + 4, data, bytes);
	memset(history + used + 4 + n, 0, 4);
	memcpy(history + used, &n, 4);
	used += 4 + n;
}

void history_clear(void)
{
	used = 0;
	if (history != NULL)
		memset(history, 0, 4);
}

void history_report(void)
{
	time_t now = time(NULL);

	if (now - reported >= REPORT_SECONDS) {
		reported = now;
		say("so far");
	}
	if (wanted == 0 || world_count.fuzzed < wanted)
		return;
	say("end");
	_exit(0);
}
