/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The proof of an authkey, both ways (C client, S server, K key, N fresh random numbers):
 *
 *	C -> S	HELLO	Nc
 *	S -> C		Ns
 *	C -> S	PROVE	HMAC(K, "tarn client" Nc Ns)
 *	S -> C		HMAC(K, "tarn server" Nc Ns)
 *
 * The asker proves first, so nobody gets anything computed with K for the asking. The words in
 * front keep one side's proof from being the other's; Ns is used once, so a proof that was
 * recorded is worth nothing on another connection.
 *
 * What it does not do: encrypt (there is nothing to read on a Unix socket), or keep somebody
 * whom a client trusts as its server from passing the proof on to the real one.
 */
#ifndef TARN_AUTH_H
#define TARN_AUTH_H

#include "mac.h"

#define TARN__KEY_LEAST 16u
#define TARN__KEY_MOST 1024u
#define TARN__KEY_VARIABLE "TARN_AUTHKEY_FILE"

enum tarn__side { TARN__SIDE_CLIENT, TARN__SIDE_SERVER };

void tarn__auth_mac(const void *key, size_t key_bytes, enum tarn__side side,
		    const unsigned char client_nonce[TARN__MAC_BYTES],
		    const unsigned char server_nonce[TARN__MAC_BYTES],
		    unsigned char ret[TARN__MAC_BYTES]);

/* Proves to the server at the other end of @fd that we know the key, and has it prove the
 * same. 0, -TARN_EAUTH, or as tarn__control_ask(). */
int tarn__auth_prove(int fd, const void *key, size_t key_bytes, uint64_t deadline);
/* The same with the key of TARN_AUTHKEY_FILE; 1: there is no such variable. */
int tarn__auth_prove_default(int fd, uint64_t deadline);

/* A key is what its file holds, without one newline at the end. Others must not be able to read
 * the file. Wipe @ret afterwards. */
int tarn__auth_key_read(const char *path, unsigned char ret[TARN__KEY_MOST], size_t *ret_bytes);

#endif
