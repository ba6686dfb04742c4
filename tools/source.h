/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where answers come from: a server that answers, a copy of the books of one that does not,
 * or a dump. Commands ask and need not know which it is.
 */
#ifndef TARN_TOOLS_SOURCE_H
#define TARN_TOOLS_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#include <tarn/inspect.h>

struct context;
struct source;

enum question { ASK_CLIENTS, ASK_BLOCKS, ASK_REFS, ASK_CLASSES, ASK_MESSAGES,
		ASK_TYPES, ASK_OBJECTS, ASK_CALLS, ASK_ERRORS, ASK_LEAKS };

/* By c->from or c->server. Says why not and returns NULL. */
struct source *source_open(const struct context *c);
void source_close(struct source *s);

/* These return 0, a number of findings, or a negative code with its sentence. A server that
 * does not answer within the time is replaced by a copy of its books, with a line on stderr. */
int source_stat(struct source *s, tarn_stat *ret);
int source_rows(struct source *s, enum question q, uint64_t argument, void **ret_rows,
		size_t *ret_n);
int source_check(struct source *s, char **ret_text);
/* All of it into a file. */
int source_dump(struct source *s, int fd);

/* "server", "copy" or "dump". */
const char *source_kind(const struct source *s);
/* CLOCK_BOOTTIME when it was as it is told. */
uint64_t source_now_ns(const struct source *s);
const char *source_name(const struct source *s);

#endif
