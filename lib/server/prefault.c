/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory made ready in the background. First touch of a shared page costs a microsecond or
 * more; a helper thread commits and touches the next range while the reactor serves. The
 * heap's book of it stays with the reactor: it takes the range out before, and puts
 * it back after (heap.h), so a crash in between loses nothing.
 *
 * The thread sleeps in read(); an idle server has no wake-ups of it.
 */
#include "prefault.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "heap.h"
#include "shm/page.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define READY_LEAST (512ull << 10) /* warm bytes that the server tries to have at first */
#define READY_MOST (64ull << 20)  /* the same, for those who keep taking more */

struct prefault {
	struct server *server;
	pthread_t thread;
	int go, done;            /* eventfds */
	struct tarn__loop_watch done_watch;
	bool busy, quit;
	/* The range in hand. Written by the reactor before go, by the thread before done;
	 * the eventfds order the two. */
	uint64_t offset, bytes;
	bool ok;
	uint64_t ready;     /* warm bytes to have now */
	uint64_t used_then; /* bytes in use when it was last topped up */
};

static void *work(void *arg)
{
	struct prefault *p = arg;
	struct tarn__segment *data = &p->server->st.data;
	uint64_t n;

	while (read(p->go, &n, sizeof n) == (ssize_t)sizeof n) {
		if (p->quit)
			break;
		p->ok = tarn__segment_reserve(data, p->offset, p->bytes) == 0;
		uint64_t at = p->offset & ~(tarn__os_page() - 1);
		if (p->ok) /* an older kernel refuses: then the first touch pays */
			(void)madvise(data->base + at, p->offset + p->bytes - at, MADV_POPULATE_WRITE);
		n = 1;
		if (write(p->done, &n, sizeof n) != (ssize_t)sizeof n)
			break;
	}
	return NULL;
}

static void on_done(void *arg, uint32_t events)
{
	struct prefault *p = arg;
	uint64_t n;

	(void)events;
	if (read(p->done, &n, sizeof n) != (ssize_t)sizeof n)
		return;
	tarn__heap_precommit_done(&p->server->st, p->offset, p->bytes, p->ok);
	p->busy = false;
}

int tarn__prefault_open(struct server *s, struct prefault **ret)
{
	struct prefault *p = calloc(1, sizeof *p);
	int r = -ENOMEM;

	if (p == NULL)
		return -ENOMEM;
	p->server = s;
	p->ready = READY_LEAST;
	p->go = eventfd(0, EFD_CLOEXEC);
	p->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->go < 0 || p->done < 0)
		goto fail;
	p->done_watch = (struct tarn__loop_watch){ .fd = p->done, .fn = on_done, .arg = p };
	r = tarn__loop_watch(s->loop, &p->done_watch);
	if (r < 0)
		goto fail;
	r = -pthread_create(&p->thread, NULL, work, p);
	if (r < 0) {
		tarn__loop_unwatch(s->loop, &p->done_watch);
		goto fail;
	}
	*ret = p;
	return 0;
fail:
	if (p->go >= 0)
		close(p->go);
	if (p->done >= 0)
		close(p->done);
	free(p);
	return r;
}

void tarn__prefault_want(struct prefault *p)
{
	const struct heap *h = &p->server->st.head->heap;
	uint64_t one = 1;

	/* A range in hand is in nobody's reach: not while an allocation waits. */
	if (p->busy || p->server->st.head->n_clients == 0 ||
	    p->server->st.head->n_pending != 0 || h->warm_free >= p->ready / 2 ||
	    p->ready > h->watermark)
		return;
	/* While use grows by more than what was made ready, more is made ready at once. What
	 * is committed never exceeds what is in use by more than that. */
	if (h->used > p->used_then + p->ready && p->ready < READY_MOST)
		p->ready *= 2;
	if (tarn__heap_precommit_pick(&p->server->st, p->ready - h->warm_free, &p->offset,
				      &p->bytes) < 0)
		return;
	p->used_then = h->used;
	p->busy = true;
	if (write(p->go, &one, sizeof one) != (ssize_t)sizeof one) {
		tarn__heap_precommit_done(&p->server->st, p->offset, p->bytes, false);
		p->busy = false;
	}
}

bool tarn__prefault_busy(const struct prefault *p)
{
	return p != NULL && p->busy;
}

struct prefault *tarn__prefault_close(struct prefault *p)
{
	uint64_t one = 1;

	if (p == NULL)
		return NULL;
	p->quit = true;
	if (write(p->go, &one, sizeof one) == (ssize_t)sizeof one)
		pthread_join(p->thread, NULL);
	if (p->busy)
		tarn__heap_precommit_done(&p->server->st, p->offset, p->bytes, p->ok);
	tarn__loop_unwatch(p->server->loop, &p->done_watch);
	close(p->go);
	close(p->done);
	free(p);
	return NULL;
}
