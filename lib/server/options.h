/* SPDX-License-Identifier: Apache-2.0 */
/* Options of a server in one piece of memory, which can be copied, kept, and carried to
 * another process. */
#ifndef TARN_SERVER_OPTIONS_H
#define TARN_SERVER_OPTIONS_H

#include "tarn/server.h"

struct tarn__packed {
	uint64_t bytes; /* of all this */
	/* Its pointers are places in @data, plus 1, until they are unpacked; 0: NULL. */
	tarn_server_options o;
	unsigned char data[];
};

/* 0, or -EINVAL, -ENAMETOOLONG with a sentence: what can be seen without doing anything. */
int tarn__options_check(const tarn_server_options *o);

/* Fresh memory for the caller, NULL: none. Functions and their arguments stay behind. */
struct tarn__packed *tarn__options_pack(const tarn_server_options *o);
/* Makes pointers of places. False: they are not such (@p comes from elsewhere). */
bool tarn__options_unpack(struct tarn__packed *p, size_t bytes);
/* Wipes the authkey, too. NULL is allowed. */
void tarn__options_free(struct tarn__packed *p);

#endif
