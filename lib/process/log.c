/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logging: records go to a handler of this process or, in a worker that set none, through the
 * ring to its parent.
 *
 * Two locks: `ring_mutex` for the ring's one writer, `sink_mutex` for handlers, which see one
 * record at a time. A thread that is inside a handler has `inside` set; what it logs then
 * goes to stderr, so that a handler cannot wait for itself.
 */
#include "log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/say.h"
#include "shm/wake.h"

#define MESSAGE_MOST 16000u
#define NAME_MOST 255u
#define ROOM_WAIT_NS 1000000000
#define ENTRY_PREFIX "tarn__worker_" /* TARN_WORKER() puts that in front */
#define DEFAULT_FORMAT "%t %l %n [%p] %f:%L %m"

static pthread_mutex_t sink_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t ring_mutex = PTHREAD_MUTEX_INITIALIZER;
static tarn_log_handler handler;        /* guarded by sink_mutex */
static bool has_handler;                /* relaxed reads: which way records go */
static __thread bool inside;

/* Of a worker that forwards. */
static struct tarn__log_ring *ring;     /* NULL: nowhere to */
static pid_t ring_of;                   /* the ring has one writer: not who was forked from it */
static int bell = -1;
static const char *own_name = "";
static uint64_t sequence;               /* counted up atomically; of a ring's, under ring_mutex */
static uint32_t lost;                   /* guarded by ring_mutex */

/* ---- as text ---- */

static const char *level_name(int level)
{
	switch (level) {
	case TARN_LOG_DEBUG:
		return "DEBUG";
	case TARN_LOG_WARNING:
		return "WARNING";
	case TARN_LOG_ERROR:
		return "ERROR";
	case TARN_LOG_CRITICAL:
		return "CRITICAL";
	default:
		return level < TARN_LOG_CRITICAL ? "CRITICAL" : "INFO";
	}
}

struct text {
	char *at;
	size_t room, n;
};

static void add(struct text *t, const char *s, size_t n)
{
	if (t->n < t->room) {
		size_t fits = t->room - t->n < n ? t->room - t->n : n;

		memcpy(t->at + t->n, s, fits);
	}
	t->n += n;
}

static void add_text(struct text *t, const char *s)
{
	add(t, s != NULL ? s : "", s != NULL ? strlen(s) : 0);
}

static void add_number(struct text *t, uint64_t n)
{
	char digits[24];

	add(t, digits, (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)n));
}

static void add_time(struct text *t, int64_t ns)
{
	time_t seconds = (time_t)(ns / 1000000000);
	char text[64];
	struct tm tm;
	size_t n;

	localtime_r(&seconds, &tm);
	n = strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
	n += (size_t)snprintf(text + n, sizeof text - n, ".%06d", (int)(ns % 1000000000 / 1000));
	add(t, text, n);
}

static void add_field(struct text *t, char field, const tarn_log_record *r)
{
	switch (field) {
	case 't':
		return add_time(t, r->time_ns);
	case 'l':
		return add_text(t, level_name(r->level));
	case 'n':
		return add_text(t, r->logger);
	case 'p':
		return add_text(t, r->process != NULL && *r->process != '\0' ? r->process : "main");
	case 'P':
		return add_number(t, (uint64_t)r->pid);
	case 'T':
		return add_number(t, (uint64_t)r->tid);
	case 'f':
		return add_text(t, r->function);
	case 'F':
		return add_text(t, r->file);
	case 'L':
		return add_number(t, r->line);
	case 'm':
		return add_text(t, r->message);
	case 's':
		return add_number(t, r->sequence);
	default:
		add(t, &field, 1);
	}
}

int tarn_log_format(const tarn_log_record *record, const char *format, char *text, size_t bytes)
{
	struct text t = { .at = text, .room = bytes > 0 ? bytes - 1 : 0 };

	for (const char *f = format != NULL ? format : DEFAULT_FORMAT; *f != '\0'; f++) {
		if (*f == '%' && f[1] != '\0')
			add_field(&t, *++f, record);
		else
			add(&t, f, 1);
	}
	if (bytes > 0)
		text[t.n < bytes - 1 ? t.n : bytes - 1] = '\0';
	return (int)t.n;
}

