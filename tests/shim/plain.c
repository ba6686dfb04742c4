/* SPDX-License-Identifier: Apache-2.0 */
/* The shim of whoever wants none: accesses as they are. */
#include "shim.h"

uint64_t shim_load64(const uint64_t *p, bool ordered)
{
	return ordered ? tarn__base_load_acquire(p) : tarn__base_load_relaxed(p);
}
uint32_t shim_load32(const uint32_t *p, bool ordered)
{
	return ordered ? tarn__base_load32_acquire(p) : tarn__base_load32_relaxed(p);
}
void shim_store64(uint64_t *p, uint64_t v, bool ordered)
{
	if (ordered)
		tarn__base_store_release(p, v);
	else
		tarn__base_store_relaxed(p, v);
}
void shim_store32(uint32_t *p, uint32_t v, bool ordered)
{
	if (ordered)
		tarn__base_store32_release(p, v);
	else
		tarn__base_store32_relaxed(p, v);
}
void shim_pause(void)
{
	tarn__base_pause();
}
