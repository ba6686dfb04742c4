/* SPDX-License-Identifier: Apache-2.0 */
#include "scene.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define REST_NS UINT64_C(20000000000) /* a watchdog: what stays so long stays for ever */

void scene__expect(const char *file, int line, const char *text, int got, int wanted)
{
	if (got != wanted)
		plain__fail(file, line, "%s: %s, not %s (last failure: %s)", text,
			    got == 0 ? "0" : tarn_error_name(got),
			    wanted == 0 ? "0" : tarn_error_name(wanted), tarn_error_last()->message);
}

uint64_t scene_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t scene_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

void scene_note(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	dprintf(STDERR_FILENO, "# ");
	vdprintf(STDERR_FILENO, format, ap);
	dprintf(STDERR_FILENO, "\n");
	va_end(ap);
}

/* ---- the server ---- */

struct scene scene_open(const tarn_server_options *options)
{
	static unsigned number;
	tarn_server_options o = options != NULL ? *options : (tarn_server_options){ 0 };
	struct scene s = { 0 };

	if (o.arena_bytes == 0)
		o.arena_bytes = 64u << 20;
	snprintf(s.log, sizeof s.log, "%s/log-%d-%u", plain_dir(), (int)getpid(), number++);
	int log = open(s.log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);

	PLAIN_CHECK(log >= 0 && saved >= 0);
	dup2(log, STDERR_FILENO);
	int r = tarn_server_start(&o, &s.server);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(log);
	OK(r);
	s.name = tarn_server_name(s.server);
	OK(tarn_inspector_open(s.name, 0, &s.in));
	return s;
}

tarn_client *scene_client(const struct scene *s)
{
	tarn_client *c;

	OK(tarn_client_open(s->name, NULL, &c));
	return c;
}

tarn_stat scene_stat(const struct scene *s)
{
	tarn_stat st;

	OK(tarn_inspector_stat(s->in, &st));
	return st;
}

void scene_check(const struct scene *s)
{
	char *text = NULL;
	int n = tarn_inspector_check(s->in, &text);

	PLAIN_CHECKF(n == 0, "full check: %d findings (or code)\n%s", n, text != NULL ? text : "");
	free(text);
}

void scene_settle(const struct scene *s)
{
	/* A check runs whole epochs first. Twice: a decrement that was posted by the last of
	 * the first look's epochs is applied one later. */
	scene_check(s);
	scene_check(s);
}

static bool at_rest(const tarn_stat *st)
{
	return st->clients == 0 && st->lanes == 0 && st->blocks_live == 0 &&
	       st->blocks_granted == 0 && st->blocks_dead == 0 && st->used_bytes == 0 &&
	       st->channels == 0 && st->exports == 0 && st->names == 0 && st->claims == 0 &&
	       st->tickets == 0 && st->pending_allocs == 0;
}

void scene_at_rest(struct scene *s)
{
	uint64_t deadline = scene_now() + REST_NS * plain_timeout_scale();
	tarn_stat st = scene_stat(s);

	while (!at_rest(&st)) {
		PLAIN_CHECKF(scene_now() < deadline,
			     "left: %llu clients, %llu lanes, %llu live, %llu granted, %llu dead, %llu "
			     "bytes, %llu channels, %llu exports, %llu names, %llu claims, %llu "
			     "tickets, %llu pending",
			     (unsigned long long)st.clients, (unsigned long long)st.lanes,
			     (unsigned long long)st.blocks_live,
			     (unsigned long long)st.blocks_granted,
			     (unsigned long long)st.blocks_dead, (unsigned long long)st.used_bytes,
			     (unsigned long long)st.channels, (unsigned long long)st.exports,
			     (unsigned long long)st.names, (unsigned long long)st.claims,
			     (unsigned long long)st.tickets, (unsigned long long)st.pending_allocs);
		plain__nap();
		st = scene_stat(s);
	}
	scene_check(s);
	PLAIN_EQ(st.evictions, s->evictions);
}

void scene_close(struct scene *s)
{
	scene_at_rest(s);
	tarn_inspector_close(s->in);
	PLAIN_EQ(tarn_server_shutdown(s->server, 10000000000), 0);
	s->server = tarn_server_unref(s->server);
}

/* ---- looking ---- */

uint64_t scene_units(const struct scene *s, uint64_t id, uint32_t kind, uint32_t client)
{
	tarn_claim_row *rows;
	uint64_t sum = 0;
	size_t n;
	int r = tarn_inspector_refs(s->in, id, &rows, &n);

	if (r == -TARN_ESTALE)
		return 0;
	OK(r);
	for (size_t i = 0; i < n; i++)
		if ((kind == 0 || rows[i].kind == kind) &&
		    (client == 0 || rows[i].client == client))
			/* A token is one claim, however many uses are left. */
			sum += rows[i].kind == TARN_CLAIM_EXPORTED ? 1 : rows[i].units;
	free(rows);
	return sum;
}

uint64_t scene_count(const struct scene *s, uint64_t id)
{
	return scene_units(s, id, 0, 0);
}

bool scene_client_gone(const struct scene *s, pid_t pid)
{
	tarn_client_row *rows;
	bool gone = true;
	size_t n;

	OK(tarn_inspector_clients(s->in, &rows, &n));
	for (size_t i = 0; i < n; i++)
		gone = gone && rows[i].pid != (uint32_t)pid;
	free(rows);
	return gone;
}

bool scene_logged(const struct scene *s, const char *text)
{
	char line[1024];
	bool found = false;
	FILE *f = fopen(s->log, "re");

	PLAIN_CHECK(f != NULL);
	while (!found && fgets(line, sizeof line, f) != NULL)
		found = strstr(line, text) != NULL;
	fclose(f);
	return found;
}

/* ---- steps ---- */

void *scene_shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	PLAIN_CHECK(p != MAP_FAILED);
	return p;
}

void scene_say(uint32_t *step, uint32_t value)
{
	/* Release: whoever sees the step sees what came before it. */
	__atomic_store_n(step, value, __ATOMIC_RELEASE);
}

void scene_await(uint32_t *step, uint32_t value)
{
	PLAIN_WAIT_FOR(__atomic_load_n(step, __ATOMIC_ACQUIRE) >= value);
}
