/* SPDX-License-Identifier: Apache-2.0 */
/* tarn dump: all that a server knows, into a file, for --from. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"

/* Under another name until it is whole: nobody finds half a dump, and an older one stays if
 * this one fails. */
static int dump_to(struct source *s, const char *path)
{
	char part[4096];
	int fd, r;

	if (snprintf(part, sizeof part, "%s.part-%d", path, (int)getpid()) >= (int)sizeof part) {
		cli_say("%s: the name is too long", path);
		return CLI_TROUBLE;
	}
	/* It tells of others' data: for its owner only. */
	fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		cli_say("%s: %s", path, strerror(errno));
		return CLI_TROUBLE;
	}
	r = source_dump(s, fd);
	if (r < 0)
		cli_library_error(r);
	if (close(fd) != 0 && r == 0) {
		cli_say("%s: %s", path, strerror(errno));
		r = -errno;
	}
	if (r == 0 && rename(part, path) != 0) {
		cli_say("%s: %s", path, strerror(errno));
		r = -errno;
	}
	if (r < 0)
		unlink(part);
	return r < 0 ? CLI_TROUBLE : CLI_OK;
}

/* A pipe or a device is written as it is; "-" is stdout. */
static int run(struct context *c)
{
	const char *path = c->arguments[0];
	struct source *s = context_open(c);
	struct stat st;
	int r;

	if (s == NULL)
		return CLI_TROUBLE;
	if (strcmp(path, "-") == 0) {
		r = source_dump(s, STDOUT_FILENO);
		r = r < 0 ? cli_library_error(r) : CLI_OK;
	} else if (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
		int fd = open(path, O_WRONLY | O_CLOEXEC);

		r = fd < 0 ? -errno : source_dump(s, fd);
		if (fd < 0)
			cli_say("%s: %s", path, strerror(errno));
		else if (r < 0)
			cli_library_error(r);
		if (fd >= 0)
			close(fd);
		r = r < 0 ? CLI_TROUBLE : CLI_OK;
	} else {
		r = dump_to(s, path);
	}
	source_close(s);
	return r;
}

const struct command command_dump = {
	.name = "dump",
	.arguments = " FILE",
	.summary = "write all that a server knows to FILE, for --from",
	.takes = TAKES_TIME | TAKES_SERVER | TAKES_FROM,
	.least_arguments = 1,
	.most_arguments = 1,
	.run = run,
};
