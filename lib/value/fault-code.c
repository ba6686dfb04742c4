/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults as values: the slots of an error are
 *
 *	domain, code, message, process, pid, tid, hops, [frame...], cause or nil, [member...]
 *
 * and those of a frame, a list,
 *
 *	function, file, line, module, offset, build id
 *
 * where names may be nil. Whoever finds more slots than it knows ignores them. Causes that are too
 * many or too deep are left out by the sender, so that a fault can always be sent: from the
 * middle, as where it began and who told us matter most.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "lib/error.h"

enum { DOMAIN, CODE, MESSAGE, PROCESS, PID, TID, HOPS, FRAMES, CAUSE, MEMBERS, N_SLOTS };
enum { FUNCTION, FILE_NAME, LINE, MODULE, OFFSET, BUILD_ID, N_FRAME_SLOTS };
#define DEPTH_OF_FAULT 3u /* its own slots, the list of frames, a frame */

/* ---- encoding ---- */

static void put_frame(tarn_builder *b, const struct tarn__frame *f)
{
	tarn_list_begin(b);
	tarn_put_string(b, f->function);
	tarn_put_string(b, f->file);
	tarn_put_uint(b, f->line);
	tarn_put_string(b, f->module);
	tarn_put_uint(b, f->offset);
	tarn_put_bytes(b, f->build_id, f->build_id_bytes);
	tarn_list_end(b);
}

/* How many causes a fault at the builder's depth may have: each is one deeper. */
static unsigned causes_that_fit(const tarn_builder *b)
{
	unsigned depth = b->depth + DEPTH_OF_FAULT;
	unsigned fit = depth < TARN_DEPTH_MAX ? TARN_DEPTH_MAX - depth : 0;

	return fit < TARN_CAUSES_MAX ? fit : TARN_CAUSES_MAX;
}

/* The cause to send with @left of them still to go; half of them are the oldest. */
static const tarn_fault *next_cause(const tarn_fault *f, unsigned left, unsigned skip_at)
{
	const tarn_fault *cause = f->cause;
	unsigned n = 0;

	if (left == 0)
		return NULL;
	if (left != skip_at)
		return cause;
	for (const tarn_fault *c = cause; c != NULL; c = c->cause)
		n++;
	for (; n > left; n--)
		cause = cause->cause;
	return cause;
}

static void put_members(tarn_builder *b, const tarn_fault *f);

static int put_fault(tarn_builder *b, const tarn_fault *f, unsigned left, unsigned skip_at)
{
	const tarn_fault *cause = next_cause(f, left, skip_at);

	tarn__open(b, TARN_KIND_ERROR);
	tarn_put_string(b, f->domain);
	tarn_put_int(b, f->code);
	tarn_put_string(b, f->message);
	tarn_put_string(b, f->process);
	tarn_put_int(b, f->pid);
	tarn_put_int(b, f->tid);
	tarn_put_uint(b, f->hops);
	tarn_list_begin(b);
	for (size_t i = 0; i < f->n_frames; i++)
		put_frame(b, &f->frames[i]);
	tarn_list_end(b);
	if (cause != NULL)
		put_fault(b, cause, left - 1, skip_at);
	else
		tarn_put_nil(b);
	put_members(b, f);
	return tarn__close(b, TARN_KIND_ERROR);
}

static void put_members(tarn_builder *b, const tarn_fault *f)
{
	unsigned fit;

	tarn_list_begin(b);
	fit = causes_that_fit(b);
	if (b->depth + DEPTH_OF_FAULT <= TARN_DEPTH_MAX)
		for (size_t i = 0; i < f->n_children; i++)
			put_fault(b, f->children[i], fit, (fit + 1) / 2);
	tarn_list_end(b);
}

int tarn_put_error(tarn_builder *builder, const tarn_fault *fault)
{
	unsigned fit = causes_that_fit(builder);

	return fault != NULL ? put_fault(builder, fault, fit, (fit + 1) / 2)
			     : tarn_put_nil(builder);
}

