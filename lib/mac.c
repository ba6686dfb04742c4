/* SPDX-License-Identifier: Apache-2.0 */
#include "mac.h"

#include <endian.h>
#include <string.h>

/* First 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t round_constant[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static inline uint32_t turn(uint32_t x, unsigned n)
{
	return x >> n | x << (32 - n);
}

static void compress(uint32_t h[8], const unsigned char block[64])
{
	uint32_t w[64], v[8];

	for (unsigned i = 0; i < 16; i++) {
		memcpy(&w[i], block + 4 * i, 4);
		w[i] = be32toh(w[i]);
	}
	for (unsigned i = 16; i < 64; i++) {
		const uint32_t a = w[i - 15], b = w[i - 2];

		w[i] = w[i - 16] + w[i - 7] + (turn(a, 7) ^ turn(a, 18) ^ a >> 3) +
		       (turn(b, 17) ^ turn(b, 19) ^ b >> 10);
	}
	memcpy(v, h, sizeof v);
	for (unsigned i = 0; i < 64; i++) {
		const uint32_t a = v[0], e = v[4];
		const uint32_t t1 = v[7] + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) +
				    ((e & v[5]) ^ (~e & v[6])) + round_constant[i] + w[i];
		const uint32_t t2 = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) +
				    ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));

		memmove(v + 1, v, 7 * sizeof *v);
		v[4] += t1;
		v[0] = t1 + t2;
	}
	for (unsigned i = 0; i < 8; i++)
		h[i] += v[i];
	explicit_bzero(w, sizeof w);
	explicit_bzero(v, sizeof v);
}

void tarn__sha256_init(struct tarn__sha256 *s)
{
	static const uint32_t first[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
					   0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };

	memcpy(s->h, first, sizeof first);
	s->bytes = 0;
}

void tarn__sha256_add(struct tarn__sha256 *s, const void *data, size_t bytes)
{
	const unsigned char *p = data;

	while (bytes > 0) {
		size_t at = s->bytes % 64, n = 64 - at < bytes ? 64 - at : bytes;

		memcpy(s->block + at, p, n);
		s->bytes += n;
		p += n;
		bytes -= n;
		if (at + n == 64)
			compress(s->h, s->block);
	}
}

void tarn__sha256_end(struct tarn__sha256 *s, unsigned char ret[TARN__MAC_BYTES])
{
	static const unsigned char end[64] = { 0x80 };
	const uint64_t bits = htobe64(8 * s->bytes);

	tarn__sha256_add(s, end, 1 + (119 - s->bytes % 64) % 64);
	tarn__sha256_add(s, &bits, sizeof bits);
	for (unsigned i = 0; i < 8; i++) {
		const uint32_t h = htobe32(s->h[i]);

		memcpy(ret + 4 * i, &h, 4);
	}
	explicit_bzero(s, sizeof *s);
}

void tarn__mac(const void *key, size_t key_bytes, const struct tarn__piece *piece, unsigned n,
	       unsigned char ret[TARN__MAC_BYTES])
{
	unsigned char pad[64] = { 0 };
	struct tarn__sha256 s;

	if (key_bytes > sizeof pad) {
		tarn__sha256_init(&s);
		tarn__sha256_add(&s, key, key_bytes);
		tarn__sha256_end(&s, pad);
	} else if (key_bytes > 0) {
		memcpy(pad, key, key_bytes);
	}
	for (unsigned i = 0; i < sizeof pad; i++)
		pad[i] ^= 0x36;
	tarn__sha256_init(&s);
	tarn__sha256_add(&s, pad, sizeof pad);
	for (unsigned i = 0; i < n; i++)
		tarn__sha256_add(&s, piece[i].data, piece[i].bytes);
	tarn__sha256_end(&s, ret);
	for (unsigned i = 0; i < sizeof pad; i++)
		pad[i] ^= 0x36 ^ 0x5c;
	tarn__sha256_init(&s);
	tarn__sha256_add(&s, pad, sizeof pad);
	tarn__sha256_add(&s, ret, TARN__MAC_BYTES);
	tarn__sha256_end(&s, ret);
	explicit_bzero(pad, sizeof pad);
}

bool tarn__mac_equal(const unsigned char a[TARN__MAC_BYTES], const unsigned char b[TARN__MAC_BYTES])
{
	unsigned char differ = 0;

	for (unsigned i = 0; i < TARN__MAC_BYTES; i++)
		differ |= (unsigned char)(a[i] ^ b[i]);
	return differ == 0;
}
