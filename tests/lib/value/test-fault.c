/* SPDX-License-Identifier: Apache-2.0 */
/* Faults: what is thrown arrives whole, and reads as a person expects. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <limits.h>
#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "handles.h"
#include "lib/error.h"
#include "lib/value/fault.h"

TestSuite(fault, .timeout = 120, .init = handles_init);

/* As a message does it: to a payload and out of it. */
static tarn_fault *sent(const tarn_fault *f)
{
	tarn_builder b;
	tarn_parcel p;
	tarn_fault *arrived = NULL;

	tarn_builder_init(&b);
	cr_assert(eq(int, tarn_put_error(&b, f), 0), "%s", tarn_error_last()->message);
	cr_assert(eq(int, tarn_parcel_from(&b, &p), 0));
	cr_assert(eq(int, tarn_parcel_check(&p), 0));
	cr_assert(eq(int, tarn_value_error(tarn_parcel_at(&p, 0), &arrived), 0), "%s",
		  tarn_error_last()->message);
	tarn_parcel_fini(&p);
	tarn_builder_fini(&b);
	return arrived;
}

static char *formatted(const tarn_fault *f)
{
	int n = tarn_fault_format(f, NULL, 0);
	char *text = malloc((size_t)n + 1);

	cr_assert(eq(int, tarn_fault_format(f, text, (size_t)n + 1), n));
	return text;
}

/* An address in the calling function. */
__attribute__((noinline)) static const char *here(void)
{
	return __builtin_return_address(0);
}

/* Where the functions end, as seen from inside: return addresses lie before. */
static const char *gee_end, *foo_end;
static int throw_line;
__attribute__((noinline)) static int gee(tarn_fault **slot, int n)
{
	int r;

	throw_line = __LINE__ + 1;
	r = tarn_fault_throw_here(slot, "ValueError", "%d", n);
	gee_end = here();
	return r;
}

__attribute__((noinline)) static int foo(tarn_fault **slot, int n)
{
	int r = gee(slot, n);

	foo_end = here();
	return r;
}

Test(fault, e1_a_thrown_fault_arrives_with_domain_message_and_frames_in_order)
{
	tarn_fault *f = NULL, *g;
	tarn_frame frame, outer;
	size_t n;

	cr_assert(eq(int, foo(&f, 38), -TARN_EREMOTE));
	n = tarn_fault_frame_count(f);
	cr_assert(ge(sz, n, 3), "gee, foo and this test are on the stack");
	g = sent(f);
	cr_expect(eq(str, (char *)tarn_fault_domain(g), "ValueError"));
	cr_expect(eq(str, (char *)tarn_fault_message(g), "38"));
	cr_expect(eq(int, tarn_fault_code(g), -TARN_EREMOTE));
	cr_expect(eq(int, tarn_fault_pid(g), (int)getpid()));
	cr_expect(eq(int, tarn_fault_tid(g), (int)gettid()));
	cr_expect(eq(str, (char *)tarn_fault_process(g), program_invocation_short_name));
	cr_assert(eq(sz, tarn_fault_frame_count(g), n));
	cr_assert(tarn_fault_frame_at(g, n - 1, &frame));
	cr_expect(eq(str, (char *)frame.function, "gee"));
	cr_expect(eq(str, (char *)frame.file, __FILE__));
	cr_expect(eq(int, (int)frame.line, throw_line));
	cr_expect(gt(sz, frame.build_id_bytes, 0), "programs are linked with build ids");
	/* The addresses are calls in just these functions, though "return f()" could be a jump. */
	const char *at = tarn__stack_address(frame.build_id, frame.build_id_bytes, frame.offset);
	cr_expect(at >= (char *)gee && at < gee_end, "the innermost frame is gee");
	cr_assert(tarn_fault_frame_at(g, n - 2, &outer));
	at = tarn__stack_address(outer.build_id, outer.build_id_bytes, outer.offset);
	cr_expect(at >= (char *)foo && at < foo_end, "the frame around is foo");
	cr_expect(not(tarn_fault_frame_at(g, n, &frame)));
	tarn_fault_unref(f);
	tarn_fault_unref(g);
}

