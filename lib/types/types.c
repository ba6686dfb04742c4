/* SPDX-License-Identifier: Apache-2.0 */
#include "types.h"

#include <string.h>

/* One per line, in alphabetical order. */
const tarn_type *const tarn__builtin_types[] = {
	&tarn__type_array,
	&tarn__type_barrier,
	&tarn__type_bounded_semaphore,
	&tarn__type_condition,
	&tarn__type_dict,
	&tarn__type_event,
	&tarn__type_iterator,
	&tarn__type_list,
	&tarn__type_lock,
	&tarn__type_namespace,
	&tarn__type_parcel,
	&tarn__type_pool,
	&tarn__type_process,
	&tarn__type_queue,
	&tarn__type_rlock,
	&tarn__type_semaphore,
	&tarn__type_stream,
	&tarn__type_topic,
	&tarn__type_value,
	NULL,
};

const tarn_type *tarn__builtin_find(const char *name)
{
	if (strncmp(name, TARN__BUILTIN_PREFIX, strlen(TARN__BUILTIN_PREFIX)) != 0)
		return NULL;
	for (unsigned i = 0; tarn__builtin_types[i] != NULL; i++)
		if (strcmp(tarn__builtin_types[i]->name, name) == 0)
			return tarn__builtin_types[i];
	return NULL;
}