static void print(const tarn_log_record *r, const char *format)
{
	char line[MESSAGE_MOST + 1024];

	tarn_log_format(r, format, line, sizeof line);
	tarn__say("", line);
}

/* ---- handling ---- */

static void handle(const tarn_log_handler *h, const tarn_log_record *r)
{
	if (r->level > (h->level != 0 ? h->level : TARN_LOG_INFO))
		return;
	inside = true;
	if (h->sink != NULL)
		h->sink(h->arg, r);
	else
		print(r, h->format);
	inside = false;
}

void tarn_log_set(const tarn_log_handler *to)
{
	if (inside)
		return; /* a handler does not change itself */
	pthread_mutex_lock(&sink_mutex);
	handler = to != NULL ? *to : (tarn_log_handler){ 0 };
	/* Relaxed: records that are written meanwhile go either way. */
	__atomic_store_n(&has_handler, to != NULL, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&sink_mutex);
}

/* A forked child may log: whoever was inside a handler is not there. */
static void lock_before_fork(void)
{
	if (!inside)
		pthread_mutex_lock(&sink_mutex);
}
static void unlock_after_fork(void)
{
	if (!inside)
		pthread_mutex_unlock(&sink_mutex);
}
/* From the first, as in launch.c. After all others of ours: the last one that is said is called first when somebody
 * forks, who then has none of their locks while it waits for a handler, and handlers may call what takes them. */
__attribute__((constructor(102))) static void prepare_for_fork(void)
{
	pthread_atfork(lock_before_fork, unlock_after_fork, unlock_after_fork);
}

static void handle_here(const tarn_log_handler *own, const tarn_log_record *r)
{
	if (inside) {
		print(r, NULL);
		return;
	}
	pthread_mutex_lock(&sink_mutex);
	const tarn_log_handler h = own != NULL ? *own : handler;
	handle(&h, r);
	pthread_mutex_unlock(&sink_mutex);
}

/* ---- to the parent ---- */

static uint16_t name_length(const char *s)
{
	return s != NULL ? (uint16_t)strnlen(s, NAME_MOST) : 0;
}

static unsigned char *put_text(unsigned char *at, const char *s, size_t n)
{
	if (n > 0)
		memcpy(at, s, n);
	at[n] = '\0';
	return at + n + 1;
}

static void wire_of(const tarn_log_record *r, struct tarn__log_wire *w)
{
	size_t message = strlen(r->message);

	if (message > MESSAGE_MOST)
		message = MESSAGE_MOST;
	*w = (struct tarn__log_wire){
		.level = (uint8_t)r->level, .source = (uint8_t)r->source, .line = r->line,
		.pid = r->pid, .tid = r->tid, .time_ns = r->time_ns, .sequence = r->sequence,
		.lost = (uint32_t)r->lost, .pressed = r->pressed,
		.logger = name_length(r->logger), .file = name_length(r->file),
		.function = name_length(r->function), .process = name_length(r->process),
		.message = (uint32_t)message,
	};
	unsigned char *at = (unsigned char *)(w + 1);
	at = put_text(at, r->logger, w->logger);
	at = put_text(at, r->file, w->file);
	at = put_text(at, r->function, w->function);
	at = put_text(at, r->process, w->process);
	at = put_text(at, r->message, w->message);
	w->bytes = (uint32_t)tarn__round_up((uint64_t)(at - (unsigned char *)w), 8);
}

/* False: it found no room in time, and is counted. A record of this process gets its number
 * here, where they stand in line. */
