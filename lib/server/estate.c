/* SPDX-License-Identifier: Apache-2.0 */
#include "estate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/control.h"
#include "server.h"

/* ---- the keeper's table ---- */

void tarn__estate_init(struct estate *e)
{
	memset(e, 0, sizeof *e);
	for (unsigned i = 0; i < ESTATE_THINGS; i++)
		e->fd[i] = -1;
}

static void replace(int *place, int fd)
{
	if (*place >= 0)
		close(*place);
	*place = fd;
}

static void client_free(struct estate *e, uint32_t i)
{
	struct estate_client *c = e->client[i];

	if (c == NULL)
		return;
	e->client[i] = NULL;
	replace(&c->lanes, -1);
	replace(&c->socket, -1);
	replace(&c->pidfd, -1);
	for (uint32_t k = 0; c->event != NULL && k < TARN__CLIENT_LANES; k++)
		replace(&c->event[k], -1);
	free(c->event);
	free(c);
}

void tarn__estate_free(struct estate *e)
{
	for (unsigned i = 0; i < ESTATE_THINGS; i++)
		replace(&e->fd[i], -1);
	for (uint32_t i = 0; i < MAX_CLIENTS; i++)
		client_free(e, i);
}

static void take_client(struct estate *e, const struct estate_note *n, int fds[])
{
	struct estate_client *c = calloc(1, sizeof *c);

	client_free(e, n->client); /* its server died before it could forget it */
	if (c == NULL)
		return; /* the successor does not find it, and says so */
	*c = (struct estate_client){ .incarnation = n->incarnation, .host = n->host != 0,
				     .lanes = fds[0], .socket = fds[1], .pidfd = fds[2],
				     .image = n->image };
	memcpy(c->name, n->name, sizeof c->name);
	fds[0] = fds[1] = fds[2] = -1;
	e->client[n->client] = c;
}

static void take_event(struct estate *e, const struct estate_note *n, int fd[])
{
	struct estate_client *c = e->client[n->client];

	if (c == NULL || n->number >= TARN__CLIENT_LANES)
		return;
	if (c->event == NULL) {
		c->event = malloc(TARN__CLIENT_LANES * sizeof *c->event);
		for (uint32_t k = 0; c->event != NULL && k < TARN__CLIENT_LANES; k++)
			c->event[k] = -1;
	}
	if (c->event == NULL)
		return;
	replace(&c->event[n->number], *fd);
	*fd = -1;
}

void tarn__estate_take(struct estate *e, const struct estate_note *n, int fds[], unsigned n_fds)
{
	int fd[3] = { -1, -1, -1 };

	for (unsigned i = 0; i < n_fds; i++) {
		if (i < 3)
			fd[i] = fds[i];
		else
			close(fds[i]);
	}
	if (n->kind == ESTATE_THING && n->number < ESTATE_THINGS) {
		replace(&e->fd[n->number], fd[0]);
		memcpy(e->kept_name[n->number], n->name, sizeof e->kept_name[0]);
		fd[0] = -1;
	} else if (n->kind == ESTATE_NAMES) {
		memcpy(e->name, n->name, sizeof e->name);
		memcpy(e->socket_path, n->socket_path, sizeof e->socket_path);
		memcpy(e->lock_path, n->lock_path, sizeof e->lock_path);
		e->backing = (enum tarn__backing)n->backing;
	} else if (n->client < MAX_CLIENTS) {
		if (n->kind == ESTATE_CLIENT)
			take_client(e, n, fd);
		else if (n->kind == ESTATE_CLIENT_GONE)
			client_free(e, n->client);
		else if (n->kind == ESTATE_EVENT || n->kind == ESTATE_EVENT_GONE)
			take_event(e, n, &fd[0]);
	}
	for (unsigned i = 0; i < 3; i++)
		replace(&fd[i], -1);
}

int tarn__estate_segment(const struct estate *e, enum estate_thing thing, struct tarn__segment *ret)
{
	struct stat st;

	if (e->fd[thing] < 0)
		return -EBADF;
	if (fstat(e->fd[thing], &st) != 0)
		return -errno;
	int r = tarn__segment_map(e->fd[thing], (uint64_t)st.st_size, true, ret);
	if (r == 0 && e->kept_name[thing][0] != '\0' &&
	    (ret->name = strdup(e->kept_name[thing])) == NULL)
		r = -ENOMEM;
	return r;
}

/* ---- the server's side ---- */

/* A keeper that is only slow is waited for, see SO_SNDTIMEO in keeper.c; one that is stopped once. */
static int say(struct server *s, const struct estate_note *n, const int *fds, unsigned n_fds,
	       bool waits)
{
	int r = tarn__control_send(s->keeper, n, sizeof *n, fds, n_fds,
				   MSG_NOSIGNAL | (waits && (!s->keeper_slow || n->kind == ESTATE_BYE)
							   ? 0 : MSG_DONTWAIT));

	if (waits || r >= 0)
		s->keeper_slow = r == -EAGAIN;
	return r < 0 ? r : 0;
}

static void unsaid_set(struct server *s, uint32_t client, bool unsaid)
{
	uint64_t *word = &s->unsaid[client / 64], bit = UINT64_C(1) << client % 64;

	if (((*word & bit) != 0) == unsaid)
		return;
	*word ^= bit;
	s->n_unsaid += unsaid ? 1u : UINT32_MAX;
}

