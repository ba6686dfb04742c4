/* SPDX-License-Identifier: Apache-2.0 */
#if defined(__x86_64__)
#include "step.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/common/plain.h"

#define OPTIONS (PTRACE_O_EXITKILL | PTRACE_O_TRACEFORK)

/* ---- the child ---- */

static void stop_here(void)
{
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGSTOP);
}

bool step_begin_here(void)
{
	if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0)
		return false;
	stop_here();
	return true;
}

void step_end_here(void)
{
	stop_here();
}

/* ---- mappings ---- */

struct range {
	uint64_t from, to;
};
struct ranges {
	struct range r[64];
	unsigned n;
};

/* Those that are shared and writable. */
static void shared_of(pid_t pid, struct ranges *ret)
{
	char path[64], line[512], mode[8];
	unsigned long long from, to;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
	f = fopen(path, "re");
	PLAIN_CHECK(f != NULL);
	ret->n = 0;
	while (fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, "%llx-%llx %7s", &from, &to, mode) == 3 && mode[1] == 'w' &&
		    mode[3] == 's' && ret->n < 64)
			ret->r[ret->n++] = (struct range){ from, to };
	fclose(f);
}

static bool is_in(const struct ranges *a, uint64_t address)
{
	for (unsigned i = 0; i < a->n; i++)
		/* A wide store may begin before. */
		if (address + 64 > a->r[i].from && address < a->r[i].to)
			return true;
	return false;
}

void step_library(uint64_t *ret_from, uint64_t *ret_to)
{
	static uint64_t from, to;
	char line[512], self[256] = "";
	unsigned long long a, b;
	FILE *f = from == 0 ? fopen("/proc/self/maps", "re") : NULL;

	if (f != NULL && readlink("/proc/self/exe", self, sizeof self - 1) < 0)
		PLAIN_FAIL("readlink: %s", strerror(errno));
	while (f != NULL && fgets(line, sizeof line, f) != NULL) {
		if (strstr(line, " r-xp ") == NULL || sscanf(line, "%llx-%llx", &a, &b) != 2)
			continue;
		/* The shared library wins over the program. */
		if (strstr(line, "libtarn.so") != NULL || (from == 0 && strstr(line, self) != NULL)) {
			from = a;
			to = b;
		}
	}
	if (f != NULL)
		fclose(f);
	PLAIN_CHECK(from != 0);
	*ret_from = from;
	*ret_to = to;
}

const char *step_name(uint64_t address)
{
	static char text[320];
	char line[512], path[256];
	unsigned long long a, b, offset;
	FILE *f = fopen("/proc/self/maps", "re");

	snprintf(text, sizeof text, "%#" PRIx64, address);
	while (f != NULL && fgets(line, sizeof line, f) != NULL) {
		path[0] = '\0';
		if (sscanf(line, "%llx-%llx %*s %llx %*s %*s %255s", &a, &b, &offset, path) >= 3 &&
		    address >= a && address < b) {
			const char *base = strrchr(path, '/');

			snprintf(text, sizeof text, "%s+%#llx", base != NULL ? base + 1 : path,
				 (unsigned long long)(address - a + offset));
		}
	}
	if (f != NULL)
		fclose(f);
	return text;
}

/* ---- how often an address was passed ---- */

struct passes {
	uint64_t address[1u << 16];
	uint32_t n[1u << 16];
};

static uint32_t *passes_of(struct passes *p, uint64_t address)
{
	uint64_t at = (address * 0x9e3779b97f4a7c15ull) >> 48;

	while (p->address[at] != 0 && p->address[at] != address)
		at = (at + 1) & 0xffff;
	p->address[at] = address;
	return &p->n[at];
}

/* ---- the parent ---- */

bool step_await(pid_t pid)
{
	int status;

	PLAIN_CHECK(waitpid(pid, &status, __WALL) == pid);
	if (!WIFSTOPPED(status))
		return false;
	PLAIN_EQ(WSTOPSIG(status), SIGSTOP);
	PLAIN_CHECKF(ptrace(PTRACE_SETOPTIONS, pid, 0, OPTIONS) == 0, "%s", strerror(errno));
	return true;
}

enum stop { STOP_TRAP, STOP_END };

