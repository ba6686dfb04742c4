/* SPDX-License-Identifier: Apache-2.0 */
/* What both sides of tarn.Topic know, beside its instance (shm/topic.h). */
#ifndef TARN_TYPES_TOPIC_H
#define TARN_TYPES_TOPIC_H

#include "shm/topic.h"

/* Methods, by their place in the table. */
enum tarn__topic_method {
	TARN__TOPIC_STASH,       /* turn, references...: as a queue's; also with none, when what the
				  * slot had before is to go. One way */
	TARN__TOPIC_TAKEN,       /* turn: its references, in order; nil: not yet; false: overwritten */
	TARN__TOPIC_SUBSCRIBE,   /* how many old items, does it block: place, number, first turn */
	TARN__TOPIC_UNSUBSCRIBE, /* place, number */
	TARN__TOPIC_PUBLISHER,   /* true: the caller publishes; false: no more */
};

#endif
