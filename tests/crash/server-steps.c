/* SPDX-License-Identifier: Apache-2.0 */
#include "server-steps.h"

#include "lib/server/state.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define VARIABLE "TARN_STEPS_FILE"
#define STRIDE 61u  /* a prime, so that positions within messages vary */
#define TIRED 4u    /* deaths right after each other; then one server lives for a while, or the keeper
		     * would give up */

/* ---- in the server ---- */

static struct steps *steps_map(const char *path)
{
	int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p = fd >= 0 ? mmap(NULL, sizeof(struct steps), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
			  : MAP_FAILED;

	if (fd >= 0)
		close(fd);
	return p != MAP_FAILED ? p : NULL;
}

/* The server's META, which it alone has; NULL: not here. */
static const struct state_head *meta_find(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	const struct state_head *found = NULL;
	char line[600], mode[5];
	unsigned long from, to;

	while (maps != NULL && found == NULL && fgets(line, sizeof line, maps) != NULL) {
		if (sscanf(line, "%lx-%lx %4s", &from, &to, mode) != 3 || strcmp(mode, "rw-s") != 0 ||
		    to - from < sizeof *found)
			continue;
		found = (const struct state_head *)from;
		if (found->magic != TARN__MAGIC || found->meta_bytes == 0)
			found = NULL;
	}
	if (maps != NULL)
		fclose(maps);
	return found;
}

static bool in_method_of(uint64_t object)
{
	static const struct state_head *head;
	static bool serves; /* what the last server had begun is taken note of */

	if (head == NULL)
		head = meta_find();
	serves |= head != NULL && head->running.lane == NIL;
	return serves && head->running.lane != NIL && head->running.id == object;
}

/* Committed: who dies now has lost nothing of what was said to it. */
static bool is_closing_a_lane(void)
{
	static struct state st;

	if (st.head == NULL) {
		const struct state_head *head = meta_find();

		if (head == NULL ||
		    tarn__state_adopt(&st, (unsigned char *)(uintptr_t)head, head->meta_bytes) < 0)
			return false;
	}
	for (uint32_t i = 1; st.head->undo.n == 0 && i < st.head->lanes; i++)
		if (st.lane[i].client != NIL && st.lane[i].closing)
			return true;
	return false;
}

static void die(struct steps *s)
{
	s->kills++;
	kill(getpid(), SIGKILL);
	pause();
}

void tarn__meta_hook(void);
void tarn__meta_hook(void)
{
	static struct steps *s;
	static bool looked;

	if (!looked)
		s = steps_map(getenv(VARIABLE));
	looked = true;
	if (s != NULL && s->in_object != 0 && in_method_of(s->object)) {
		s->in_object--;
		die(s);
	}
	if (s != NULL && s->closing != 0 && is_closing_a_lane()) {
		s->closing--;
		die(s);
	}
	/* Executors come by here, too. */
	if (s == NULL || __atomic_load_n(&s->left, __ATOMIC_RELAXED) <= 0 ||
	    __atomic_sub_fetch(&s->left, 1, __ATOMIC_RELAXED) != 0)
		return;
	s->left = s->again;
	s->again = 0;
	die(s);
}

/* ---- the schedule ---- */

struct steps *steps_start(struct arena *a, const struct arena_kind *kind)
{
	const tarn_server_options options = { .keep = true, .arena_bytes = 16u << 20, .log_level = 3 };
	struct steps *steps;
	char path[200];

	snprintf(path, sizeof path, "%s/steps", plain_dir());
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	PLAIN_EQ(ftruncate(fd, sizeof *steps), 0);
	close(fd);
	setenv(VARIABLE, path, 1);
	setenv("TARN_VERIFY", "1", 1);
	steps = steps_map(path);
	PLAIN_CHECK(steps != NULL);
	arena_start(a, kind, &options);
	return steps;
}

void steps_end(struct steps *steps)
{
	munmap(steps, sizeof *steps);
}

void steps_rest(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 70000000 }, NULL);
}

uint64_t steps_run(struct steps *steps, bool twice, unsigned parts, void (*part)(void *world, unsigned number),
		   void *world)
{
	const char *all = getenv("TARN_SERVER_STEPS");
	const unsigned stride = all != NULL && *all == '1' ? 1 : STRIDE;
	uint64_t random = 31 + (uint64_t)twice, runs = 0, stores = 0, before = steps->kills;

	for (unsigned i = 0; i < parts; i++) {
		int64_t n = 1 + (int64_t)(scene_random(&random) % stride);

		for (;; n += stride) {
			if (runs++ % (twice ? TIRED / 4 : TIRED) == 0)
				steps_rest();
			uint64_t kills = steps->kills;
			steps->again = twice ? 1 + (int64_t)(scene_random(&random) % 400) : 0;
			__atomic_store_n(&steps->left, n, __ATOMIC_RELEASE);
			part(world, i);
			__atomic_store_n(&steps->left, 0, __ATOMIC_RELEASE);
			if (steps->kills == kills)
				break; /* it has no store number n */
		}
		stores += (uint64_t)n;
	}
	scene_note("%llu stores, one in %u: %llu kills", (unsigned long long)stores, stride,
		   (unsigned long long)(steps->kills - before));
	PLAIN_CHECK(steps->kills - before >= runs / 2);
	return stores;
}
