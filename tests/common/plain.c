/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The harness is one thread that never runs test code, so a test can crash, hang or
 * corrupt its memory and still be judged. It is a subreaper: whatever a test starts
 * ends as a child of the harness, also what left the test's session, and so can be
 * found without knowing its name.
 *
 * The order at the end of a test matters. The leader is waited for with WNOWAIT, the
 * group killed, and only then the leader reaped: as long as it is a zombie its number
 * cannot name another group.
 */
#define _GNU_SOURCE
#include "plain.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SHM_DIR "/dev/shm"
#define EXIT_SKIPPED 77
#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)
#define GRACE (2 * SECOND) /* for what ends on its own after the test */

enum { NOTHING_YET, WRITING, WRITTEN };

/* Shared by the harness and all that is forked from it. */
struct report {
	int failed;  /* NOTHING_YET -> WRITING -> WRITTEN, once per test */
	char why[1024];
	char skip[256];
};

struct names {
	char **name;
	size_t n;
};

static struct plain__test *first_test, **last_link = &first_test;
static struct report *report;
static pid_t test_pid; /* in a test: its own process */
static char dir[64];
static sigset_t normal_mask;

void plain__add(struct plain__test *t)
{
	*last_link = t;
	last_link = &t->next;
}

/* --- small things --- */

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static void nap(uint64_t ns)
{
	struct timespec t = { (time_t)(ns / SECOND), (long)(ns % SECOND) };

	nanosleep(&t, NULL);
}

static _Noreturn void die(const char *what)
{
	printf("Bail out! harness: %s: %s\n", what, strerror(errno));
	fflush(stdout);
	_exit(2);
}

unsigned plain_timeout_scale(void)
{
	const char *s = getenv("PLAIN_TIMEOUT_SCALE");
	long n = s ? strtol(s, NULL, 10) : 1;

	return n >= 1 && n <= 1000 ? (unsigned)n : 1;
}

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Why a test failed, as TAP comments. On stderr: meson shows that, and keeps TAP to itself. */
static void say(const char *format, ...)
{
	char text[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	for (char *rest = text, *line; (line = strsep(&rest, "\n"));)
		fprintf(stderr, "# %s\n", line);
}

/* --- inside a test --- */

void plain__fail(const char *file, int line, const char *format, ...)
{
	char text[sizeof report->why];
	int nothing = NOTHING_YET;
	va_list args;
	int n;

	n = snprintf(text, sizeof text, "%s:%d: ", file, line);
	va_start(args, format);
	vsnprintf(text + n, sizeof text - (size_t)n, format, args);
	va_end(args);

	/* Acquire and release: the harness reads the text only after WRITTEN, and of
	 * two processes that fail at once one writes. */
	if (__atomic_compare_exchange_n(&report->failed, &nothing, WRITING, false,
					__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		memcpy(report->why, text, sizeof text);
		__atomic_store_n(&report->failed, WRITTEN, __ATOMIC_RELEASE);
	}
	dprintf(STDERR_FILENO, "pid %d: check failed: %s\n", (int)getpid(), text);
	_exit(1);
}

void plain__equal(const char *file, int line, const char *text, int64_t a, int64_t b)
{
	if (a != b)
		plain__fail(file, line, "%s: %lld is not %lld", text, (long long)a,
			    (long long)b);
}

void plain__skip(const char *format, ...)
{
	va_list args;

	if (getpid() != test_pid)
		PLAIN_FAIL("PLAIN_SKIP outside the test's own process");
	va_start(args, format);
	vsnprintf(report->skip, sizeof report->skip, format, args);
	va_end(args);
	_exit(EXIT_SKIPPED);
}

void plain__nap(void)
{
	nap(MS / 2);
}

const char *plain_dir(void)
{
	return dir;
}

pid_t plain_fork(void)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		PLAIN_FAIL("fork: %s", strerror(errno));
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1); /* it died before we asked to be told */
	}
	return pid;
}

int plain_reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			PLAIN_FAIL("waitpid %d: %s", (int)pid, strerror(errno));
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

void plain_kill(pid_t pid)
{
	kill(pid, SIGKILL);
	plain_reap(pid);
}

char plain_state(pid_t tid)
{
	char path[64], text[512];

	snprintf(path, sizeof path, "/proc/%d/stat", (int)tid);
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	const ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	const char *end = strrchr(text, ')'); /* the name may contain any of these */
	return end != NULL ? end[2] : '\0';
}