Test(fault, e2_remote_is_what_has_crossed)
{
	tarn_fault *f = tarn_fault_new("TypeError", 0, "x"), *g = sent(f), *h = sent(g);

	cr_expect(not(tarn_fault_is_remote(f)));
	cr_expect(tarn_fault_is_remote(g));
	cr_expect(eq(uint, tarn_fault_hops(g), 1));
	cr_expect(eq(uint, tarn_fault_hops(h), 2));
	tarn_fault_unref(f);
	tarn_fault_unref(g);
	tarn_fault_unref(h);
}

Test(fault, e3_the_text_has_the_line_of_the_origin_and_the_process)
{
	tarn_fault *f = NULL, *g;
	char expected[512], prefix[128], *text;

	foo(&f, 38);
	g = sent(f);
	text = formatted(g);
	snprintf(prefix, sizeof prefix, "[%.40s %d] ", program_invocation_short_name, getpid());
	snprintf(expected, sizeof expected, "%sTraceback (most recent call last):\n", prefix);
	cr_expect(strncmp(text, expected, strlen(expected)) == 0, "%s", text);
	snprintf(expected, sizeof expected, "%s  File \"%s\", line %d, in gee\n%sValueError: 38\n",
		 prefix, __FILE__, throw_line, prefix);
	cr_assert(gt(sz, strlen(text), strlen(expected)));
	cr_expect(eq(str, text + strlen(text) - strlen(expected), expected));
	free(text);
	tarn_fault_unref(f);
	tarn_fault_unref(g);
}

static tarn_fault *compare_fault;
__attribute__((noinline)) static int compare(const void *a, const void *b)
{
	(void)a;
	(void)b;
	if (compare_fault == NULL)
		tarn_fault_throw_here(&compare_fault, "ValueError", "odd");
	return 0;
}

Test(fault, e3_addresses_are_named_late_by_whoever_has_the_module)
{
	int numbers[2] = { 2, 1 };
	size_t n = 2;
	tarn_fault *g;
	char *text;

	/* A frame of libc, which tells its exported names, between two of ours. */
	lfind(numbers, numbers, &n, sizeof numbers[0], compare);
	g = sent(compare_fault);
	text = formatted(g);
	cr_expect(strstr(text, ", in lfind") != NULL, "%s", text);
	cr_expect(strstr(text, "libc.so.6\", offset 0x") != NULL, "%s", text);
	free(text);
	tarn_fault_unref(compare_fault);
	tarn_fault_unref(g);
}

static bool know_all(const tarn_frame *place, tarn_frame *ret_names)
{
	ret_names->function = place->build_id_bytes > 0 ? "somewhere" : "nowhere";
	ret_names->file = "known.c";
	ret_names->line = 7;
	return true;
}

Test(fault, e3_a_symbolizer_of_ones_own_is_asked_first)
{
	tarn_fault *f = tarn_fault_new("KeyError", 0, "k");
	char *text;

	tarn_fault_add_stack(f);
	tarn_fault_symbolizer_set(know_all);
	text = formatted(f);
	tarn_fault_symbolizer_set(NULL);
	cr_expect(strstr(text, "File \"known.c\", line 7, in somewhere\n") != NULL, "%s", text);
	free(text);
	tarn_fault_unref(f);
}

/* One process of a chain: what arrived is its thread's last failure, and it passes it on. */
static tarn_fault *passed_on(tarn_fault *f, unsigned line)
{
	tarn_fault *slot = NULL;

	cr_assert(eq(int, tarn__fail_fault(sent(f)), -TARN_EREMOTE));
	tarn_fault_unref(f);
	cr_assert(eq(int, tarn_fault_rethrow(&slot, "middle.c", line, "pass_on"), -TARN_EREMOTE));
	return slot;
}

