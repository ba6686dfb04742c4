/* SPDX-License-Identifier: Apache-2.0 */
#include "auth.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control.h"
#include "error.h"
#include "shm/layout.h"

void tarn__auth_mac(const void *key, size_t key_bytes, enum tarn__side side,
		    const unsigned char client_nonce[TARN__MAC_BYTES],
		    const unsigned char server_nonce[TARN__MAC_BYTES],
		    unsigned char ret[TARN__MAC_BYTES])
{
	const char *who = side == TARN__SIDE_CLIENT ? "tarn client" : "tarn server";
	const struct tarn__piece piece[] = { { who, strlen(who) },
					     { client_nonce, TARN__MAC_BYTES },
					     { server_nonce, TARN__MAC_BYTES } };

	tarn__mac(key, key_bytes, piece, 3, ret);
}

/* ---- the client's side ---- */

static int ask(int fd, enum tarn__control kind, const unsigned char data[TARN__MAC_BYTES],
	       unsigned char ret[TARN__MAC_BYTES], uint64_t deadline)
{
	struct tarn__request q = { .magic = TARN__CONTROL_MAGIC, .kind = kind,
				   .layout = tarn__layout_hash() };
	int fds[TARN__CONTROL_FDS];
	struct tarn__answer a;

	static_assert(sizeof q.data == TARN__MAC_BYTES, "a nonce or a proof");
	static_assert(sizeof a.value >= TARN__MAC_BYTES, "likewise");
	memcpy(q.data, data, sizeof q.data);
	int r = tarn__control_ask(fd, &q, &a, fds, deadline);
	for (unsigned i = 0; r == 0 && i < a.n_fds; i++)
		close(fds[i]);
	if (r == 0)
		memcpy(ret, a.value, TARN__MAC_BYTES);
	return r;
}

int tarn__auth_prove(int fd, const void *key, size_t key_bytes, uint64_t deadline)
{
	unsigned char ours[TARN__MAC_BYTES], theirs[TARN__MAC_BYTES], proof[TARN__MAC_BYTES],
		answer[TARN__MAC_BYTES];

	if (getrandom(ours, sizeof ours, 0) != (ssize_t)sizeof ours)
		return tarn__fail(-EIO, "No random numbers.");
	int r = ask(fd, TARN__CTL_HELLO, ours, theirs, deadline);
	if (r < 0)
		return r;
	tarn__auth_mac(key, key_bytes, TARN__SIDE_CLIENT, ours, theirs, proof);
	r = ask(fd, TARN__CTL_PROVE, proof, answer, deadline);
	if (r < 0)
		return r;
	tarn__auth_mac(key, key_bytes, TARN__SIDE_SERVER, ours, theirs, proof);
	if (!tarn__mac_equal(proof, answer))
		return tarn__fail(-TARN_EAUTH, "The server let us in, but cannot prove that it knows the "
				  "authkey: it is not the one that you mean.");
	return 0;
}

int tarn__auth_prove_default(int fd, uint64_t deadline)
{
	const char *path = getenv(TARN__KEY_VARIABLE);
	unsigned char key[TARN__KEY_MOST];
	size_t bytes;

	if (path == NULL || *path == '\0')
		return 1;
	int r = tarn__auth_key_read(path, key, &bytes);
	if (r == 0)
		r = tarn__auth_prove(fd, key, bytes, deadline);
	explicit_bzero(key, sizeof key);
	return r;
}

/* ---- files ---- */

static int read_key(int fd, const char *path, unsigned char ret[TARN__KEY_MOST], size_t *ret_bytes)
{
	unsigned char more[1];
	struct stat st;
	size_t n = 0;
	ssize_t got = 1;

	if (fstat(fd, &st) != 0)
		return tarn__fail(-errno, "Cannot look at the key file %.200s: %s.", path,
				  tarn_error_text(-errno));
	/* A pipe of a shell's <(...) is nobody else's, whatever its mode says. */
	if (S_ISREG(st.st_mode) && (st.st_mode & 077) != 0)
		return tarn__fail(-EACCES, "The key file %.200s is accessible to others (mode %04o): "
				  "chmod 600 it.", path, (unsigned)(st.st_mode & 07777));
	while (n < TARN__KEY_MOST && got != 0) {
		got = read(fd, ret + n, TARN__KEY_MOST - n);
		if (got < 0 && errno != EINTR)
			return tarn__fail(-errno, "Cannot read the key file %.200s: %s.", path,
					  tarn_error_text(-errno));
		n += got > 0 ? (size_t)got : 0;
	}
	const bool too_long = got != 0 && read(fd, more, 1) > 0 && more[0] != '\n';
	explicit_bzero(more, sizeof more);
	if (!too_long && n > 0 && ret[n - 1] == '\n')
		n--;
	if (too_long || n < TARN__KEY_LEAST)
		return tarn__fail(-EINVAL, "The key file %.200s holds %s%zu bytes; %u to %u are "
				  "possible.", path, too_long ? "more than " : "", n, TARN__KEY_LEAST,
				  TARN__KEY_MOST);
	*ret_bytes = n;
	return 0;
}

int tarn__auth_key_read(const char *path, unsigned char ret[TARN__KEY_MOST], size_t *ret_bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return tarn__fail(-errno, "Cannot open the key file %.200s: %s.", path,
				  tarn_error_text(-errno));
	int r = read_key(fd, path, ret, ret_bytes);
	if (r < 0)
		explicit_bzero(ret, TARN__KEY_MOST);
	close(fd);
	return r;
}
