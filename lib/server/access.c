/* SPDX-License-Identifier: Apache-2.0 */
#include "access.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/error.h"

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59 /* Linux 4.13 */
#endif

/* ---- the rule ---- */

static int copy(void *ret_pointer, size_t *ret_n, const void *from, size_t n, size_t each)
{
	void *p = NULL;

	if (n != 0) {
		p = malloc(n * each);
		if (p == NULL)
			return tarn__fail(-ENOMEM, "no memory for the list of who may attach");
		memcpy(p, from, n * each);
	}
	memcpy(ret_pointer, &p, sizeof p);
	*ret_n = n;
	return 0;
}

int tarn__access_init(struct access *a, const tarn_server_options *o)
{
	int r = copy(&a->uids, &a->n_uids, o->allow_uids, o->n_allow_uids, sizeof *a->uids);

	if (r == 0)
		r = copy(&a->gids, &a->n_gids, o->allow_gids, o->n_allow_gids, sizeof *a->gids);
	if (r == 0)
		r = copy(&a->key, &a->key_bytes, o->authkey, o->authkey_bytes, 1);
	return r;
}

void tarn__access_fini(struct access *a)
{
	if (a->key != NULL)
		explicit_bzero(a->key, a->key_bytes);
	free(a->key);
	free(a->uids);
	free(a->gids);
	*a = (struct access){ 0 };
}

bool tarn__access_open(const struct access *a)
{
	return a->n_uids != 0 || a->n_gids != 0;
}

bool tarn__access_owns(uid_t uid)
{
	return uid == geteuid() || uid == 0;
}

static bool listed(const uint32_t *list, size_t n, uint32_t id)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == id)
			return true;
	return false;
}

/* One of the groups that the process had when it connected. */
static bool in_listed_group(const struct access *a, int socket, gid_t first)
{
	socklen_t bytes = 0;
	bool found = false;

	if (a->n_gids == 0)
		return false;
	if (listed(a->gids, a->n_gids, first))
		return true;
	/* Asked without room it says how much there is. */
	if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, NULL, &bytes) == 0 || errno != ERANGE)
		return false;
	gid_t *group = malloc(bytes);
	if (group != NULL && getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, group, &bytes) == 0)
		for (size_t i = 0; i < bytes / sizeof *group && !found; i++)
			found = listed(a->gids, a->n_gids, group[i]);
	free(group);
	return found;
}

bool tarn__access_allows(const struct access *a, int socket, struct ucred *ret_who)
{
	socklen_t n = sizeof *ret_who;

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, ret_who, &n) != 0) {
		*ret_who = (struct ucred){ .pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1 };
		return false;
	}
	return tarn__access_owns(ret_who->uid) || listed(a->uids, a->n_uids, ret_who->uid) ||
	       in_listed_group(a, socket, ret_who->gid);
}

/* ---- the proof ---- */

int tarn__proof_greet(const struct access *a, struct proof *p,
		      const unsigned char theirs[TARN__MAC_BYTES], unsigned char ret[TARN__MAC_BYTES])
{
	p->greeted = false;
	if (a->key_bytes == 0)
		return -TARN_EAUTH;
	if (getrandom(p->ours, sizeof p->ours, 0) != (ssize_t)sizeof p->ours)
		return -EIO;
	memcpy(p->theirs, theirs, sizeof p->theirs);
	memcpy(ret, p->ours, sizeof p->ours);
	p->greeted = true;
	return 0;
}

int tarn__proof_check(const struct access *a, struct proof *p,
		      const unsigned char proof[TARN__MAC_BYTES], unsigned char ret[TARN__MAC_BYTES])
{
	unsigned char want[TARN__MAC_BYTES];

	if (!p->greeted)
		return -TARN_EAUTH;
	p->greeted = false; /* each greeting is good for one try */
	tarn__auth_mac(a->key, a->key_bytes, TARN__SIDE_CLIENT, p->theirs, p->ours, want);
	p->proven = tarn__mac_equal(want, proof);
	explicit_bzero(want, sizeof want);
	if (!p->proven)
		return -TARN_EAUTH;
	tarn__auth_mac(a->key, a->key_bytes, TARN__SIDE_SERVER, p->theirs, p->ours, ret);
	return 0;
}
