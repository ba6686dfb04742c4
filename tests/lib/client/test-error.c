/* SPDX-License-Identifier: Apache-2.0 */
/* Codes have names and texts; a failure's sentence stays with its thread. */
#include "lib/error.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "tarn/error.h"

TestSuite(error, .timeout = 10);

Test(error, every_code_of_ours_has_a_name_and_a_text)
{
	for (int code = TARN_EFIRST; code < TARN_ELAST; code++) {
		cr_expect(ne(str, (char *)tarn_error_name(code), "unknown"), "code %d", code);
		cr_expect(ne(str, (char *)tarn_error_text(code), "unknown error"), "code %d", code);
		cr_expect(eq(ptr, (void *)tarn_error_name(code), (void *)tarn_error_name(-code)));
	}
}

Test(error, codes_of_the_system_are_known_with_either_sign)
{
	cr_expect(eq(str, (char *)tarn_error_name(ENOMEM), "ENOMEM"));
	cr_expect(eq(str, (char *)tarn_error_name(-ETIMEDOUT), "ETIMEDOUT"));
	cr_expect(eq(str, (char *)tarn_error_text(-ENOENT), "not found"));
	cr_expect(eq(str, (char *)tarn_error_name(0), "OK"));
}

Test(error, what_is_no_code_has_a_text_all_the_same)
{
	cr_expect(eq(str, (char *)tarn_error_name(TARN_ELAST), "unknown"));
	cr_expect(eq(str, (char *)tarn_error_text(123456), "unknown error"));
	cr_expect(eq(str, (char *)tarn_error_text(INT32_MIN), "unknown error"));
}

Test(error, nothing_failed_yet)
{
	cr_expect(eq(int, tarn_error_last()->code, 0));
	cr_expect(eq(str, (char *)tarn_error_last()->message, "no error"));
}

Test(error, a_failure_is_kept_with_its_sentence)
{
	errno = EDOM;
	cr_assert(eq(int, tarn__fail(-EINVAL, "asked for %d, %s", 7, "got none"), -EINVAL));
	cr_expect(eq(int, tarn_error_last()->code, -EINVAL));
	cr_expect(eq(str, (char *)tarn_error_last()->message, "asked for 7, got none"));
	cr_expect(eq(int, errno, EDOM), "errno is not touched");
}

Test(error, a_sentence_may_quote_the_one_before)
{
	tarn__fail(-ENOENT, "no file");
	tarn__fail(-EIO, "outer: %s", tarn_error_last()->message);
	cr_expect(eq(str, (char *)tarn_error_last()->message, "outer: no file"));
}

Test(error, a_long_sentence_is_cut_and_control_characters_are_not_passed_on)
{
	char text[2000];

	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	text[3] = '\n';
	text[4] = '\033';
	tarn__fail(-EINVAL, "%s", text);
	const char *m = tarn_error_last()->message;
	cr_expect(eq(sz, strlen(m), sizeof tarn_error_last()->message - 1));
	cr_expect(eq(chr, m[3], ' '));
	cr_expect(eq(chr, m[4], ' '));
}

Test(error, a_fixed_sentence_replaces_a_longer_one)
{
	tarn__fail(-EINVAL, "a rather long sentence that must not show through");
	cr_assert(eq(int, tarn__fail_static(-ETIMEDOUT, "short"), -ETIMEDOUT));
	cr_expect(eq(str, (char *)tarn_error_last()->message, "short"));
}

static void *fail_elsewhere(void *arg)
{
	(void)arg;
	tarn__fail(-EBUSY, "in another thread");
	return NULL;
}

Test(error, threads_have_their_own)
{
	pthread_t t;

	tarn__fail(-ENOENT, "mine");
	cr_assert(eq(int, pthread_create(&t, NULL, fail_elsewhere, NULL), 0));
	pthread_join(t, NULL);
	cr_expect(eq(int, tarn_error_last()->code, -ENOENT));
	cr_expect(eq(str, (char *)tarn_error_last()->message, "mine"));
}

Test(error, the_version_is_the_headers)
{
	char text[32];

	snprintf(text, sizeof text, "%d.%d.%d", TARN_VERSION_MAJOR, TARN_VERSION_MINOR,
		 TARN_VERSION_PATCH);
	cr_expect(eq(str, (char *)tarn_version(), text));
}
