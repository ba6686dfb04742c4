/* SPDX-License-Identifier: Apache-2.0 */
/* Programs show function, file and line of frames that travelled as addresses. */
#include "tools/symbols.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#include "lib/value/fault.h"

TestSuite(symbols, .timeout = 60);

static int call_line, throw_line;
__attribute__((noinline)) static int inner(tarn_fault **slot)
{
	throw_line = __LINE__ + 1;
	return tarn_fault_throw_here(slot, "ValueError", "38");
}

__attribute__((noinline)) static int middle(tarn_fault **slot)
{
	int r;

	call_line = __LINE__ + 1;
	r = inner(slot);
	__asm__ volatile("" ::: "memory"); /* no tail call */
	return r;
}

Test(symbols, e3_static_functions_have_their_line_where_libdw_is)
{
	static char text[1 << 16];
	char expected[128];
	tarn_fault *f = NULL;

	if (!symbols_init())
		cr_skip("built without libdw");
#ifdef __clang__
	cr_skip("clang writes no .debug_aranges, by which libdw finds lines");
#endif
	middle(&f);
	tarn_fault_format(f, text, sizeof text);
	snprintf(expected, sizeof expected, "test-symbols.c\", line %d, in middle\n", call_line);
	cr_expect(strstr(text, expected) != NULL, "no '%s' in\n%s", expected, text);
	snprintf(expected, sizeof expected, "test-symbols.c\", line %d, in inner\n", throw_line);
	cr_expect(strstr(text, expected) != NULL, "no '%s' in\n%s", expected, text);
	tarn_fault_unref(f);
}

Test(symbols, e3_a_file_with_another_build_id_tells_nothing)
{
	static char text[4096];
	tarn_fault *f = tarn_fault_new("E", 0, "x");

	if (!symbols_init())
		cr_skip("built without libdw");
	tarn_fault_add_frame(f, &(tarn_frame){ .module = "/proc/self/exe", .offset = 0x1000,
					       .build_id = (const unsigned char *)"other program",
					       .build_id_bytes = 13 });
	tarn_fault_add_frame(f, &(tarn_frame){ .module = "/nonexistent", .offset = 0x1000,
					       .build_id = (const unsigned char *)"no program",
					       .build_id_bytes = 10 });
	tarn_fault_format(f, text, sizeof text);
	cr_expect(strstr(text, "Module \"/proc/self/exe\", offset 0x1000, build id") != NULL, "%s", text);
	cr_expect(strstr(text, "Module \"/nonexistent\", offset 0x1000, build id") != NULL, "%s", text);
	tarn_fault_unref(f);
}