static _Noreturn void run_test(const struct plain__test *t, pid_t harness)
{
	if (setsid() < 0)
		die("setsid");
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != harness)
		_exit(1);
	sigprocmask(SIG_SETMASK, &normal_mask, NULL);
	dup2(STDERR_FILENO, STDOUT_FILENO);
	setenv("XDG_RUNTIME_DIR", dir, 1);
	setenv("TMPDIR", dir, 1);
	test_pid = getpid();
	t->run();
	exit(0); /* not _exit: LeakSanitizer looks when the process exits */
}

/* --- /proc --- */

/* The name of each process whose parent we are, as "comm (pid, state)"; returns how many
 * and kills them if asked. */
static unsigned children(char *text, size_t bytes, bool and_kill)
{
	DIR *proc = opendir("/proc");
	unsigned n = 0;
	size_t used = 0;

	if (!proc)
		die("/proc");
	text[0] = 0;
	for (struct dirent *e; (e = readdir(proc));) {
		char path[300], stat[512], *comm, *end, state;
		ssize_t got;
		int fd, parent;

		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		got = read(fd, stat, sizeof stat - 1);
		close(fd);
		if (got <= 0)
			continue;
		stat[got] = 0;
		comm = strchr(stat, '(');
		end = strrchr(stat, ')'); /* the name may contain any of these */
		if (!comm || !end || sscanf(end + 1, " %c %d", &state, &parent) != 2 ||
		    parent != (int)getpid() || state == 'Z')
			continue;
		n++;
		*end = 0;
		if (used < bytes)
			used += (size_t)snprintf(text + used, bytes - used, "%s%s (%s, %c)",
						 n > 1 ? ", " : "", comm + 1, e->d_name, state);
		if (and_kill)
			kill((pid_t)atoi(e->d_name), SIGKILL);
	}
	closedir(proc);
	return n;
}

static bool first_line(const char *path, char *text, size_t bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, bytes - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = 0;
	text[strcspn(text, "\n")] = 0;
	return n > 0;
}

/* Where the threads of a process group are, for whoever has to find out why it hangs. */
static void say_where(pid_t group)
{
	DIR *proc = opendir("/proc");

	if (!proc)
		return;
	for (struct dirent *e; (e = readdir(proc));) {
		char path[600];
		DIR *tasks;

		if (!isdigit((unsigned char)e->d_name[0]) || getpgid(atoi(e->d_name)) != group)
			continue;
		snprintf(path, sizeof path, "/proc/%s/task", e->d_name);
		tasks = opendir(path);
		if (!tasks)
			continue;
		for (struct dirent *t; (t = readdir(tasks));) {
			char comm[64], where[128], call[128];

			if (t->d_name[0] == '.')
				continue;
			snprintf(path, sizeof path, "/proc/%s/task/%s/comm", e->d_name, t->d_name);
			if (!first_line(path, comm, sizeof comm))
				continue;
			snprintf(path, sizeof path, "/proc/%s/task/%s/wchan", e->d_name, t->d_name);
			first_line(path, where, sizeof where);
			snprintf(path, sizeof path, "/proc/%s/task/%s/syscall", e->d_name,
				 t->d_name);
			first_line(path, call, sizeof call);
			say("  pid %s thread %s %s: in %s, system call %s", e->d_name, t->d_name,
			    comm, where, call);
		}
		closedir(tasks);
	}
	closedir(proc);
}

/* --- names in /dev/shm --- */

static bool is_ours(const char *name)
{
	/* bxf*: Criterion's, in programs that run beside us. */
	return strstr(name, "tarn") && strncmp(name, "bxf", 3) != 0;
}

static struct names shm_names(void)
{
	struct names list = { NULL, 0 };
	DIR *d = opendir(SHM_DIR);

	if (!d)
		return list;
	for (struct dirent *e; (e = readdir(d));) {
		if (!is_ours(e->d_name))
			continue;
		list.name = reallocarray(list.name, list.n + 1, sizeof *list.name);
		if (!list.name || !(list.name[list.n++] = strdup(e->d_name)))
			die("memory");
	}
	closedir(d);
	return list;
}

static void free_names(struct names *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->name[i]);
	free(list->name);
}

