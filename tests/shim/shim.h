/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In front of shm/base.h, by -include, in libraries that only tests link: every access to a
 * shared word goes through a function of the test, which may change memory before it (what
 * another process could have done), let somebody else go on, or keep the store in a buffer.
 * The product has no trace of this.
 *
 * The header itself is included under other names, so that all else in it stays as it is.
 * tests/structure/test-tree.sh compares the names here with those there.
 */
#ifndef TARN_TESTS_SHIM_H
#define TARN_TESTS_SHIM_H

#define tarn__load_acquire tarn__base_load_acquire
#define tarn__load_relaxed tarn__base_load_relaxed
#define tarn__store_release tarn__base_store_release
#define tarn__store_relaxed tarn__base_store_relaxed
#define tarn__load32_acquire tarn__base_load32_acquire
#define tarn__load32_relaxed tarn__base_load32_relaxed
#define tarn__store32_release tarn__base_store32_release
#define tarn__store32_relaxed tarn__base_store32_relaxed
#define tarn__pause tarn__base_pause
#include "shm/base.h"
#undef tarn__load_acquire
#undef tarn__load_relaxed
#undef tarn__store_release
#undef tarn__store_relaxed
#undef tarn__load32_acquire
#undef tarn__load32_relaxed
#undef tarn__store32_release
#undef tarn__store32_relaxed
#undef tarn__pause

/* The test's. @ordered: acquire or release, else relaxed. */
uint64_t shim_load64(const uint64_t *p, bool ordered);
uint32_t shim_load32(const uint32_t *p, bool ordered);
void shim_store64(uint64_t *p, uint64_t v, bool ordered);
void shim_store32(uint32_t *p, uint32_t v, bool ordered);
void shim_pause(void);

static inline uint64_t tarn__load_acquire(const uint64_t *p) { return shim_load64(p, true); }
static inline uint64_t tarn__load_relaxed(const uint64_t *p) { return shim_load64(p, false); }
static inline uint32_t tarn__load32_acquire(const uint32_t *p) { return shim_load32(p, true); }
static inline uint32_t tarn__load32_relaxed(const uint32_t *p) { return shim_load32(p, false); }
static inline void tarn__store_release(uint64_t *p, uint64_t v) { shim_store64(p, v, true); }
static inline void tarn__store_relaxed(uint64_t *p, uint64_t v) { shim_store64(p, v, false); }
static inline void tarn__store32_release(uint32_t *p, uint32_t v) { shim_store32(p, v, true); }
static inline void tarn__store32_relaxed(uint32_t *p, uint32_t v) { shim_store32(p, v, false); }
static inline void tarn__pause(void) { shim_pause(); }

#endif
