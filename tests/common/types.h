/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The types that tests of objects and calls use. They are registered in the default registry, so
 * a server that a test starts (which is the test's program again) has them.
 *
 *	Magnifier(d)     scale(d): d, inline; scale_slowly(d): d, on an executor; factor(): d;
 *	                 clone(): ClonedMagnifier, spawn(): Magnifier
 *	Mag(d)           one object for each factor, however often it is made
 *	Doubler, Tripler double(q): q; triple(q): q
 *	Echo             echo(...): the same, inline; echo_slowly: on an executor
 *	List             append(O), get(q): O, pop(): O, remove(q), len(): q: all inline; it holds its items
 *	Bag              put(B): holds a block; put_slowly(B); get(q): B; clear()
 *	Counter, ParallelCounter, ReadMostlyCounter
 *	                 add(q): q, read and write apart, on an executor; get(): q; inline_add(q): q
 *	Sequence         note(q): throws unless it is the one after the last; inline or slowly
 *	Sleeper          sleep(q ns): q; wait(): until it is told that it is canceled; hang
 *	Thrower          throws in many ways
 *	Caller           call(O, s): calls a method of another object; down(O, q): q, of each other, so deep
 *	Maker            results with objects and blocks at any depth
 *	Canary           made and destroyed are counted: see Counts
 *	Counts           created(): q, destroyed(): q of Canaries in the server
 *	Failing          its creator fails
 */
#ifndef TARN_TESTS_COMMON_TYPES_H
#define TARN_TESTS_COMMON_TYPES_H

#include "scene.h"
#include "tarn/type.h"

/* A new object of @type with arguments as tarn_put() takes them. Fails the test if it cannot. */
#define NEW(client, type, ...) types_new(__FILE__, __LINE__, (client), (type), __VA_ARGS__)
tarn_object *types_new(const char *file, int line, tarn_client *c, const char *type,
		       const char *args, ...);

/* Calls a method that gives one number, with up to one number. */
int64_t types_integer(tarn_object *o, const char *method);
double types_scale(tarn_object *o, double x);

/* Canaries of the server that are alive, by its own count. */
int64_t types_canaries(tarn_object *counts);

#endif
