/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Soak (PROTOCOL T7): worker processes do random work (worker.c: blocks, channels, tokens; nests.c:
 * objects; toys.c, lines.c, boxes.c: Tarn's own types) and are killed with SIGKILL at random, for as
 * long as asked; with --servers the server is, too, and its keeper's next one goes on.
 *
 * Every block carries a canary over its whole length (its ends, if it is large), written
 * before it is shared and checked by everybody who holds it, again and again: memory that
 * was freed too early is somebody else's canary soon. At the end all clients are gone and
 * the arena must be empty, to the byte, and pass the full check, which is also run now and then, and
 * by each server that takes over.
 *
 * The supervisor makes channels between random pairs of workers and tells both by pipe;
 * ends of the dead are never used again, so new channels keep coming.
 *
 *	soak [--seconds N] [--messages N] [--workers N] [--seed N] [--kill-every-ms N] [--servers]
 *	     [--server-every-ms N] [--arena-mib N] [--memfd] [--epoll] [--stop] [--fork] [--deep]
 *	     [--flood]
 *
 * --messages: until so many items were received, for as long as that takes unless --seconds says how long at most.
 * --stop: workers are stopped for a while and go on. --fork: they fork while their threads are
 * inside calls; the child attaches anew, works, and ends in one of four ways, often after its
 * parent. --deep: the supervisor hangs hundreds of channels into each other and lets go. --flood:
 * workers pass blocks through channels in long bursts instead (flood.c), a hundred times as many.
 * --arena-mib: a small arena is full all the time (256 without it).
 * A second build of it (test-soak-lives) retires each id after a few lives.
 *
 * A seed gives the same deeds of each thread and the same choice of who is killed; not the same
 * interleaving, which is the machine's. So a finding is looked for with its seed, several times.
 *
 * Prints its seed and TAP. Seconds default to TARN_SOAK_SECONDS or 10.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "flood.h"
#include "toys.h"
#include "worker.h"

#define WORKERS_MOST 64
#define SECOND UINT64_C(1000000000)
#define BETWEEN_SERVERS 50000u /* items of the flood, if they come within 3 s */
#define DEED_OF_THE_FLOOD 100u /* items of the flood are as much as a deed of other workers */
#define END_S 120u /* after so long those do not end that were told to, and the dead are not gone */

struct board *board;

/* ---- the supervisor ---- */

struct child {
	pid_t pid;
	int orders; /* pipe to its stdin */
	bool stopped;
};

static struct {
	struct child child[WORKERS_MOST];
	int n;
	uint64_t random, seed;
	const char *server;
	char self[512];
	uint64_t kills, clean_exits, channels, stops, server_kills, checks;
	int board_fd;
	bool forks, deep, stops_them, servers, flood;
	uint64_t kill_every_ms, server_every_ms, n_workers, arena_mib;
	uint64_t seconds, messages; /* how long: 0, without end; so many: 0, any */
	tarn_client *client;
	tarn_object *toy[ROOMS][TOYS];
} sup;

static void spawn_worker(struct child *c)
{
	char seed[32], board_fd[16];
	int p[2];

	if (pipe2(p, O_CLOEXEC) != 0) {
		perror("pipe");
		exit(1);
	}
	snprintf(seed, sizeof seed, "%llu", (unsigned long long)next_random(&sup.random));
	snprintf(board_fd, sizeof board_fd, "%d", sup.board_fd);
	c->pid = fork();
	if (c->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(p[0], 0);
		execl(sup.self, "soak", "--worker", sup.server, seed, board_fd,
		      sup.flood ? "flood" : sup.forks ? "forks" : "", (char *)NULL);
		_exit(127);
	}
	close(p[0]);
	c->orders = p[1];
	c->stopped = false;
}

/* Death is normal; any other end is a failure. */
static void ended(struct child *c, int status)
{
	close(c->orders);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
		sup.kills++;
	} else if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		sup.clean_exits++;
	} else {
		fprintf(stderr, "# worker %d ended with status %x\n", (int)c->pid, (unsigned)status);
		add(&board->bad, 1);
	}
	c->pid = 0;
}

