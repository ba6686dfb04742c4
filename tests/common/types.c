/* SPDX-License-Identifier: Apache-2.0 */
#include "types.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- for tests ---- */

tarn_object *types_new(const char *file, int line, tarn_client *c, const char *type,
		       const char *args, ...)
{
	tarn_object *o = NULL;
	tarn_builder b;
	char format[32];
	va_list v;
	int r = 0;

	/* One number or nothing: enough for tests. */
	tarn_builder_init(&b);
	va_start(v, args);
	snprintf(format, sizeof format, "%s", args);
	if (strcmp(format, "d") == 0)
		r = tarn_put_double(&b, va_arg(v, double));
	else if (strcmp(format, "q") == 0)
		r = tarn_put_int(&b, va_arg(v, int64_t));
	else if (strcmp(format, "i") == 0)
		r = tarn_put_int(&b, va_arg(v, int));
	else if (format[0] != '\0')
		plain__fail(file, line, "NEW() does not know \"%s\"", args);
	va_end(v);
	if (r == 0)
		r = tarn_object_new(c, type, &b, &o);
	tarn_builder_fini(&b);
	if (r < 0)
		plain__fail(file, line, "a new %s: %s", type, tarn_error_last()->message);
	return o;
}

int64_t types_integer(tarn_object *o, const char *method)
{
	int64_t n = -1;

	OK(tarn_callf(o, method, TARN_FOREVER, NULL, "q", &n));
	return n;
}

double types_scale(tarn_object *o, double x)
{
	double y = 0;

	OK(tarn_callf(o, "scale", TARN_FOREVER, "d", "d", x, &y));
	return y;
}

int64_t types_canaries(tarn_object *counts)
{
	return types_integer(counts, "created") - types_integer(counts, "destroyed");
}

/* ---- magnifiers ---- */

struct magnifier {
	double factor;
};

static int magnifier_create(tarn_context *ctx, void *self)
{
	struct magnifier *m = self;

	return tarn_context_get(ctx, "d", &m->factor);
}
static int magnifier_scale(tarn_context *ctx, void *self)
{
	const struct magnifier *m = self;
	double x;
	int r = tarn_context_get(ctx, "d", &x);

	if (r < 0)
		return r;
	if (x < 0)
		return tarn_throw(ctx, "ValueError", "x must not be negative, as %g is", x);
	return tarn_put_double(tarn_context_result(ctx), m->factor * x);
}
static int magnifier_factor(tarn_context *ctx, void *self)
{
	return tarn_put_double(tarn_context_result(ctx), ((struct magnifier *)self)->factor);
}
/* The result itself becomes managed: an object that adopts it. */
static int magnifier_clone(tarn_context *ctx, void *self)
{
	tarn_object *o;
	int r = tarn_managed_move(ctx, "Magnifier", self, &o);

	return r < 0 ? r : tarn_put_object(tarn_context_result(ctx), o);
}
/* The result is what the creator gets. */
static int magnifier_spawn(tarn_context *ctx, void *self)
{
	return tarn_put_double(tarn_context_result(ctx), ((struct magnifier *)self)->factor * 10);
}
static int magnifier_me(tarn_context *ctx, void *self)
{
	(void)self;
	return tarn_put_object(tarn_context_result(ctx), tarn_context_self(ctx));
}
static int magnifier_describe(const void *self, char *text, size_t bytes)
{
	return snprintf(text, bytes, "Magnifier(%g)", ((const struct magnifier *)self)->factor);
}