/* A child of it: runs free, without our breakpoint. */
static void let_go(pid_t pid, uint64_t address, long original, pid_t *ret_child)
{
	unsigned long child;
	int status;

	PLAIN_CHECK(ptrace(PTRACE_GETEVENTMSG, pid, 0, &child) == 0);
	PLAIN_CHECK(waitpid((pid_t)child, &status, __WALL) == (pid_t)child);
	if (address != 0)
		ptrace(PTRACE_POKETEXT, (pid_t)child, address, original);
	PLAIN_CHECK(ptrace(PTRACE_DETACH, (pid_t)child, 0, 0) == 0);
	if (ret_child != NULL)
		*ret_child = (pid_t)child;
}

static enum stop resume(pid_t pid, enum __ptrace_request how, uint64_t address, long original,
			pid_t *ret_child)
{
	for (long deliver = 0;;) {
		int status;

		PLAIN_CHECKF(ptrace(how, pid, 0, deliver) == 0, "%s", strerror(errno));
		deliver = 0;
		PLAIN_CHECK(waitpid(pid, &status, __WALL) == pid);
		PLAIN_CHECKF(WIFSTOPPED(status), "the child ended while it was stepped (%x)", status);
		if (status >> 8 == (SIGTRAP | (PTRACE_EVENT_FORK << 8))) {
			let_go(pid, address, original, ret_child);
			continue;
		}
		if (WSTOPSIG(status) == SIGSTOP)
			return STOP_END;
		if (WSTOPSIG(status) == SIGCHLD) {
			deliver = SIGCHLD;
			continue;
		}
		PLAIN_CHECKF(WSTOPSIG(status) == SIGTRAP, "signal %d", WSTOPSIG(status));
		return STOP_TRAP;
	}
}

static void keep(struct step_trace *t, struct step_point p)
{
	if (t->n == t->room) {
		t->room = t->room * 2 + 1024;
		t->point = realloc(t->point, t->room * sizeof *t->point);
		PLAIN_CHECK(t->point != NULL);
	}
	t->point[t->n++] = p;
}

static void code_at(pid_t pid, uint64_t address, unsigned char code[16])
{
	struct iovec to = { code, 16 }, from = { (void *)(uintptr_t)address, 16 };

	memset(code, 0, 16);
	if (process_vm_readv(pid, &to, 1, &from, 1, 0) <= 0) {
		/* The end of a mapping, or one that only a tracer may read. */
		for (unsigned i = 0; i < 16; i += 8) {
			long word = ptrace(PTRACE_PEEKTEXT, pid, address + i, 0);

			memcpy(code + i, &word, 8);
		}
	}
}

void step_write_down(pid_t pid, struct step_trace *ret,
		     void (*look)(void *arg, const struct step_insn *insn, uint64_t address),
		     void *arg)
{
	struct passes *passes = calloc(1, sizeof *passes);
	struct ranges shared;
	uint64_t from, to;
	pid_t child = 0;

	PLAIN_CHECK(passes != NULL);
	step_library(&from, &to);
	shared_of(pid, &shared);
	*ret = (struct step_trace){ 0 };
	for (;; ret->instructions++) {
		struct user_regs_struct r;
		unsigned char code[16];
		unsigned why = 0;

		PLAIN_CHECK(ptrace(PTRACE_GETREGS, pid, 0, &r) == 0);
		code_at(pid, r.rip, code);
		struct step_insn in = step_decode(code, &r);
		if (r.rip >= from && r.rip < to)
			why |= STEP_LIBRARY;
		if (in.kernel)
			why |= STEP_KERNEL;
		if (in.store && is_in(&shared, in.address))
			why |= STEP_STORE;
		ret->library += (why & STEP_LIBRARY) != 0;
		ret->kernel += (why & STEP_KERNEL) != 0;
		ret->stores += (why & STEP_STORE) != 0;
		uint32_t *n = passes_of(passes, r.rip);
		if (why != 0)
			keep(ret, (struct step_point){ r.rip, *n, why, ret->instructions });
		++*n;
		enum stop s = resume(pid, PTRACE_SINGLESTEP, 0, 0, &child);
		if (look != NULL)
			look(arg, &in, r.rip);
		if (s == STOP_END)
			break;
		if (in.kernel)
			shared_of(pid, &shared); /* it may have mapped something */
	}
	free(passes);
	if (child != 0)
		waitpid(child, NULL, __WALL);
}

