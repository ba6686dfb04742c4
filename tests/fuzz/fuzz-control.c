/* SPDX-License-Identifier: Apache-2.0 */
/*
 * T10: the control socket. Connections come, send datagrams of any length and content, with
 * descriptors nobody asked for, never read what is answered, hang up at any time. The server
 * lives, its full check finds nothing, an honest client is served, and when all have hung up
 * and died the server has as many descriptors as before.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "input.h"
#include "tests/lib/server/fake.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

#define CONNECTIONS 6u
#define STEPS 120u

struct play {
	struct server *s;
	int fd[CONNECTIONS];
	uint32_t v;
	struct fake_lane va;
	uint64_t block;
};

static unsigned descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	CHECK(d != NULL);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

static void begin(struct play *p)
{
	static const tarn_type *const no_types[] = { NULL }; /* but Tarn's own */
	char name[64];

	p->s = fake_server(1);
	p->s->doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	p->s->stop_event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	CHECK(tarn__segment_open_readonly(&p->s->ctrl_segment, &p->s->ctrl_readonly) == 0);
	CHECK(tarn__segment_open_readonly(&p->s->st.dir_segment, &p->s->dir_readonly) == 0);
	snprintf(name, sizeof name, "@tarn-fuzz-%d", (int)getpid());
	snprintf(p->s->name, sizeof p->s->name, "%s", name);
	CHECK(tarn__socket_open(p->s, 0) == 0 && tarn__listen_open(p->s) == 0);
	fake_types(p->s, no_types);
	p->v = fake_client(p->s);
	p->va = fake_lane(p->s, p->v);
	p->block = fake_alloc(p->s, &p->va, 100);
	for (unsigned i = 0; i < CONNECTIONS; i++)
		p->fd[i] = -1;
}

static void end(struct play *p)
{
	tarn__listen_close(p->s);
	close(p->s->doorbell);
	close(p->s->stop_event);
	close(p->s->ctrl_readonly);
	close(p->s->dir_readonly);
	while (p->s->waiters != NULL)
		tarn__epoch(p->s);
	fake_server_free(p->s);
}

static void look(struct play *p)
{
	while (tarn__loop_wait(p->s->loop, 0) > 0)
		;
}

static void hang_up(struct play *p, unsigned i)
{
	if (p->fd[i] >= 0)
		close(p->fd[i]);
	p->fd[i] = -1;
}

static void call(struct play *p, unsigned i)
{
	struct sockaddr_un address;
	int length = tarn__control_address(p->s->name, 0, &address);

	if (p->fd[i] >= 0 || length < 0)
		return;
	p->fd[i] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	CHECK(p->fd[i] >= 0);
	if (connect(p->fd[i], (struct sockaddr *)&address, (socklen_t)length) != 0)
		hang_up(p, i);
}

/* All there are, and two that are none. */
static unsigned some_kind(struct input *in)
{
	static const uint8_t kinds[] = {
		0,
		TARN__CTL_ATTACH,
		TARN__CTL_LANE_OPEN,
		TARN__CTL_LANE_CLOSE,
		TARN__CTL_RING,
		TARN__CTL_DETACH,
		TARN__CTL_STAT,
		TARN__CTL_CLIENTS,
		TARN__CTL_BLOCKS,
		TARN__CTL_REFS,
		TARN__CTL_CHECK,
		TARN__CTL_SHUTDOWN,
		TARN__CTL_SETTLE,
		TARN__CTL_CLASSES,
		TARN__CTL_MESSAGES,
		TARN__CTL_DUMP,
		TARN__CTL_HELLO,
		TARN__CTL_PROVE,
		TARN__CTL_HERE,
		TARN__CTL_EVENT,
		TARN__CTL_SUCCESSOR,
		TARN__CTL_TYPES,
		TARN__CTL_OBJECTS,
		TARN__CTL_CALLS,
		TARN__CTL_ERRORS,
		TARN__CTL_LEAKS,
		200,
	};

	return kinds[take8(in) % sizeof kinds];
}

