/* SPDX-License-Identifier: Apache-2.0 */
#include "user.h"

#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plain.h"

void user_need(void)
{
	if (geteuid() != 0)
		PLAIN_SKIP("other users take root");
}

/* For tools/coverage: what this user's processes ran, they write where they may. */
static void count_elsewhere(uid_t uid)
{
	const char *others = getenv("TARN_COVERAGE_OTHERS");
	char folder[4096];

	if (others == NULL)
		return;
	snprintf(folder, sizeof folder, "%s/%u", others, (unsigned)uid);
	mkdir(folder, 0755); /* by the first of its processes */
	PLAIN_EQ(setenv("GCOV_PREFIX", folder, 1), 0);
}

void user_become(uid_t uid, gid_t gid, gid_t more)
{
	PLAIN_EQ(setgroups(1, &more), 0);
	PLAIN_EQ(setresgid(gid, gid, gid), 0);
	PLAIN_EQ(setresuid(uid, uid, uid), 0);
	PLAIN_EQ(prctl(PR_SET_DUMPABLE, 1), 0);
	unsetenv("XDG_RUNTIME_DIR");
	count_elsewhere(uid);
}

static pid_t start(uid_t uid, gid_t gid, gid_t more, void (*work)(void *), void *arg)
{
	pid_t child = plain_fork();

	if (child == 0) {
		user_become(uid, gid, more);
		work(arg);
		_exit(0);
	}
	return child;
}

int user_run(uid_t uid, gid_t gid, gid_t more, void (*work)(void *), void *arg)
{
	return plain_reap(start(uid, gid, more, work, arg));
}

pid_t user_fork(uid_t uid, void (*work)(void *), void *arg)
{
	return start(uid, uid, uid, work, arg);
}
