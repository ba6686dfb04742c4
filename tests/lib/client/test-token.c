/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens as bytes and as text. What needs a server is in the process tests. */
#include "tarn/token.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#include "shm/hash.h"

TestSuite(token, .timeout = 10);

/* A well-formed token, built by hand from the layout that token.c describes. */
static tarn_token sample(void)
{
	tarn_token t = { .bytes = "tarn\1\1" };
	uint64_t sum;

	for (size_t i = 8; i < 48; i++)
		t.bytes[i] = (unsigned char)(i * 37);
	sum = tarn__hash64(t.bytes, 56, 0x6e656b6f74ull);
	memcpy(t.bytes + 56, &sum, sizeof sum);
	return t;
}

Test(token, text_and_back)
{
	const tarn_token t = sample();
	char text[TARN_TOKEN_TEXT_BYTES];
	tarn_token u;

	tarn_token_format(&t, text);
	cr_expect(eq(sz, strlen(text), TARN_TOKEN_TEXT_BYTES - 1));
	cr_expect(eq(int, strncmp(text, "tarn1:7461726e0101", 18), 0), "%s", text);
	cr_assert(eq(int, tarn_token_parse(text, &u), 0), "%s", tarn_error_last()->message);
	cr_expect(eq(int, memcmp(&t, &u, sizeof t), 0));
}

Test(token, capital_digits_are_read)
{
	const tarn_token t = sample();
	char text[TARN_TOKEN_TEXT_BYTES];
	tarn_token u;

	tarn_token_format(&t, text);
	for (char *p = text + 6; *p != '\0'; p++)
		if (*p >= 'a' && *p <= 'f')
			*p = (char)(*p - 'a' + 'A');
	cr_expect(eq(int, tarn_token_parse(text, &u), 0));
}

/* Parses a damaged form of the sample; the sentence must contain @words. */
static void refuse(const char *text, const char *words)
{
	tarn_token u;

	memset(&u, 0x5a, sizeof u);
	cr_expect(eq(int, tarn_token_parse(text, &u), -EINVAL), "%s", text);
	cr_expect(ne(ptr, strstr(tarn_error_last()->message, words), NULL), "'%s' lacks '%s'",
		  tarn_error_last()->message, words);
	cr_expect(eq(chr, (char)u.bytes[0], 0x5a), "the result stays untouched");
}

Test(token, parse_names_the_character_that_is_wrong)
{
	const tarn_token t = sample();
	char text[TARN_TOKEN_TEXT_BYTES + 8];

	tarn_token_format(&t, text);
	text[40] = 'g';
	refuse(text, "Character 41");

	tarn_token_format(&t, text);
	text[2] = 'x';
	refuse(text, "Character 3 ");

	tarn_token_format(&t, text);
	text[100] = '\0';
	refuse(text, "ends after 100 characters");

	tarn_token_format(&t, text);
	strcat(text, " ");
	refuse(text, "character 135");

	refuse("", "ends after 0");
	refuse("hello", "Character 1 ");
}

Test(token, every_single_damaged_digit_is_found)
{
	const tarn_token t = sample();
	char text[TARN_TOKEN_TEXT_BYTES];
	tarn_token u;

	for (size_t i = 6; i < TARN_TOKEN_TEXT_BYTES - 1; i++) {
		tarn_token_format(&t, text);
		text[i] = text[i] == '0' ? '1' : '0';
		cr_expect(eq(int, tarn_token_parse(text, &u), -EINVAL), "digit %zu", i);
	}
}

Test(token, null_is_refused)
{
	tarn_token u;

	cr_expect(eq(int, tarn_token_parse(NULL, &u), -EINVAL));
}

Test(token, another_version_and_an_unknown_kind_are_refused_with_words)
{
	char text[TARN_TOKEN_TEXT_BYTES];
	tarn_token t = sample();
	uint64_t sum;

	t.bytes[4] = 9;
	tarn_token_format(&t, text);
	refuse(text, "version 9");

	t = sample();
	t.bytes[5] = 77;
	sum = tarn__hash64(t.bytes, 56, 0x6e656b6f74ull);
	memcpy(t.bytes + 56, &sum, sizeof sum);
	tarn_token_format(&t, text);
	refuse(text, "kind (77)");
}
