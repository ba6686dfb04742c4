/* SPDX-License-Identifier: Apache-2.0 */
#include "hints.h"

#include <sys/mman.h>

#define HUGE_PAGE (2u << 20)

static uint64_t hints_bytes(const struct server *s)
{
	return tarn__round_up((s->st.head->max_objects + 1) * sizeof(struct hint), TARN__OS_PAGE);
}

void tarn__hints_open(struct server *s)
{
	const uint64_t bytes = hints_bytes(s);
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);

	if (p == MAP_FAILED)
		return;
	s->hint = p;
	/* A server with few objects stays small; one with hundreds of thousands saves the walks of
	 * page tables. A wish: where it is refused all goes on with small pages. */
	if (bytes > HUGE_PAGE)
		(void)madvise((unsigned char *)p + HUGE_PAGE, bytes - HUGE_PAGE, MADV_HUGEPAGE);
}

void tarn__hints_close(struct server *s)
{
	if (s->hint != NULL)
		munmap(s->hint, hints_bytes(s));
	s->hint = NULL;
}
