/* SPDX-License-Identifier: Apache-2.0 */
/* Faults: made, counted, asked. */
#include "fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/error.h"

#define MESSAGE_MAX 4000u

/* For when there is no memory for any other. Its count is never touched. */
static tarn_fault out_of_memory = {
	.refs = 1,
	.code = -ENOMEM,
	.height = 1,
	.domain = (char[]){ "MemoryError" },
	.message = (char[]){ "no memory to say what happened" },
	.process = (char[]){ "?" },
};

tarn_fault *tarn__fault_alloc(void)
{
	tarn_fault *f = calloc(1, sizeof *f);

	if (f != NULL) {
		f->refs = 1;
		f->height = 1;
	}
	return f;
}

static tarn_fault *new_fault(const char *domain, int code, const char *format, va_list args)
	__attribute__((format(printf, 3, 0)));
static tarn_fault *new_fault(const char *domain, int code, const char *format, va_list args)
{
	char text[MESSAGE_MAX];
	tarn_fault *f = tarn__fault_alloc();

	vsnprintf(text, sizeof text, format, args);
	if (f == NULL)
		return &out_of_memory;
	f->code = code < 0 ? code : -TARN_EREMOTE;
	f->pid = (int)getpid();
	f->tid = (int)gettid();
	f->domain = strdup(domain != NULL && *domain != '\0' ? domain : "Exception");
	f->message = strdup(text);
	f->process = strdup(program_invocation_short_name);
	if (f->domain == NULL || f->message == NULL || f->process == NULL) {
		tarn_fault_unref(f);
		return &out_of_memory;
	}
	return f;
}

tarn_fault *tarn_fault_new(const char *domain, int code, const char *format, ...)
{
	tarn_fault *f;
	va_list args;

	va_start(args, format);
	f = new_fault(domain, code, format, args);
	va_end(args);
	return f;
}

tarn_fault *tarn_fault_from_last(void)
{
	const tarn_fault *f = tarn_error_fault();
	const tarn_error *e = tarn_error_last();

	return f != NULL ? tarn_fault_ref(f)
			 : tarn_fault_new(tarn__fault_domain_of(e->code), e->code, "%s", e->message);
}

/* ---- counting ---- */

/* To users a fault is const, but for its count. */
static tarn_fault *mutable(const tarn_fault *f)
{
	return (tarn_fault *)(uintptr_t)f;
}

tarn_fault *tarn_fault_ref(const tarn_fault *fault)
{
	tarn_fault *f = mutable(fault);

	/* Relaxed: the caller holds a reference, so it cannot go meanwhile. */
	if (f != &out_of_memory)
		__atomic_fetch_add(&f->refs, 1, __ATOMIC_RELAXED);
	return f;
}

tarn_fault *tarn_fault_unref(const tarn_fault *fault)
{
	tarn_fault *f = mutable(fault);

	/* SYNC fault refs, release: what a holder read comes before the last one frees it;
	 * acquire: the last one comes after. */
	if (f == NULL || f == &out_of_memory ||
	    __atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL) != 0)
		return NULL;
	for (size_t i = 0; i < f->n_frames; i++) {
		free(f->frames[i].function);
		free(f->frames[i].file);
		free(f->frames[i].module);
	}
	for (size_t i = 0; i < f->n_children; i++)
		tarn_fault_unref(f->children[i]);
	tarn_fault_unref(f->cause);
	free(f->frames);
	free(f->children);
	free(f->domain);
	free(f->message);
	free(f->process);
	free(f);
	return NULL;
}

/* ---- while it is new ---- */

static int check_new(const tarn_fault *f)
{
	/* Relaxed: if it is 1 it is the caller's, and nobody else can raise it. */
	if (f == &out_of_memory || __atomic_load_n(&f->refs, __ATOMIC_RELAXED) != 1)
		return tarn__fail(-EBUSY, "A fault does not change once others have it.");
	return 0;
}