static void say(struct play *p, unsigned i, struct input *in)
{
	struct tarn__request q[4];
	unsigned how = take8(in);
	size_t n = sizeof *q;

	memset(q, 0, sizeof q);
	if (how & 1) {
		/* Any bytes. */
		n = take8(in) % (sizeof q + 1);
		for (size_t k = 0; k < n; k++)
			((unsigned char *)q)[k] = (unsigned char)take8(in);
		if (how & 2)
			q->magic = TARN__CONTROL_MAGIC;
	} else {
		*q = (struct tarn__request){ .magic = TARN__CONTROL_MAGIC,
					     .kind = some_kind(in),
					     .layout = tarn__layout_hash() ^ (how >> 7) };
		for (unsigned k = 0; k < 4; k++)
			q->argument = q->argument << 8 | ((how >> k) & 8 ? take8(in) : 0);
		if (how & 2)
			q->argument = p->block;
		if (how & 4)
			q->quota = 1ull << (take8(in) & 63);
	}
	const int spare[2] = { p->fd[i], p->fd[i] };

	if (p->fd[i] >= 0)
		tarn__control_send(p->fd[i], q, n, spare, how >> 5 & 1 ? 2 : 0,
				   MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void read_answers(struct play *p, unsigned i)
{
	struct tarn__answer a;
	int fds[TARN__CONTROL_FDS];
	unsigned n;

	while (p->fd[i] >= 0 && tarn__control_recv(p->fd[i], &a, sizeof a, fds, TARN__CONTROL_FDS,
						   &n, MSG_DONTWAIT) > 0)
		for (unsigned k = 0; k < n; k++)
			close(fds[k]);
}

static void step(struct play *p, struct input *in)
{
	unsigned how = take8(in), i = (how >> 4) % CONNECTIONS;

	switch (how & 15) {
	case 0:
	case 1:
		call(p, i);
		return;
	case 2:
		hang_up(p, i);
		return;
	case 3:
		if (p->fd[i] >= 0)
			shutdown(p->fd[i], SHUT_WR);
		return;
	case 4:
		for (unsigned n = take8(in); n > 0; n--) /* floods, and does not read */
			say(p, i, &(struct input){ .p = in->p, .end = in->end });
		return;
	case 5:
		read_answers(p, i);
		return;
	case 6:
		/* One of its clients dies. */
		for (uint32_t c = p->v + 1; c < p->s->st.head->clients_used; c++)
			if (p->s->peer[c] != NULL) {
				tarn__peer_died(p->s, p->s->peer[c]);
				break;
			}
		return;
	case 7:
	case 8:
		tarn__epoch(p->s);
		return;
	case 9:
	case 10:
		look(p);
		return;
	default:
		say(p, i, in);
	}
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes)
{
	struct input in = { .p = data, .end = data + bytes };
	unsigned before = descriptors();
	struct play p = { 0 };

	begin(&p);
	for (unsigned i = 0; i < STEPS && in.p < in.end; i++)
		step(&p, &in);
	look(&p);
	fake_settle(p.s);
	CHECK(fake_verify(p.s) == 0);
	/* The honest one is served. */
	CHECK(p.s->st.client[p.v].state == CLIENT_ACTIVE && fake_alive(p.s, p.block));
	fake_post(&p.va, TARN__MSG_PING, 0, 0, 0, 0, 0, 0, 0);
	tarn__epoch(p.s);
	fake_reply(&p.va);
	for (unsigned i = 0; i < CONNECTIONS; i++)
		hang_up(&p, i);
	look(&p);
	for (uint32_t c = 1; c < p.s->st.head->clients_used; c++)
		if (p.s->peer[c] != NULL)
			fake_kill(p.s, c);
	fake_settle(p.s);
	CHECK(fake_verify(p.s) == 0);
	CHECK(p.s->st.head->n_clients == 0 && p.s->st.head->heap.used == 0);
	end(&p);
	CHECK(descriptors() == before);
	return 0;
}
