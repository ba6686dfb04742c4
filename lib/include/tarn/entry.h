/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Functions that another process of the same program calls by name.
 *
 * A process that the library starts is the program executed again, a fresh image: no
 * function pointer, no global and no lock of the parent means anything there. What it is
 * to run is found by name, before main(), in a table that the linker makes:
 *
 *	TARN_ENTRY(load_types)
 *	{
 *		return fill_table(arg, bytes);
 *	}
 *	...
 *	tarn_server_options o = { .initializer = "load_types" };
 *
 * A name is a C identifier, unique in the program. The table is made of ELF notes, so it
 * covers the executable and every shared library that is loaded at its start, whatever the order
 * of constructors; what dlopen() brings later is not there in a fresh image.
 */
#ifndef TARN_ENTRY_H
#define TARN_ENTRY_H

#include <stddef.h>

#include "version.h"

TARN_BEGIN

/* @arg: @bytes of the caller's, for the time of the call. Returns 0, or a negative code (see
 * tarn_error_set() for the sentence). */
typedef int tarn_entry_fn(const void *arg, size_t bytes);

/* Defines such a function; the arguments are called arg and bytes. At file scope; in C++
 * outside of namespaces. */
#define TARN_ENTRY(name)                                                              \
	TARN__ENTRY_C int tarn__entry_##name(const void *arg, size_t bytes)           \
		__attribute__((used, visibility("hidden")));                          \
	__asm__(".pushsection .note.tarn,\"a\",%note\n"                               \
		"	.balign 4\n"                                                  \
		"	.long 2f - 1f, 4f - 3f, 1\n"                                  \
		"1:	.asciz \"Tarn\"\n"                                            \
		"2:	.balign 4\n"                                                  \
		"3:	.8byte tarn__entry_" #name " - .\n"                           \
		"	.asciz \"" #name "\"\n"                                       \
		"4:	.balign 4\n"                                                  \
		".popsection\n");                                                     \
	TARN__ENTRY_C int tarn__entry_##name(const void *arg, size_t bytes)

#ifdef __cplusplus
#define TARN__ENTRY_C extern "C"
#else
#define TARN__ENTRY_C
#endif

/* The entry of this name in this process, NULL if there is none. Any thread. */
TARN_EXPORT tarn_entry_fn *tarn_entry_find(const char *name);

TARN_END

#endif
