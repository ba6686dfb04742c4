/* SPDX-License-Identifier: Apache-2.0 */
#include "kept.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

/* The beginning of a small file, with a 0 behind it; bytes or negative errno. */
static int read_small(const char *path, char *ret, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, ret, room - 1);
	int r = n < 0 ? -errno : (int)n;

	close(fd);
	ret[n > 0 ? n : 0] = '\0';
	return r;
}

int tarn__boot_id(char ret[33])
{
	char text[64];
	unsigned n = 0;
	int r = read_small("/proc/sys/kernel/random/boot_id", text, sizeof text);

	if (r < 0)
		return r;
	for (const char *p = text; *p != '\0' && *p != '\n'; p++)
		if (*p != '-' && n < 32)
			ret[n++] = *p;
	ret[n] = '\0';
	return n == 32 ? 0 : -EIO;
}

uint64_t tarn__process_start(pid_t pid)
{
	char path[64], text[1024], state = 'Z';
	uint64_t start = 0;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	if (read_small(path, text, sizeof text) <= 0)
		return 0;
	/* The program's name, in parentheses, may contain anything. */
	const char *p = strrchr(text, ')');
	if (p == NULL ||
	    sscanf(p + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
			  "%*d %" SCNu64, &state, &start) != 2)
		return 0;
	return state == 'Z' || state == 'X' ? 0 : start;
}

static pid_t owner; /* 0: this process */

void tarn__kept_owner_set(pid_t pid)
{
	owner = pid;
}

int tarn__kept_name(const char *label, char ret_name[TARN__KEPT_BYTES])
{
	const pid_t whose = owner != 0 ? owner : getpid();
	char boot[33];
	uint64_t nonce, start = tarn__process_start(whose);
	int r = tarn__boot_id(boot);

	if (r < 0)
		return r;
	if (start == 0)
		return -ESRCH; /* no /proc */
	if (getrandom(&nonce, sizeof nonce, 0) != (ssize_t)sizeof nonce)
		return -EIO;
	snprintf(ret_name, TARN__KEPT_BYTES, "tarn-%s-%d-%" PRIu64 "-%s-%016" PRIx64, boot,
		 (int)whose, start, label, nonce);
	return 0;
}

bool tarn__kept_parse(const char *name, struct tarn__kept *ret)
{
	struct tarn__kept k = { .pid = 0 };
	int pid, end = -1;

	if (strlen(name) >= TARN__KEPT_BYTES ||
	    sscanf(name, "tarn-%32[0-9a-f]-%d-%" SCNu64 "-%15[a-z]-%16" SCNx64 "%n", k.boot, &pid,
		   &k.start, k.label, &k.nonce, &end) != 5)
		return false;
	k.pid = pid;
	*ret = k;
	return name[end] == '\0' && strlen(k.boot) == 32 && pid > 0;
}
