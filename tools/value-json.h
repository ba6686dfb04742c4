/* SPDX-License-Identifier: Apache-2.0 */
/* Values of calls, and errors, as JSON: see docs/json-schema.md. */
#ifndef TARN_TOOLS_VALUE_JSON_H
#define TARN_TOOLS_VALUE_JSON_H

#include <tarn/value.h>

#include "json.h"

void json_value(struct json *j, const char *key, tarn_value v);
/* NULL: null. */
void json_fault(struct json *j, const char *key, const tarn_fault *fault);

#endif