static void collect(struct child *c)
{
	int status;

	if (waitpid(c->pid, &status, 0) == c->pid)
		ended(c, status);
}

/* One that was told to end: its threads' waits must come to an end, whoever died. */
static void collect_in_time(struct child *c)
{
	const uint64_t deadline = now_ns() + END_S * SECOND;
	int status;

	while (waitpid(c->pid, &status, WNOHANG) == 0) {
		if (now_ns() < deadline) {
			nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
			continue;
		}
		fprintf(stderr, "# FINDING: worker %d does not end; its threads are at:", (int)c->pid);
		for (unsigned k = 0; k < HANDS; k++)
			if (board->hand[k].pid == c->pid)
				fprintf(stderr, " %s;", board->hand[k].deed);
		fputc('\n', stderr);
		add(&board->bad, 1);
		add(&board->stalls, 1);
		if (getenv("TARN_SOAK_WAIT") != NULL) {
			fputs("# it waits for a debugger\n", stderr);
			pause();
		}
		kill(c->pid, SIGKILL);
		collect(c);
		return;
	}
	ended(c, status);
}

static void order(struct child *c, const char *text)
{
	if (write(c->orders, text, strlen(text)) < 0 && errno != EPIPE && errno != EAGAIN)
		perror("# order");
}

/* Items that one process gave and another, or another thread, received: blocks through channels,
 * items of queues and of topics, each looked at on receipt. */
static uint64_t items(void)
{
	return count_of(&board->received) + count_of(&board->got) + count_of(&board->heard);
}

static void new_channel(tarn_client *client)
{
	char name[40], text[64];
	tarn_channel *ch;
	struct child *a = &sup.child[below(&sup.random, (uint64_t)sup.n)];
	struct child *b = &sup.child[below(&sup.random, (uint64_t)sup.n)];
	static tarn_channel *recent[16]; /* kept until both had time to take their ends */
	uint64_t slots = sup.flood ? 1ull << below(&sup.random, 12) : 1 + below(&sup.random, 64);

	snprintf(name, sizeof name, "soak-%llu", (unsigned long long)sup.channels);
	board->course[sup.channels % COURSES] = (struct course){ 0 };
	int r = tarn_channel_new(client, slots, name, &ch);
	if (r == -ENOMEM)
		return;
	if (r < 0) {
		fprintf(stderr, "# new channel: %s\n", tarn_error_last()->message);
		add(&board->bad, 1);
		return;
	}
	snprintf(text, sizeof text, "P %s\n", name);
	order(a, text);
	snprintf(text, sizeof text, "C %s\n", name);
	order(b, text);
	unsigned at = (unsigned)(sup.channels++ % 16);
	if (client != NULL)
		tarn_channel_unref(recent[at]);
	recent[at] = ch;
}

/* Channels inside of channels, with a block in each, of which only the last is held. */
static void go_deep(tarn_client *client)
{
	uint64_t depth = 1 + below(&sup.random, 400);
	tarn_channel *inner = NULL, *outer;
	tarn_block *b;

	for (uint64_t i = 0; i < depth; i++) {
		int r = tarn_channel_new(client, 2, NULL, &outer);

		if (r == -ENOMEM || r == -ENFILE)
			break;
		if (r < 0)
			outer = NULL;
		else
			r = tarn_channel_bind(outer, TARN_PRODUCER);
		if (r == 0 && inner != NULL)
			r = tarn_channel_send_channel(outer, inner, 0, 0);
		if (r == 0 && tarn_block_new(client, 100, 0, &b) == 0) {
			canary_write(b);
			r = tarn_channel_give(outer, b, 0, 0);
			if (r < 0)
				tarn_block_unref(b);
		}
		tarn_channel_unref(inner);
		inner = outer;
		if (r == -ENOMEM)
			break;
		if (r < 0) {
			fprintf(stderr, "# depth %llu: %s\n", (unsigned long long)i,
				tarn_error_last()->message);
			add(&board->bad, 1);
			break;
		}
		if (i + 1 > board->deepest)
			board->deepest = i + 1;
	}
	tarn_channel_unref(inner);
}

