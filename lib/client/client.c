/* SPDX-License-Identifier: Apache-2.0 */
/* Attaching, detaching, and what concerns a client as a whole. */
#include "tarn/client.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/auth.h"
#include "lib/wiped.h"
#include "object.h"

#define CACHE_DEFAULT (64u << 20)
#define ANSWER_NS 30000000000ll /* a server that takes longer to answer hangs, unless options say otherwise */
#define REPLACED_NS 5000000000ll /* a successor is there by then */

/* ---- is it still served? ---- */

int (tarn__fail_forked)(void)
{
	return tarn__fail(-TARN_EFORKED, "This client was opened before fork(), by the parent process. "
			  "Open a client of its own in the child.");
}

int tarn__fail_down(const struct tarn_client *c)
{
	if (tarn__load32_relaxed(&c->down) == TARN_EEVICTED)
		return tarn__fail(-TARN_EEVICTED, "The server '%s' detached this client because it "
				  "broke a rule of the protocol; the server's log says which.",
				  c->name);
	return tarn__fail(-TARN_ESRVDOWN, "The server '%s' (pid %d) is gone.", c->name,
			  tarn_client_server_pid(c));
}

static bool hung_up(const struct tarn_client *c)
{
	struct pollfd p = { .fd = c->control, .events = POLLRDHUP };

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL));
}

int tarn__client_health(struct tarn_client *c, const struct tarn__lane *l)
{
	uint32_t down = tarn__load32_relaxed(&c->down);

	/* Relaxed: these words only ever change once, and nothing is read because of them. */
	if (down == 0 && l != NULL && tarn__load_relaxed(&l->area->signs.evicted) != 0)
		down = TARN_EEVICTED;
	if (down == 0 && (tarn__load_relaxed(&c->ctrl->incarnation) == 0 || hung_up(c)))
		down = TARN_ESRVDOWN;
	if (tarn__likely(down == 0))
		return 0;
	tarn__store32_relaxed(&c->down, down);
	return tarn__fail_down(c);
}

/* ---- the control socket ---- */

int tarn__client_ask_fd(struct tarn_client *c, enum tarn__control kind, uint64_t argument,
			uint64_t deadline, struct tarn__answer *ret, int *ret_fd)
{
	const struct tarn__request ask = { .magic = TARN__CONTROL_MAGIC, .kind = kind,
					   .argument = argument };
	int fds[TARN__CONTROL_FDS];
	int r;

	pthread_mutex_lock(&c->mutex);
	r = tarn__control_ask(c->control, &ask, ret, fds, deadline);
	for (unsigned i = 0; r == 0 && i < ret->n_fds; i++) {
		if (i == 0 && ret_fd != NULL)
			*ret_fd = fds[i];
		else
			close(fds[i]);
	}
	pthread_mutex_unlock(&c->mutex);
	if (r == -TARN_ESRVDOWN) {
		tarn__store32_relaxed(&c->down, TARN_ESRVDOWN);
		return tarn__fail_down(c);
	}
	return r;
}

int tarn__client_ask(struct tarn_client *c, enum tarn__control kind, uint64_t argument,
		     uint64_t deadline, struct tarn__answer *ret)
{
	return tarn__client_ask_fd(c, kind, argument, deadline, ret, NULL);
}

bool tarn__client_tell(const struct tarn_client *c, enum tarn__control kind, uint64_t argument)
{
	const struct tarn__request ask = { .magic = TARN__CONTROL_MAGIC, .kind = kind,
					   .argument = argument };

	return tarn__control_send(c->control, &ask, sizeof ask, NULL, 0, MSG_DONTWAIT) ==
	       (int)sizeof ask;
}

/* ---- opening ---- */

unsigned char *tarn__client_map(const struct tarn_client *c, int protection)
{
	uint64_t bytes = c->data_segment.bytes, room = bytes + TARN__ALIGN_MAX;
	int fd = c->data_segment.fd;
	unsigned char *p = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				-1, 0);
	unsigned char *at;

	if (p == MAP_FAILED) {
		/* Little address space: blocks may lie at odd addresses then. */
		at = mmap(NULL, bytes, protection, MAP_SHARED | MAP_NORESERVE, fd, 0);
		return at != MAP_FAILED ? at : NULL;
	}
	at = (unsigned char *)tarn__round_up((uintptr_t)p, TARN__ALIGN_MAX);
	if (mmap(at, bytes, protection, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0) ==
	    MAP_FAILED) {
		munmap(p, room);
		return NULL;
	}
	if (at > p)
		munmap(p, (size_t)(at - p));
	uint64_t end = tarn__round_up(bytes, tarn__os_page());
	if (p + room > at + end)
		munmap(at + end, (size_t)(p + room - (at + end)));
	return at;
}

