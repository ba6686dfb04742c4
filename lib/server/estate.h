/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a server leaves to its successor: the descriptors of all that outlives a process.
 *
 * The keeper (keeper.h) has them. A server tells it of each by a note on a socket before anybody
 * is told that the thing exists, so what was promised to a client is never lost; what was left and
 * then not committed to META the successor finds without a record, and lets go. A note that was
 * sent is delivered, whatever becomes of its sender.
 *
 * Successors are forks of the keeper: they find the descriptors open, under the same numbers.
 */
#ifndef TARN_SERVER_ESTATE_H
#define TARN_SERVER_ESTATE_H

#include <signal.h>
#include <sys/types.h>

#include "shm/kept.h"
#include "shm/layout.h"
#include "shm/segment.h"
#include "state.h"

/* Things of which there is one. */
enum estate_thing {
	ESTATE_META,
	ESTATE_DIR,
	ESTATE_DATA,
	ESTATE_CTRL,
	ESTATE_FACTS,
	ESTATE_VIEW,
	ESTATE_DOORBELL,
	ESTATE_LISTENER,
	ESTATE_NAME_LOCK,
	ESTATE_THINGS,
};

enum estate_kind {
	ESTATE_THING = 1,   /* number: which; fd; name: of a kept segment */
	ESTATE_NAMES,       /* of server, socket and lock file; backing */
	ESTATE_CLIENT,      /* fds: lanes, and unless it is the host socket and pidfd */
	ESTATE_CLIENT_GONE,
	ESTATE_EVENT,       /* fd: writing end of the pipe of lane number @number */
	ESTATE_EVENT_GONE,
	ESTATE_READY,       /* it serves */
	ESTATE_BYE,         /* it ends in order, or is the first and cannot serve: no successor */
};

/* One datagram of a socket that only these two processes have. */
struct estate_note {
	uint32_t kind;
	uint32_t number;             /* ESTATE_READY: 1: what the last ones died of is given up */
	uint32_t client, incarnation;
	uint64_t image;              /* of the client's program, see attach.c */
	uint64_t ready_ns;           /* ESTATE_READY: since when, by the clock of tarn__now() */
	uint32_t host;               /* ESTATE_CLIENT: it is the server's own host of objects */
	uint32_t backing;            /* enum tarn__backing */
	char name[TARN__KEPT_BYTES]; /* of a segment or of the server; "": none */
	char socket_path[108];
	char lock_path[120];
};

struct estate_client {
	uint32_t incarnation;
	bool host;
	int lanes, socket, pidfd; /* -1: none */
	uint64_t image;
	char name[TARN__KEPT_BYTES];
	int *event;               /* by lane; -1: none. NULL: none at all */
};

/* The keeper's; a successor has the same by fork. */
struct estate {
	int fd[ESTATE_THINGS]; /* -1: not there (yet) */
	char kept_name[ESTATE_THINGS][TARN__KEPT_BYTES];
	char name[TARN__KEPT_BYTES], socket_path[108], lock_path[120];
	enum tarn__backing backing;
	struct estate_client *client[MAX_CLIENTS];
};

/* What starter, keeper and servers tell each other; in memory that they share. */
struct keeper_page {
	uint64_t uuid[2];    /* by the server, before it is ready */
	uint32_t server_pid; /* atomic; by the server and the keeper: 0 while there is none */
	int32_t code;        /* of a failure, by whoever fails; its sentence: */
	char failure[512];
	struct last_words {  /* by the handler of a signal that ends a server; see crash.c */
		int32_t signal;      /* 0: none were said */
		uint32_t reactor;    /* 1: it was the reactor's thread */
		uint64_t call;       /* number of the call that the thread ran; 0: none */
	} words;
};

/* What a server is told by its keeper. */
struct heritage {
	int keeper;            /* the socket for notes */
	struct estate *estate;
	struct keeper_page *page;
	bool successor;        /* else it is the first: the estate is empty */
	int status;            /* of the last one's end, as of waitpid() */
	struct last_words words;
};

void tarn__estate_init(struct estate *e);
/* Closes all. */
void tarn__estate_free(struct estate *e);
/* The keeper's side: takes a note with its descriptors, which it closes if it has no use for
 * them. */
void tarn__estate_take(struct estate *e, const struct estate_note *n, int fds[], unsigned n_fds);

/* ---- the server's side; without a keeper they do nothing and succeed ---- */

struct server;
struct peer;
/* 0 or negative errno: the keeper does not take it. */
int tarn__estate_leave_thing(struct server *s, enum estate_thing thing, int fd, const char *name);
int tarn__estate_leave_names(struct server *s);
int tarn__estate_leave_client(struct server *s, const struct peer *p, uint32_t incarnation);
int tarn__estate_leave_event(struct server *s, uint32_t client, uint32_t number, int fd);
void tarn__estate_forget_client(struct server *s, uint32_t client);
void tarn__estate_forget_event(struct server *s, uint32_t client, uint32_t number);
/* All things of which there is one, when they are there. */
int tarn__estate_leave_all(struct server *s);
void tarn__estate_ready(struct server *s);
void tarn__estate_bye(struct server *s);

/* Maps a segment of the estate. 0 or negative errno. */
int tarn__estate_segment(const struct estate *e, enum estate_thing thing, struct tarn__segment *ret);

#endif
