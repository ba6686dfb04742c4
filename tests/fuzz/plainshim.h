/* SPDX-License-Identifier: Apache-2.0 */
/* The shim (tests/shim/shim.h) of a program whose memory changes before it is read; in one source of
 * it, behind its before_read(). */
#ifndef TARN_TESTS_FUZZ_PLAINSHIM_H
#define TARN_TESTS_FUZZ_PLAINSHIM_H

uint64_t shim_load64(const uint64_t *p, bool ordered)
{
	(void)ordered;
	before_read(p);
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}
uint32_t shim_load32(const uint32_t *p, bool ordered)
{
	(void)ordered;
	before_read(p);
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}
void shim_store64(uint64_t *p, uint64_t v, bool ordered)
{
	(void)ordered;
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}
void shim_store32(uint32_t *p, uint32_t v, bool ordered)
{
	(void)ordered;
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}
void shim_pause(void)
{
}

#endif