static int say_gone(struct server *s, uint32_t client)
{
	const struct estate_note n = { .kind = ESTATE_CLIENT_GONE, .client = client };
	int r = say(s, &n, NULL, 0, false);

	unsaid_set(s, client, r == -EAGAIN);
	return r;
}

/* Until then the keeper has descriptors of who is gone, and no more harm comes of it. */
static void say_unsaid(struct server *s)
{
	for (uint32_t i = 1; s->n_unsaid != 0 && i < MAX_CLIENTS; i++)
		if ((s->unsaid[i / 64] >> i % 64 & 1) && say_gone(s, i) == -EAGAIN)
			return;
}

static int leave(struct server *s, const struct estate_note *n, const int *fds, unsigned n_fds)
{
	if (s->heritage == NULL || s->keeper < 0)
		return 0;
	int r = say(s, n, fds, n_fds, true);

	if (r == -EPIPE || r == -ECONNRESET || r == -ENOTCONN)
		return 0; /* it is gone, which the loop will notice: nobody to leave it to */
	if (r == 0 && n->kind == ESTATE_CLIENT)
		unsaid_set(s, n->client, false); /* it replaces who was there */
	if (tarn__unlikely(r == 0 && s->n_unsaid != 0))
		say_unsaid(s);
	return r;
}

static void set_name(char *to, size_t bytes, const char *from)
{
	snprintf(to, bytes, "%s", from != NULL ? from : "");
}

int tarn__estate_leave_thing(struct server *s, enum estate_thing thing, int fd, const char *name)
{
	struct estate_note n = { .kind = ESTATE_THING, .number = thing };

	set_name(n.name, sizeof n.name, name);
	return fd >= 0 ? leave(s, &n, &fd, 1) : 0;
}

int tarn__estate_leave_names(struct server *s)
{
	struct estate_note n = { .kind = ESTATE_NAMES, .backing = s->backing };

	set_name(n.name, sizeof n.name, s->name);
	set_name(n.socket_path, sizeof n.socket_path, s->socket_path);
	set_name(n.lock_path, sizeof n.lock_path, s->lock_path);
	return leave(s, &n, NULL, 0);
}

int tarn__estate_leave_client(struct server *s, const struct peer *p, uint32_t incarnation)
{
	struct estate_note n = { .kind = ESTATE_CLIENT, .client = p->client, .image = p->image,
				 .incarnation = incarnation, .host = p->host };
	const int fds[3] = { p->lanes.fd, p->socket, p->pidfd };

	set_name(n.name, sizeof n.name, p->lanes.name);
	/* Of a host nothing but its lanes outlives the process. */
	return leave(s, &n, fds, p->host ? 1 : 3);
}

int tarn__estate_leave_event(struct server *s, uint32_t client, uint32_t number, int fd)
{
	const struct estate_note n = { .kind = ESTATE_EVENT, .client = client, .number = number };

	return leave(s, &n, &fd, 1);
}

void tarn__estate_forget_client(struct server *s, uint32_t client)
{
	if (s->heritage == NULL || s->keeper < 0)
		return;
	/* In order: not before what could not be said of others. */
	unsaid_set(s, client, true);
	say_unsaid(s);
}

void tarn__estate_forget_event(struct server *s, uint32_t client, uint32_t number)
{
	const struct estate_note n = { .kind = ESTATE_EVENT_GONE, .client = client, .number = number };

	/* Not waited for: who does not hear it keeps a pipe's end until the client is gone. */
	if (s->heritage != NULL && s->keeper >= 0)
		say(s, &n, NULL, 0, false);
}

int tarn__estate_leave_all(struct server *s)
{
	const struct {
		enum estate_thing thing;
		int fd;
		const char *name;
	} all[] = {
		{ ESTATE_META, s->st.meta_segment.fd, s->st.meta_segment.name },
		{ ESTATE_DIR, s->st.dir_segment.fd, s->st.dir_segment.name },
		{ ESTATE_DATA, s->st.data.fd, s->st.data.name },
		{ ESTATE_CTRL, s->ctrl_segment.fd, s->ctrl_segment.name },
		{ ESTATE_FACTS, s->facts_segment.fd, NULL },
		{ ESTATE_VIEW, s->view_segment.fd, s->view_segment.name },
		{ ESTATE_DOORBELL, s->doorbell, NULL },
		{ ESTATE_LISTENER, s->listener, NULL },
		{ ESTATE_NAME_LOCK, s->name_lock, NULL },
	};
	int r = tarn__estate_leave_names(s);

	for (unsigned i = 0; i < sizeof all / sizeof *all && r == 0; i++)
		r = tarn__estate_leave_thing(s, all[i].thing, all[i].fd, all[i].name);
	return r;
}

void tarn__estate_ready(struct server *s)
{
	const struct estate_note n = { .kind = ESTATE_READY, .number = s->gave_up, .ready_ns = tarn__now() };

	leave(s, &n, NULL, 0);
}

void tarn__estate_bye(struct server *s)
{
	const struct estate_note n = { .kind = ESTATE_BYE };

	leave(s, &n, NULL, 0);
}