static bool contains(const struct names *list, const char *name)
{
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->name[i], name) == 0)
			return true;
	return false;
}

static bool maps(const char *pid, const char *path)
{
	char file[300], *line = NULL;
	size_t bytes = 0;
	bool found = false;
	FILE *f;

	snprintf(file, sizeof file, "/proc/%s/maps", pid);
	f = fopen(file, "re");
	if (!f)
		return false;
	while (!found && getline(&line, &bytes, f) > 0) {
		const char *p = strchr(line, '/');

		line[strcspn(line, "\n")] = 0;
		found = p && strcmp(p, path) == 0;
	}
	free(line);
	fclose(f);
	return found;
}

static bool has_open(const char *pid, const char *path)
{
	char file[600], target[600];
	bool found = false;
	DIR *d;

	snprintf(file, sizeof file, "/proc/%s/fd", pid);
	d = opendir(file);
	if (!d)
		return false;
	for (struct dirent *e; !found && (e = readdir(d));) {
		ssize_t n;

		snprintf(file, sizeof file, "/proc/%s/fd/%s", pid, e->d_name);
		n = readlink(file, target, sizeof target - 1);
		target[n > 0 ? n : 0] = 0;
		found = strcmp(target, path) == 0;
	}
	closedir(d);
	return found;
}

/* Somebody living has it open or mapped: it belongs to a program that runs beside us. All
 * processes of the test are dead when this is asked. */
static bool is_used(const char *path)
{
	DIR *proc = opendir("/proc");
	bool used = false;

	if (!proc)
		die("/proc");
	for (struct dirent *e; !used && (e = readdir(proc));)
		used = isdigit((unsigned char)e->d_name[0]) &&
		       (has_open(e->d_name, path) || maps(e->d_name, path));
	closedir(proc);
	return used;
}

/* Fails the test for names that are new and that nobody uses. They get some time: another
 * program may be between creating a name and removing it. */
static bool left_names(const struct names *before)
{
	uint64_t deadline = now() + GRACE;
	bool last, found;

	do {
		struct names after = shm_names();

		found = false;
		last = now() >= deadline;
		for (size_t i = 0; i < after.n; i++) {
			char path[sizeof SHM_DIR + 300];

			snprintf(path, sizeof path, SHM_DIR "/%s", after.name[i]);
			if (contains(before, after.name[i]) || is_used(path) ||
			    access(path, F_OK) < 0)
				continue;
			found = true;
			if (last)
				say("left %s behind", path);
		}
		free_names(&after);
		if (found && !last)
			nap(20 * MS);
	} while (found && !last);
	return found;
}

/* --- the harness --- */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st, (void)kind, (void)ftw;
	remove(path);
	return 0;
}

static bool has_failed(void)
{
	return __atomic_load_n(&report->failed, __ATOMIC_ACQUIRE) == WRITTEN;
}

/* Waits until the test's process ended, its time is up, or a check failed somewhere else
 * and the test did not notice for a second. Does not reap. True if it ended. */
static bool wait_for_end(pid_t pid, uint64_t deadline)
{
	sigset_t child_ended;
	siginfo_t info;

	sigemptyset(&child_ended);
	sigaddset(&child_ended, SIGCHLD);
	while (now() < deadline) {
		struct timespec look = { 0, 100 * (long)MS };

		info.si_pid = 0;
		if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT | WNOHANG) < 0)
			die("waitid");
		if (info.si_pid == pid)
			return true;
		if (has_failed() && deadline > now() + SECOND)
			deadline = now() + SECOND;
		sigtimedwait(&child_ended, NULL, &look);
	}
	return false;
}

/* Reaps what the test left to us. Its own group was killed; others get some time. */
static bool left_processes(unsigned scale)
{
	uint64_t deadline = now() + scale * GRACE;
	char text[512];
	bool left = false;

	for (;;) {
		pid_t pid = waitpid(-1, NULL, WNOHANG);

		if (pid < 0)
			return left; /* no children at all */
		if (pid > 0)
			continue;
		if (now() >= deadline && children(text, sizeof text, true) > 0 && !left) {
			say("left processes outside its group: %s", text);
			left = true;
		}
		nap(2 * MS);
	}
}

enum verdict { PASSED, FAILED, SKIPPED };