Test(fault, e4_over_several_hops_the_first_line_is_still_there)
{
	tarn_fault *f = NULL;
	char expected[256], *text;

	foo(&f, 38);
	f = passed_on(f, 10);
	f = passed_on(f, 20);
	cr_expect(eq(str, (char *)tarn_fault_domain(f), "ValueError"));
	cr_expect(eq(str, (char *)tarn_fault_message(f), "38"));
	cr_assert(tarn_fault_cause(f) != NULL && tarn_fault_cause(tarn_fault_cause(f)) != NULL);
	cr_expect(eq(uint, tarn_fault_hops(tarn_fault_cause(tarn_fault_cause(f))), 2));
	text = formatted(f);
	snprintf(expected, sizeof expected, "  File \"%s\", line %d, in gee\n", __FILE__, throw_line);
	const char *first = strstr(text, expected), *second = strstr(text, "middle.c\", line 10, in pass_on");
	const char *third = strstr(text, "middle.c\", line 20, in pass_on");
	cr_assert(first != NULL && second != NULL && third != NULL, "%s", text);
	cr_expect(first < second && second < third);
	cr_expect(strstr(text, "\n\nThat was the direct cause of this:\n\n") != NULL);
	free(text);
	tarn_fault_unref(f);
	tarn__fail(-EINVAL, "x");
}

Test(fault, e4_a_chain_of_causes_without_end_can_be_sent_and_keeps_its_beginning)
{
	tarn_fault *f = tarn_fault_new("First", 0, "it began here"), *arrived;
	unsigned n = 0;

	for (int i = 0; i < 100; i++) {
		tarn_fault *slot = NULL;

		tarn__fail_fault(f);
		tarn_fault_rethrow(&slot, "chain.c", 1, "link");
		f = slot;
	}
	arrived = sent(f);
	const tarn_fault *last = f;
	for (const tarn_fault *c = arrived; c != NULL; c = tarn_fault_cause(c), n++)
		last = c;
	cr_expect(eq(uint, n, TARN_CAUSES_MAX + 1));
	cr_expect(eq(str, (char *)tarn_fault_message(last), "it began here"));
	cr_expect(eq(str, (char *)tarn_fault_domain(last), "First"));
	cr_expect(eq(sz, tarn_fault_frame_count(last), 0), "the first one has no frames, the links do");
	n = 0;
	for (const tarn_fault *c = f; c != NULL; c = tarn_fault_cause(c), n++)
		last = c;
	cr_expect(le(uint, n, TARN__FAULT_HEIGHT_MAX));
	cr_expect(eq(str, (char *)tarn_fault_message(last), "it began here"));
	cr_expect(eq(sz, tarn_fault_frame_count(last), 0));
	tarn_fault_unref(arrived);
	tarn_fault_unref(f);
	tarn__fail(-EINVAL, "x");
}

Test(fault, e5_frames_are_optional_and_may_be_given)
{
	tarn_fault *f = tarn_fault_new("ValueError", -EDOM, "%s is %d", "it", 3), *g;
	tarn_frame frame;
	char *text, expected[128];

	snprintf(expected, sizeof expected, "[%.40s %d] ValueError: it is 3\n",
		 program_invocation_short_name, getpid());
	text = formatted(f);
	cr_expect(eq(str, text, expected), "without frames there is no traceback");
	free(text);
	cr_assert(eq(int, tarn_fault_add_frame(f, &(tarn_frame){ .function = "outer", .file = "a.c",
								 .line = 1 }), 0));
	cr_assert(eq(int, tarn_fault_add_frame(f, &(tarn_frame){ .module = "m.so", .offset = 0x10,
								 .build_id = (const unsigned char *)"\xab\xcd",
								 .build_id_bytes = 2 }), 0));
	g = sent(f);
	cr_expect(eq(int, tarn_fault_code(g), -EDOM));
	cr_assert(tarn_fault_frame_at(g, 0, &frame));
	cr_expect(eq(str, (char *)frame.function, "outer"));
	cr_assert(tarn_fault_frame_at(g, 1, &frame));
	cr_expect(frame.function == NULL && frame.file == NULL && frame.offset == 0x10);
	text = formatted(g);
	cr_expect(strstr(text, "  Module \"m.so\", offset 0x10, build id abcd\n") != NULL, "%s", text);
	free(text);
	tarn_fault_unref(f);
	tarn_fault_unref(g);
}

