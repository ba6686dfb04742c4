/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plain contents of containers, read where they lie, without asking the server.
 *
 * What comes out is copied and then believed only if the container was not changed meanwhile. After
 * some tries in vain, and for whatever is not plain (references, and errors, which have a
 * sentence), the answer is that a call has to be made.
 */
#ifndef TARN_TYPES_INPLACE_H
#define TARN_TYPES_INPLACE_H

#include "container.h"
#include "lib/client/lane.h"
#include "types.h"

enum tarn__inplace {
	TARN__INPLACE_CALL,   /* ask the server */
	TARN__INPLACE_DONE,
	TARN__INPLACE_ABSENT, /* there is no such key */
};

enum tarn__inplace tarn__inplace_len(tarn_object *o, const tarn_type *type, uint64_t *ret);
enum tarn__inplace tarn__inplace_at(tarn_object *o, int64_t index, tarn_parcel *ret);
/* @ret may be NULL: whether it is there. */
enum tarn__inplace tarn__inplace_key(tarn_object *o, const tarn_type *type, tarn_key key,
				     tarn_parcel *ret);

#endif