static const tarn_method magnifier_methods[] = {
	{ "scale", magnifier_scale, TARN_METHOD_INLINE | TARN_METHOD_READ, "d", "d", NULL },
	{ "scale_slowly", magnifier_scale, TARN_METHOD_READ, "d", "d", NULL },
	{ "factor", magnifier_factor, TARN_METHOD_INLINE | TARN_METHOD_READ, "", "d", NULL },
	{ "clone", magnifier_clone, 0, "", "O", "ClonedMagnifier" },
	{ "spawn", magnifier_spawn, 0, "", "d", "Magnifier" },
	{ "me", magnifier_me, 0, "", "O", NULL },
	{ "me_inline", magnifier_me, TARN_METHOD_INLINE, "", "O", NULL },
	{ "secret", magnifier_factor, TARN_METHOD_INTERNAL, "", "d", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
static const tarn_type magnifier_type = {
	.name = "Magnifier", .size = sizeof(struct magnifier), .flags = TARN_TYPE_INLINE,
	.args = "d", .create = magnifier_create, .describe = magnifier_describe,
	.methods = magnifier_methods,
};
TARN_TYPE_REGISTER(magnifier_type)

static const tarn_type cloned_type = {
	.name = "ClonedMagnifier", .flags = TARN_TYPE_ADOPT | TARN_TYPE_RESULT_ONLY,
};
TARN_TYPE_REGISTER(cloned_type)

/* One object for each factor: the articles' Mag. Creators and destructors run one after the
 * other where the type is inline, so the table needs no lock. */
static struct mag_known {
	double factor;
	const void *self;
} mag_known[16];

static int mag_create(tarn_context *ctx, void *self)
{
	struct magnifier *m = self;
	struct mag_known *empty = NULL;
	int r = tarn_context_get(ctx, "d", &m->factor);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < 16; i++) {
		tarn_object *known;

		if (mag_known[i].self == NULL)
			empty = &mag_known[i];
		else if (mag_known[i].factor == m->factor &&
			 tarn_managed_of(ctx, mag_known[i].self, &known) == 0)
			return tarn_context_return_object(ctx, known);
	}
	if (empty != NULL)
		*empty = (struct mag_known){ .factor = m->factor, .self = self };
	return 0;
}
static void mag_destroy(tarn_context *ctx, void *self)
{
	(void)ctx;
	for (unsigned i = 0; i < 16; i++)
		if (mag_known[i].self == self)
			mag_known[i].self = NULL;
}
static const tarn_type mag_type = {
	.name = "Mag", .size = sizeof(struct magnifier), .flags = TARN_TYPE_INLINE, .args = "d",
	.create = mag_create, .destroy = mag_destroy, .describe = magnifier_describe,
	.methods = magnifier_methods,
};
TARN_TYPE_REGISTER(mag_type)

/* ---- doublers ---- */

static int times(tarn_context *ctx, int64_t n)
{
	int64_t x;
	int r = tarn_context_get(ctx, "q", &x);

	return r < 0 ? r : tarn_put_int(tarn_context_result(ctx), n * x);
}
static int doubler_double(tarn_context *ctx, void *self)
{
	(void)self;
	return times(ctx, 2);
}
static int tripler_triple(tarn_context *ctx, void *self)
{
	(void)self;
	return times(ctx, 3);
}
static const tarn_method doubler_methods[] = {
	{ "double", doubler_double, 0, "q", "q", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
static const tarn_method tripler_methods[] = {
	{ "triple", tripler_triple, 0, "q", "q", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
static const tarn_type doubler_type = { .name = "Doubler", .methods = doubler_methods };
TARN_TYPE_REGISTER(doubler_type)
static const tarn_type tripler_type = { .name = "Tripler", .methods = tripler_methods };
TARN_TYPE_REGISTER(tripler_type)

/* ---- echo ---- */

static int echo(tarn_context *ctx, void *self)
{
	const tarn_parcel *p = tarn_context_args(ctx);
	int r = 0;

	(void)self;
	for (unsigned i = 0; r == 0 && i < tarn_parcel_count(p); i++)
		r = tarn_put_value(tarn_context_result(ctx), tarn_parcel_at(p, i));
	return r;
}
static int echo_nothing(tarn_context *ctx, void *self)
{
	(void)ctx, (void)self;
	return 0;
}
static int echo_text(tarn_context *ctx, void *self)
{
	int64_t n;
	char *text;
	int r = tarn_context_get(ctx, "q", &n);

	(void)self;
	text = r == 0 ? calloc(1, (size_t)n + 1) : NULL;
	if (text == NULL)
		return r < 0 ? r : -ENOMEM;
	memset(text, 'x', (size_t)n);
	r = tarn_put_string_n(tarn_context_result(ctx), text, (size_t)n);
	free(text);
	return r;
}
static int echo_broken(tarn_context *ctx, void *self)
{
	(void)self;
	return tarn_list_begin(tarn_context_result(ctx)); /* and never ended */
}
static const tarn_method echo_methods[] = {
	{ "echo", echo, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "echo_slowly", echo, 0, NULL, NULL, NULL },
	{ "nothing", echo_nothing, TARN_METHOD_INLINE, "", "", NULL },
	{ "text", echo_text, TARN_METHOD_INLINE, "q", "s", NULL },
	{ "text_slowly", echo_text, 0, "q", "s", NULL },
	{ "broken", echo_broken, TARN_METHOD_INLINE, "", NULL, NULL },
	{ "broken_slowly", echo_broken, 0, "", NULL, NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
static const tarn_type echo_type = {
	.name = "Echo", .flags = TARN_TYPE_INLINE, .concurrency = TARN_PARALLEL,
	.methods = echo_methods,
};
TARN_TYPE_REGISTER(echo_type)

/* ---- containers ---- */

#define LIST_MOST 1000
struct list {
	int64_t n;
	uint64_t id[LIST_MOST];
};

static int list_append(tarn_context *ctx, void *self)
{
	struct list *l = self;
	tarn_object *o;
	int r = tarn_context_get(ctx, "O", &o);

	if (r == 0 && l->n == LIST_MOST)
		return tarn_throw(ctx, "IndexError", "a list holds %d objects", LIST_MOST);
	if (r == 0)
		r = tarn_self_hold_object(ctx, o);
	if (r == 0)
		l->id[l->n++] = tarn_object_id(o);
	return r;
}
static int list_at(tarn_context *ctx, const struct list *l, int64_t *ret)
{
	int r = tarn_context_get(ctx, "q", ret);

	if (r == 0 && (*ret < 0 || *ret >= l->n))
		return tarn_throw(ctx, "IndexError", "the list has %lld items, not an item %lld",
				  (long long)l->n, (long long)*ret);
	return r;
}
static int list_give(tarn_context *ctx, const struct list *l, int64_t at)
{
	tarn_object *o;
	int r = tarn_self_object(ctx, l->id[at], &o);

	return r < 0 ? r : tarn_put_object(tarn_context_result(ctx), o);
}
static int list_get(tarn_context *ctx, void *self)
{
	int64_t at;
	int r = list_at(ctx, self, &at);

	return r < 0 ? r : list_give(ctx, self, at);
}
static int list_take_out(tarn_context *ctx, struct list *l, int64_t at)
{
	uint64_t id = l->id[at];

	l->n--;
	memmove(&l->id[at], &l->id[at + 1], (size_t)(l->n - at) * sizeof l->id[0]);
	return tarn_self_drop(ctx, id);
}
static int list_remove(tarn_context *ctx, void *self)
{
	int64_t at;
	int r = list_at(ctx, self, &at);

	return r < 0 ? r : list_take_out(ctx, self, at);
}
static int list_pop(tarn_context *ctx, void *self)
{
	struct list *l = self;
	int r;

	if (l->n == 0)
		return tarn_throw(ctx, "IndexError", "pop from empty list");
	r = list_give(ctx, l, l->n - 1);
	return r < 0 ? r : list_take_out(ctx, l, l->n - 1);
}
static int list_len(tarn_context *ctx, void *self)
{
	return tarn_put_int(tarn_context_result(ctx), ((struct list *)self)->n);
}
static const tarn_method list_methods[] = {
	{ "append", list_append, TARN_METHOD_INLINE, "O", "", NULL },
	{ "get", list_get, TARN_METHOD_INLINE | TARN_METHOD_READ, "q", "O", NULL },
	{ "pop", list_pop, TARN_METHOD_INLINE, "", "O", NULL },
	{ "remove", list_remove, TARN_METHOD_INLINE, "q", "", NULL },
	{ "len", list_len, TARN_METHOD_INLINE | TARN_METHOD_READ, "", "q", NULL },
	{ "append_slowly", list_append, 0, "O", "", NULL },
	{ "get_slowly", list_get, TARN_METHOD_READ, "q", "O", NULL },
	{ "pop_slowly", list_pop, 0, "", "O", NULL },
	{ "remove_slowly", list_remove, 0, "q", "", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
static const tarn_type list_type = {
	.name = "List", .size = sizeof(struct list), .flags = TARN_TYPE_INLINE,
	.methods = list_methods,
};
TARN_TYPE_REGISTER(list_type)

/* A list of one: small, for deep chains. */
struct link {
	uint64_t id;
};
static int link_set(tarn_context *ctx, void *self)
{
	struct link *l = self;
	tarn_object *o;
	int r = tarn_context_get(ctx, "O", &o);

	if (r == 0)
		r = tarn_self_hold_object(ctx, o);
	if (r == 0 && l->id != 0)
		r = tarn_self_drop(ctx, l->id);
	if (r == 0)
		l->id = tarn_object_id(o);
	return r;
}
static int link_next(tarn_context *ctx, void *self)
{
	struct link *l = self;
	tarn_object *o;
	int r = tarn_self_object(ctx, l->id, &o);

	return r < 0 ? r : tarn_put_object(tarn_context_result(ctx), o);
}
static const tarn_method link_methods[] = {
	{ "set", link_set, TARN_METHOD_INLINE, "O", "", NULL },
	{ "next", link_next, TARN_METHOD_INLINE | TARN_METHOD_READ, "", "O", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
static const tarn_type link_type = {
	.name = "Link", .size = sizeof(struct link), .flags = TARN_TYPE_INLINE,
	.methods = link_methods,
};
TARN_TYPE_REGISTER(link_type)

struct bag {
	int64_t n;
	uint64_t id[64];
};
static int bag_put(tarn_context *ctx, void *self)
{
	struct bag *b = self;
	tarn_block *block;
	int r = tarn_context_get(ctx, "B", &block);

	if (r == 0 && b->n == 64)
		return tarn_throw(ctx, "IndexError", "the bag is full");
	if (r == 0)
		r = tarn_self_hold_block(ctx, block);
	if (r == 0)
		b->id[b->n++] = tarn_block_id(block);
	return r;
}
static int bag_get(tarn_context *ctx, void *self)
{
	struct bag *b = self;
	tarn_block *block;
	int64_t at;
	int r = tarn_context_get(ctx, "q", &at);

	if (r == 0 && (at < 0 || at >= b->n))
		return tarn_throw(ctx, "IndexError", "there is no block %lld", (long long)at);
	if (r == 0)
		r = tarn_self_block(ctx, b->id[at], &block);
	return r < 0 ? r : tarn_put_block(tarn_context_result(ctx), block);
}
static int bag_clear(tarn_context *ctx, void *self)
{
	struct bag *b = self;
	int r = 0;

	while (r == 0 && b->n > 0)
		r = tarn_self_drop(ctx, b->id[--b->n]);
	return r;
}
static const tarn_method bag_methods[] = {
	{ "put", bag_put, TARN_METHOD_INLINE, "B", "", NULL },
	{ "put_slowly", bag_put, 0, "B", "", NULL },
	{ "get", bag_get, TARN_METHOD_INLINE, "q", "B", NULL },
	{ "get_slowly", bag_get, 0, "q", "B", NULL },
	{ "clear", bag_clear, TARN_METHOD_INLINE, "", "", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
static const tarn_type bag_type = {
	.name = "Bag", .size = sizeof(struct bag), .flags = TARN_TYPE_INLINE,
	.methods = bag_methods,
};
TARN_TYPE_REGISTER(bag_type)

/* ---- counters ---- */

struct counter {
	int64_t n;
};

/* Read and write far apart: two at once lose updates. */
static int counter_add(tarn_context *ctx, void *self)
{
	struct counter *c = self;
	volatile int64_t *n = &c->n;
	int64_t more, old;
	int r = tarn_context_get(ctx, "q", &more);

	if (r < 0)
		return r;
	old = *n;
	for (volatile int i = 0; i < 20; i++)
		;
	*n = old + more;
	return tarn_put_int(tarn_context_result(ctx), old + more);
}
static int counter_get(tarn_context *ctx, void *self)
{
	return tarn_put_int(tarn_context_result(ctx), ((struct counter *)self)->n);
}
static const tarn_method counter_methods[] = {
	{ "add", counter_add, 0, "q", "q", NULL },
	{ "inline_add", counter_add, TARN_METHOD_INLINE, "q", "q", NULL },
	{ "get", counter_get, TARN_METHOD_READ, "", "q", NULL },
	{ "inline_get", counter_get, TARN_METHOD_INLINE | TARN_METHOD_READ, "", "q", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
static const tarn_field counter_fields[] = {
	{ "n", 'q', true, offsetof(struct counter, n) },
	{ NULL, 0, false, 0 },
};
#define COUNTER(variable, type_name, how)                                                 \
	static const tarn_type variable = {                                               \
		.name = type_name, .size = sizeof(struct counter), .concurrency = how,    \
		.flags = TARN_TYPE_INLINE, .methods = counter_methods,                    \
		.fields = counter_fields,                                                 \
	};                                                                                \
	TARN_TYPE_REGISTER(variable)
COUNTER(counter_type, "Counter", TARN_SERIAL)
COUNTER(parallel_counter_type, "ParallelCounter", TARN_PARALLEL)
COUNTER(read_mostly_counter_type, "ReadMostlyCounter", TARN_READ_MOSTLY)

struct sequence {
	int64_t last;
};
static int sequence_note(tarn_context *ctx, void *self)
{
	struct sequence *s = self;
	int64_t n;
	int r = tarn_context_get(ctx, "q", &n);

	if (r < 0)
		return r;
	if (n != s->last + 1)
		return tarn_throw(ctx, "ValueError", "%lld came after %lld", (long long)n,
				  (long long)s->last);
	s->last = n;
	return 0;
}
static int sequence_last(tarn_context *ctx, void *self)
{
	return tarn_put_int(tarn_context_result(ctx), ((struct sequence *)self)->last);
}
static const tarn_method sequence_methods[] = {
	{ "note", sequence_note, TARN_METHOD_INLINE, "q", "", NULL },
	{ "note_slowly", sequence_note, 0, "q", "", NULL },
	{ "last", sequence_last, TARN_METHOD_INLINE, "", "q", NULL },
	{ "last_slowly", sequence_last, 0, "", "q", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
static const tarn_type sequence_type = {
	.name = "Sequence", .size = sizeof(struct sequence), .flags = TARN_TYPE_INLINE,
	.methods = sequence_methods,
};
TARN_TYPE_REGISTER(sequence_type)

/* ---- those who take their time ---- */

static int sleeper_sleep(tarn_context *ctx, void *self)
{
	int64_t ns;
	int r = tarn_context_get(ctx, "q", &ns);

	(void)self;
	if (r < 0)
		return r;
	nanosleep(&(struct timespec){ .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 }, NULL);
	return tarn_put_int(tarn_context_result(ctx), ns);
}
/* How many wait() run, and how many were told that they are canceled. */
static int64_t sleeper_waiting, sleeper_told;

static int sleeper_wait(tarn_context *ctx, void *self)
{
	(void)self;
	__atomic_add_fetch(&sleeper_waiting, 1, __ATOMIC_RELAXED);
	while (!tarn_context_canceled(ctx))
		nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
	__atomic_sub_fetch(&sleeper_waiting, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&sleeper_told, 1, __ATOMIC_RELAXED);
	return tarn_put_object(tarn_context_result(ctx), tarn_context_self(ctx));
}
static int sleeper_waits(tarn_context *ctx, void *self)
{
	(void)self;
	return tarn_put_int(tarn_context_result(ctx),
			    __atomic_load_n(&sleeper_waiting, __ATOMIC_RELAXED));
}
static int sleeper_was_told(tarn_context *ctx, void *self)
{
	(void)self;
	return tarn_put_int(tarn_context_result(ctx), __atomic_load_n(&sleeper_told, __ATOMIC_RELAXED));
}
static const tarn_method sleeper_methods[] = {
	{ "sleep", sleeper_sleep, 0, "q", "q", NULL },
	{ "wait", sleeper_wait, 0, "", "O", NULL },
	{ "waiting", sleeper_waits, TARN_METHOD_INLINE, "", "q", NULL },
	{ "told", sleeper_was_told, TARN_METHOD_INLINE, "", "q", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
static const tarn_type sleeper_type = {
	.name = "Sleeper", .concurrency = TARN_PARALLEL, .flags = TARN_TYPE_INLINE,
	.methods = sleeper_methods,
};
TARN_TYPE_REGISTER(sleeper_type)

/* ---- those who fail ---- */

__attribute__((noinline)) static int gee(tarn_context *ctx, int64_t x)
{
	return tarn_throw(ctx, "ValueError", "%lld", (long long)x);
}
__attribute__((noinline)) static int foo(tarn_context *ctx, int64_t x)
{
	int r = gee(ctx, x + 1);

	__asm__ volatile("" : "+r"(r)); /* no tail call: a frame of its own */
	return r;
}
static int thrower_foo(tarn_context *ctx, void *self)
{
	int64_t x;
	int r = tarn_context_get(ctx, "q", &x);

	(void)self;
	r = r < 0 ? r : foo(ctx, x);
	__asm__ volatile("" : "+r"(r));
	return r;
}
static int thrower_throw(tarn_context *ctx, void *self)
{
	const char *domain, *message;
	int r = tarn_context_get(ctx, "ss", &domain, &message);

	(void)self;
	return r < 0 ? r : tarn_throw(ctx, domain, "%s", message);
}
/* A code of the library, without a word of its own. */
static int thrower_code(tarn_context *ctx, void *self)
{
	int64_t code;
	int r = tarn_context_get(ctx, "q", &code);

	(void)self;
	return r < 0 ? r : (int)code;
}
/* Calls a method of another object, and passes its failure on. */
static int thrower_relay(tarn_context *ctx, void *self)
{
	tarn_object *other;
	const char *method;
	int64_t x;
	int r = tarn_context_get(ctx, "Osq", &other, &method, &x);

	(void)self;
	if (r == 0)
		r = tarn_callf(other, method, TARN_FOREVER, "q", NULL, x);
	return r < 0 ? tarn_rethrow(ctx) : 0;
}
/* Errors as values: a list of pairs of a number and what came of it. */
static int thrower_results(tarn_context *ctx, void *self)
{
	tarn_fault *f = tarn_fault_new("TypeError", 0, "a %s is not a number", "word");
	tarn_builder *b = tarn_context_result(ctx);
	int r;

	(void)self;
	r = tarn_put(b, "[[ie][is]]", 1, f, 2, "fine");
	tarn_fault_unref(f);
	return r;
}
static int thrower_ensemble(tarn_context *ctx, void *self)
{
	tarn_fault *f = tarn_fault_new("EnsembleError", 0, "2 of 3 failed");
	tarn_fault *a = tarn_fault_new("ValueError", 0, "the first");
	tarn_fault *c = tarn_fault_new("KeyError", 0, "the third");
	int r = tarn_fault_add_child(f, a);

	(void)self;
	if (r == 0)
		r = tarn_fault_add_child(f, c);
	if (r == 0)
		r = tarn_put_error(tarn_context_result(ctx), f);
	tarn_fault_unref(a);
	tarn_fault_unref(c);
	tarn_fault_unref(f);
	return r;
}
static const tarn_method thrower_methods[] = {
	{ "foo", thrower_foo, 0, "q", "", NULL },
	{ "foo_inline", thrower_foo, TARN_METHOD_INLINE, "q", "", NULL },
	{ "throw", thrower_throw, TARN_METHOD_INLINE, "ss", "", NULL },
	{ "throw_slowly", thrower_throw, 0, "ss", "", NULL },
	{ "code", thrower_code, TARN_METHOD_INLINE, "q", "", NULL },
	{ "code_slowly", thrower_code, 0, "q", "", NULL },
	{ "relay", thrower_relay, 0, "Osq", "", NULL },
	{ "results", thrower_results, 0, "", NULL, NULL },
	{ "ensemble", thrower_ensemble, 0, "", "e", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
static const tarn_type thrower_type = {
	.name = "Thrower", .concurrency = TARN_PARALLEL, .flags = TARN_TYPE_INLINE,
	.methods = thrower_methods,
};
TARN_TYPE_REGISTER(thrower_type)

static int failing_create(tarn_context *ctx, void *self)
{
	int64_t how;
	int r = tarn_context_get(ctx, "q", &how);

	(void)self;
	if (r < 0)
		return r;
	return how == 0 ? tarn_throw(ctx, "RuntimeError", "there will be no object")
			: (int)-how;
}
static const tarn_type failing_type = { .name = "Failing", .size = 100, .args = "q",
					.create = failing_create };
TARN_TYPE_REGISTER(failing_type)
static const tarn_type failing_inline_type = { .name = "FailingInline", .size = 100, .args = "q",
					       .flags = TARN_TYPE_INLINE,
					       .create = failing_create };
TARN_TYPE_REGISTER(failing_inline_type)

/* ---- those who call ---- */

static int caller_call(tarn_context *ctx, void *self)
{
	tarn_object *o;
	const char *method;
	tarn_parcel p;
	int r = tarn_context_get(ctx, "Os", &o, &method);

	(void)self;
	if (r == 0)
		r = tarn_call(o, method, NULL, &p, TARN_FOREVER);
	if (r < 0)
		return r;
	for (unsigned i = 0; r == 0 && i < tarn_parcel_count(&p); i++)
		r = tarn_put_value(tarn_context_result(ctx), tarn_parcel_at(&p, i));
	tarn_parcel_fini(&p);
	return r;
}
/* Down to 0 by way of @other, who calls back: A.f, B.g, A.f ... */
static int caller_down(tarn_context *ctx, void *self)
{
	tarn_object *other;
	int64_t n, below = 0;
	int r = tarn_context_get(ctx, "Oq", &other, &n);

	(void)self;
	if (r == 0 && n > 0)
		r = tarn_callf(other, "down", TARN_FOREVER, "Oq", "q", tarn_context_self(ctx), n - 1,
			       &below);
	return r < 0 ? r : tarn_put_int(tarn_context_result(ctx), below + 1);
}
static const tarn_method caller_methods[] = {
	{ "call", caller_call, 0, "Os", NULL, NULL },
	{ "down", caller_down, 0, "Oq", "q", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
static const tarn_type caller_type = { .name = "Caller", .methods = caller_methods,
				       .flags = TARN_TYPE_INLINE };
TARN_TYPE_REGISTER(caller_type)

/* ---- results of all kinds ---- */

static int64_t canaries_made, canaries_gone;

/* MP's make_data: plain data with objects and a block at any depth. */
static int maker_data(tarn_context *ctx, void *self)
{
	tarn_client *c = tarn_context_client(ctx);
	tarn_builder none;
	tarn_object *list = NULL, *item = NULL;
	tarn_block *block;
	int r;

	(void)self;
	tarn_builder_init(&none);
	r = tarn_block_new(c, 80, 0, &block);
	if (r < 0)
		return r;
	memset(tarn_block_data(block), 8, 80);
	r = tarn_managed(ctx, "List", NULL, &list);
	if (r == 0)
		r = tarn_managed(ctx, "Canary", NULL, &item);
	for (int i = 0; r == 0 && i < 2; i++)
		r = tarn_callf(list, "append", TARN_FOREVER, "O", NULL, item);
	if (r == 0)
		r = tarn_put(tarn_context_result(ctx), "{s:s s:O s:[ss{s:[ssO]}] s:{s:B}}", "name",
			     "Tom", "hobbies", list, "jobs", "a", "b", "UK", "BA", "BT", item, "more",
			     "mem", block);
	tarn_block_unref(block);
	tarn_builder_fini(&none);
	return r;
}
static int maker_blocks(tarn_context *ctx, void *self)
{
	tarn_block *b[20];
	int64_t n;
	int r = tarn_context_get(ctx, "q", &n), made = 0;

	(void)self;
	if (r < 0 || n < 0 || n > 20)
		return -EINVAL;
	tarn_list_begin(tarn_context_result(ctx));
	for (; made < n && r == 0; made++) {
		r = tarn_block_new(tarn_context_client(ctx), (size_t)(made + 1) * 10, 0, &b[made]);
		if (r == 0)
			r = tarn_put_block(tarn_context_result(ctx), b[made]);
	}
	for (int i = 0; i < made; i++)
		tarn_block_unref(b[i]);
	return r < 0 ? r : tarn_list_end(tarn_context_result(ctx));
}
/* Makes a few, then fails: none must remain. */
static int maker_fail(tarn_context *ctx, void *self)
{
	int64_t n;
	int r = tarn_context_get(ctx, "q", &n);

	(void)self;
	for (int64_t i = 0; r == 0 && i < n; i++) {
		tarn_object *o;

		r = tarn_managed(ctx, "Canary", NULL, &o);
		if (r == 0)
			r = tarn_put_object(tarn_context_result(ctx), o);
	}
	return r < 0 ? r : tarn_throw(ctx, "RuntimeError", "after %lld", (long long)n);
}
/* Its type depends on the argument. */
static int maker_make(tarn_context *ctx, void *self)
{
	const char *type;
	tarn_object *o;
	int r = tarn_context_get(ctx, "s", &type);

	(void)self;
	if (r == 0)
		r = tarn_managed(ctx, type, NULL, &o);
	return r < 0 ? r : tarn_put_object(tarn_context_result(ctx), o);
}
static const tarn_method maker_methods[] = {
	{ "data", maker_data, 0, "", NULL, NULL },
	{ "blocks", maker_blocks, 0, "q", NULL, NULL },
	{ "fail", maker_fail, 0, "q", NULL, NULL },
	{ "fail_inline", maker_fail, TARN_METHOD_INLINE, "q", NULL, NULL },
	{ "make", maker_make, 0, "s", "O", NULL },
	{ "make_inline", maker_make, TARN_METHOD_INLINE, "s", "O", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
static const tarn_type maker_type = { .name = "Maker", .methods = maker_methods,
				      .flags = TARN_TYPE_INLINE, .concurrency = TARN_PARALLEL };
TARN_TYPE_REGISTER(maker_type)

static int canary_create(tarn_context *ctx, void *self)
{
	(void)ctx;
	*(uint64_t *)self = 0xca9a97;
	__atomic_add_fetch(&canaries_made, 1, __ATOMIC_RELAXED);
	return 0;
}
static void canary_destroy(tarn_context *ctx, void *self)
{
	(void)ctx;
	/* Twice, or of what never was, and the server says so by its end. */
	if (*(uint64_t *)self != 0xca9a97)
		abort();
	*(uint64_t *)self = 0;
	__atomic_add_fetch(&canaries_gone, 1, __ATOMIC_RELAXED);
}
static int canary_me(tarn_context *ctx, void *self)
{
	return *(uint64_t *)self == 0xca9a97
		       ? tarn_put_object(tarn_context_result(ctx), tarn_context_self(ctx))
		       : tarn_throw(ctx, "RuntimeError", "called after its end");
}
static int canary_sing(tarn_context *ctx, void *self)
{
	return *(uint64_t *)self == 0xca9a97
		       ? 0 : tarn_throw(ctx, "RuntimeError", "called after its end");
}
static const tarn_method canary_methods[] = {
	{ "me", canary_me, TARN_METHOD_INLINE, "", "O", NULL },
	{ "me_slowly", canary_me, 0, "", "O", NULL },
	{ "sing", canary_sing, TARN_METHOD_INLINE, "", "", NULL },
	{ "sing_slowly", canary_sing, 0, "", "", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
static const tarn_type canary_type = {
	.name = "Canary", .size = 8, .flags = TARN_TYPE_INLINE, .create = canary_create,
	.destroy = canary_destroy, .methods = canary_methods,
};
TARN_TYPE_REGISTER(canary_type)
/* The same on executors. */
static const tarn_type slow_canary_type = {
	.name = "SlowCanary", .size = 8, .create = canary_create, .destroy = canary_destroy,
	.methods = canary_methods,
};
TARN_TYPE_REGISTER(slow_canary_type)

static int counts_created(tarn_context *ctx, void *self)
{
	(void)self;
	return tarn_put_int(tarn_context_result(ctx),
			    __atomic_load_n(&canaries_made, __ATOMIC_RELAXED));
}
static int counts_destroyed(tarn_context *ctx, void *self)
{
	(void)self;
	return tarn_put_int(tarn_context_result(ctx),
			    __atomic_load_n(&canaries_gone, __ATOMIC_RELAXED));
}
static const tarn_method counts_methods[] = {
	{ "created", counts_created, TARN_METHOD_INLINE, "", "q", NULL },
	{ "destroyed", counts_destroyed, TARN_METHOD_INLINE, "", "q", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
static const tarn_type counts_type = { .name = "Counts", .methods = counts_methods,
				       .flags = TARN_TYPE_INLINE };
TARN_TYPE_REGISTER(counts_type)
