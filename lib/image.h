/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fresh images: how this library starts processes, servers and workers alike.
 *
 * A process that it starts is a program executed anew, most often this one, and not a fork:
 * the parent may have threads, locks and descriptors that it must not inherit. What the image is to
 * do stands in its order, a memfd that only the two processes have; the environment names the
 * descriptor.
 */
#ifndef TARN_LIB_IMAGE_H
#define TARN_LIB_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TARN__IMAGE_SELF "/proc/self/exe"

/* The beginning of every order, written by the starter. */
struct tarn__order {
	uint64_t magic; /* says what is ordered, and in which layout */
	uint64_t bytes; /* of the whole order */
};

/* ---- in the process that starts another ---- */

/* @fd, or a copy of it beyond the three that a child has for its input and output: a program
 * that closed its own would give other descriptors their numbers. Takes @fd over. -1: errno. */
int tarn__fd_high(int fd);
/* Both ends closed at exec. 0 or -errno. */
int tarn__pipe_high(int ret[2]);

/* Makes an order of zeros behind its head: its descriptor, or a negative code with a sentence
 * that says that @what cannot be prepared. */
int tarn__order_open(const char *what, uint64_t magic, size_t bytes, void **ret_order);

/* The environment with @n variables added or replaced; the caller frees the array. NULL: no memory. */
char **tarn__environment_with(char *const *variables, size_t n);

/*
 * Between fork or vfork and exec; async-signal-safe. What is open is not for the image, closed
 * at exec or not, but for @keep (entries may be -1) and the first three.
 */
void tarn__image_descriptors(const int *keep, size_t n);
/* Likewise: /dev/null as input. */
void tarn__image_no_input(void);
/* Likewise: no signal is blocked. */
void tarn__image_unmask(void);

/* ---- in the image ---- */

/* The descriptor that @variable names, -1: there is no order. The variable is gone then: what is
 * started from here has no such order. */
int tarn__order_find(const char *variable);
/* Maps it. NULL: it is none with this @magic, or smaller than @least. */
void *tarn__order_map(int fd, uint64_t magic, size_t least);

#endif