static int no_memory(void)
{
	return tarn__fail(-ENOMEM, "No memory for a part of a fault.");
}

static int add_stack(tarn_fault *f, const void *caller)
{
	struct tarn__frame found[TARN_FRAMES_MAX], *frames;
	size_t n, n_all;
	int r = check_new(f);

	if (r < 0)
		return r;
	n = tarn__stack_take(caller, found);
	n_all = f->n_frames + n;
	frames = n_all <= TARN_FRAMES_MAX ? realloc(f->frames, n_all * sizeof *frames + 1) : NULL;
	if (frames == NULL) {
		for (size_t i = 0; i < n; i++)
			free(found[i].module);
		if (n_all > TARN_FRAMES_MAX)
			return tarn__fail(-E2BIG, "More than %u frames.", TARN_FRAMES_MAX);
		return no_memory();
	}
	for (size_t i = 0; i < n; i++)
		frames[f->n_frames + i] = found[n - 1 - i];
	f->frames = frames;
	f->n_frames = n_all;
	return 0;
}

int tarn_fault_add_stack(tarn_fault *fault)
{
	return add_stack(fault, __builtin_return_address(0));
}

static char *copy_or_null(const char *text)
{
	return text != NULL ? strdup(text) : NULL;
}

int tarn_fault_add_frame(tarn_fault *fault, const tarn_frame *frame)
{
	struct tarn__frame *frames, *f;
	int r = check_new(fault);

	if (r < 0)
		return r;
	if (frame->build_id_bytes > TARN__BUILD_ID_MAX)
		return tarn__fail(-EINVAL, "A build id of %zu bytes; at most %u.",
				  frame->build_id_bytes, TARN__BUILD_ID_MAX);
	if (fault->n_frames == TARN_FRAMES_MAX)
		return tarn__fail(-E2BIG, "More than %u frames.", TARN_FRAMES_MAX);
	frames = realloc(fault->frames, (fault->n_frames + 1) * sizeof *frames);
	if (frames == NULL)
		return no_memory();
	fault->frames = frames;
	f = &frames[fault->n_frames];
	*f = (struct tarn__frame){
		.function = copy_or_null(frame->function),
		.file = copy_or_null(frame->file),
		.module = copy_or_null(frame->module),
		.line = frame->line,
		.offset = frame->offset,
		.build_id_bytes = (uint8_t)frame->build_id_bytes,
	};
	if (frame->build_id_bytes > 0)
		memcpy(f->build_id, frame->build_id, frame->build_id_bytes);
	fault->n_frames++; /* a name for which there was no memory is an unknown one */
	return 0;
}

static int check_height(const tarn_fault *f, const tarn_fault *below)
{
	int r = check_new(f);

	if (r < 0)
		return r;
	if (f == below)
		return tarn__fail(-EINVAL, "A fault cannot be its own cause or member.");
	if (below->height >= TARN__FAULT_HEIGHT_MAX)
		return tarn__fail(-E2BIG, "More than %u causes and members within each other.",
				  TARN__FAULT_HEIGHT_MAX);
	return 0;
}

static void raise_height(tarn_fault *f, const tarn_fault *below)
{
	if (f->height <= below->height)
		f->height = below->height + 1;
}

int tarn_fault_set_cause(tarn_fault *fault, const tarn_fault *cause)
{
	int r = check_height(fault, cause);

	if (r < 0)
		return r;
	tarn_fault_ref(cause);
	tarn_fault_unref(fault->cause);
	fault->cause = mutable(cause);
	raise_height(fault, cause);
	return 0;
}

int tarn_fault_add_child(tarn_fault *fault, const tarn_fault *child)
{
	tarn_fault **children;
	int r = check_height(fault, child);

	if (r < 0)
		return r;
	children = realloc(fault->children, (fault->n_children + 1) * sizeof(tarn_fault *));
	if (children == NULL)
		return no_memory();
	fault->children = children;
	children[fault->n_children++] = tarn_fault_ref(child);
	raise_height(fault, child);
	return 0;
}