/* DATA again, where blocks are aligned. */
static int map_data(struct tarn_client *c)
{
	struct tarn__segment *s = &c->data_segment;

	munmap(s->base, s->bytes);
	s->base = tarn__client_map(c, PROT_READ | PROT_WRITE);
	if (s->base == NULL)
		return tarn__fail(-ENOMEM, "No address space for the arena (%llu bytes). Is it limited "
				  "(ulimit -v)?", (unsigned long long)s->bytes);
	return 0;
}

/* In the order of the answer to ATTACH. */
enum { FD_CTRL, FD_DIR, FD_DATA, FD_LANE, FD_BELL, FD_VIEW };

static int map_all(struct tarn_client *c, const struct tarn__answer *a, int fds[])
{
	const struct {
		int fd;
		uint64_t bytes;
		bool writable;
		struct tarn__segment *ret;
		const char *what;
	} plan[] = {
		{ FD_CTRL, TARN__CTRL_BYTES, false, &c->ctrl_segment, "CTRL" },
		{ FD_DIR, a->value[3] * sizeof(struct tarn__dir_entry), false, &c->dir_segment,
		  "DIR" },
		{ FD_DATA, a->value[2], true, &c->data_segment, "DATA" },
		{ FD_LANE, a->value[4], true, &c->lane_segment, "LANE" },
		{ FD_VIEW, a->value[6], false, &c->view_segment, "VIEW" },
	};

	for (size_t i = 0; i < sizeof plan / sizeof plan[0]; i++) {
		int r = tarn__segment_map(fds[plan[i].fd], plan[i].bytes, plan[i].writable,
					  plan[i].ret);

		fds[plan[i].fd] = -1; /* taken over, also on failure */
		if (r == -EPROTO)
			return tarn__fail(-TARN_EPROTO, "The server's %s segment is smaller than the %llu bytes that the "
					  "server says it has.", plan[i].what, (unsigned long long)plan[i].bytes);
		if (r < 0)
			return tarn__fail(r, "Mapping %llu bytes of the server's %s segment: %s.%s",
					  (unsigned long long)plan[i].bytes, plan[i].what,
					  tarn_error_text(r),
					  r == -ENOMEM ? " Is the address space limited (ulimit -v)?"
						       : "");
	}
	/* A child must never write into its parent's lanes. */
	if (madvise(c->lane_segment.base, c->lane_segment.bytes, MADV_DONTFORK) != 0)
		return tarn__fail(-errno, "MADV_DONTFORK: %s.", tarn_error_text(-errno));
	return map_data(c);
}

/* Bits for populate(); may stay NULL. */
static void map_populated(struct tarn_client *c)
{
	uint64_t bytes = (c->data_bytes >> TARN__HEAP_PAGE_SHIFT) / 8 + 8;
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	c->populated = p != MAP_FAILED ? p : NULL;
}

/* A name can be taken by anybody who may write where it lies, or is quicker. */
static int check_server(struct tarn_client *c, const tarn_client_options *o)
{
	struct ucred who;
	socklen_t n = sizeof who;

	if (o->any_server_user || o->authkey_bytes != 0)
		return 0;
	if (getsockopt(c->control, SOL_SOCKET, SO_PEERCRED, &who, &n) != 0)
		return tarn__fail(-errno, "Whose server is '%s': %s.", c->name, tarn_error_text(-errno));
	if (who.uid == geteuid() || who.uid == 0)
		return 0;
	return tarn__fail(-EACCES, "The server '%s' is run by user %u, who is neither you nor root. Set "
			  "any_server_user if that is meant.", c->name, (unsigned)who.uid);
}

