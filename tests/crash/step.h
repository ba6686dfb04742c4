/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process under ptrace, instruction by instruction (x86-64).
 *
 * Stepping to the n-th instruction costs n stops; going there by a breakpoint costs two for
 * each time the place is passed, or one in all where the kernel counts the passes
 * (perf_event_open). So a first run is stepped and written down as points, (address, how many
 * times it was passed), and a run that is to end at a point is let go with a breakpoint there;
 * or, in a loop, at a point shortly before that is passed less often. All runs are forks of one
 * process, or images that are not moved about: the same addresses.
 *
 * What other processes can see changes only at an instruction that stores to a shared mapping or
 * enters the kernel. Stopped before each of these, and at the end, a process has left every
 * shared state that it can leave; between two of them only its private state differs.
 */
#ifndef TARN_TESTS_CRASH_STEP_H
#define TARN_TESTS_CRASH_STEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum step_why {
	STEP_LIBRARY = 1, /* in the library's text */
	STEP_STORE = 2,   /* stores to a shared mapping */
	STEP_KERNEL = 4,  /* enters the kernel */
};

struct step_point {
	uint64_t address;
	uint32_t nth;  /* passed so often before */
	uint32_t why;  /* enum step_why, or-ed */
	uint64_t step; /* number of the instruction in the run that was written down */
};

struct step_trace {
	struct step_point *point; /* of all that have a reason: others are not kept */
	size_t n, room;
	uint64_t instructions; /* all of the run */
	uint64_t library, stores, kernel;
};

/* What one instruction does, from its bytes and the registers before it. */
struct step_insn {
	bool kernel;
	bool store;       /* writes memory; what is not recognised counts as a store */
	uint64_t address; /* where, if it is not on the stack by push or call */
};
struct user_regs_struct;
struct step_insn step_decode(const unsigned char code[16], const struct user_regs_struct *r);

/* In the child: from here on the parent steps, and to here. False: ptrace is not allowed. */
bool step_begin_here(void);
void step_end_here(void);
/* In any process: waits for somebody who seizes it, and begins there. */
void step_await_tracer(void);

/* A process that is executed with this in its environment begins by waiting for its tracer, before the
 * constructors of any library run. Not under sanitizers, which are not there yet. */
#define STEP_VARIABLE "TARN_TEST_STEP"
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STEP_NO_IMAGES
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define STEP_NO_IMAGES
#endif
#endif
/* Becomes the tracer of one, which is then where it begins; it comes to its end before the kernel
 * takes its memory from it. False: it may not be traced. */
bool step_seize(pid_t pid);
/* The same of a process that is doing something, or sleeps: it is stopped where it is, and whoever wants the
 * end sends SIGSTOP to that thread. Its other threads run on. */
bool step_hold(pid_t pid);
/* Kills a traced process by SIGKILL, and waits until it is dead: its status. */
int step_kill(pid_t pid);
/* Programs that are executed from now on lie at the same addresses each time. False: that is not allowed. */
bool step_same_addresses(void);

/* In the parent. Waits until the child is where it begins; false: it may not be traced. */
bool step_await(pid_t pid);

/* Steps it to its end, and writes down. @look is called after each step. */
void step_write_down(pid_t pid, struct step_trace *ret,
		     void (*look)(void *arg, const struct step_insn *insn, uint64_t address),
		     void *arg);
void step_trace_free(struct step_trace *t);

/* Lets it run to the point of the trace, or to an earlier one and steps from there, whichever takes less. STEP_ENDED:
 * it came to its end without passing there so often; STEP_STRAYED: it is elsewhere by then, and a further try (@try
 * from 0, STEP_TRIES in all) lets the kernel not count. A child
 * that it forks meanwhile runs free; its pid, or 0, in @ret_child. Its other threads, and what they bear with
 * the memory of all, pass by the breakpoint if it is one of the processor's: step_threads_can() before. */
enum step_end { STEP_THERE, STEP_STRAYED, STEP_ENDED, STEP_UNREACHABLE };
#define STEP_TRIES 3u
enum step_end step_run_to(pid_t pid, const struct step_trace *t, const struct step_point *p,
			  bool threads, unsigned try, pid_t *ret_child);
/* Whether the processor's breakpoints can be used on this stopped process. */
bool step_threads_can(pid_t pid);

/* "file+0x123" of an address in the process that was written down last, or of this one. */
void step_names_are_mine(void);
const char *step_name(uint64_t address);

#endif
