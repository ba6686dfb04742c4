/* SPDX-License-Identifier: Apache-2.0 */
/* HMAC-SHA256 against the published vectors (FIPS 180-4 examples, RFC 4231) and, for all lengths
 * around a block, against another program's. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "lib/mac.h"

TestSuite(mac, .timeout = 30);

static void hex(const unsigned char mac[TARN__MAC_BYTES], char ret[65])
{
	for (unsigned i = 0; i < TARN__MAC_BYTES; i++)
		sprintf(ret + 2 * i, "%02x", mac[i]);
}

static void is(const unsigned char mac[TARN__MAC_BYTES], const char *want)
{
	char text[65];

	hex(mac, text);
	cr_assert_str_eq(text, want);
}

static void digest(const void *data, size_t bytes, size_t step, unsigned char ret[TARN__MAC_BYTES])
{
	struct tarn__sha256 s;

	tarn__sha256_init(&s);
	for (size_t at = 0; at < bytes; at += step)
		tarn__sha256_add(&s, (const char *)data + at, step < bytes - at ? step : bytes - at);
	tarn__sha256_end(&s, ret);
}

Test(mac, sha256_of_the_standards_examples)
{
	static char million[1000000];
	unsigned char d[TARN__MAC_BYTES];

	digest("", 0, 1, d);
	is(d, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	digest("abc", 3, 1, d);
	is(d, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, 7, d);
	is(d, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
	memset(million, 'a', sizeof million);
	for (size_t step = 1; step < 200; step += 33) {
		digest(million, sizeof million, step, d);
		is(d, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	}
}

Test(mac, hmac_of_rfc_4231)
{
	static unsigned char key[131], data[50];
	unsigned char m[TARN__MAC_BYTES];
	const char *text;

	memset(key, 0x0b, 20);
	tarn__mac(key, 20, &(struct tarn__piece){ "Hi There", 8 }, 1, m);
	is(m, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
	const struct tarn__piece pieces[] = { { "what do ya ", 11 }, { "", 0 }, { "want for nothing?", 17 } };
	tarn__mac("Jefe", 4, pieces, 3, m);
	is(m, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(key, 0xaa, sizeof key);
	memset(data, 0xdd, sizeof data);
	tarn__mac(key, 20, &(struct tarn__piece){ data, 50 }, 1, m);
	is(m, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
	text = "Test Using Larger Than Block-Size Key - Hash Key First";
	tarn__mac(key, 131, &(struct tarn__piece){ text, strlen(text) }, 1, m);
	is(m, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

Test(mac, equals_another_programs_around_a_block)
{
	char want[80], command[200], data[200];
	unsigned char d[TARN__MAC_BYTES];

	memset(data, 'x', sizeof data);
	for (size_t n = 50; n < 135; n++) {
		char text[65];

		snprintf(command, sizeof command, "head -c %zu /dev/zero | tr '\\0' x | sha256sum", n);
		FILE *f = popen(command, "r");
		cr_assert(f != NULL && fgets(want, sizeof want, f) != NULL);
		pclose(f);
		want[64] = '\0';
		digest(data, n, 13, d);
		hex(d, text);
		cr_assert_str_eq(text, want, "%zu bytes", n);
	}
}

Test(mac, each_flipped_bit_makes_it_unequal)
{
	unsigned char a[TARN__MAC_BYTES] = { 1, 2, 3 }, b[TARN__MAC_BYTES];

	for (unsigned bit = 0; bit < 8 * TARN__MAC_BYTES; bit++) {
		memcpy(b, a, sizeof a);
		cr_assert(tarn__mac_equal(a, b));
		b[bit / 8] = (unsigned char)(b[bit / 8] ^ 1u << bit % 8);
		cr_assert(!tarn__mac_equal(a, b));
	}
}