/* ---- throwing ---- */

/* Frames of the place that throws: its stack, of which the innermost is known by line too. */
static void add_place(tarn_fault *f, const void *caller, const char *file, unsigned line,
		      const char *function)
{
	if (f == &out_of_memory)
		return;
	if (add_stack(f, caller) == 0 && f->n_frames > 0) {
		struct tarn__frame *last = &f->frames[f->n_frames - 1];

		last->function = copy_or_null(function);
		last->file = copy_or_null(file);
		last->line = line;
	} else {
		tarn_fault_add_frame(f, &(tarn_frame){ .function = function, .file = file,
						       .line = line });
	}
}

static int give(tarn_fault **slot, tarn_fault *f)
{
	tarn_fault_unref(*slot);
	*slot = f;
	return -TARN_EREMOTE;
}

int tarn__fault_throw_v(tarn_fault **slot, const void *caller, const char *file, unsigned line,
			const char *function, const char *domain, const char *format, va_list args)
{
	tarn_fault *f = new_fault(domain, 0, format, args);

	add_place(f, caller != NULL ? caller : __builtin_return_address(0), file, line, function);
	return give(slot, f);
}

int tarn_fault_throw(tarn_fault **slot, const char *file, unsigned line, const char *function,
		     const char *domain, const char *format, ...)
{
	va_list args;
	int r;

	va_start(args, format);
	r = tarn__fault_throw_v(slot, __builtin_return_address(0), file, line, function, domain,
				format, args);
	va_end(args);
	return r;
}

int tarn_fault_rethrow(tarn_fault **slot, const char *file, unsigned line, const char *function)
{
	tarn_fault *cause = tarn_fault_from_last();
	tarn_fault *f = tarn_fault_new(cause->domain, cause->code, "%s", cause->message);

	add_place(f, __builtin_return_address(0), file, line, function);
	/* A chain that is too long keeps its older part: there it began. */
	if (f != &out_of_memory && tarn_fault_set_cause(f, cause) < 0) {
		tarn_fault_unref(f);
		return give(slot, cause);
	}
	tarn_fault_unref(cause);
	return give(slot, f);
}

/* ---- asking ---- */

const char *tarn_fault_domain(const tarn_fault *fault)
{
	return fault->domain;
}

int tarn_fault_code(const tarn_fault *fault)
{
	return fault->code;
}

const char *tarn_fault_message(const tarn_fault *fault)
{
	return fault->message;
}

const char *tarn_fault_process(const tarn_fault *fault)
{
	return fault->process;
}

int tarn_fault_pid(const tarn_fault *fault)
{
	return fault->pid;
}

int tarn_fault_tid(const tarn_fault *fault)
{
	return fault->tid;
}

unsigned tarn_fault_hops(const tarn_fault *fault)
{
	return fault->hops;
}

bool tarn_fault_is_remote(const tarn_fault *fault)
{
	return fault->hops > 0;
}

const tarn_fault *tarn_fault_cause(const tarn_fault *fault)
{
	return fault->cause;
}

size_t tarn_fault_child_count(const tarn_fault *fault)
{
	return fault->n_children;
}

const tarn_fault *tarn_fault_child_at(const tarn_fault *fault, size_t index)
{
	return index < fault->n_children ? fault->children[index] : NULL;
}

size_t tarn_fault_frame_count(const tarn_fault *fault)
{
	return fault->n_frames;
}

bool tarn_fault_frame_at(const tarn_fault *fault, size_t index, tarn_frame *ret_frame)
{
	const struct tarn__frame *f;

	if (index >= fault->n_frames)
		return false;
	f = &fault->frames[index];
	*ret_frame = (tarn_frame){
		.function = f->function,
		.file = f->file,
		.line = f->line,
		.module = f->module,
		.offset = f->offset,
		.build_id = f->build_id,
		.build_id_bytes = f->build_id_bytes,
	};
	return true;
}
