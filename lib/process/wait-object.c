/* SPDX-License-Identifier: Apache-2.0 */
#include "wait-object.h"

#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/types/actor.h"
#include "lib/types/queue-wait.h"
#include "shm/wake.h"
#include "tarn/sync.h"

#define SLICE_NS 90000000u   /* as other waits: a server that is gone is noticed */
#define BLIND_NS 2000000u    /* between looks where the kernel cannot wait for several words */
#define WORDS_MOST 128u      /* of one futex_waitv() */

struct row {
	const char *type;
	int (*word)(tarn_object *o, const uint32_t **ret_word, uint32_t *ret_seen);
	int (*ready)(tarn_object *o);
};

static int queue_word(tarn_object *o, const uint32_t **ret_word, uint32_t *ret_seen)
{
	uint32_t *word;
	int r = tarn__queue_wait_word(o, &word, ret_seen);

	if (r == 0)
		*ret_word = word;
	return r;
}

static int has_permits(tarn_object *o)
{
	uint64_t n;
	int r = tarn_sem_value(o, &n);

	return r < 0 ? r : n > 0;
}

/* One per line, in alphabetical order. */
static const struct row rows[] = {
	{ "tarn.BoundedSemaphore", tarn__sem_wait_word, has_permits },
	{ "tarn.Event", tarn__event_wait_word, tarn_event_is_set },
	{ "tarn.Queue", queue_word, tarn__queue_ready },
	{ "tarn.Semaphore", tarn__sem_wait_word, has_permits },
	{ NULL, NULL, NULL },
};

static const struct row *row_of(tarn_object *o)
{
	const char *type = tarn_object_type_name(o);

	for (const struct row *r = rows; type != NULL && r->type != NULL; r++)
		if (strcmp(r->type, type) == 0)
			return r;
	if (type != NULL)
		tarn__fail(-TARN_EKIND, "An object of type %s cannot be waited for: it is neither a queue "
			   "nor an event nor a semaphore.", type);
	return NULL;
}

int tarn__wait_object_word(tarn_object *o, const uint32_t **ret_word, uint32_t *ret_seen)
{
	const struct row *r = row_of(o);

	return r != NULL ? r->word(o, ret_word, ret_seen) : tarn_error_last()->code;
}

int tarn__wait_object_ready(tarn_object *o)
{
	const struct row *r = row_of(o);

	return r != NULL ? r->ready(o) : tarn_error_last()->code;
}

/* ---- several words ---- */

static bool all_as_seen(const uint32_t *const *words, const uint32_t *seen, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (tarn__load32_acquire(words[i]) != seen[i])
			return false;
	return true;
}

/* False: the kernel has no such call, or a filter forbids it. */
static bool waitv(const uint32_t *const *words, const uint32_t *seen, size_t n, uint64_t deadline)
{
#if defined(SYS_futex_waitv) && defined(FUTEX_32)
	static uint32_t refused; /* relaxed: found out by whoever comes first */
	struct futex_waitv v[WORDS_MOST];
	struct timespec at = { .tv_sec = (time_t)(deadline / 1000000000u),
			       .tv_nsec = (long)(deadline % 1000000000u) };

	if (n > WORDS_MOST || tarn__load32_relaxed(&refused) != 0)
		return false;
	for (size_t i = 0; i < n; i++)
		v[i] = (struct futex_waitv){ .val = seen[i], .uaddr = (uintptr_t)words[i],
					     .flags = FUTEX_32 };
	if (syscall(SYS_futex_waitv, v, (unsigned)n, 0, &at, CLOCK_MONOTONIC) >= 0)
		return true;
	if (errno == EAGAIN || errno == ETIMEDOUT || errno == EINTR)
		return true;
	tarn__store32_relaxed(&refused, 1);
#else
	(void)words, (void)seen, (void)n, (void)deadline;
#endif
	return false;
}

void tarn__wait_words(const uint32_t *const *words, const uint32_t *seen, size_t n,
		      uint64_t deadline)
{
	const uint64_t slice = tarn__now() + SLICE_NS, end = deadline < slice ? deadline : slice;

	if (n == 1) {
		tarn__futex_wait(words[0], seen[0], end);
		return;
	}
	if (waitv(words, seen, n, end))
		return;
	while (all_as_seen(words, seen, n) && tarn__now() < end) {
		const uint64_t look = tarn__now() + BLIND_NS;

		tarn__futex_wait(words[0], seen[0], look < end ? look : end);
	}
}
