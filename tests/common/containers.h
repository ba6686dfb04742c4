/* SPDX-License-Identifier: Apache-2.0 */
/* What tests of lists and dicts share: contents as text, and failures with their sentences. */
#ifndef TARN_TESTS_COMMON_CONTAINERS_H
#define TARN_TESTS_COMMON_CONTAINERS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scene.h"

/* The values of @p are @wanted, as tarn_parcel_format() writes them; ends @p. */
static inline void text_is(int line, tarn_parcel *p, const char *wanted)
{
	char text[4096];

	tarn_parcel_format(p, text, sizeof text);
	PLAIN_CHECKF(strcmp(text, wanted) == 0, "line %d: found %s, wanted %s", line, text, wanted);
	tarn_parcel_fini(p);
}

static inline void list_is(int line, tarn_object *list, const char *wanted)
{
	tarn_parcel p;
	uint64_t n;

	OK(tarn_list_slice(list, TARN_OMIT, TARN_OMIT, TARN_OMIT, &p));
	OK(tarn_list_len(list, &n));
	PLAIN_EQ(n, tarn_value_count(tarn_parcel_at(&p, 0)));
	text_is(line, &p, wanted);
}
#define LIST_IS(list, wanted) list_is(__LINE__, (list), (wanted))

static inline void dict_is(int line, tarn_object *dict, const char *wanted)
{
	tarn_parcel p;
	uint64_t n;

	OK(tarn_dict_items(dict, &p));
	OK(tarn_dict_len(dict, &n));
	PLAIN_EQ(n, tarn_value_count(tarn_parcel_at(&p, 0)));
	text_is(line, &p, wanted);
}
#define DICT_IS(dict, wanted) dict_is(__LINE__, (dict), (wanted))

/* The call threw @domain with the sentence @message. */
static inline void throws_(int line, int r, const char *domain, const char *message)
{
	const tarn_fault *f = tarn_error_fault();

	PLAIN_CHECKF(r == -TARN_EREMOTE, "line %d: returned %d (%s)", line, r, tarn_error_last()->message);
	PLAIN_CHECKF(tarn_fault_is(f, domain), "line %d: %s, not %s", line, tarn_fault_domain(f), domain);
	PLAIN_CHECKF(strcmp(tarn_fault_message(f), message) == 0, "line %d: \"%s\", not \"%s\"", line,
		     tarn_fault_message(f), message);
}
#define THROWS(call, domain, message) throws_(__LINE__, (call), (domain), (message))

#endif
