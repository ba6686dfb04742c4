/* SPDX-License-Identifier: Apache-2.0 */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/image.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wanted = PTHREAD_COND_INITIALIZER, born = PTHREAD_COND_INITIALIZER;
static struct tarn__launch *first, **end = &first; /* guarded by mutex */
static pid_t bearer_of; /* the process whose thread it is: a forked child has none */

/* ---- in the child, which has the parent's memory until it executes ---- */

static void signals_default(void)
{
	/* A handler of the parent's would run on the parent's memory. What is ignored stays so. */
	for (int s = 1; s < NSIG; s++) {
		struct sigaction a;

		if (sigaction(s, NULL, &a) == 0 && a.sa_handler != SIG_IGN && a.sa_handler != SIG_DFL) {
			a = (struct sigaction){ .sa_handler = SIG_DFL };
			sigaction(s, &a, NULL);
		}
	}
}

static void stdio_set(const struct tarn__launch *l)
{
	/* Both may be the same descriptor, or each other's: take them out of the way first. */
	int fd[3];

	for (int i = 0; i < 3; i++)
		fd[i] = l->stdio[i] >= 0 ? fcntl(l->stdio[i], F_DUPFD_CLOEXEC, 3) : -1;
	if (fd[0] < 0)
		tarn__image_no_input();
	for (int i = 0; i < 3; i++) {
		if (i > 0 && fd[i] < 0 && l->null[i])
			fd[i] = open("/dev/null", O_WRONLY | O_CLOEXEC);
		if (fd[i] >= 0)
			dup2(fd[i], i);
	}
}

static _Noreturn void child(struct tarn__launch *l, pid_t parent)
{
	if (l->detached) {
		setsid();
	} else {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(127); /* it died before we asked to be told */
	}
	stdio_set(l);
	tarn__image_descriptors(l->keep, 2);
	signals_default();
	tarn__image_unmask();
	execve(l->program, l->argv, l->envp);
	l->error = -errno; /* the parent's memory */
	_exit(127);
}

/* ---- the thread that bears ---- */

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
__attribute__((noinline)) static pid_t bear(struct tarn__launch *l, pid_t parent)
{
	pid_t pid = vfork();

	if (pid == 0)
		child(l, parent);
	return pid;
}
#pragma GCC diagnostic pop

static void launch(struct tarn__launch *l)
{
	l->error = 0;
	l->pidfd = -1;
	l->pid = bear(l, getpid());
	if (l->pid < 0) {
		l->error = -errno;
		return;
	}
	if (l->error == 0) {
		/* Ours to collect, and nobody else knows of it: the number is still its own. */
		l->pidfd = (int)syscall(SYS_pidfd_open, l->pid, 0);
		if (l->pidfd >= 0)
			return;
		l->error = -errno;
		kill(l->pid, SIGKILL);
	}
	while (waitpid(l->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static void *bearer(void *arg)
{
	(void)arg;
	prctl(PR_SET_NAME, "tarn-spawn", 0, 0, 0);
	pthread_mutex_lock(&mutex);
	for (;;) {
		struct tarn__launch *l = first;

		if (l == NULL) {
			pthread_cond_wait(&wanted, &mutex);
			continue;
		}
		first = l->next;
		if (first == NULL)
			end = &first;
		pthread_mutex_unlock(&mutex);
		launch(l);
		pthread_mutex_lock(&mutex);
		l->done = true;
		pthread_cond_broadcast(&born);
	}
	return NULL;
}

static void lock_before_fork(void)
{
	pthread_mutex_lock(&mutex);
}
static void unlock_in_parent(void)
{
	pthread_mutex_unlock(&mutex);
}
static void forget_in_child(void)
{
	/* Who waited for a birth is not here. */
	first = NULL;
	end = &first;
	pthread_cond_init(&wanted, NULL);
	pthread_cond_init(&born, NULL);
	pthread_mutex_unlock(&mutex); /* held by this thread, which forked */
}

/* From the first: a fork beside the first use would find locks held that it was not told of. Before other constructors,
 * one of which may serve and not return; without memory for it forks are as they were. */
__attribute__((constructor(101))) static void prepare_for_fork(void)
{
	pthread_atfork(lock_before_fork, unlock_in_parent, forget_in_child);
}

/* Locked. */
static int bearer_start(void)
{
	sigset_t all, old;
	pthread_t thread;

	if (bearer_of == getpid())
		return 0;
	/* It must not run the program's handlers while a child uses its memory. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int r = -pthread_create(&thread, NULL, bearer, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r < 0)
		return r;
	pthread_detach(thread);
	bearer_of = getpid();
	return 0;
}

int tarn__launch(struct tarn__launch *l)
{
	pthread_mutex_lock(&mutex);
	int r = bearer_start();
	if (r == 0) {
		l->done = false;
		l->next = NULL;
		*end = l;
		end = &l->next;
		pthread_cond_signal(&wanted);
		while (!l->done)
			pthread_cond_wait(&born, &mutex);
		r = l->error;
	}
	pthread_mutex_unlock(&mutex);
	return r;
}