/* ---- decoding ---- */

struct decoder {
	struct tarn__walk walk;
	int error; /* the first failure */
};

static void fail(struct decoder *d, int code)
{
	if (d->error == 0)
		d->error = code;
}

/* The slot @index of @around, of one of the kinds in the mask (nil only if it is in). */
static tarn_value take(struct decoder *d, const tarn_value *around, uint32_t index, unsigned kinds)
{
	tarn_value v = tarn__slot_of(around, index);
	int r = tarn__walk_visit(&d->walk, &v);

	if (r < 0)
		fail(d, r == -ENOENT ? -TARN_EPROTO : r);
	else if (!(kinds >> tarn__head_kind(v.head) & 1))
		fail(d, tarn__fail(-TARN_EPROTO, "An error that arrived has a %s as its part %u.",
				   tarn_kind_name(tarn_value_kind(v)), index));
	else
		return v;
	return tarn_value_none(-TARN_EPROTO);
}
#define KIND(k) (1u << TARN_KIND_##k)

/* A copy of a string; NULL for nil. What a NUL inside hides is not missed. */
static char *take_string(struct decoder *d, const tarn_value *around, uint32_t index,
			 unsigned kinds)
{
	tarn_value v = take(d, around, index, KIND(STRING) | kinds);
	const unsigned char *data;
	size_t bytes;
	char *text;

	if (d->error != 0 || tarn__head_kind(v.head) == TARN_KIND_NIL)
		return NULL;
	if (tarn__value_data(&v, &data, &bytes) < 0) {
		fail(d, -TARN_EPROTO);
		return NULL;
	}
	text = strndup((const char *)data, bytes);
	if (text == NULL)
		fail(d, tarn__fail(-ENOMEM, "No memory for a part of a fault."));
	return text;
}

static void fail_number(struct decoder *d, uint32_t index)
{
	fail(d, tarn__fail(-TARN_EPROTO, "An error that arrived has an impossible number as its part %u.",
			   index));
}

static int take_code(struct decoder *d, const tarn_value *around)
{
	tarn_value v = take(d, around, CODE, KIND(INT) | KIND(UINT));
	int64_t i = 0;

	if (d->error == 0 && (tarn_value_int(v, &i) < 0 || i > INT_MAX || i < INT_MIN))
		fail_number(d, CODE);
	return (int)i;
}

/* All other numbers are none below 0: as such they would become large ones, which the next who
 * is sent the fault refuses. */
static uint64_t take_number(struct decoder *d, const tarn_value *around, uint32_t index, uint64_t most)
{
	tarn_value v = take(d, around, index, KIND(INT) | KIND(UINT));
	uint64_t n = 0;

	if (d->error == 0 && (tarn_value_uint(v, &n) < 0 || n > most))
		fail_number(d, index);
	return n;
}

static void take_frame(struct decoder *d, const tarn_value *v, struct tarn__frame *f)
{
	const unsigned char *data;
	tarn_value id;
	size_t bytes;

	f->function = take_string(d, v, FUNCTION, KIND(NIL));
	f->file = take_string(d, v, FILE_NAME, KIND(NIL));
	f->line = (unsigned)take_number(d, v, LINE, UINT_MAX);
	f->module = take_string(d, v, MODULE, KIND(NIL));
	f->offset = take_number(d, v, OFFSET, UINT64_MAX);
	id = take(d, v, BUILD_ID, KIND(BYTES));
	if (d->error != 0)
		return;
	if (tarn__value_data(&id, &data, &bytes) < 0 || bytes > TARN__BUILD_ID_MAX) {
		fail(d, tarn__fail(-TARN_EPROTO, "An error that arrived has an impossible build id."));
		return;
	}
	memcpy(f->build_id, data, bytes);
	f->build_id_bytes = (uint8_t)bytes;
}

