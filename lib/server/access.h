/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may talk to a server. Two questions to every connection: whose process is it (the
 * kernel's word), and, if there is an authkey, does it know it.
 */
#ifndef TARN_SERVER_ACCESS_H
#define TARN_SERVER_ACCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/auth.h"
#include "tarn/server.h"

struct ucred;

struct access {
	uint32_t *uids, *gids;
	size_t n_uids, n_gids;
	unsigned char *key;
	size_t key_bytes; /* 0: none is asked for */
};

/* How far a connection has come with its proof. */
struct proof {
	bool greeted; /* the nonces below are fresh */
	bool proven;
	unsigned char theirs[TARN__MAC_BYTES], ours[TARN__MAC_BYTES];
};

int tarn__access_init(struct access *a, const tarn_server_options *o);
void tarn__access_fini(struct access *a);

/* Others than the own user may connect at all. */
bool tarn__access_open(const struct access *a);
/* The user, or one of the groups, of the process that connected. Its credentials are read
 * into @ret_who, also if it may not. */
bool tarn__access_allows(const struct access *a, int socket, struct ucred *ret_who);
/* May end the server. */
bool tarn__access_owns(uid_t uid);

/* The two steps; answers go to @ret. 0 or -TARN_EAUTH. After a wrong proof the nonces are
 * spent, and the connection should end. */
int tarn__proof_greet(const struct access *a, struct proof *p,
		      const unsigned char theirs[TARN__MAC_BYTES], unsigned char ret[TARN__MAC_BYTES]);
int tarn__proof_check(const struct access *a, struct proof *p,
		      const unsigned char proof[TARN__MAC_BYTES], unsigned char ret[TARN__MAC_BYTES]);
static inline bool tarn__proof_due(const struct access *a, const struct proof *p)
{
	return a->key_bytes != 0 && !p->proven;
}

#endif
