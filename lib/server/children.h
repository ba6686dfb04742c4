/* SPDX-License-Identifier: Apache-2.0 */
/* What is open in a process that serves, and is not for children that are forked from it (children.c). */
#ifndef TARN_SERVER_CHILDREN_H
#define TARN_SERVER_CHILDREN_H

/* Children close @fd: a socket of the server's, its lock, or what holds such. Negative: nothing. */
void tarn__children_close(int fd);
/* It is closed here, and its number is anybody's. */
void tarn__children_drop(int fd);

/* No child is forked between the two: what is opened there is noted, or closed, there as well. They nest in nothing,
 * and are for a few system calls: who forks waits. */
void tarn__children_hold(void);
void tarn__children_note(int fd);   /* as tarn__children_close(); errno stays what opening it said */
void tarn__children_forget(int fd); /* it is no more, or not of a file of its own */
void tarn__children_let(void);

#endif
