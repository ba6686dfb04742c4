/* SPDX-License-Identifier: Apache-2.0 */
/* What is open in a process that serves, and is not for children that are forked from it (children.c). */
#ifndef TARN_SERVER_CHILDREN_H
#define TARN_SERVER_CHILDREN_H

/* Children close @fd: a socket of the server's, its lock, or what holds such. Negative: nothing. */
void tarn__children_close(int fd);
/* It is no more, or not of a file of its own. */
void tarn__children_keep(int fd);

#endif