static bool forward(const tarn_log_record *r, bool mine)
{
	union {
		struct tarn__log_wire w;
		unsigned char room[sizeof(struct tarn__log_wire) + MESSAGE_MOST + 4 * NAME_MOST + 64];
	} u;
	bool put, rings;

	wire_of(r, &u.w);
	pthread_mutex_lock(&ring_mutex);
	if (mine) {
		/* Relaxed: others count up only while records change their way. */
		u.w.sequence = __atomic_fetch_add(&sequence, 1, __ATOMIC_RELAXED);
		u.w.lost = lost;
		u.w.pressed = lost > 0;
	}
	put = tarn__log_ring_put(ring, &u.w, u.w.bytes);
	if (!put && lost == 0) { /* a reader that let us wait in vain is not waited for again */
		u.w.pressed = 1;
		tarn__log_ring_await(ring, u.w.bytes, tarn__deadline(ROOM_WAIT_NS));
		put = tarn__log_ring_put(ring, &u.w, u.w.bytes);
	}
	if (put && mine)
		lost = 0;
	else if (!put)
		lost++;
	rings = put && tarn__log_ring_must_ring(ring);
	pthread_mutex_unlock(&ring_mutex);
	if (rings) {
		const uint64_t one = 1;

		if (write(bell, &one, sizeof one) < 0)
			return put; /* it is rung already */
	}
	return put;
}

void tarn__log_forward(struct tarn__log_ring *to, int to_bell, const char *process)
{
	ring = to;
	bell = to_bell;
	own_name = process;
	ring_of = getpid();
}

/* Whether records of this process go to its parent. */
static bool forwards(void)
{
	return ring != NULL && !__atomic_load_n(&has_handler, __ATOMIC_RELAXED) && ring_of == getpid();
}

void tarn_log_write(int level, const char *logger, const char *file, unsigned line,
		    const char *function, const char *format, ...)
{
	char message[MESSAGE_MOST + 1];
	struct timespec now;
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof message, format, args);
	va_end(args);
	if (strncmp(function, ENTRY_PREFIX, sizeof ENTRY_PREFIX - 1) == 0)
		function += sizeof ENTRY_PREFIX - 1; /* as its author calls it */
	clock_gettime(CLOCK_REALTIME, &now);
	tarn_log_record r = {
		.level = level, .logger = logger != NULL ? logger : "", .message = message,
		.file = file, .function = function, .line = line, .process = own_name,
		.pid = (int)getpid(), .tid = (int)gettid(),
		.time_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec,
	};
	if (forwards()) {
		forward(&r, true);
		return;
	}
	/* Relaxed: numbers are in order per thread, and unique. */
	r.sequence = __atomic_fetch_add(&sequence, 1, __ATOMIC_RELAXED);
	handle_here(NULL, &r);
}

/* ---- from a child ---- */

void tarn__log_deliver(const struct tarn__log_route *route, const tarn_log_record *record)
{
	tarn_log_record r = *record;

	if (r.process == NULL || *r.process == '\0')
		r.process = route->process;
	if (route->own)
		handle_here(&route->handler, &r);
	else if (forwards())
		forward(&r, false); /* to our parent, which has the last word */
	else
		handle_here(NULL, &r);
}

void tarn__log_deliver_wire(const struct tarn__log_route *route, const struct tarn__log_wire *w,
			    uint32_t bytes)
{
	const uint64_t all = sizeof *w + (uint64_t)w->logger + w->file + w->function + w->process +
			     w->message + 5;
	const char *text[5], *at = (const char *)(w + 1);
	const uint32_t length[5] = { w->logger, w->file, w->function, w->process, w->message };

	if (bytes < sizeof *w || all > bytes)
		return;
	for (int i = 0; i < 5; i++) {
		text[i] = at;
		at += length[i] + 1;
		if (at[-1] != '\0')
			return;
	}
	const tarn_log_record r = {
		.level = w->level, .source = w->source <= TARN_LOG_STDERR ? w->source : TARN_LOG_CALL,
		.logger = text[0], .file = text[1], .function = text[2], .process = text[3],
		.message = text[4], .line = w->line, .pid = w->pid, .tid = w->tid,
		.time_ns = w->time_ns, .sequence = w->sequence, .lost = w->lost,
		.pressed = w->pressed != 0,
	};
	tarn__log_deliver(route, &r);
}