/* ---- deaths ---- */

static void kill_worker(void)
{
	struct child *c = &sup.child[below(&sup.random, (uint64_t)sup.n)];

	kill(c->pid, SIGKILL);
	collect(c);
	spawn_worker(c);
}

/* Not before the others have done something since the last death: on a machine that is busy otherwise
 * they would all die in their first moments. */
static bool time_to_kill(void)
{
	static uint64_t next, patience, done_before;
	const uint64_t done = sup.flood ? items() / DEED_OF_THE_FLOOD
					: count_of(&board->allocated) + count_of(&board->called);
	const uint64_t now = now_ns();

	if (next == 0)
		next = now + SECOND / 5;
	if (now < next || (done - done_before < 50 && now < patience))
		return false;
	next = now + below(&sup.random, 2 * sup.kill_every_ms + 1) * 1000000u;
	patience = now + SECOND;
	done_before = done;
	return true;
}

/*
 * Kills the server, if another has come since the last time; now and then as soon as that is there,
 * while it takes over, but not so often in a row that the keeper would give up.
 */
static void kill_server(void)
{
	static pid_t last;
	static unsigned in_a_row;
	static uint64_t next, items_before;
	pid_t pid = (pid_t)tarn_client_server_pid(sup.client);

	if (pid == last || pid <= 0)
		return;
	if (next == 0)
		next = now_ns() + SECOND / 5 + below(&sup.random, 2 * sup.server_every_ms + 1) * 1000000u;
	if (in_a_row == 0 && now_ns() < next)
		return;
	/* A flood is to come in between, also where taking over takes longer than that. */
	if (in_a_row == 0 && sup.flood && items() - items_before < BETWEEN_SERVERS && now_ns() < next + 3 * SECOND)
		return;
	items_before = items();
	if (kill(pid, SIGKILL) != 0)
		return;
	last = pid;
	next = 0;
	in_a_row = in_a_row < 3 && below(&sup.random, 4) == 0 ? in_a_row + 1 : 0;
	sup.server_kills++;
}

static void stop_and_go(void)
{
	for (int i = 0; i < sup.n; i++) {
		struct child *c = &sup.child[i];

		if (below(&sup.random, 200) != 0)
			continue;
		kill(c->pid, c->stopped ? SIGCONT : SIGSTOP);
		c->stopped = !c->stopped;
		sup.stops++;
	}
}

/* The full check, while all go on. */
static bool check_now(tarn_inspector *in)
{
	char *text = NULL;
	int n = tarn_inspector_check(in, &text);

	if (n != 0)
		fprintf(stderr, "# FINDING: the full check has %d findings (%s)\n%s", n,
			n < 0 ? tarn_error_last()->message : "", text != NULL ? text : "");
	free(text);
	sup.checks++;
	return n == 0;
}

static bool is_enough(uint64_t begin)
{
	return (sup.seconds != 0 && now_ns() - begin >= sup.seconds * SECOND) ||
	       (sup.messages != 0 && items() >= sup.messages) || count_of(&board->bad) != 0;
}

static void let_work(tarn_inspector *in)
{
	const uint64_t begin = now_ns();
	uint64_t next_check = begin + 3 * SECOND;

	while (!is_enough(begin)) {
		new_channel(sup.client);
		if (sup.deep && below(&sup.random, 50) == 0)
			go_deep(sup.client);
		nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
		if (sup.stops_them)
			stop_and_go();
		if (sup.servers)
			kill_server();
		if (time_to_kill())
			kill_worker();
		if (now_ns() >= next_check) {
			if (!check_now(in))
				add(&board->bad, 1);
			next_check = now_ns() + 3 * SECOND;
		}
	}
}

