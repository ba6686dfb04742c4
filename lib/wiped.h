/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages that a forked child finds zeroed: by which it knows that it is one, without a system call.
 *
 * The kernel does it (MADV_WIPEONFORK), for every way to fork. Some that play the kernel refuse that,
 * or say yes and do nothing, as qemu-user 7.2 does; there a handler of pthread_atfork() zeroes them,
 * and only who forks by a system call of his own is not noticed.
 */
#ifndef TARN_LIB_WIPED_H
#define TARN_LIB_WIPED_H

/* What the owner of a page may use of it: the rest is spare. */
#define TARN__WIPED_BYTES 64u

/* Page @p, which begins one of the system (tarn__os_page()) in a private mapping without a file, is zeroed in
 * forked children. 0 or a negative errno. Any thread. */
int tarn__wiped(void *p);
/* Before @p is unmapped. */
void tarn__wiped_end(void *p);

/* A page of its own; NULL: no memory. */
void *tarn__wiped_new(void);
void tarn__wiped_free(void *p);

#endif
