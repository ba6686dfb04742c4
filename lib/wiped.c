/* SPDX-License-Identifier: Apache-2.0 */
#include "wiped.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "shm/page.h"

/* Such pages as the kernel does not wipe; the list runs through themselves. */
struct page {
	unsigned char owner[TARN__WIPED_BYTES];
	struct page *next, **at;
	bool listed; /* its owner's */
};
static_assert(sizeof(struct page) <= TARN__OS_PAGE, "in each");

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards the list, and is held over a fork() */
static struct page *pages;
static bool looked_after; /* over a fork() */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool genuine;

static void lock_before_fork(void)
{
	pthread_mutex_lock(&mutex);
}
static void unlock_in_parent(void)
{
	pthread_mutex_unlock(&mutex);
}
/* They stay in the list: their owners end them here as well, and the child may have children. */
static void wipe_in_child(void)
{
	for (struct page *p = pages; p != NULL; p = p->next)
		memset(p->owner, 0, sizeof p->owner);
	pthread_mutex_unlock(&mutex);
}

/* When the library is loaded, as in lib/process/launch.c. */
__attribute__((constructor(101))) static void prepare_for_fork(void)
{
	looked_after = pthread_atfork(lock_before_fork, unlock_in_parent, wipe_in_child) == 0;
}

/* The kernel refuses shared memory, which no child could have for itself alone. Who takes that takes anything. */
static void try(void)
{
	void *p = mmap(NULL, tarn__os_page(), PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return; /* a handler does as well */
	genuine = madvise(p, tarn__os_page(), MADV_WIPEONFORK) != 0 && errno == EINVAL;
	munmap(p, tarn__os_page());
}

static int keep(struct page *p)
{
	if (!looked_after)
		return -ENOMEM;
	pthread_mutex_lock(&mutex);
	p->next = pages;
	p->at = &pages;
	if (pages != NULL)
		pages->at = &p->next;
	pages = p;
	p->listed = true;
	pthread_mutex_unlock(&mutex);
	return 0;
}

int tarn__wiped(void *p)
{
	pthread_once(&once, try);
	if (genuine && madvise(p, tarn__os_page(), MADV_WIPEONFORK) == 0)
		return 0;
	return keep(p);
}

void tarn__wiped_end(void *p)
{
	struct page *page = p;

	if (!page->listed)
		return;
	pthread_mutex_lock(&mutex);
	*page->at = page->next;
	if (page->next != NULL)
		page->next->at = page->at;
	pthread_mutex_unlock(&mutex);
	page->listed = false;
}

void *tarn__wiped_new(void)
{
	void *p = mmap(NULL, tarn__os_page(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	if (tarn__wiped(p) == 0)
		return p;
	munmap(p, tarn__os_page());
	return NULL;
}

void tarn__wiped_free(void *p)
{
	if (p == NULL)
		return;
	tarn__wiped_end(p);
	munmap(p, tarn__os_page());
}
