/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plays the server towards one client of this process: all that goes over the control socket passes by here, and
 * may be looked at or changed on the way.
 */
#ifndef TARN_TESTS_COMMON_RELAY_H
#define TARN_TESTS_COMMON_RELAY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/un.h>

#include "lib/control.h"

struct relay {
	pthread_t thread;
	const char *real;
	int listener;
	unsigned messages;
	struct sockaddr_un at;
	/* In the relay's thread, for each datagram. Descriptors that it replaces it closes. */
	void (*hook)(struct relay *r, bool of_server, void *data, size_t bytes, int *fds, unsigned *n_fds);
	void *arg;
};

/* Listens at relay->at.sun_path, for one client of the server @real. @hook may be NULL. */
void relay_open(struct relay *r, const char *real,
		void (*hook)(struct relay *r, bool of_server, void *data, size_t bytes, int *fds, unsigned *n_fds),
		void *arg);
/* When the client has closed. */
void relay_close(struct relay *r);

#endif
