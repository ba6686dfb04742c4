/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VIEW: what lists, dicts, namespaces and iterators hold. The server writes, clients read.
 *
 *	head | roots, one line per index of an object | chunks
 *
 * A container is one or two trees of chunks under its root's line. A chunk that a root leads to
 * is never changed: a change makes new chunks for what differs and then sets the line to the new
 * top, so a snapshot is one more reference on a top. What clients can write to is none of this:
 * nothing that they do can break a tree.
 *
 * The trees are counted B+ trees. An element is `width` words; a leaf has elements side by
 * side, an inner node has children with the number of elements below each, so an element is
 * found by its position, and by its first word where a tree is in that order:
 *
 *	list                  elements of 2 words: a cell
 *	dict, in order        6 words: sequence number, cell of the key, cell of the value, hash
 *	dict, by hash         2 words: hash of the key, sequence number
 *
 * A cell is a slot of lib/value, with two differences: what does not fit is a chunk (a blob) that
 * the body leads to, and a reference's body is its id.
 *
 * Readers are optimistic (tarn__view_begin, tarn__view_done): they copy what they want out of
 * chunks that may be freed and used again meanwhile, check every offset and number against
 * bounds before they follow it, and believe the copy only if the root's version is the one they
 * began with.
 */
#ifndef TARN_SHM_VIEW_H
#define TARN_SHM_VIEW_H

#include "base.h"

#define TARN__VIEW_SPAN 65536u       /* chunks come in spans of this many bytes */
#define TARN__VIEW_NODE_MOST 1024u   /* bytes of a node */
#define TARN__VIEW_LEVELS 12u        /* more than 2^48 elements need */

struct tarn__view_head { /* written by the server, once before anybody attaches; its last two at any time */
	uint64_t bytes;       /* of the segment */
	uint64_t seed;        /* of hashes of keys */
	uint64_t roots;       /* how many */
	uint64_t chunks_at;   /* where chunks begin */
	TARN__ALIGNED_LINE uint64_t committed; /* SYNC view-committed: bytes that may be read */
	uint64_t roots_committed; /* the server's alone: bytes from the beginning; the lines in use are below */
};
static_assert(offsetof(struct tarn__view_head, committed) == 64, "a line of its own");
static_assert(sizeof(struct tarn__view_head) == 128, "view head");
#define TARN__VIEW_ROOTS_AT 4096u

/* What readers go by. The truth is in META: a successor writes those lines again that differ. */
struct tarn__view_root { /* written by the server, one thread at a time */
	uint64_t version;     /* SYNC view-root: odd while the line changes */
	uint64_t id;          /* of the object; 0: none */
	uint64_t count;       /* elements */
	uint64_t held;        /* references in them, each as often as it occurs */
	uint64_t order;       /* top of the tree in order; 0: empty */
	uint64_t index;       /* of a dict: top of the tree by hash */
	uint64_t next;        /* of a dict: the next sequence number; of an iterator: its position */
	uint64_t kind;        /* what the object makes of it */
};
static_assert(sizeof(struct tarn__view_root) == 64, "one line");

enum tarn__form { TARN__FORM_CELLS, TARN__FORM_ENTRIES, TARN__FORM_POINTS, TARN__FORMS };

struct tarn__node { /* written by the server; but for refs, only before a root leads to it */
	uint32_t refs;        /* the server's alone: of roots and nodes above */
	uint32_t bytes;       /* of the chunk */
	uint64_t stamp;       /* the server's alone: which change made it */
	uint8_t level;        /* 0: a leaf */
	uint8_t width;        /* words of an element; of a child 4 */
	uint16_t n;           /* elements or children */
	uint32_t form;        /* what elements are: enum tarn__form */
	uint64_t count;       /* elements below */
	uint64_t held;        /* references below */
	uint64_t word[];
};
static_assert(sizeof(struct tarn__node) == 40, "node");
#define TARN__NODE_WORDS ((TARN__VIEW_NODE_MOST - sizeof(struct tarn__node)) / 8)

