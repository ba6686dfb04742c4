/* SPDX-License-Identifier: Apache-2.0 */
/* The Unix sockets of this machine that listen for packets, as /proc/net/unix tells. */
#ifndef TARN_TOOLS_SOCKETS_H
#define TARN_TOOLS_SOCKETS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

struct socket_entry {
	uint64_t inode;
	char name[sizeof((struct sockaddr_un *)0)->sun_path + 1]; /* abstract ones after "@" */
};

/* Calls @each for every one of them; it returns false to stop. False: /proc does not tell. */
bool sockets_each(bool (*each)(void *arg, const struct socket_entry *e), void *arg);

bool sockets_find(const struct sockaddr_un *address, socklen_t length, struct socket_entry *ret);

/* A process that has the socket open, or 0: none, or none that is to be seen. */
pid_t sockets_owner(uint64_t inode);

#endif
