/* SPDX-License-Identifier: Apache-2.0 */
#if defined(__x86_64__)
#include "step.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
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

static bool is_traced(void)
{
	static const char key[] = "TracerPid:\t";
	char text[1024];
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;

	close(fd);
	text[n > 0 ? n : 0] = '\0';
	const char *at = strstr(text, key);
	return at != NULL && at[sizeof key - 1] != '0';
}

void step_await_tracer(void)
{
	while (!is_traced())
		nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
	stop_here();
}

/* ---- an image that is executed ---- */

#ifndef STEP_NO_IMAGES
static void await_tracer(int argc, char **argv, char **envp)
{
	const size_t n = strlen(STEP_VARIABLE);

	(void)argc, (void)argv;
	while (*envp != NULL && (strncmp(*envp, STEP_VARIABLE, n) != 0 || (*envp)[n] != '='))
		envp++;
	if (*envp != NULL)
		step_await_tracer();
}

__attribute__((section(".preinit_array"), used)) static void (*const before_all)(int, char **, char **) =
	await_tracer;
#endif

bool step_same_addresses(void)
{
	const int now = personality(0xffffffff);

	return now != -1 && personality((unsigned long)now | ADDR_NO_RANDOMIZE) != -1;
}

bool step_seize(pid_t pid)
{
	int status;

	if (ptrace(PTRACE_SEIZE, pid, 0, OPTIONS | PTRACE_O_TRACEEXIT) != 0)
		return false;
	PLAIN_CHECK(waitpid(pid, &status, __WALL) == pid);
	PLAIN_CHECKF(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP, "%x", status);
	return true;
}

bool step_hold(pid_t pid)
{
	int status;

	if (ptrace(PTRACE_SEIZE, pid, 0, OPTIONS) != 0)
		return false;
	PLAIN_CHECKF(ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0, "%s", strerror(errno));
	PLAIN_CHECK(waitpid(pid, &status, __WALL) == pid);
	PLAIN_CHECKF(WIFSTOPPED(status), "%x", status);
	return true;
}

int step_kill(pid_t pid)
{
	int status = 0;

	kill(pid, SIGKILL);
	do
		/* One that was seized stops once more in its end, where it takes no signal any more. */
		ptrace(PTRACE_CONT, pid, 0, 0);
	while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status));
	return status;
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

struct module {
	uint64_t from, to, offset;
	bool text;
	char name[64];
};

static struct module module[128];
static size_t n_modules;

/* What is mapped from files: nothing is loaded later. */
static void modules_read(pid_t pid)
{
	char path[256], line[512];
	unsigned long long a, b, offset;

	snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
	FILE *f = fopen(path, "re");
	n_modules = 0;
	while (f != NULL && n_modules < 128 && fgets(line, sizeof line, f) != NULL) {
		struct module *m = &module[n_modules];
		char mode[8];

		if (sscanf(line, "%llx-%llx %7s %llx %*s %*s %255s", &a, &b, mode, &offset, path) != 5)
			continue;
		const char *base = strrchr(path, '/');

		*m = (struct module){ a, b, offset, mode[2] == 'x', "" };
		snprintf(m->name, sizeof m->name, "%.63s", base != NULL ? base + 1 : path);
		n_modules++;
	}
	if (f != NULL)
		fclose(f);
}

void step_names_are_mine(void)
{
	modules_read(getpid());
}

/* The library's text: libtarn.so, or the program itself, which comes first. */
static struct range library(void)
{
	struct range r = { 0, 0 };

	for (size_t i = 0; i < n_modules; i++)
		if (module[i].text && (r.to == 0 || strncmp(module[i].name, "libtarn.so", 10) == 0))
			r = (struct range){ module[i].from, module[i].to };
	PLAIN_CHECK(r.to != 0);
	return r;
}

