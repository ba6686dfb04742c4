/* SPDX-License-Identifier: Apache-2.0 */
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "error.h"
#include "shm/segment.h"

int tarn__fd_high(int fd)
{
	if (fd < 0 || fd > 2)
		return fd;
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3), error = errno;

	close(fd);
	errno = error;
	return copy;
}

int tarn__pipe_high(int ret[2])
{
	if (pipe2(ret, O_CLOEXEC) != 0)
		return -errno;
	for (int i = 0; i < 2; i++) {
		ret[i] = tarn__fd_high(ret[i]);
		if (ret[i] < 0)
			return -errno;
	}
	return 0;
}

int tarn__order_open(const char *what, uint64_t magic, size_t bytes, void **ret_order)
{
	int fd = tarn__fd_high(memfd_create("tarn-order", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	struct tarn__order *o;

	if (fd < 0)
		return tarn__fail(-errno, "cannot prepare %s: %s", what, strerror(errno));
	int r = tarn__file_size(fd, bytes);
	/* Sealed, or an image that cuts it off would take its starter along (SIGBUS). */
	if (r == 0 && (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0 ||
		       (o = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED))
		r = -errno;
	if (r < 0) {
		close(fd);
		return tarn__fail(r, "cannot prepare %s: %s%s", what, strerror(-r),
				  r == -EFBIG ? ". Is the size of files limited (ulimit -f)?" : "");
	}
	o->magic = magic;
	o->bytes = bytes;
	*ret_order = o;
	return fd;
}

static bool names(const char *entry, const char *variable)
{
	const size_t n = strcspn(variable, "=");

	return strncmp(entry, variable, n) == 0 && entry[n] == '=';
}

char **tarn__environment_with(char *const *variables, size_t n)
{
	size_t had = 0, at = 0;

	while (environ[had] != NULL)
		had++;
	char **e = calloc(had + n + 1, sizeof *e);
	if (e == NULL)
		return NULL;
	for (size_t i = 0; i < had; i++) {
		bool replaced = false;

		for (size_t k = 0; k < n && !replaced; k++)
			replaced = names(environ[i], variables[k]);
		if (!replaced)
			e[at++] = environ[i];
	}
	memcpy(e + at, variables, n * sizeof *e);
	return e;
}

void tarn__image_descriptors(const int *keep, size_t n)
{
	if (syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) != 0)
		for (int fd = 3; fd < 1024; fd++) /* before Linux 5.11 */
			fcntl(fd, F_SETFD, FD_CLOEXEC);
	for (size_t i = 0; i < n; i++)
		if (keep[i] >= 0)
			fcntl(keep[i], F_SETFD, 0);
}

void tarn__image_no_input(void)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (null > 0)
		dup2(null, 0);
	else if (null == 0)
		fcntl(null, F_SETFD, 0);
}

void tarn__image_unmask(void)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

int tarn__order_find(const char *variable)
{
	const char *text = secure_getenv(variable); /* not of who runs a set-uid program */

	if (text == NULL)
		return -1;
	int fd = atoi(text);

	unsetenv(variable);
	return fd;
}

void *tarn__order_map(int fd, uint64_t magic, size_t least)
{
	struct stat st;

	if (fstat(fd, &st) != 0 || (size_t)st.st_size < least || least < sizeof(struct tarn__order))
		return NULL;
	struct tarn__order *o = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED,
				     fd, 0);
	return o != MAP_FAILED && o->magic == magic && o->bytes == (uint64_t)st.st_size ? o : NULL;
}
