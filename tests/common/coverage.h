/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tools/coverage alone, which puts it in front of every file: gcov's counts are written by
 * exit(), so a process that ends by _exit() or becomes another program says them here. One that
 * dies of a signal takes its counts with it.
 */
#ifndef TARN_TESTS_COMMON_COVERAGE_H
#define TARN_TESTS_COMMON_COVERAGE_H

void __gcov_dump(void);
void __gcov_reset(void);
_Noreturn void tarn__libc_exit(int status) __asm__("_exit");
int tarn__libc_execve(const char *path, char *const *argv, char *const *envp) __asm__("execve");

/* Added to the files, and 0 again: after vfork() the counts are the parent's, who goes on. */
static inline void tarn__coverage_say(void)
{
	__gcov_dump();
	__gcov_reset();
}

static inline _Noreturn void tarn__coverage_exit(int status)
{
	tarn__coverage_say();
	tarn__libc_exit(status);
}

static inline int tarn__coverage_execve(const char *path, char *const *argv, char *const *envp)
{
	tarn__coverage_say();
	return tarn__libc_execve(path, argv, envp);
}

/* Also in <unistd.h>, which declares those again. */
#define _exit tarn__coverage_exit
#define execve tarn__coverage_execve

#endif