/* Half of them are killed, the others end. */
static void end_workers(void)
{
	for (int i = 0; i < sup.n; i++) {
		kill(sup.child[i].pid, SIGCONT);
		if (below(&sup.random, 2) == 0)
			kill(sup.child[i].pid, SIGKILL);
		else
			order(&sup.child[i], "X\n");
	}
	for (int i = 0; i < sup.n; i++)
		collect_in_time(&sup.child[i]);
}

/* Only our own client is left: all that others had is free again. */
static bool await_the_dead(tarn_inspector *in)
{
	tarn_stat st = { 0 };

	/* Forked children have up to a minute of it. */
	for (const uint64_t end = now_ns() + END_S * SECOND; now_ns() < end;) {
		if (tarn_inspector_stat(in, &st) < 0)
			break;
		if (st.clients == 1)
			return true;
		nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	}
	fprintf(stderr, "# FINDING: %llu clients are there, and should be one\n",
		(unsigned long long)st.clients);
	return false;
}

/* Do containers outlive their server? Their type says so. */
static bool containers_are_lossy(tarn_inspector *in)
{
	tarn_type_row *row;
	bool lossy = false;
	size_t n;

	if (tarn_inspector_types(in, &row, &n) < 0)
		return false;
	for (size_t i = 0; i < n; i++)
		if (strcmp(row[i].name, "tarn.List") == 0)
			lossy = (row[i].flags & TARN_TYPE_PRIVATE) != 0;
	free(row);
	return lossy;
}

static bool supervise(void)
{
	tarn_inspector *in;
	bool fine;

	if (tarn_client_open(sup.server, NULL, &sup.client) < 0 ||
	    tarn_inspector_open(sup.server, (int64_t)SECOND, &in) < 0) {
		fprintf(stderr, "# supervisor: %s\n", tarn_error_last()->message);
		return false;
	}
	board->servers = sup.servers;
	board->lossy = containers_are_lossy(in);
	toys_make(sup.client, sup.toy);
	for (int i = 0; i < sup.n; i++)
		spawn_worker(&sup.child[i]);
	let_work(in);
	end_workers();
	fine = await_the_dead(in);
	if (fine && board->bad == 0)
		fine = toys_end(sup.client, sup.toy, THREADS * (sup.kills + board->forks)) == 0;
	tarn_inspector_close(in);
	tarn_client_close(sup.client); /* its channels go with it */
	return fine;
}

/* Everybody is gone: the arena must come back to nothing. */
static bool came_back(void)
{
	tarn_inspector *in;
	tarn_stat st = { 0 };
	bool fine, empty;

	if (tarn_inspector_open(sup.server, (int64_t)SECOND, &in) < 0) {
		fprintf(stderr, "# FINDING: the server does not answer: %s\n", tarn_error_last()->message);
		return false;
	}
	for (const uint64_t end = now_ns() + END_S * SECOND; now_ns() < end;) {
		if (tarn_inspector_stat(in, &st) < 0 ||
		    (st.clients == 0 && st.exports == 0 && st.blocks_live == 0 && st.objects == 0))
			break;
		/* Exports that outlive their issuers have deadlines. */
		nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	}
	fine = check_now(in);
	tarn_inspector_stat(in, &st);
	tarn_inspector_close(in);
	printf("# messages %" PRIu64 ", epochs %" PRIu64 ", sleeps %" PRIu64 ", deaths %" PRIu64
	       ", stale %" PRIu64 ", evictions %" PRIu64 ", failed allocs %" PRIu64 "\n",
	       st.messages, st.epochs, st.sleeps, st.deaths, st.stale_messages,
	       st.evictions, st.failed_allocs);
	empty = st.clients == 0 && st.blocks_live == 0 && st.blocks_granted == 0 && st.used_bytes == 0 &&
		st.channels == 0 && st.exports == 0 && st.tickets == 0 && st.claims == 0 &&
		st.lanes == 0 && st.objects == 0 && st.edges == 0 && st.names == 0 && st.calls == 0;
	if (!empty)
		fprintf(stderr,
			"# FINDING: left: %" PRIu64 " clients, %" PRIu64 " live, %" PRIu64 " granted, %" PRIu64
			" bytes, %" PRIu64 " channels, %" PRIu64 " exports, %" PRIu64 " tickets, %" PRIu64
			" claims, %" PRIu64 " lanes, %" PRIu64 " objects, %" PRIu64 " edges, %" PRIu64
			" names, %" PRIu64 " calls\n",
			st.clients, st.blocks_live, st.blocks_granted, st.used_bytes, st.channels,
			st.exports, st.tickets, st.claims, st.lanes, st.objects, st.edges, st.names,
			st.calls);
	if (st.evictions != 0)
		fprintf(stderr, "# FINDING: %" PRIu64 " clients were evicted\n", st.evictions);
	return fine && empty && st.evictions == 0;
}

