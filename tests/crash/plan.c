/* SPDX-License-Identifier: Apache-2.0 */
#if defined(__x86_64__)
#include "plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "tests/common/scene.h"

#define TELL_NS UINT64_C(60000000000)

uint64_t plan_number(const char *variable, uint64_t otherwise)
{
	const char *text = getenv(variable);

	return text != NULL && *text != '\0' ? strtoull(text, NULL, 10) : otherwise;
}

struct steps plan_steps(const char *name)
{
	const char *only = getenv("TARN_KILL_ONLY");
	const size_t bytes = strlen(name);

	if (only == NULL || *only == '\0')
		return (struct steps){ 0, UINT64_MAX };
	while (*only != '\0') {
		const size_t n = strcspn(only, "@;");
		const char *at = only + n;

		if (n == bytes && memcmp(only, name, n) == 0) {
			char *end;

			if (*at != '@')
				return (struct steps){ 0, UINT64_MAX };
			const uint64_t first = strtoull(at + 1, &end, 10);
			return (struct steps){ first, *end == '-' ? UINT64_MAX : first };
		}
		only = at + strcspn(at, ";");
		only += *only == ';';
	}
	return (struct steps){ 1, 0 };
}

struct plan plan_begin(const char *name, const struct step_trace *trace, struct steps steps, uint64_t seed)
{
	const uint64_t now = scene_now();

	return (struct plan){
		.name = name, .trace = trace, .steps = steps, .begun = now, .told = now,
		.random = seed * 0x9e3779b97f4a7c15ull | 1,
		.one_of = trace->library / (plan_number("TARN_KILL_SAMPLE", 20) + 1) + 1,
		.stores_one_of = (trace->stores + trace->kernel) / plan_number("TARN_KILL_STORES", UINT64_MAX) + 1,
		.passes_most = plan_number("TARN_KILL_PASSES", 32),
		.all = plan_number("TARN_KILL_ALL", 0) != 0,
	};
}

static bool is_wanted(struct plan *p, const struct step_point *at)
{
	if (at->step < p->steps.first || at->step > p->steps.last)
		return false;
	if (p->steps.first == p->steps.last)
		return true;
	if (p->all)
		return (at->why & STEP_LIBRARY) || at->nth < p->passes_most;
	if (at->nth >= p->passes_most)
		return false;
	const bool seen = at->why & (STEP_STORE | STEP_KERNEL);
	return scene_random(&p->random) % (seen ? p->stores_one_of : p->one_of) == 0;
}

/* NULL: no more. */
static const struct step_point *plan_next(struct plan *p, const struct tally *t)
{
	while (p->next < p->trace->n) {
		const struct step_point *at = &p->trace->point[p->next++];
		const uint64_t now = scene_now();

		if (!is_wanted(p, at))
			continue;
		if (now - p->told > TELL_NS) {
			p->told = now;
			scene_note("%-28s at %llu of %llu; %llu kills, %.2f ms each", p->name,
				   (unsigned long long)at->step, (unsigned long long)p->trace->instructions,
				   (unsigned long long)t->kills,
				   (double)(now - p->begun) / 1e6 / (double)(t->kills + 1));
		}
		return at;
	}
	return NULL;
}

static void plan_end(struct plan *p, struct tally *t, struct tally *sum)
{
	const struct step_trace *trace = p->trace;

	t->operations = 1;
	t->instructions = trace->instructions;
	t->library = trace->library;
	/* Relaxed: read when all have ended. */
	for (size_t i = 0; i < sizeof *t / sizeof(uint64_t); i++)
		__atomic_add_fetch((uint64_t *)sum + i, ((uint64_t *)t)[i], __ATOMIC_RELAXED);
	scene_note("%-28s %6llu instructions, %6llu in the library, %4llu stores, %3llu system calls; "
		   "%5llu kills, %.2f ms each", p->name, (unsigned long long)trace->instructions,
		   (unsigned long long)trace->library, (unsigned long long)trace->stores,
		   (unsigned long long)trace->kernel, (unsigned long long)t->kills,
		   (double)(scene_now() - p->begun) / 1e6 / (double)(t->kills + 1));
}

/* "spawn@815 (libtarn.so+0x1234, pass 0, store)" */
static void plan_name(const struct plan *p, const struct step_point *at, char *text, size_t bytes)
{
	snprintf(text, bytes, "%s@%llu (%s, pass %u%s%s)", p->name, (unsigned long long)at->step,
		 step_name(at->address), at->nth, at->why & STEP_STORE ? ", store" : "",
		 at->why & STEP_KERNEL ? ", system call" : "");
}

void plan_run(struct plan *p, plan_kill_fn *one, void *arg, struct tally *sum)
{
	struct tally t = { 0 };

	for (const struct step_point *at; (at = plan_next(p, &t)) != NULL;) {
		enum step_end e = STEP_STRAYED;
		char what[256];

		plan_name(p, at, what, sizeof what);
		for (unsigned i = 0; i < STEP_TRIES && e == STEP_STRAYED; i++) {
			e = one(arg, p->trace, at, i, what);
			t.kills++;
		}
		t.ended += e == STEP_ENDED;
		t.strayed += e == STEP_STRAYED;
		t.unreachable += e == STEP_UNREACHABLE;
	}
	plan_end(p, &t, sum);
}

void plan_sum(const struct tally *t)
{
	scene_note("in all: %llu operations, %llu instructions, %llu in the library, %llu kills "
		   "(%llu after the end, %llu elsewhere, %llu at places that take no breakpoint), 0 findings",
		   (unsigned long long)t->operations, (unsigned long long)t->instructions,
		   (unsigned long long)t->library, (unsigned long long)t->kills,
		   (unsigned long long)t->ended, (unsigned long long)t->strayed,
		   (unsigned long long)t->unreachable);
	PLAIN_CHECK(t->kills > 0);
}

#define JOBS_MOST 64u

void plan_jobs(void (*job)(uint64_t *next, uint64_t seed, struct tally *sum))
{
	struct {
		uint64_t next;
		struct tally sum;
	} *all = scene_shared(sizeof *all);
	const uint64_t seed = plan_number("TARN_KILL_SEED", scene_now());
	const uint64_t jobs = plan_number("TARN_KILL_JOBS", 1);
	pid_t pid[JOBS_MOST];

	PLAIN_CHECK(jobs >= 1 && jobs <= JOBS_MOST);
	scene_note("TARN_KILL_SEED=%llu", (unsigned long long)seed);
	for (uint64_t i = 0; i < jobs; i++) {
		pid[i] = jobs > 1 ? plain_fork() : 0; /* alone it may say why it skips */
		if (pid[i] != 0)
			continue;
		PLAIN_CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
		job(&all->next, seed, &all->sum);
		if (jobs > 1)
			_exit(0);
	}
	for (uint64_t i = 0; jobs > 1 && i < jobs; i++)
		PLAIN_EQ(plain_reap(pid[i]), 0);
	plan_sum(&all->sum);
}
#endif