Test(fault, e5_any_place_that_can_be_given_arrives)
{
	static const tarn_frame given = { .module = "m", .line = UINT32_MAX, .offset = UINT64_MAX };
	tarn_fault *f = tarn_fault_new("E", INT_MIN, "m"), *arrived;
	tarn_frame frame;

	cr_assert(eq(int, tarn_fault_add_frame(f, &given), 0));
	arrived = sent(f);
	cr_expect(eq(int, tarn_fault_code(arrived), INT_MIN));
	cr_assert(tarn_fault_frame_at(arrived, 0, &frame));
	cr_expect(eq(u32, frame.line, UINT32_MAX));
	cr_expect(eq(u64, frame.offset, UINT64_MAX));
	tarn_fault_unref(arrived);
	tarn_fault_unref(f);
}

Test(fault, e6_domains_are_a_tree)
{
	tarn_fault *key = tarn_fault_new("KeyError", 0, "k"), *f = sent(key);
	tarn_fault *own = tarn_fault_new("ScaleError", 0, "s"), *unknown = tarn_fault_new("Odd", 0, "o");

	tarn_fault_unref(key);
	cr_expect(tarn_fault_is(f, "KeyError"));
	cr_expect(tarn_fault_is(f, "LookupError"));
	cr_expect(tarn_fault_is(f, "Exception"));
	cr_expect(tarn_fault_is(f, "BaseException"));
	cr_expect(not(tarn_fault_is(f, "ValueError")));
	cr_expect(not(tarn_fault_is(f, "IndexError")));
	cr_expect(not(tarn_fault_is(NULL, "Exception")));
	cr_expect(not(tarn_fault_is(own, "ValueError")));
	cr_assert(eq(int, tarn_fault_domain_register("ScaleError", "ValueError"), 0));
	cr_expect(tarn_fault_is(own, "ValueError"));
	cr_expect(eq(int, tarn_fault_domain_register("ScaleError", "ValueError"), 0));
	cr_expect(eq(int, tarn_fault_domain_register("ScaleError", "KeyError"), -EEXIST));
	cr_expect(eq(int, tarn_fault_domain_register("KeyError", "ValueError"), -EEXIST));
	cr_expect(eq(int, tarn_fault_domain_register("A", "B"), 0));
	cr_expect(eq(int, tarn_fault_domain_register("B", "A"), -ELOOP));
	cr_expect(eq(int, tarn_fault_domain_register("", "A"), -EINVAL));
	cr_expect(tarn_fault_is(unknown, "Exception"));
	tarn_fault_unref(own);
	tarn_fault_unref(unknown);
	tarn_fault_unref(f);
	f = tarn_fault_new("FileNotFoundError", 0, "f");
	cr_expect(tarn_fault_is(f, "IOError"), "the older name of OSError");
	tarn_fault_unref(f);
}

Test(fault, e7_errors_travel_in_containers)
{
	tarn_fault *f = tarn_fault_new("ValueError", 0, "38"), *g = NULL;
	tarn_builder b;
	tarn_parcel p;
	int i;

	tarn_builder_init(&b);
	tarn_put(&b, "[[ie]{s:e}]", 1, f, "why", f);
	cr_assert(eq(int, tarn_parcel_from(&b, &p), 0));
	cr_assert(eq(int, tarn_parcel_get(&p, "[[ie]v]", &i, &g, &(tarn_value){ .head = 0 }), 0), "%s",
		  tarn_error_last()->message);
	cr_expect(eq(str, (char *)tarn_fault_message(g), "38"));
	cr_expect(tarn_fault_is_remote(g));
	tarn_fault_unref(g);
	tarn_fault_unref(f);
	tarn_parcel_fini(&p);
	tarn_builder_fini(&b);
}

