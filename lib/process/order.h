/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of a worker process: what it is to do, and what it says of it without the server.
 *
 * A memfd that both map as long as they live; the log's ring is the end of it.
 */
#ifndef TARN_PROCESS_ORDER_H
#define TARN_PROCESS_ORDER_H

#include "lib/image.h"
#include "shm/log-ring.h"
#include "tarn/process.h"
#include "tarn/server.h"
#include "tarn/token.h"

#define TARN__WORK_VARIABLE "TARN__WORK"
#define TARN__WORK_MAGIC 0x776f726b65720a01ull
#define TARN__WORK_NAME 64u
#define TARN__WORK_KEY 1024u

enum tarn__work_phase {
	TARN__WORK_EXECUTED = 0,
	TARN__WORK_FOUND,   /* the image found its order */
	TARN__WORK_TOOK,    /* it has its arguments */
	TARN__WORK_SAID,    /* its outcome is with the server */
	TARN__WORK_FAILED,  /* could not work or say so: see code and failure */
};

struct tarn__work {
	struct tarn__order head;
	/* The starter writes, before the image runs. */
	int32_t bell;       /* an eventfd to ring when a record is put; -1: logs are not forwarded */
	uint32_t has_client;
	uint32_t program;   /* not 0: main() works, and no entry is called */
	uint32_t key_bytes;
	char name[TARN__WORK_NAME], entry[TARN__WORK_NAME], on_error[TARN__WORK_NAME];
	char server[TARN_SERVER_TEXT];
	tarn_token token;   /* of its tarn.Process */
	tarn_client_options client; /* without pointers */
	unsigned char key[TARN__WORK_KEY]; /* both wipe it */
	/* The image writes. */
	uint32_t phase;     /* enum tarn__work_phase */
	int32_t code;
	char domain[TARN__WORK_NAME];
	char failure[512];
	TARN__ALIGNED_LINE struct tarn__log_ring ring;
};

/* 0, or -TARN_ESTATE in a process that missed its order: it must not spawn others, without end. */
int tarn__work_check(void);

#endif
