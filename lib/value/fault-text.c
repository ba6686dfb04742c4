/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults as a person reads them: what happened first at the top, the line that says what
 * went wrong at the bottom of each, and in front of every line the process it is about.
 * Names for addresses are looked for here, by the reader, and only here.
 */
#include <dlfcn.h>
#include <stdlib.h>

#include "fault.h"
#include "lib/error.h"
#include "text.h"

static tarn_symbolize_fn *symbolizer;

void tarn_fault_symbolizer_set(tarn_symbolize_fn *symbolize)
{
	/* SYNC symbolizer: what it needs was set up before. */
	__atomic_store_n(&symbolizer, symbolize, __ATOMIC_RELEASE);
}

struct printer {
	struct tarn__text text;
	char prefix[96]; /* of each line */
};

/* A new line: the prefix, and what the library itself says. */
static void begin_line(struct printer *p, const char *text)
{
	tarn__text_string(&p->text, p->prefix);
	tarn__text_string(&p->text, text);
}

static void end_line(struct printer *p)
{
	tarn__text_char(&p->text, '\n');
}

/* Bytes of the character at @text that a terminal only shows; 0: it could move the cursor. */
static size_t shown_length(const char *text)
{
	unsigned char c = (unsigned char)*text;

	if (c < 0x80)
		return (c >= ' ' && c != 0x7f) || c == '\t';
	return tarn__utf8_length((const unsigned char *)text, strnlen(text, 4));
}

/* What others say: its further lines get the prefix too, and what could move a terminal's
 * cursor is shown as '?'. */
static void add_foreign(struct printer *p, const char *text)
{
	while (*text != '\0') {
		size_t n = shown_length(text);

		if (*text == '\n') {
			end_line(p);
			begin_line(p, "  ");
		} else {
			tarn__text_add(&p->text, n > 0 ? text : "?", n > 0 ? n : 1);
		}
		text += n > 0 ? n : 1;
	}
}

/* ---- frames ---- */

/* What this process's dynamic linker knows, if the module is loaded here too. */
static bool ask_linker(const tarn_frame *place, tarn_frame *ret_names)
{
	const void *address = tarn__stack_address(place->build_id, place->build_id_bytes,
						  place->offset);
	Dl_info info;

	if (address == NULL || dladdr(address, &info) == 0 || info.dli_sname == NULL)
		return false;
	ret_names->function = info.dli_sname;
	return true;
}

/* Names from symbol tables may have a clone's or a version's mark behind them. */
static void set_function(tarn_frame *f, const char *symbol, char *name, size_t bytes)
{
	size_t n = strcspn(symbol, ".@");

	if (n == 0 || n >= bytes) {
		f->function = symbol;
		return;
	}
	memcpy(name, symbol, n);
	name[n] = '\0';
	f->function = name;
}

static void find_names(tarn_frame *f, char *name, size_t bytes)
{
	/* SYNC symbolizer, acquire. */
	tarn_symbolize_fn *symbolize = __atomic_load_n(&symbolizer, __ATOMIC_ACQUIRE);
	tarn_frame names = { .function = NULL };

	if (f->file != NULL || f->module == NULL)
		return;
	if ((symbolize == NULL || !symbolize(f, &names)) && !ask_linker(f, &names))
		return;
	if (names.function != NULL)
		set_function(f, names.function, name, bytes);
	if (names.file != NULL) {
		f->file = names.file;
		f->line = names.line;
	}
}

static void add_frame(struct printer *p, tarn_frame f)
{
	char name[256];

	find_names(&f, name, sizeof name);
	if (f.file != NULL) {
		begin_line(p, "  File \"");
		add_foreign(p, f.file);
		tarn__text_printf(&p->text, "\", line %u", f.line);
	} else if (f.module != NULL) {
		begin_line(p, "  Module \"");
		add_foreign(p, f.module);
		tarn__text_printf(&p->text, "\", offset 0x%llx", (unsigned long long)f.offset);
	} else {
		begin_line(p, "  Somewhere");
	}
	if (f.function != NULL) {
		tarn__text_string(&p->text, ", in ");
		add_foreign(p, f.function);
	} else if (f.build_id_bytes > 0) {
		tarn__text_string(&p->text, ", build id ");
		for (size_t i = 0; i < f.build_id_bytes; i++)
			tarn__text_printf(&p->text, "%02x", f.build_id[i]);
	}
	end_line(p);
}

/* ---- a fault ---- */

static void set_prefix(struct printer *p, const tarn_fault *f, unsigned depth)
{
	size_t n = 0;

	/* Members are indented, up to what a line has room for. */
	for (unsigned i = 0; i < depth && i < 8; i++, n += 4)
		memcpy(p->prefix + n, "  | ", 4);
	snprintf(p->prefix + n, sizeof p->prefix - n, "[%.40s %d] ", f->process, f->pid);
	for (char *c = p->prefix; *c != '\0';) {
		n = shown_length(c);
		if (n == 0 || *c == '\t')
			*c = '?';
		c += n > 0 ? n : 1;
	}
}

/* The cause before it; the height of faults bounds the recursion. */
static void add_fault(struct printer *p, const tarn_fault *f, unsigned depth)
{
	tarn_frame frame;

	if (f->cause != NULL) {
		add_fault(p, f->cause, depth);
		tarn__text_string(&p->text, "\nThat was the direct cause of this:\n\n");
	}
	set_prefix(p, f, depth);
	if (f->n_frames > 0) {
		begin_line(p, "Traceback (most recent call last):");
		end_line(p);
	}
	for (size_t i = 0; tarn_fault_frame_at(f, i, &frame); i++)
		add_frame(p, frame);
	begin_line(p, "");
	add_foreign(p, f->domain);
	if (f->message[0] != '\0') {
		tarn__text_string(&p->text, ": ");
		add_foreign(p, f->message);
	}
	end_line(p);
	for (size_t i = 0; i < f->n_children; i++) {
		set_prefix(p, f, depth);
		begin_line(p, "");
		tarn__text_printf(&p->text, "  Member %zu of %zu:\n", i + 1, f->n_children);
		add_fault(p, f->children[i], depth + 1);
	}
}

int tarn_fault_format(const tarn_fault *fault, char *text, size_t bytes)
{
	struct printer p = { .text = { text, bytes, 0 } };

	add_fault(&p, fault, 0);
	return tarn__text_end(&p.text);
}

void tarn_error_print(FILE *to)
{
	const tarn_fault *f = tarn_error_fault();
	const tarn_error *e = tarn_error_last();
	char *text;
	int n;

	if (f == NULL) {
		fprintf(to, "%s: %s\n", tarn_error_name(e->code), e->message);
		return;
	}
	/* Symbolizing may fail in ways that set the last failure: the fault stays ours. */
	tarn_fault_ref(f);
	n = tarn_fault_format(f, NULL, 0);
	text = malloc((size_t)n + 1);
	if (text != NULL) {
		tarn_fault_format(f, text, (size_t)n + 1);
		fputs(text, to);
	} else {
		fprintf(to, "%s: %s\n", f->domain, f->message);
	}
	free(text);
	tarn_fault_unref(f);
}