static enum verdict judge(bool ended, int status, unsigned seconds)
{
	if (has_failed()) {
		say("%s", report->why);
		return FAILED;
	}
	if (!ended) {
		say("did not end within %u s", seconds);
		return FAILED;
	}
	if (WIFSIGNALED(status)) {
		say("killed by signal %d, %s", WTERMSIG(status), strsignal(WTERMSIG(status)));
		return FAILED;
	}
	if (WEXITSTATUS(status) == EXIT_SKIPPED && report->skip[0])
		return SKIPPED;
	if (WEXITSTATUS(status) != 0) {
		say("ended with exit status %d", WEXITSTATUS(status));
		return FAILED;
	}
	return PASSED;
}

static enum verdict run(const struct plain__test *t)
{
	unsigned scale = plain_timeout_scale(), seconds = t->timeout_s * scale;
	struct names before = shm_names();
	const char *tmp = getenv("TMPDIR");
	enum verdict verdict;
	int status = 0;
	pid_t harness = getpid(), pid;
	bool ended;

	/* A socket's path has 107 bytes: a long TMPDIR is no place for one. */
	snprintf(dir, sizeof dir, "%s/plain-XXXXXX", tmp && strlen(tmp) < 32 ? tmp : "/tmp");
	if (!mkdtemp(dir))
		die("mkdtemp");
	memset(report, 0, sizeof *report);
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0)
		run_test(t, harness);

	ended = wait_for_end(pid, now() + seconds * SECOND);
	if (!ended)
		say_where(pid);
	kill(-pid, SIGKILL);
	kill(pid, SIGKILL); /* if it did not even come to setsid() */
	waitpid(pid, &status, 0);
	verdict = judge(ended, status, seconds);
	if (left_processes(scale))
		verdict = FAILED;
	if (left_names(&before))
		verdict = FAILED;
	free_names(&before);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return verdict;
}

static bool selected(const char *name, char **patterns)
{
	if (!*patterns)
		return true;
	for (; *patterns; patterns++)
		if (fnmatch(*patterns, name, 0) == 0)
			return true;
	return false;
}

static void help(const char *program)
{
	printf("Usage: %s [--list] [--help] [NAME...]\n\n"
	       "Runs the tests whose names match, or all, and prints TAP.\n"
	       "  --list  prints their names instead\n"
	       "PLAIN_TIMEOUT_SCALE=N multiplies all time limits.\n",
	       program);
}

int plain_main(int argc, char **argv)
{
	unsigned n = 0, i = 0, n_failed = 0;
	char **patterns = argv + (argc > 0);
	bool list = false;
	sigset_t child_ended;

	for (; *patterns && (*patterns)[0] == '-'; patterns++) {
		if (strcmp(*patterns, "--help") == 0) {
			help(argv[0]);
			return 0;
		}
		if (strcmp(*patterns, "--list") != 0) {
			fprintf(stderr, "%s: unknown option '%s'\n", argv[0], *patterns);
			return 2;
		}
		list = true;
	}
	for (struct plain__test *t = first_test; t; t = t->next) {
		n += selected(t->name, patterns);
		if (list && selected(t->name, patterns))
			printf("%s\n", t->name);
	}
	if (n == 0 && *patterns) {
		fprintf(stderr, "%s: no test is named '%s'\n", argv[0], *patterns);
		return 2;
	}
	if (list)
		return 0;

	report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (report == MAP_FAILED)
		die("mmap");
	/* Emulators do not know this call: orphans are not seen there. */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 && errno != EINVAL)
		die("PR_SET_CHILD_SUBREAPER");
	/* Blocked, so that one which comes between looking and waiting is not lost. */
	sigemptyset(&child_ended);
	sigaddset(&child_ended, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child_ended, &normal_mask);

	printf("TAP version 13\n1..%u\n", n);
	for (struct plain__test *t = first_test; t; t = t->next) {
		uint64_t begin = now();
		enum verdict v;

		if (!selected(t->name, patterns))
			continue;
		v = run(t);
		n_failed += v == FAILED;
		printf("%sok %u - %s", v == FAILED ? "not " : "", ++i, t->name);
		if (v == SKIPPED)
			printf(" # SKIP %s", report->skip);
		printf("\n# %.3f s\n", (double)(now() - begin) / 1e9);
		fflush(stdout);
	}
	return n_failed > 0;
}
