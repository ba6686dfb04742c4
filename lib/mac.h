/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HMAC-SHA256 (RFC 2104, FIPS 180-4): what both ends of the control socket prove knowledge
 * of the authkey with.
 *
 * Why here and not from a library: a keyed hash that resists attackers who may record and
 * compute at leisure has to be a cryptographic one (SipHash, with its 64 bits, is not), and
 * this one is a page of code with published vectors, without tables or branches that depend on
 * the secret. libcrypto would add a megabyte, its relocations to the start of every program,
 * and a build with and one without; AF_ALG is refused in containers.
 */
#ifndef TARN_MAC_H
#define TARN_MAC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TARN__MAC_BYTES 32u

struct tarn__sha256 {
	uint32_t h[8];
	uint64_t bytes;
	unsigned char block[64];
};
void tarn__sha256_init(struct tarn__sha256 *s);
void tarn__sha256_add(struct tarn__sha256 *s, const void *data, size_t bytes);
void tarn__sha256_end(struct tarn__sha256 *s, unsigned char ret[TARN__MAC_BYTES]);

/* The MAC of @n pieces, one after the other. */
struct tarn__piece {
	const void *data;
	size_t bytes;
};
void tarn__mac(const void *key, size_t key_bytes, const struct tarn__piece *piece, unsigned n,
	       unsigned char ret[TARN__MAC_BYTES]);

/* In a time that does not tell where they differ. */
bool tarn__mac_equal(const unsigned char a[TARN__MAC_BYTES], const unsigned char b[TARN__MAC_BYTES]);

#endif
