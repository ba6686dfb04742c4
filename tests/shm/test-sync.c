/* SPDX-License-Identifier: Apache-2.0 */
/* What the server does for the dead, by a server that is killed in it, and by the next one. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include "shm/sync.h"

TestSuite(sync_repair, .timeout = 20);

#define PAGE 4096u
#define DEAD 7u
#define WAITER 8u

static sigjmp_buf killed;

static void kill_the_server(int signal)
{
	(void)signal;
	siglongjmp(killed, 1);
}

/* A condition whose first two slots end a page: the others can be made such that who writes there dies. */
static struct tarn__cond *across_two_pages(unsigned char **ret_second)
{
	unsigned char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cr_assert(ne(ptr, p, MAP_FAILED));
	*ret_second = p + PAGE;
	return (void *)(p + PAGE - offsetof(struct tarn__cond, slots.slot[2]));
}

/* A call that the dead one had got is passed on before its slot is cleared: else nobody would know of it. */
Test(sync_repair, t9_a_call_of_the_dead_is_not_lost_with_a_server_that_is_killed_when_it_passes_it_on)
{
	const struct sigaction action = { .sa_handler = kill_the_server };
	unsigned char *second;
	struct tarn__cond *c = across_two_pages(&second);

	static_assert(sizeof(struct tarn__cond) <= PAGE &&
		      (PAGE - offsetof(struct tarn__cond, slots.slot[2])) % _Alignof(struct tarn__cond) == 0, "in two pages");
	c->slots.slot[0] = DEAD | TARN__SLOT_CALLED;
	c->slots.slot[2] = WAITER | TARN__SLOT_WAITING;
	c->slots.used = 3;
	cr_assert(zero(int, sigaction(SIGSEGV, &action, NULL)));
	cr_assert(zero(int, mprotect(second, PAGE, PROT_READ)));
	if (sigsetjmp(killed, 1) == 0) {
		tarn__cond_departed(c, DEAD);
		cr_fail("it called nobody");
	}
	cr_assert(eq(u32, c->slots.slot[0], DEAD | TARN__SLOT_CALLED));
	cr_assert(zero(int, mprotect(second, PAGE, PROT_READ | PROT_WRITE)));
	tarn__cond_departed(c, DEAD); /* the next server */
	cr_assert(zero(u32, c->slots.slot[0]));
	cr_assert(eq(u32, c->slots.slot[2], WAITER | TARN__SLOT_CALLED));
}
