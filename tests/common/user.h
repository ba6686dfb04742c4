/* SPDX-License-Identifier: Apache-2.0 */
/* Children that are other users, for real: that takes root (CAP_SETUID). */
#ifndef TARN_TESTS_COMMON_USER_H
#define TARN_TESTS_COMMON_USER_H

#include <sys/types.h>

/* Numbers that no account of a usual system has. */
#define USER_STRANGER 65533u
#define USER_GUEST 65532u
#define USER_GROUP 65531u

/* Ends the test as skipped where there can be no other user. */
void user_need(void);
/* The calling process becomes @uid in the groups @gid and @more, for ever. It can be looked at
 * by its own user (/proc/self), as after a login, and has no XDG_RUNTIME_DIR. */
void user_become(uid_t uid, gid_t gid, gid_t more);
/* Runs @work(@arg) as such a user, in a child; its exit status or -SIGNAL. */
int user_run(uid_t uid, gid_t gid, gid_t more, void (*work)(void *), void *arg);
/* The same without waiting: the child. */
pid_t user_fork(uid_t uid, void (*work)(void *), void *arg);

#endif