static void report(void)
{
	const struct board *b = board;

	printf("# %" PRIu64 " items received\n", items());
	printf("# %" PRIu64 " kills, %" PRIu64 " server kills, %" PRIu64 " clean ends, %" PRIu64
	       " channels, %" PRIu64 " stops, %" PRIu64 " forks, %" PRIu64 " checks\n",
	       sup.kills, sup.server_kills, sup.clean_exits, sup.channels, sup.stops, b->forks,
	       sup.checks);
	printf("# blocks: %" PRIu64 " allocated, %" PRIu64 " sent, %" PRIu64 " received, %" PRIu64
	       " exported, %" PRIu64 " imported, %" PRIu64 " slices, %" PRIu64 " sealed, %" PRIu64
	       " times full, %" PRIu64 " channels deep, %" PRIu64 " channels read to their end\n",
	       b->allocated, b->sent, b->received, b->exported, b->imported, b->sliced, b->sealed, b->full,
	       b->deepest, b->ended);
	printf("# objects: %" PRIu64 " called, %" PRIu64 " interrupted, %" PRIu64 " locked, %" PRIu64
	       " passed on, %" PRIu64 " put, %" PRIu64 " got, %" PRIu64 " published, %" PRIu64
	       " heard, %" PRIu64 " boxed, %" PRIu64 " boxes lost, %" PRIu64 " errands\n",
	       b->called, b->interrupted, b->locked, b->passed_on, b->put, b->got, b->published, b->heard,
	       b->boxed, b->lost_boxes, b->errands);
}

static uint64_t number(const char *text)
{
	char *end;
	unsigned long long v = strtoull(text, &end, 10);

	if (*text == '\0' || *end != '\0') {
		fprintf(stderr, "soak: '%s' is not a number\n", text);
		exit(2);
	}
	return v;
}

static void usage(void)
{
	puts("soak [--seconds N] [--messages N] [--workers N] [--seed N] [--kill-every-ms N] [--servers]\n"
	     "     [--server-every-ms N] [--arena-mib N] [--memfd] [--epoll] [--stop] [--fork] [--deep]\n"
	     "     [--flood]");
}

/* The options that have a number. False: it is none of them. */
static bool number_option(const char *name, const char *value)
{
	static const struct {
		const char *name;
		uint64_t *to;
	} option[] = {
		{ "--seconds", &sup.seconds },
		{ "--messages", &sup.messages },
		{ "--workers", &sup.n_workers },
		{ "--seed", &sup.seed },
		{ "--kill-every-ms", &sup.kill_every_ms },
		{ "--server-every-ms", &sup.server_every_ms },
		{ "--arena-mib", &sup.arena_mib },
	};

	for (unsigned k = 0; k < sizeof option / sizeof *option; k++)
		if (strcmp(name, option[k].name) == 0) {
			*option[k].to = number(value);
			return true;
		}
	return false;
}