const char *step_name(uint64_t address)
{
	static char text[128];

	snprintf(text, sizeof text, "%#" PRIx64, address);
	for (size_t i = 0; i < n_modules; i++)
		if (address >= module[i].from && address < module[i].to)
			snprintf(text, sizeof text, "%s+%#" PRIx64, module[i].name,
				 address - module[i].from + module[i].offset);
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

static _Noreturn void fail_at(pid_t pid, int signal)
{
	struct user_regs_struct r = { 0 };

	ptrace(PTRACE_GETREGS, pid, 0, &r);
	PLAIN_FAIL("signal %d at %s", signal, step_name(r.rip));
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
		if (WSTOPSIG(status) == SIGSTOP || status >> 8 == (SIGTRAP | (PTRACE_EVENT_EXIT << 8)))
			return STOP_END;
		if (WSTOPSIG(status) == SIGCHLD) {
			deliver = SIGCHLD;
			continue;
		}
		if (WSTOPSIG(status) != SIGTRAP)
			fail_at(pid, WSTOPSIG(status));
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

/* Both on one CPU: a step is two changes of context then, and no wakeup of another CPU. */
static cpu_set_t pin(pid_t pid)
{
	cpu_set_t before, one;

	CPU_ZERO(&before);
	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	sched_getaffinity(0, sizeof before, &before);
	sched_setaffinity(0, sizeof one, &one);
	sched_setaffinity(pid, sizeof one, &one);
	return before;
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

/* Whether it is a string instruction that writes memory of the process's own from here on; the address behind it.
 * These are thousands of steps that nobody sees. */
static uint64_t behind_private_string(const unsigned char code[16], const struct user_regs_struct *r,
				      const struct ranges *shared)
{
	const bool wide = code[0] == 0xf3 && code[1] == 0x48;
	const unsigned char op = code[wide ? 2 : 1];
	const uint64_t bytes = r->rcx * (wide ? 8 : 4);

	if (code[0] != 0xf3 || (op & 0xfe) != 0xaa || r->rcx < 16)
		return 0; /* not rep stos */
	for (unsigned i = 0; i < shared->n; i++)
		if (r->rdi < shared->r[i].to && r->rdi + bytes > shared->r[i].from)
			return 0;
	return r->rip + (wide ? 3 : 2);
}

void step_write_down(pid_t pid, struct step_trace *ret,
		     void (*look)(void *arg, const struct step_insn *insn, uint64_t address),
		     void *arg)
{
	struct passes *passes = calloc(1, sizeof *passes);
	struct ranges shared;
	pid_t child = 0;

	PLAIN_CHECK(passes != NULL);
	modules_read(pid);
	const struct range text = library();
	const cpu_set_t cpus = pin(pid);
	shared_of(pid, &shared);
	*ret = (struct step_trace){ 0 };
	for (;; ret->instructions++) {
		struct user_regs_struct r;
		unsigned char code[16];
		unsigned why = 0;

		PLAIN_CHECK(ptrace(PTRACE_GETREGS, pid, 0, &r) == 0);
		code_at(pid, r.rip, code);
		struct step_insn in = step_decode(code, &r);
		if (r.rip >= text.from && r.rip < text.to)
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
		const uint64_t behind = behind_private_string(code, &r, &shared);
		const bool skips = behind != 0 && (why & STEP_LIBRARY) == 0 && break_at(pid, behind);
		enum stop s = resume(pid, skips ? PTRACE_CONT : PTRACE_SINGLESTEP, 0, 0, &child);
		if (skips && s != STOP_END)
			break_at(pid, 0);
		if (look != NULL)
			look(arg, &in, r.rip);
		if (s == STOP_END)
			break;
		if (in.kernel)
			shared_of(pid, &shared); /* it may have mapped something */
	}
	sched_setaffinity(0, sizeof cpus, &cpus);
	free(passes);
	if (child != 0)
		waitpid(child, NULL, __WALL);
}

void step_trace_free(struct step_trace *t)
{
	free(t->point);
	*t = (struct step_trace){ 0 };
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
			if (passed++ == p->nth) {
				break_at(pid, 0);
				return STEP_THERE;
			}
			if (resume(pid, PTRACE_SINGLESTEP, 0, 0, ret_child) == STOP_END)
				return STEP_ENDED;
		}
		if (resume(pid, PTRACE_CONT, 0, 0, ret_child) == STOP_END)
			return STEP_ENDED;
		PLAIN_CHECK(is_at(pid, p->address));
	}
}

/* The same, but the kernel counts: one stop instead of two for each pass. -1: it does not do that here. */
static int count_at(pid_t pid, uint64_t address, uint64_t nth)
{
#ifdef PERF_ATTR_SIZE_VER7 /* Linux 5.13, with sigtrap */
	struct perf_event_attr a = {
		.type = PERF_TYPE_BREAKPOINT, .size = sizeof a, .bp_type = HW_BREAKPOINT_X,
		.bp_addr = address, .bp_len = sizeof(long), .sample_period = nth + 1, .exclude_kernel = 1,
		.exclude_hv = 1, .sigtrap = 1, .remove_on_exec = 1,
	};

	return (int)syscall(SYS_perf_event_open, &a, pid, -1, -1, PERF_FLAG_FD_CLOEXEC);
#else
	(void)pid, (void)address, (void)nth;
	return -1;
#endif
}

/* A repeated instruction is one for the processor's breakpoints, and a step for each time. */
static bool may_repeat(pid_t pid, uint64_t address)
{
	unsigned char code[16];

	code_at(pid, address, code);
	return code[0] == 0xf2 || code[0] == 0xf3;
}

static enum step_end run_by_count(pid_t pid, int event, const struct step_point *p, pid_t *ret_child)
{
	enum stop s = resume(pid, PTRACE_CONT, 0, 0, ret_child);

	close(event);
	if (s == STOP_END)
		return STEP_ENDED;
	/* The signal comes by an interrupt, which may be some instructions late. */
	return is_at(pid, p->address) ? STEP_THERE : STEP_STRAYED;
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

/* Where to go by a breakpoint and step on from: a pass takes two stops, a step one. */
static const struct step_point *nearest(const struct step_trace *t, const struct step_point *p)
{
	const struct step_point *best = p;
	uint64_t least = 2 * (uint64_t)p->nth;

	for (const struct step_point *q = p; q-- > t->point && p->step - q->step < least;) {
		const uint64_t stops = 2 * (uint64_t)q->nth + (p->step - q->step);

		if (stops < least) {
			least = stops;
			best = q;
		}
	}
	return best;
}

/* Steps more, where it went another way than the run that was written down. */
#define STRAY_MOST 2000u

enum step_end step_run_to(pid_t pid, const struct step_trace *t, const struct step_point *p,
			  bool threads, unsigned try, pid_t *ret_child)
{
	int event = try > 0 || may_repeat(pid, p->address) ? -1 : count_at(pid, p->address, p->nth);

	*ret_child = 0;
	if (event >= 0)
		return run_by_count(pid, event, p, ret_child);

	const struct step_point *q = nearest(t, p);
	uint64_t left = p->step - q->step;
	enum step_end e = threads ? run_by_register(pid, q, ret_child) : run_by_trap(pid, q, ret_child);
	for (; e == STEP_THERE && left > 0; left--)
		if (resume(pid, PTRACE_SINGLESTEP, 0, 0, ret_child) == STOP_END)
			e = STEP_ENDED;
	for (uint32_t i = 0; e == STEP_THERE && q != p && !is_at(pid, p->address); i++) {
		if (i == STRAY_MOST)
			e = STEP_STRAYED;
		else if (resume(pid, PTRACE_SINGLESTEP, 0, 0, ret_child) == STOP_END)
			e = STEP_ENDED;
	}
	return e;
}
#endif