static void take_frames(struct decoder *d, const tarn_value *around, tarn_fault *f)
{
	tarn_value list = take(d, around, FRAMES, KIND(LIST));
	size_t n = d->error == 0 ? tarn_value_count(list) : 0;

	if (n > TARN_FRAMES_MAX) {
		fail(d, tarn__fail(-TARN_EPROTO, "An error that arrived has %zu frames.", n));
		return;
	}
	if (n == 0)
		return;
	f->frames = calloc(n, sizeof *f->frames);
	if (f->frames == NULL) {
		fail(d, tarn__fail(-ENOMEM, "No memory for a part of a fault."));
		return;
	}
	f->n_frames = n;
	for (size_t i = 0; i < n && d->error == 0; i++) {
		tarn_value v = take(d, &list, (uint32_t)i, KIND(LIST));

		if (d->error == 0)
			take_frame(d, &v, &f->frames[i]);
	}
}

static tarn_fault *take_fault(struct decoder *d, const tarn_value *v);

static void raise_height(tarn_fault *f, const tarn_fault *below)
{
	if (below != NULL && f->height <= below->height)
		f->height = below->height + 1;
}

static void take_others(struct decoder *d, const tarn_value *v, tarn_fault *f)
{
	tarn_value cause = take(d, v, CAUSE, KIND(ERROR) | KIND(NIL));
	tarn_value list = take(d, v, MEMBERS, KIND(LIST));
	size_t n = d->error == 0 ? tarn_value_count(list) : 0;

	if (d->error == 0 && tarn__head_kind(cause.head) == TARN_KIND_ERROR) {
		f->cause = take_fault(d, &cause);
		raise_height(f, f->cause);
	}
	if (n == 0 || d->error != 0)
		return;
	/* The walk has not paid for them yet: no more memory than bytes arrived. */
	f->children = n <= d->walk.left ? calloc(n, sizeof(tarn_fault *)) : NULL;
	if (f->children == NULL) {
		fail(d, tarn__fail(n <= d->walk.left ? -ENOMEM : -TARN_EPROTO,
				   "An error that arrived has %zu members.", n));
		return;
	}
	for (size_t i = 0; i < n && d->error == 0; i++) {
		tarn_value member = take(d, &list, (uint32_t)i, KIND(ERROR));
		tarn_fault *child = d->error == 0 ? take_fault(d, &member) : NULL;

		if (child != NULL)
			f->children[f->n_children++] = child;
		raise_height(f, child);
	}
}

/* Of an error that is paid for; its depth bounds the recursion. NULL: failed. */
static tarn_fault *take_fault(struct decoder *d, const tarn_value *v)
{
	tarn_fault *f = tarn__fault_alloc();

	if (f == NULL) {
		fail(d, tarn__fail(-ENOMEM, "No memory for a fault."));
		return NULL;
	}
	f->domain = take_string(d, v, DOMAIN, 0);
	f->code = take_code(d, v);
	f->message = take_string(d, v, MESSAGE, 0);
	f->process = take_string(d, v, PROCESS, 0);
	f->pid = (int)take_number(d, v, PID, INT_MAX);
	f->tid = (int)take_number(d, v, TID, INT_MAX);
	f->hops = (unsigned)take_number(d, v, HOPS, INT_MAX - 1) + 1;
	if (d->error == 0)
		take_frames(d, v, f);
	if (d->error == 0)
		take_others(d, v, f);
	if (d->error == 0)
		return f;
	return tarn_fault_unref(f);
}

int tarn_value_error(tarn_value value, tarn_fault **ret_fault)
{
	struct decoder d = { .walk = tarn__walk_begin(value.parcel) };
	tarn_fault *f;

	if (tarn__head_kind(value.head) != TARN_KIND_ERROR)
		return tarn__fail_kind(&value, "error");
	d.error = tarn__walk_visit(&d.walk, &value);
	if (d.error < 0)
		return d.error;
	f = take_fault(&d, &value);
	if (f == NULL)
		return d.error;
	*ret_fault = f;
	return 0;
}
