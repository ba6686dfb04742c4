/* SPDX-License-Identifier: Apache-2.0 */
#include "relay.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "scene.h"

/* One datagram. False: that side has closed. */
static bool pass_on(struct relay *r, int from, int to, bool of_server)
{
	char data[4096];
	unsigned n_fds = 0;
	int fds[8];
	int n = tarn__control_recv(from, data, sizeof data, fds, 8, &n_fds, 0);

	if (n <= 0)
		return false;
	r->messages++;
	if (r->hook != NULL)
		r->hook(r, of_server, data, (size_t)n, fds, &n_fds);
	tarn__control_send(to, data, (size_t)n, fds, n_fds, 0);
	for (unsigned k = 0; k < n_fds; k++)
		close(fds[k]);
	return true;
}

static void *relay_main(void *arg)
{
	struct relay *r = arg;
	int client = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC), server;
	bool open = true;

	PLAIN_CHECK(client >= 0);
	OK(tarn__control_connect(r->real, 0, &server));
	while (open) {
		struct pollfd p[2] = { { .fd = client, .events = POLLIN }, { .fd = server, .events = POLLIN } };

		PLAIN_CHECK(poll(p, 2, -1) > 0);
		for (int i = 0; open && i < 2; i++)
			open = p[i].revents == 0 || pass_on(r, p[i].fd, p[1 - i].fd, i == 1);
	}
	close(client);
	close(server);
	return NULL;
}

void relay_open(struct relay *r, const char *real,
		void (*hook)(struct relay *r, bool of_server, void *data, size_t bytes, int *fds, unsigned *n_fds),
		void *arg)
{
	static unsigned number;

	*r = (struct relay){ .real = real, .hook = hook, .arg = arg, .at = { .sun_family = AF_UNIX } };
	snprintf(r->at.sun_path, sizeof r->at.sun_path, "%s/relay%u", plain_dir(), number++);
	r->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	PLAIN_EQ(bind(r->listener, (struct sockaddr *)&r->at, sizeof r->at), 0);
	PLAIN_EQ(listen(r->listener, 1), 0);
	PLAIN_EQ(pthread_create(&r->thread, NULL, relay_main, r), 0);
}

void relay_close(struct relay *r)
{
	pthread_join(r->thread, NULL);
	close(r->listener);
	unlink(r->at.sun_path);
}