static void read_options(int argc, char **argv, tarn_server_options *o)
{
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i];

		if (strcmp(a, "--help") == 0) {
			usage();
			exit(0);
		} else if (strcmp(a, "--memfd") == 0) {
			o->backing = TARN_BACKING_MEMFD;
		} else if (strcmp(a, "--epoll") == 0) {
			o->io = TARN_IO_EPOLL;
		} else if (strcmp(a, "--stop") == 0) {
			sup.stops_them = true;
		} else if (strcmp(a, "--fork") == 0) {
			sup.forks = true;
		} else if (strcmp(a, "--deep") == 0) {
			sup.deep = true;
		} else if (strcmp(a, "--flood") == 0) {
			sup.flood = true;
		} else if (strcmp(a, "--servers") == 0) {
			o->keep = sup.servers = true;
		} else if (number_option(a, i + 1 < argc ? argv[i + 1] : "")) {
			i++;
		} else {
			fprintf(stderr, "soak: unknown option '%s'\n", a);
			exit(2);
		}
	}
	if (sup.n_workers < 2 || sup.n_workers > WORKERS_MOST) {
		fprintf(stderr, "soak: 2 to %d workers\n", WORKERS_MOST);
		exit(2);
	}
	o->arena_bytes = sup.arena_mib << 20;
	sup.n = (int)sup.n_workers;
	sup.random = sup.seed | 1;
}

static struct board *board_map(int fd)
{
	void *p = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p != MAP_FAILED ? p : NULL;
}

static void board_open(void)
{
	sup.board_fd = memfd_create("board", 0);
	if (sup.board_fd >= 0 && ftruncate(sup.board_fd, sizeof *board) == 0)
		board = board_map(sup.board_fd);
	if (board == NULL) {
		perror("soak: the board");
		exit(1);
	}
}

static bool soak(const tarn_server_options *options)
{
	tarn_server *server;
	bool fine;
	int how;

	if (tarn_server_start(options, &server) < 0) {
		fprintf(stderr, "# %s\n", tarn_error_last()->message);
		return false;
	}
	sup.server = tarn_server_name(server);
	fine = supervise();
	fine &= came_back();
	how = tarn_server_shutdown(server, 2 * (int64_t)SECOND);
	tarn_server_unref(server);
	if (how != 0)
		fprintf(stderr, "# FINDING: the server ended in way %d\n", how);
	return fine && how == 0;
}

int main(int argc, char **argv)
{
	tarn_server_options options = { .log_level = 3 };
	const char *text = getenv("TARN_SOAK_SECONDS");
	bool fine;

	if (argc == 6 && strcmp(argv[1], "--worker") == 0) {
		board = board_map((int)number(argv[4]));
		if (board == NULL)
			return 5;
		return strcmp(argv[5], "flood") == 0
			       ? flood_main(argv[2], number(argv[3]))
			       : worker_main(argv[2], number(argv[3]), *argv[5] != '\0');
	}
	sup.n_workers = 6;
	sup.arena_mib = 256;
	sup.kill_every_ms = 10;
	sup.server_every_ms = 150;
	sup.seed = now_ns() ^ (uint64_t)getpid() << 32;
	read_options(argc, argv, &options);
	if (sup.seconds == 0 && sup.messages == 0)
		sup.seconds = text != NULL && *text != '\0' ? number(text) : 10;
	signal(SIGPIPE, SIG_IGN);
	setenv("TARN_VERIFY", "1", 1); /* each server that takes over checks all first */
	setvbuf(stdout, NULL, _IOLBF, 0);
	ssize_t n = readlink("/proc/self/exe", sup.self, sizeof sup.self - 1);
	sup.self[n > 0 ? n : 0] = '\0';
	board_open();
	printf("1..1\n# seed %" PRIu64 ", %d workers, %" PRIu64 " s\n", sup.seed, sup.n, sup.seconds);
	fine = soak(&options);
	report();
	fine &= board->bad == 0 && board->allocated != 0;
	printf("%s 1 - whoever is killed at random: nothing leaks, is lost, or waits for ever\n",
	       fine ? "ok" : "not ok");
	return !fine;
}
