/* SPDX-License-Identifier: Apache-2.0 */
/*
 * T10: tokens as text and as bytes. Whatever is parsed comes back from its text form; what is
 * no token is refused with a sentence.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "shm/hash.h"
#include "tarn/tarn.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

static void parse(const char *text)
{
	char again[TARN_TOKEN_TEXT_BYTES];
	tarn_token t, u;
	int r = tarn_token_parse(text, &t);

	if (r != 0) {
		CHECK(r == -EINVAL && tarn_error_last()->message[0] != '\0');
		return;
	}
	tarn_token_format(&t, again);
	CHECK(tarn_token_parse(again, &u) == 0 && memcmp(&t, &u, sizeof t) == 0);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes)
{
	/* Exactly as long as it is: what is read beyond is seen. */
	char *text = malloc(bytes + 1);

	CHECK(text != NULL);
	memcpy(text, data, bytes);
	text[bytes] = '\0';
	parse(text);
	free(text);
	if (bytes >= 56) {
		/* The same bytes with a right checksum. */
		char good[TARN_TOKEN_TEXT_BYTES];
		tarn_token t;

		memcpy(t.bytes, data, 56);
		uint64_t sum = tarn__hash64(t.bytes, 56, 0x6e656b6f74ull);

		memcpy(t.bytes + 56, &sum, 8);
		tarn_token_format(&t, good);
		parse(good);
	}
	return 0;
}