struct tarn__child {
	uint64_t at;          /* of the node */
	uint64_t count, held; /* as in the node */
	uint64_t key;         /* first word of the first element */
};
static_assert(sizeof(struct tarn__child) == 32, "child");
#define TARN__CHILD_WORDS 4u
#define TARN__CELL_WORDS 2u
#define TARN__ENTRY_WORDS 6u  /* of a dict in order */
#define TARN__POINT_WORDS 2u  /* of a dict by hash */

/* A long string or bytes (a cell of kind string or bytes), or a payload of lib/value with one value and then the ids of
 * its references. */
struct tarn__blob { /* written by the server; but for refs, only before a root leads to it */
	uint32_t refs;
	uint32_t n_refs;
	uint64_t bytes;       /* of the chunk */
	uint64_t size;        /* of the data: bytes */
	uint64_t data[];
};
static_assert(sizeof(struct tarn__blob) == 24, "blob");

/* Bits 8 to 15 of a cell's first word. */
#define TARN__CELL_BLOB 0x100u /* the body is where its blob lies */

struct tarn__view {
	unsigned char *base;  /* for reading; the server's mapping may be written, too */
	uint64_t bytes;       /* of the mapping */
};

static inline const struct tarn__view_head *tarn__view_head(const struct tarn__view *v)
{
	return (const struct tarn__view_head *)(const void *)v->base;
}

static inline struct tarn__view_root *tarn__view_root(const struct tarn__view *v, uint32_t index)
{
	return (struct tarn__view_root *)(void *)(v->base + TARN__VIEW_ROOTS_AT) + index;
}

/* ---- optimistic reading ---- */

/* What a reader works with: a copy of the root, and how far it may read. */
struct tarn__sight {
	const struct tarn__view *view;
	const struct tarn__view_root *line;
	struct tarn__view_root root;
	uint64_t limit;       /* bytes of the segment that are there */
};

/* False: the line changes just now, or is not @id's. */
bool tarn__view_begin(const struct tarn__view *v, uint32_t index, uint64_t id,
		      struct tarn__sight *ret);
/* Whether all that was copied since begin was true when begin was called. */
bool tarn__view_done(const struct tarn__sight *s);

/* ---- finding: of true trees (the server) and of what may be none (sight) ----
 *
 * False: there is no such element, or (in sight) what was read was no tree. */

/* Copies the element at @position, of @width words. */
bool tarn__tree_at(const struct tarn__sight *s, uint64_t top, uint64_t position, unsigned width,
		   uint64_t *ret_words);
/* The position of the first element whose first word is @key or more, of a tree in that order; the
 * number of elements if there is none. Copies that element, if there is one. @ret_position may be
 * NULL, which is faster. */
bool tarn__tree_find(const struct tarn__sight *s, uint64_t top, uint64_t key, unsigned width,
		     uint64_t *ret_position, uint64_t *ret_words);
/* Copies up to @most elements that lie side by side from @position on; how many. 0: none. */
unsigned tarn__tree_run(const struct tarn__sight *s, uint64_t top, uint64_t position,
			unsigned width, uint64_t *ret_words, unsigned most);

/* ---- keys of dicts ---- */

/* A key as it is compared: equal keys have equal words. Numbers that are equal are one key, whatever
 * their kind; booleans are not numbers. */
struct tarn__key {
	uint64_t head, body;  /* of a cell; the body of long data is 0 */
	const void *data;     /* of long data */
	uint64_t hash;
};

/* Of a cell's words and, if it is long, its data. False: it cannot be a key. */
bool tarn__key_make(uint64_t seed, uint64_t head, uint64_t body, const void *data,
		    struct tarn__key *ret);

/* Finds @key's entry (TARN__ENTRY_WORDS), its position in the order and that of its point, if these
 * are not NULL. */
bool tarn__dict_find(const struct tarn__sight *s, const struct tarn__key *key,
		     uint64_t *ret_position, uint64_t *ret_point, uint64_t *ret_entry);

/* The blob at @at, if it lies in what is there: its header is copied. */
const struct tarn__blob *tarn__view_blob(const struct tarn__sight *s, uint64_t at,
					 struct tarn__blob *ret_copy);

#endif