Test(fault, e7_an_error_fits_wherever_a_value_does)
{
	tarn_fault *f = tarn_fault_new("Outer", 0, "o"), *cause = tarn_fault_new("Inner", 0, "i");
	tarn_fault *g = NULL;
	tarn_builder b;
	tarn_parcel p;

	tarn_fault_set_cause(f, cause);
	tarn_fault_add_child(f, cause);
	tarn_builder_init(&b);
	for (int i = 0; i < 29; i++) /* an error itself is 3 deep: the rest is left out */
		tarn_list_begin(&b);
	cr_expect(eq(int, tarn_put_error(&b, f), 0), "%s", tarn_error_last()->message);
	for (int i = 0; i < 28; i++)
		tarn_list_end(&b);
	/* One level up there is room for a cause. */
	cr_expect(eq(int, tarn_put_error(&b, f), 0), "%s", tarn_error_last()->message);
	cr_assert(eq(int, tarn_list_end(&b), 0));
	cr_expect(eq(int, tarn_parcel_from(&b, &p), 0));
	cr_assert(eq(int, tarn_value_error(tarn_value_at(tarn_parcel_at(&p, 0), 1), &g), 0), "%s",
		  tarn_error_last()->message);
	cr_expect(tarn_fault_cause(g) != NULL);
	cr_expect(eq(int, tarn_parcel_check(&p), 0));
	tarn_fault_unref(g);
	tarn_parcel_fini(&p);
	tarn_builder_fini(&b);
	tarn_fault_unref(f);
	tarn_fault_unref(cause);
}

Test(fault, e8_members_arrive_and_are_shown)
{
	tarn_fault *group = tarn_fault_new("EnsembleError", 0, "2 of 3 failed"), *g;
	tarn_fault *a = tarn_fault_new("ValueError", 0, "first"), *c = tarn_fault_new("KeyError", 0, "second");
	char *text;

	cr_assert(eq(int, tarn_fault_add_child(group, a), 0));
	cr_assert(eq(int, tarn_fault_add_child(group, c), 0));
	tarn_fault_unref(a);
	tarn_fault_unref(c);
	g = sent(group);
	cr_assert(eq(sz, tarn_fault_child_count(g), 2));
	cr_expect(eq(str, (char *)tarn_fault_message(tarn_fault_child_at(g, 1)), "second"));
	cr_expect(tarn_fault_is_remote(tarn_fault_child_at(g, 0)));
	cr_expect(eq(ptr, (void *)tarn_fault_child_at(g, 2), NULL));
	text = formatted(g);
	cr_expect(strstr(text, "  Member 2 of 2:\n  | [") != NULL, "%s", text);
	cr_expect(strstr(text, "] KeyError: second\n") != NULL, "%s", text);
	free(text);
	tarn_fault_unref(group);
	tarn_fault_unref(g);
}

Test(fault, a_fault_does_not_change_once_others_have_it)
{
	tarn_fault *f = tarn_fault_new("E", 0, "x"), *other = tarn_fault_new("E", 0, "y");

	tarn_fault_ref(f);
	cr_expect(eq(int, tarn_fault_add_stack(f), -EBUSY));
	cr_expect(eq(int, tarn_fault_set_cause(f, other), -EBUSY));
	tarn_fault_unref(f);
	cr_expect(eq(int, tarn_fault_set_cause(f, other), 0));
	tarn_fault_unref(f);
	tarn_fault_unref(other);
}

Test(fault, lines_of_a_message_keep_the_prefix_and_the_terminal_is_not_spoken_to)
{
	tarn_fault *f = tarn_fault_new("E", 0, "one\ntwo\033[2J");
	char *text = formatted(f), expected[256];

	snprintf(expected, sizeof expected, "[%.40s %d] E: one\n[%.40s %d]   two?[2J\n",
		 program_invocation_short_name, getpid(), program_invocation_short_name, getpid());
	cr_expect(eq(str, text, expected));
	free(text);
	tarn_fault_unref(f);
}

/* ---- the last failure ---- */

