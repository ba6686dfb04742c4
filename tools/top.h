/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tarn top shows: two looks at a server, and what moved between them. A look becomes
 * lines, which a screen shows as far as it reaches, or JSON.
 */
#ifndef TARN_TOOLS_TOP_H
#define TARN_TOOLS_TOP_H

#include <tarn/inspect.h>

#include "command.h"

enum top_sort { TOP_BY_MESSAGES, TOP_BY_BYTES, TOP_BY_REFS, TOP_BY_RING, TOP_BY_ID, TOP_SORTS };
extern const char *const top_sort_names[TOP_SORTS + 1]; /* NULL at the end */

struct top_look {
	uint64_t at_ns; /* CLOCK_BOOTTIME of what it tells */
	tarn_stat stat;
	tarn_client_row *client;
	size_t n_clients;
	tarn_call_row *call; /* the oldest first; no watches */
	size_t n_calls;
	tarn_object_row *queue; /* queues and topics */
	size_t n_queues;
	char name[108], source[16];
};

/* Asks once. 0, or how the program ends, and why was said. */
int top_look(const struct context *c, struct top_look *ret);
void top_look_free(struct top_look *l);

struct top_line {
	char text[300];
	bool heading; /* of a table */
};
struct top_frame {
	struct top_line *line;
	unsigned n, room;
};
/* @before: the look before, whose at_ns is 0 if there was none. Sorts the clients of @now.
 * False: out of memory. */
bool top_frame(struct top_frame *f, const struct top_look *before, struct top_look *now,
	       enum top_sort sort);
void top_frame_free(struct top_frame *f);
void top_json(const struct top_look *before, struct top_look *now, enum top_sort sort);

/* ---- a screen of one's own (screen-curses.c), or none (screen-none.c) ---- */

/* False: the terminal cannot. */
bool screen_open(void);
void screen_close(void);
/* Shows @lines as far as they fit, and @foot in the last line. */
void screen_show(const struct top_line *lines, unsigned n, const char *foot);
/* Waits up to @ns for a key; 0: none came. */
int screen_key(uint64_t ns);

#endif
