/* SPDX-License-Identifier: Apache-2.0 */
#include "value-json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <tarn/object.h>

#include "cli.h"

/* ---- what has no counterpart in JSON: an object with one member that says what it is ---- */

static void put_id(struct json *j, const char *kind, uint64_t id)
{
	char text[CLI_ID_BYTES];

	cli_format_id(text, id);
	json_string(j, kind, text);
}

static void put_bytes(struct json *j, tarn_value v)
{
	const void *data;
	size_t n;

	if (tarn_value_bytes(v, &data, &n) < 0)
		n = 0;
	char *text = malloc(2 * n + 1);
	if (text == NULL) {
		json_null(j, "bytes");
		return;
	}
	for (size_t i = 0; i < n; i++)
		snprintf(text + 2 * i, 3, "%02x", ((const unsigned char *)data)[i]);
	text[2 * n] = '\0';
	json_string(j, "bytes", text);
	free(text);
}

static void put_handle(struct json *j, tarn_value v)
{
	tarn_object *object;
	tarn_channel *channel;
	tarn_block *block;

	if (tarn_value_object(v, &object) == 0) {
		const char *type = tarn_object_type_name(object);

		put_id(j, "object", tarn_object_id(object));
		if (type != NULL)
			json_string(j, "type", type);
		else
			json_null(j, "type");
	} else if (tarn_value_block(v, &block) == 0) {
		put_id(j, "block", tarn_block_id(block));
		json_number(j, "size_bytes", tarn_block_size(block));
	} else if (tarn_value_channel(v, &channel) == 0) {
		put_id(j, "channel", tarn_channel_id(channel));
	}
}

static void put_special(struct json *j, const char *key, tarn_value v)
{
	tarn_fault *fault;

	json_object(j, key);
	if (tarn_value_kind(v) == TARN_KIND_BYTES) {
		put_bytes(j, v);
	} else if (tarn_value_kind(v) != TARN_KIND_ERROR) {
		put_handle(j, v);
	} else if (tarn_value_error(v, &fault) == 0) {
		json_fault(j, "error", fault);
		tarn_fault_unref(fault);
	}
	json_end(j);
}

/* ---- numbers and text ---- */

static void put_double(struct json *j, const char *key, double d)
{
	if (isfinite(d))
		json_double(j, key, d);
	else
		json_string(j, key, isnan(d) ? "nan" : d < 0 ? "-inf" : "inf");
}

static void put_text(struct json *j, const char *key, tarn_value v)
{
	const char *text = "";
	size_t n = 0;

	tarn_value_string(v, &text, &n);
	json_string_n(j, key, text, n);
}

/* Keys are strings or ints. */
static void put_entry(struct json *j, tarn_value key, tarn_value v)
{
	const char *text = "";
	char number[24];
	int64_t i = 0;

	if (tarn_value_kind(key) == TARN_KIND_INT) {
		tarn_value_int(key, &i);
		snprintf(number, sizeof number, "%" PRId64, i);
		text = number;
	} else {
		tarn_value_string(key, &text, NULL); /* one with a NUL inside is cut there */
	}
	json_value(j, text, v);
}

static void put_scalar(struct json *j, const char *key, tarn_value v)
{
	bool b = false;
	int64_t i = 0;
	uint64_t u = 0;
	double d = 0;

	switch (tarn_value_kind(v)) {
	case TARN_KIND_BOOL:
		tarn_value_bool(v, &b);
		json_bool(j, key, b);
		break;
	case TARN_KIND_INT:
		tarn_value_int(v, &i);
		json_integer(j, key, i);
		break;
	case TARN_KIND_UINT:
		tarn_value_uint(v, &u);
		json_number(j, key, u);
		break;
	case TARN_KIND_DOUBLE:
		tarn_value_double(v, &d);
		put_double(j, key, d);
		break;
	default:
		json_null(j, key);
	}
}

void json_value(struct json *j, const char *key, tarn_value v)
{
	size_t n = tarn_value_count(v);

	switch (tarn_value_kind(v)) {
	case TARN_KIND_STRING:
		put_text(j, key, v);
		return;
	case TARN_KIND_LIST:
		json_array(j, key);
		for (size_t i = 0; i < n; i++)
			json_value(j, NULL, tarn_value_at(v, i));
		json_end(j);
		return;
	case TARN_KIND_MAP:
		json_object(j, key);
		for (size_t i = 0; i < n; i++)
			put_entry(j, tarn_value_key_at(v, i), tarn_value_at(v, i));
		json_end(j);
		return;
	case TARN_KIND_BYTES:
	case TARN_KIND_ERROR:
	case TARN_KIND_BLOCK:
	case TARN_KIND_OBJECT:
	case TARN_KIND_CHANNEL:
		put_special(j, key, v);
		return;
	default:
		put_scalar(j, key, v);
	}
}

/* ---- errors ---- */

static void put_frames(struct json *j, const tarn_fault *fault)
{
	tarn_frame f;

	json_array(j, "frames");
	for (size_t i = 0; tarn_fault_frame_at(fault, i, &f); i++) {
		json_object(j, NULL);
		json_text(j, "function", f.function);
		json_text(j, "file", f.file);
		json_number(j, "line", f.line);
		json_text(j, "module", f.module);
		json_number(j, "offset", f.offset);
		json_end(j);
	}
	json_end(j);
}

static void put_fault(struct json *j, const tarn_fault *fault)
{
	json_string(j, "domain", tarn_fault_domain(fault));
	json_string(j, "code", tarn_error_name(tarn_fault_code(fault)));
	json_string(j, "message", tarn_fault_message(fault));
	json_string(j, "process", tarn_fault_process(fault));
	json_integer(j, "pid", tarn_fault_pid(fault));
	json_integer(j, "tid", tarn_fault_tid(fault));
	put_frames(j, fault);
}

/* Causes are an array, the nearest first, so that a long chain is no deep document. */
void json_fault(struct json *j, const char *key, const tarn_fault *fault)
{
	if (fault == NULL) {
		json_null(j, key);
		return;
	}
	json_object(j, key);
	put_fault(j, fault);
	json_array(j, "causes");
	for (const tarn_fault *c = tarn_fault_cause(fault); c != NULL; c = tarn_fault_cause(c)) {
		json_object(j, NULL);
		put_fault(j, c);
		json_end(j);
	}
	json_end(j);
	json_end(j);
}
