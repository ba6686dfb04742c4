/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values as one reference: a block with their bytes or, if they refer to something, a tarn.Parcel that
 * holds that block and what they refer to. So whatever can carry a reference can carry values.
 */
#ifndef TARN_PROCESS_ITEM_H
#define TARN_PROCESS_ITEM_H

#include "lib/client/object.h"
#include "lib/value/value.h"

/* Of what @values hold (NULL: nothing). The caller owns the reference in @ret_item, which is NULL
 * of nothing. */
int tarn__carried_new(tarn_client *client, const tarn_builder *values, struct tarn_block **ret_item);
/* Drops it; NULL is allowed. */
void tarn__carried_drop(struct tarn_block *item);
/* Appends it as a value: nil, a block or an object. */
int tarn__carried_put(tarn_builder *builder, struct tarn_block *item);
/* What @value is as an item, borrowed from its parcel; NULL: nil. */
int tarn__carried_of(tarn_value value, struct tarn_block **ret_item);
/* The values again; the caller ends the parcel. @item stays the caller's. */
int tarn__carried_read(struct tarn_block *item, tarn_parcel *ret_values);

#endif
