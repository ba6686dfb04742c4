/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process's end says by itself: its exit status, or the signal that killed it, told as what
 * it was.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "lib/value/fault.h"
#include "process.h"

/* ---- was it for lack of memory? ---- */

static uint64_t oom_seen; /* deaths in our memory cgroup, when last looked at; relaxed: a hint */

static bool read_file(const char *path, char *text, size_t bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, bytes - 1) : -1;

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* Processes of our cgroup (version 2) that the kernel has killed for lack of memory. Children are
 * in the same one, unless somebody moved them. */
static uint64_t oom_count(void)
{
	char group[1024], path[1200], text[512];
	uint64_t n = 0;

	if (!read_file("/proc/self/cgroup", group, sizeof group))
		return 0;
	char *own = strstr(group, "0::");
	if (own == NULL)
		return 0;
	own[strcspn(own, "\n")] = '\0';
	snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.events", own + 3);
	if (!read_file(path, text, sizeof text))
		return 0;
	const char *at = strstr(text, "oom_kill ");
	if (at != NULL)
		n = strtoull(at + 9, NULL, 10);
	return n;
}

void tarn__oom_prepare(void)
{
	static uint32_t prepared;

	if (__atomic_exchange_n(&prepared, 1, __ATOMIC_RELAXED) == 0)
		__atomic_store_n(&oom_seen, oom_count(), __ATOMIC_RELAXED);
}

static bool oom_since(void)
{
	uint64_t now = oom_count();

	return now > __atomic_exchange_n(&oom_seen, now, __ATOMIC_RELAXED);
}

/* ---- faults ---- */

static tarn_fault *of_signal(const struct tarn_process *p)
{
	const int signal = -p->exitcode;
	const char *name = sigabbrev_np(signal);
	char text[32];

	if (name != NULL)
		snprintf(text, sizeof text, "SIG%s", name);
	else
		snprintf(text, sizeof text, "signal %d", signal);
	tarn_fault *f = tarn_fault_new("Signal", -TARN_EREMOTE,
				       "process %s (%d) was killed by %s%s%s", p->name, (int)p->pid, text,
				       p->core ? ", core dumped" : "",
				       signal == SIGKILL && oom_since()
					       ? "; the kernel has killed a process of this memory cgroup "
						 "for lack of memory since the last look"
					       : "");
	return f;
}

static tarn_fault *of_status(const struct tarn_process *p)
{
	tarn_fault *f = tarn_fault_new("SystemExit", -TARN_EREMOTE, "%d", p->exitcode);

	/* New, and nobody else's: the code is the status, as exit() got it. */
	if (tarn_fault_is(f, "SystemExit"))
		f->code = p->exitcode;
	return f;
}

tarn_fault *tarn__process_exit_fault(const struct tarn_process *p)
{
	if (p->state == TARN_PROCESS_KILLED)
		return of_signal(p);
	if (p->exitcode == TARN_EXIT_UNKNOWN)
		return tarn_fault_new("ChildProcessError", -ECHILD, "somebody else has waited for process "
				      "%s (%d): its exit status is not known", p->name, (int)p->pid);
	return p->state == TARN_PROCESS_FAILED ? of_status(p) : NULL;
}
