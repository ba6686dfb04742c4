/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARN_PROCESS_CPU_H
#define TARN_PROCESS_CPU_H

/* CPUs that "QUOTA PERIOD" (a cgroup's cpu.max) gives, rounded up; 0: any number. */
unsigned tarn__cpu_quota(const char *text);

#endif
