/* SPDX-License-Identifier: Apache-2.0 */
#include "page.h"

#include <unistd.h>

uint64_t tarn__os_page(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE); /* glibc knows it: no system call */
}