Test(fault, no_character_that_moves_a_cursor_is_shown_and_letters_are)
{
	/* As one byte and as UTF-8: "begin a control sequence". A letter of two bytes is kept. */
	tarn_fault *f = tarn_fault_new("E", 0, "a\x9b" "2J b\xc2\x9b" "2J c\xc3\xa9 d\xc3");
	char *text = formatted(f);

	cr_expect(strstr(text, "a?2J b??2J c\xc3\xa9 d?\n") != NULL, "%s", text);
	free(text);
	tarn_fault_unref(f);
}

Test(fault, a_fault_is_not_its_own_cause_or_member)
{
	tarn_fault *f = tarn_fault_new("E", 0, "m");

	cr_expect(eq(int, tarn_fault_set_cause(f, f), -EINVAL));
	cr_expect(eq(int, tarn_fault_add_child(f, f), -EINVAL));
	cr_expect(tarn_fault_cause(f) == NULL && tarn_fault_child_count(f) == 0);
	tarn_fault_unref(f);
}

Test(fault, d14_the_last_failure_has_the_fault_until_the_next_one)
{
	tarn_fault *f = tarn_fault_new("ValueError", 0, "38");

	cr_expect(eq(ptr, (void *)tarn_error_fault(), NULL));
	cr_expect(eq(int, tarn__fail_fault(f), -TARN_EREMOTE));
	cr_expect(eq(ptr, (void *)tarn_error_fault(), f));
	cr_expect(eq(int, tarn_error_last()->code, -TARN_EREMOTE));
	cr_expect(eq(str, (char *)tarn_error_last()->message, "ValueError: 38"));
	cr_expect(eq(str, (char *)tarn_error_text(TARN_EREMOTE), "the method failed"));
	tarn__fail(-ENOENT, "after %s", tarn_fault_message(tarn_error_fault()));
	cr_expect(eq(ptr, (void *)tarn_error_fault(), NULL));
	cr_expect(eq(str, (char *)tarn_error_last()->message, "after 38"));
}

Test(fault, d14_a_failure_of_the_machinery_is_passed_on_with_the_domain_that_goes_with_it)
{
	tarn_fault *slot = NULL;

	tarn__fail(-ETIMEDOUT, "Nobody answered.");
	cr_expect(eq(int, tarn_fault_rethrow(&slot, "m.c", 5, "m"), -TARN_EREMOTE));
	cr_expect(eq(str, (char *)tarn_fault_domain(slot), "TimeoutError"));
	cr_expect(eq(int, tarn_fault_code(slot), -ETIMEDOUT));
	cr_expect(tarn_fault_is(slot, "OSError"));
	cr_expect(eq(str, (char *)tarn_fault_message(slot), "Nobody answered."));
	tarn_fault_unref(slot);
}

static char *printed(void)
{
	char *text = NULL;
	size_t n;
	FILE *to = open_memstream(&text, &n);

	tarn_error_print(to);
	fclose(to);
	return text;
}

Test(fault, d14_printing_shows_the_fault_or_code_and_sentence)
{
	tarn_fault *f = tarn_fault_new("ValueError", 0, "38");
	char *whole = formatted(f), *text;

	tarn__fail(-ENOENT, "No file.");
	text = printed();
	cr_expect(eq(str, text, "ENOENT: No file.\n"));
	free(text);
	tarn__fail_fault(f);
	text = printed();
	cr_expect(eq(str, text, whole));
	free(text);
	free(whole);
	tarn__fail(-ENOENT, "x");
}

static void *fail_and_end(void *fault)
{
	tarn__fail_fault(fault);
	return NULL;
}

Test(fault, a_thread_that_ends_gives_its_last_fault_back)
{
	tarn_fault *f = tarn_fault_new("E", 0, "x");
	pthread_t t;

	cr_assert(eq(int, pthread_create(&t, NULL, fail_and_end, tarn_fault_ref(f)), 0));
	pthread_join(t, NULL);
	cr_expect(eq(int, (int)f->refs, 1));
	tarn_fault_unref(f);
}