void step_trace_free(struct step_trace *t)
{
	free(t->point);
	*t = (struct step_trace){ 0 };
}

/* The processor's first breakpoint; of this thread alone. */
static bool break_at(pid_t pid, uint64_t address)
{
	const size_t registers = offsetof(struct user, u_debugreg);
	const size_t control = registers + 7 * sizeof(((struct user *)0)->u_debugreg[0]);

	return ptrace(PTRACE_POKEUSER, pid, control, 0) == 0 &&
	       ptrace(PTRACE_POKEUSER, pid, registers, address) == 0 &&
	       ptrace(PTRACE_POKEUSER, pid, control, address != 0) == 0;
}

bool step_threads_can(pid_t pid)
{
	return break_at(pid, (uint64_t)(uintptr_t)step_threads_can) && break_at(pid, 0);
}

static bool is_at(pid_t pid, uint64_t address)
{
	struct user_regs_struct r;

	PLAIN_CHECK(ptrace(PTRACE_GETREGS, pid, 0, &r) == 0);
	return r.rip == address;
}

static enum step_end run_by_register(pid_t pid, const struct step_point *p, pid_t *ret_child)
{
	uint32_t passed = 0;

	if (!break_at(pid, p->address))
		return STEP_UNREACHABLE;
	for (;;) {
		/* A repeated instruction traps once, and is a step for each time. */
		while (is_at(pid, p->address)) {
			if (passed++ == p->nth)
				return STEP_THERE;
			if (resume(pid, PTRACE_SINGLESTEP, 0, 0, ret_child) == STOP_END)
				return STEP_ENDED;
		}
		if (resume(pid, PTRACE_CONT, 0, 0, ret_child) == STOP_END)
			return STEP_ENDED;
		PLAIN_CHECK(is_at(pid, p->address));
	}
}

static enum step_end run_by_trap(pid_t pid, const struct step_point *p, pid_t *ret_child)
{
	struct user_regs_struct r;
	uint32_t passed = 0;
	long original, trap;

	PLAIN_CHECK(ptrace(PTRACE_GETREGS, pid, 0, &r) == 0);
	if (r.rip == p->address && passed++ == p->nth)
		return STEP_THERE;
	if (r.rip == p->address && resume(pid, PTRACE_SINGLESTEP, 0, 0, ret_child) == STOP_END)
		return STEP_ENDED;
	errno = 0;
	original = ptrace(PTRACE_PEEKTEXT, pid, p->address, 0);
	if (errno != 0)
		return STEP_UNREACHABLE;
	trap = (original & ~0xffl) | 0xcc;
	if (ptrace(PTRACE_POKETEXT, pid, p->address, trap) != 0)
		return STEP_UNREACHABLE;
	for (;;) {
		if (resume(pid, PTRACE_CONT, p->address, original, ret_child) == STOP_END)
			return STEP_ENDED;
		PLAIN_CHECK(ptrace(PTRACE_GETREGS, pid, 0, &r) == 0);
		PLAIN_CHECKF(r.rip == p->address + 1, "a trap at %s", step_name(r.rip));
		/* Back on the instruction: it is not executed yet. */
		r.rip = p->address;
		PLAIN_CHECK(ptrace(PTRACE_SETREGS, pid, 0, &r) == 0);
		PLAIN_CHECK(ptrace(PTRACE_POKETEXT, pid, p->address, original) == 0);
		if (passed++ == p->nth)
			return STEP_THERE;
		if (resume(pid, PTRACE_SINGLESTEP, 0, 0, ret_child) == STOP_END)
			return STEP_ENDED;
		PLAIN_CHECK(ptrace(PTRACE_POKETEXT, pid, p->address, trap) == 0);
	}
}

enum step_end step_run_to(pid_t pid, const struct step_point *p, bool threads, pid_t *ret_child)
{
	*ret_child = 0;
	return threads ? run_by_register(pid, p, ret_child) : run_by_trap(pid, p, ret_child);
}
#endif
