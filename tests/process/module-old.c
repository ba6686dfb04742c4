/* SPDX-License-Identifier: Apache-2.0 */
/* A module of another version of the interface. */
#include <tarn/type.h>

extern const struct tarn_module tarn_module __attribute__((visibility("default")));
const struct tarn_module tarn_module = { TARN_MODULE_VERSION + 98, NULL, NULL };
