/* SPDX-License-Identifier: Apache-2.0 */
/* What the functions on containers share: calls with values that come from builders, formats and
 * keys. */
#ifndef TARN_TYPES_CONTAINER_H
#define TARN_TYPES_CONTAINER_H

#include <stdarg.h>

#include "lib/client/object.h"
#include "lib/value/fault.h"
#include "lib/value/value.h"
#include "tarn/container.h"

/* Appends the only value of @value. -EINVAL. */
int tarn__put_one(tarn_builder *to, const tarn_builder *value);
/* Appends a list of the top-level values of @values. */
int tarn__put_list(tarn_builder *to, const tarn_builder *values);
/* Appends one value by a format. */
int tarn__put_one_v(tarn_builder *to, const char *format, va_list args);
int tarn__put_key(tarn_builder *to, tarn_key key);

/* Calls and ends @args. @ret may be NULL. -TARN_EKIND: @o is not of @type, of which others may have a method of the
 * same name, too. */
int tarn__container_call(tarn_object *o, const tarn_type *type, const char *method, tarn_builder *args,
			 tarn_parcel *ret);
/* Of a result that is an uint64, a bool, an object of which the caller owns a reference. */
int tarn__container_number(tarn_object *o, const tarn_type *type, const char *method, tarn_builder *args,
			   uint64_t *ret);
int tarn__container_bool(tarn_object *o, const tarn_type *type, const char *method, tarn_builder *args,
			 bool *ret);
int tarn__container_object(tarn_object *o, const tarn_type *type, const char *method, tarn_builder *args,
			   tarn_object **ret);
/* The only value of @p, taken apart by @format, or an object of one's own; ends @p. */
int tarn__parcel_take_v(tarn_parcel *p, const char *format, va_list args);
int tarn__parcel_take_object(tarn_parcel *p, tarn_object **ret);
/* Makes one with the value that @format, which may be NULL, says. */
int tarn__container_new_v(tarn_client *client, const char *type, tarn_object **ret,
			  const char *format, va_list args);

#endif
