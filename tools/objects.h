/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of objects, which two commands print, and the object that a command line means.
 */
#ifndef TARN_TOOLS_OBJECTS_H
#define TARN_TOOLS_OBJECTS_H

#include <tarn/object.h>

#include "command.h"

extern const struct column object_columns[];
#define N_OBJECT_COLUMNS 11u

/* "inline,read" of flags by bit, into a static text; NULL without any. */
const char *flag_names(uint64_t flags, const char *const *names, unsigned n);

/*
 * Attaches for as long as it takes to use an object. A server that is not there is not waited
 * for, one that does not answer as long as --timeout says. Says why not and returns NULL.
 * The program's end detaches, whichever way it ends, unless the server has stopped answering: that
 * would have to be waited for.
 */
tarn_client *attach(const struct context *c);
/* Detaches now, which commands do that --watch runs again and again. */
void detach(void);

/*
 * The object that @text means: an id, a token, or a name under which one is published. The
 * caller owns the reference. False: says why not; *ret_status is how the program ends.
 */
bool find_object(tarn_client *client, const char *text, tarn_object **ret, int *ret_status);

/* Ends the program if @text can be none of these. */
void check_object_text(const char *what, const char *text);

/* As the first members of a document: schema, source and server. */
struct json object_json(const struct context *c, const char *schema);

#endif
