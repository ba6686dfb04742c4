/* SPDX-License-Identifier: Apache-2.0 */
/* Cookies: by which a reply finds who asked, however many asked before. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "lib/client/lane.h"

TestSuite(cookie, .timeout = 60);

Test(cookie, d18_a_late_answer_is_never_that_of_one_of_the_next_million)
{
	static struct tarn__lane l;
	uint32_t at_first;

	l.sequence = 0;
	at_first = tarn__lane_cookie(&l, 0, 19);
	cr_assert(ne(u32, at_first, 0));
	for (uint32_t n = 1; n < 1000000; n++) {
		uint32_t was = l.sequence, cookie = tarn__lane_cookie(&l, 0, 19);

		cr_assert(ne(u32, cookie, 0));
		cr_assert(ne(u32, cookie, at_first), "%u", n);
		cr_assert(ne(u32, l.sequence, was));
	}
	/* And where the sequence begins again. */
	uint32_t before = tarn__cookie(l.sequence, 0, 19);

	for (uint32_t n = 0; n < 100000; n++) {
		uint32_t cookie = tarn__lane_cookie(&l, 0, 19);

		cr_assert(ne(u32, cookie, before), "%u", n);
		before = cookie;
	}
	cr_assert(lt(u32, l.sequence, 100000));
}

Test(cookie, d18_what_a_cookie_says_of_its_call_is_read_back)
{
	static struct tarn__lane l;

	for (unsigned slots = 1; slots <= TARN__REPLY_SLOTS; slots++)
		for (unsigned bin = 0; bin < 256; bin++) {
			uint32_t cookie = tarn__lane_cookie(&l, bin, slots);

			cr_assert(eq(u32, tarn__cookie_bin(cookie), bin));
			cr_assert(ge(u32, tarn__cookie_slots(cookie), slots));
		}
}