static int ask_to_attach(struct tarn_client *c, const tarn_client_options *o, struct tarn__answer *a,
			 int fds[TARN__CONTROL_FDS])
{
	struct tarn__request ask = { .magic = TARN__CONTROL_MAGIC, .kind = TARN__CTL_ATTACH,
				     .layout = tarn__layout_hash(), .quota = o->quota_bytes };
	uint64_t deadline = tarn__deadline(c->answer_ns);
	int r = check_server(c, o);

	if (r == 0 && o->authkey_bytes != 0)
		r = tarn__auth_prove(c->control, o->authkey, o->authkey_bytes, deadline);
	if (r == 0)
		r = tarn__control_ask(c->control, &ask, a, fds, deadline);
	if (r == 0 && a->n_fds == 0) {
		/* An older kernel: the server asks us to speak, to see who we are. */
		ask.kind = TARN__CTL_HERE;
		ask.argument = a->value[0];
		r = tarn__control_ask(c->control, &ask, a, fds, deadline);
	}
	return r;
}

static int attach(struct tarn_client *c, const tarn_client_options *o)
{
	struct tarn__answer a;
	int fds[TARN__CONTROL_FDS];
	int r;

	c->answer_ns = o->answer_timeout_ns != 0 ? o->answer_timeout_ns : ANSWER_NS;
	r = ask_to_attach(c, o, &a, fds);
	if (r == -ETIMEDOUT)
		return tarn__fail(r, "Server '%s' has not let us in for %.3f s: it is stopped, or hangs. "
				  "\"tarn ls\" says more of it; answer_timeout_ns is how long a client waits.",
				  c->name, (double)c->answer_ns * 1e-9);

	if (r < 0)
		return r;
	if (a.n_fds != TARN__CONTROL_FDS) {
		r = tarn__fail(-TARN_EPROTO, "The server sent %u descriptors, not %u.", a.n_fds,
			       TARN__CONTROL_FDS);
		goto out;
	}
	c->doorbell = fds[FD_BELL];
	fds[FD_BELL] = -1;
	r = map_all(c, &a, fds);
	if (r < 0)
		goto out;
	c->number = (uint32_t)a.value[0];
	c->incarnation = (uint32_t)a.value[1];
	c->data = c->data_segment.base;
	c->data_bytes = c->data_segment.bytes;
	c->arena_bytes = a.value[5];
	c->dir = (const struct tarn__dir_entry *)(const void *)c->dir_segment.base;
	c->dir_entries = c->dir_segment.bytes / sizeof *c->dir; /* not value[3]: the product may have run over */
	c->view = (struct tarn__view){ .base = c->view_segment.base, .bytes = c->view_segment.bytes };
	c->ctrl = (const struct tarn__ctrl *)(const void *)c->ctrl_segment.base;
	if (c->ctrl->magic != TARN__MAGIC || c->ctrl->layout != tarn__layout_hash())
		r = tarn__fail(-TARN_EVERSION, "Server '%s' has layout %016llx, this library (%s) has "
			       "%016llx. Use the same version on both sides.", c->name,
			       (unsigned long long)c->ctrl->layout, tarn_version(),
			       (unsigned long long)tarn__layout_hash());
	/* Register first: from then on the server's membarriers reach this process. */
	c->fence = !tarn__membarrier_register() || c->ctrl->membarrier != 1;
	c->credits = TARN__FIRST_CREDITS;
	c->poison = o->poison;
	c->cache_bytes = o->cache_bytes != 0 ? o->cache_bytes
			 : c->data_bytes / 64 < CACHE_DEFAULT ? c->data_bytes / 64 : CACHE_DEFAULT;
	map_populated(c);
out:
	for (unsigned i = 0; i < TARN__CONTROL_FDS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return r;
}

uint32_t *tarn__pid_kept;

pid_t tarn__pid_slow(void)
{
	pid_t pid = getpid();

	/* Whoever is second in a forked child stores the same. */
	if (tarn__pid_kept != NULL)
		tarn__store32_relaxed(tarn__pid_kept, (uint32_t)pid);
	return pid;
}

/* As long as the process: whoever has a handle may ask, also when all clients are closed. */
static void pid_keep(void)
{
	uint32_t *none = NULL;

	if (__atomic_load_n(&tarn__pid_kept, __ATOMIC_ACQUIRE) != NULL)
		return;
	uint32_t *page = tarn__wiped_new();
	/* Release: the page is wiped by a fork from here on. */
	if (page != NULL && !__atomic_compare_exchange_n(&tarn__pid_kept, &none, page, false, __ATOMIC_RELEASE,
							 __ATOMIC_RELAXED))
		tarn__wiped_free(page);
}

/* The leak checker of a program that is built with one: it does not look for pointers in mappings,
 * and would take what a client that is still open at exit holds for lost. */
__attribute__((weak)) void __lsan_register_root_region(const void *p, size_t bytes);
__attribute__((weak)) void __lsan_unregister_root_region(const void *p, size_t bytes);

#define CLIENT_BYTES tarn__round_up(sizeof(struct tarn_client), TARN__OS_PAGE)

static void client_unmap(struct tarn_client *c)
{
	if (__lsan_unregister_root_region != NULL)
		__lsan_unregister_root_region(c, CLIENT_BYTES);
	tarn__wiped_end(c);
	munmap(c, CLIENT_BYTES);
}

static int client_new(const char *name, struct tarn_client **ret)
{
	static uint64_t serials = 1;
	struct tarn_client *c = mmap(NULL, CLIENT_BYTES, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (c == MAP_FAILED)
		return tarn__fail(-ENOMEM, "No memory for a client.");
	if (__lsan_register_root_region != NULL)
		__lsan_register_root_region(c, CLIENT_BYTES);
	int r = tarn__os_page() <= TARN__OS_PAGE_MOST ? tarn__wiped(c) : -ENOTSUP;
	if (r < 0) {
		client_unmap(c);
		return tarn__fail(r, "A client with pages of %llu bytes, of which forks are to notice one: %s. "
				  "They may have %u at most.", (unsigned long long)tarn__os_page(),
				  tarn_error_text(r), TARN__OS_PAGE_MOST);
	}
	pid_keep();
	/* Relaxed: the value must only be unique. */
	c->open_serial = __atomic_add_fetch(&serials, 1, __ATOMIC_RELAXED);
	c->serial = c->open_serial;
	c->doorbell = c->control = -1;
	c->data_segment = c->dir_segment = TARN__SEGMENT_NONE;
	c->ctrl_segment = c->lane_segment = c->view_segment = TARN__SEGMENT_NONE;
	pthread_mutex_init(&c->mutex, NULL);
	pthread_mutex_init(&c->pool, NULL);
	pthread_mutex_init(&c->types.mutex, NULL);
	tarn__control_name(name, c->name, sizeof c->name);
	*ret = c;
	return 0;
}

static void key_delete(struct tarn_client *c)
{
	if (c->has_key)
		pthread_key_delete(c->key);
	c->has_key = false;
}

/* Frees what there is; says nothing to the server. */
static void client_free(struct tarn_client *c)
{
	bool forked = tarn__forked(c);

	key_delete(c);
	if (!forked) {
		/* In a child these lists may be of no single moment: fork() copies page by page
		 * while other threads of the parent go on, so a list can lead in a circle. */
		tarn__table_fini(c);
		tarn__lanes_free(c);
		tarn__chunks_free(c);
		tarn__types_free(c);
	}
	if (c->sealed_data != NULL)
		munmap(c->sealed_data, c->data_bytes);
	if (c->populated != NULL)
		munmap(c->populated, (c->data_bytes >> TARN__HEAP_PAGE_SHIFT) / 8 + 8);
	if (forked)
		c->lane_segment.base = NULL; /* not inherited; something else may lie there */
	tarn__segment_close(&c->lane_segment);
	tarn__segment_close(&c->data_segment);
	tarn__segment_close(&c->dir_segment);
	tarn__segment_close(&c->ctrl_segment);
	tarn__segment_close(&c->view_segment);
	if (c->doorbell >= 0)
		close(c->doorbell);
	if (c->control >= 0)
		close(c->control);
	if (!forked) {
		pthread_mutex_destroy(&c->mutex);
		pthread_mutex_destroy(&c->pool);
		pthread_mutex_destroy(&c->types.mutex);
	}
	client_unmap(c);
}

int tarn__client_open_on(int fd, const char *name, const tarn_client_options *o, bool again,
			 struct tarn_client **ret_client)
{
	struct tarn_client *c;
	int r = client_new(name, &c);

	if (r < 0) {
		close(fd);
		return r;
	}
	c->control = fd;
	r = attach(c, o);
	if (r < 0)
		goto fail;
	r = tarn__table_init(c);
	if (r < 0) {
		tarn__fail(r, "No memory for a client's table.");
		goto fail;
	}
	r = -pthread_key_create(&c->key, tarn__lane_park);
	if (r < 0) {
		tarn__fail(r, "No thread-local key left (PTHREAD_KEYS_MAX): too many clients are open "
			   "in this process.");
		goto fail;
	}
	c->has_key = true;
	*ret_client = c;
	return 0;
fail:
	/* It may be attached already; a hang-up alone is no end as long as this process lives. */
	if (!again)
		tarn__client_tell(c, TARN__CTL_DETACH, 0);
	client_free(c);
	return r;
}

static int open_once(const char *name, const tarn_client_options *o, uint64_t deadline,
		     struct tarn_client **ret_client)
{
	int fd, r = tarn__control_connect(name, deadline, &fd);

	return r < 0 ? r : tarn__client_open_on(fd, name, o, false, ret_client);
}

int tarn_client_open(const char *name, const tarn_client_options *options, tarn_client **ret_client)
{
	static const tarn_client_options none;
	const tarn_client_options *o = options != NULL ? options : &none;
	uint64_t deadline = tarn__deadline(o->connect_timeout_ns);
	/* A server that is replaced while we attach hangs up, and its successor is there soon. */
	uint64_t again_until = tarn__deadline(REPLACED_NS);
	tarn_error first = { 0 };
	int r;

	/* One that ends just now is no server: whoever waits for one waits for the next. */
	while ((r = open_once(name, o, deadline, ret_client)) == -TARN_ESRVDOWN &&
	       (tarn__now() < deadline || tarn__now() < again_until)) {
		first = *tarn_error_last();
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	/* The name answered once: what became of that server is what the caller is told. */
	if (r == -ENOENT && first.code == -TARN_ESRVDOWN)
		r = tarn__fail(first.code, "%s", first.message);
	return r;
}

tarn_client *tarn_client_close(tarn_client *client)
{
	struct tarn__answer a;

	if (client == NULL)
		return NULL;
	/* Threads that are not in a call may be ending: whoever has not begun to give its lane up does not. */
	key_delete(client);
	if (!tarn__forked(client))
		tarn__lanes_disown(client);
	if (!tarn__forked(client) && tarn__load32_relaxed(&client->down) == 0)
		/* Orderly, so that the memory is there again when this returns. A server that
		 * is gone or hangs learns of our end by itself. */
		tarn__client_ask(client, TARN__CTL_DETACH, 0, tarn__deadline(client->answer_ns), &a);
	if (tarn__here.serial == client->open_serial)
		tarn__here.serial = 1;
	client_free(client);
	return NULL;
}

/* ---- messages about nothing in particular ---- */

int tarn_client_ping(tarn_client *client, int64_t timeout_ns)
{
	uint64_t deadline = tarn__deadline(timeout_ns);
	struct tarn__lane *l;
	struct tarn__slot s;
	struct tarn__ask a;
	int r = tarn__lane_enter(client, &l);

	if (r < 0)
		return r;
	tarn__lane_settle(l, true);
	tarn__ask_init(&a, TARN__MSG_PING, 0);
	r = tarn__lane_ask(l, &a, 1, 0, deadline, &s);
	tarn__lane_leave(l);
	return r;
}

int tarn_client_flush(tarn_client *client, bool settled, int64_t timeout_ns)
{
	uint64_t deadline = tarn__deadline(timeout_ns);
	struct tarn__answer a;
	int r = tarn_client_ping(client, timeout_ns);

	if (r == 0 && settled)
		r = tarn__client_ask(client, TARN__CTL_SETTLE, 0, deadline, &a);
	return r;
}

int tarn_client_trim(tarn_client *client)
{
	struct tarn__lane *l;
	int r = tarn__lane_enter(client, &l);

	if (r < 0)
		return r;
	tarn__lane_settle(l, true);
	tarn__lane_drain(l);
	while (r == 0 && !tarn__cache_empty(l))
		r = tarn__lane_room(l, TARN__REQUESTS / 2, UINT64_MAX);
	tarn__lane_ring(l);
	tarn__lane_leave(l);
	return r;
}

uint64_t tarn_client_arena_bytes(const tarn_client *client)
{
	return client->arena_bytes;
}

int tarn_client_server_pid(const tarn_client *client)
{
	/* Relaxed: another one's when the server is replaced. */
	return (int)tarn__load_relaxed(&client->ctrl->server_pid);
}

uint32_t tarn_client_id(const tarn_client *client)
{
	return client->number;
}

int tarn_client_export(const tarn_client *client, char *ret_text, size_t bytes)
{
	return tarn__control_text(client->name, client->ctrl->uuid, tarn_client_server_pid(client),
				  ret_text, bytes);
}
