/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A change of one container: trees beside the old ones, which become the container's when the
 * change is committed, or vanish when it is aborted.
 *
 * Nothing that a root leads to is written: a node is copied when it is first changed (own), and
 * the copy, which bears the change's stamp, is then changed in place. What the old node alone
 * referred to moves into the copy without being counted again; the old node is freed without it
 * when the change is committed, the copy when it is aborted. What snapshots share is counted.
 * So all that has to be done at either end is known beforehand, as two lists.
 */
#ifndef TARN_TYPES_CHANGE_H
#define TARN_TYPES_CHANGE_H

#include "store.h"

struct tarn__deeds {
	uint64_t *deed;       /* an offset and, in its low bits, what to do */
	uint32_t n, room;
};

struct tarn__change {
	struct tarn__store *store;
	const struct tarn__view *view;
	struct tarn__view_root *line;
	struct tarn__view_root root; /* as it will be; order, index, next, kind, id are changed freely */
	uint64_t stamp;
	struct tarn__deeds commit, abort;
	struct tarn__sight sight;    /* of root as it is now, for finding: tarn__change_sight() */
};

/* Begins a change of what @line has. Cannot fail; to be ended by one of the two below. */
void tarn__change_init(struct tarn__change *c, struct tarn__store *store,
		       struct tarn__view_root *line);
/* The change is whole: sets count, held and version of root. False: the container has that already.
 * Nothing of it is seen yet, and nothing that the container has now is touched: until the commit either of
 * them can be what it has. */
bool tarn__change_seal(struct tarn__change *c);
/* Of what was sealed. */
void tarn__change_commit(struct tarn__change *c);
void tarn__change_abort(struct tarn__change *c);

/* For the functions of shm/view.h, on the container as the change has made it so far. Valid until
 * the next change of it. */
const struct tarn__sight *tarn__change_sight(struct tarn__change *c);

/* All return 0 or -ENOMEM, after which only abort makes sense. @top: root.order or root.index. */

/* @words become the element at @position, those from there on move up. References of its blobs
 * are the tree's from then on. */
int tarn__tree_insert(struct tarn__change *c, uint64_t *top, unsigned form, uint64_t position,
		      const uint64_t *words);
/* Takes the element at @position out; its blobs are let go with the commit. */
int tarn__tree_erase(struct tarn__change *c, uint64_t *top, uint64_t position);
/* @words take the place of the element there; the blobs of @words become the tree's, those of the
 * old element that are not in @words too are let go with the commit. */
int tarn__tree_set(struct tarn__change *c, uint64_t *top, uint64_t position,
		   const uint64_t *words);
/* All of it goes. */
int tarn__tree_clear(struct tarn__change *c, uint64_t *top);
/* @from, a tree that is another's, is shared. */
int tarn__tree_share(struct tarn__change *c, uint64_t *top, uint64_t from);

/* A blob with one reference, which abort gives back: whoever puts its cell into a tree passes that
 * reference on. 0: no memory. */
uint64_t tarn__change_blob(struct tarn__change *c, uint64_t size, uint32_t n_refs);
/* One more reference on it, for another element. */
int tarn__change_blob_again(struct tarn__change *c, uint64_t at);
/* It did not come into a tree. */
int tarn__change_blob_unused(struct tarn__change *c, uint64_t at);

#endif
