/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A dump: all of META and FACTS that is not zero, in a file.
 *
 *	struct dump_header
 *	struct dump_extent x n_extents    ascending by segment and offset, whole OS pages
 *	contents of the extents, in that order
 *
 * The checksum finds damage; it is no signature. So a reader takes nothing in a dump for
 * granted: dump_load() checks the form, tarn__state_check() every index of META's head, and
 * what walks over the tables stays in bounds by itself.
 */
#ifndef TARN_SERVER_DUMP_H
#define TARN_SERVER_DUMP_H

#include <stdint.h>

#include "server.h"

#define DUMP_MAGIC "TARNDUMP"
#define DUMP_VERSION 1u

enum dump_how {
	DUMP_ANSWERED = 1, /* by the server, between two transactions */
	DUMP_STOPPED,      /* copied while the server was stopped */
	DUMP_STILL,        /* copied twice, the same each time */
};

struct dump_header {
	char magic[8];
	uint32_t version;
	uint32_t header_bytes;
	uint64_t layout;      /* of what lies in the segments */
	uint64_t meta_bytes, facts_bytes;
	uint64_t n_extents;
	uint64_t data_bytes;  /* sum of the extents */
	uint64_t taken_ns;    /* CLOCK_REALTIME */
	uint64_t now_ns;      /* CLOCK_BOOTTIME at the same moment */
	uint64_t rolled_back; /* words of an unfinished transaction that were undone */
	uint32_t how;         /* enum dump_how */
	uint32_t pid;
	uint64_t checksum;    /* of all that follows the header, seeded with the header's own,
			       * this field 0 */
	uint64_t spare[4];
};
static_assert(sizeof(struct dump_header) == 128, "the header of version 1");

struct dump_extent {
	uint32_t segment; /* 0 META, 1 FACTS */
	uint32_t pad;
	uint64_t offset, bytes;
};
static_assert(sizeof(struct dump_extent) == 24, "an extent");

/* A copy in private memory. */
struct dump {
	struct dump_header header;
	unsigned char *meta, *facts;
	struct state st;
	struct sight sight;
};

/* Writes META and FACTS as they are in memory; @meta_fd and @facts_fd tell where they have
 * holes, -1: nothing does. The header's sizes and facts about the copy are given. */
int dump_write(int fd, struct dump_header *h, const unsigned char *meta, int meta_fd,
	       const unsigned char *facts, int facts_fd);

/* Reads a dump. 0, -errno, or -TARN_EPROTO, -TARN_EVERSION with a sentence. */
int dump_load(int fd, struct dump *ret);
/* Copies what lies behind @meta_fd and @facts_fd (-1: none) of a server, header by the caller.
 * *ret_changed: it differs from what is in memory already (a second look). */
int dump_copy(int meta_fd, int facts_fd, struct dump *d, bool *ret_changed);
/* After dump_copy: rolls the open transaction back and takes the tables into use. */
int dump_adopt(struct dump *d);
void dump_free(struct dump *d);

/* Counts of META's head within its tables, cursors within their limits: what everything that
 * reads a META relies on. True for any that the server wrote. */
bool tarn__state_check(const struct state *st);

#endif
