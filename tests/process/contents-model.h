/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model of a list and a dict, random operations on both, and what a kill may have left of the last one: it
 * was done, or it was not.
 */
#ifndef TARN_TESTS_PROCESS_CONTENTS_MODEL_H
#define TARN_TESTS_PROCESS_CONTENTS_MODEL_H

#include "tests/common/scene.h"

enum { LIST_MOST = 300, KEYS = 60, SHARED_OBJECTS = 4 };

struct list_model {
	uint32_t n;
	uint32_t code[LIST_MOST];
};
struct dict_model {
	uint32_t n;
	uint32_t key[KEYS], code[KEYS];
};

/* In memory that all share: as of the last operation that was finished, and the one that may have been
 * done since. Written by one process at a time. */
struct model {
	uint64_t deaths, undone; /* in the middle of an operation; of these not done */
	uint32_t pending;
	struct list_model list, list_after;
	struct dict_model dict, dict_after;
};

/* Who operates. Of the dict only the keys from first_key on are its own, unless all are. */
struct contents {
	tarn_client *c;
	tarn_object *list, *dict, *shared[SHARED_OBJECTS];
	struct model *m;
	uint64_t random;
	uint32_t first_key;
	bool whole_dict;
};

/* Publishes what values refer to, once for all; the references of one process, which end with its client. */
void contents_publish(tarn_client *c);
struct contents contents_open(tarn_client *c, const char *list, const char *dict, struct model *m,
			      uint64_t random);

uint32_t contents_roll(struct contents *w, uint32_t below);
/* One operation, on the model and on the thing. */
void contents_list_step(struct contents *w);
void contents_dict_step(struct contents *w);
/* Whoever operated before was killed, perhaps in the middle. */
void contents_take_over(struct contents *w);
void contents_check(const struct contents *w);

#endif
