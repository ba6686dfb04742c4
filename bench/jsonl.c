/* SPDX-License-Identifier: Apache-2.0 */
#include "jsonl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

static bool headed, comma;

/* ---- the machine ---- */

const char *machine_cpu(void)
{
	static char model[96];
	FILE *f;
	char line[256];

	if (model[0] != '\0')
		return model;
	snprintf(model, sizeof model, "unknown CPU");
	f = fopen("/proc/cpuinfo", "re");
	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, "model name : %95[^\n]", model) == 1)
			break;
	if (f != NULL)
		fclose(f);
	return model;
}

const char *machine_system(void)
{
	static char text[sizeof(struct utsname)];
	struct utsname u;

	uname(&u);
	snprintf(text, sizeof text, "%s %s", u.sysname, u.release);
	return text;
}

/* ---- writing ---- */

static void put_quoted(const char *text)
{
	putchar('"');
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20 || c >= 0x7f) /* names of machines; ours have none */
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

static void put_key(const char *key)
{
	printf("%s\"%s\":", comma ? "," : "", key);
	comma = true;
}

void jsonl_string(const char *key, const char *value)
{
	put_key(key);
	put_quoted(value);
}

void jsonl_number(const char *key, double value)
{
	put_key(key);
	if (isfinite(value))
		printf("%.9g", value);
	else
		printf("null");
}

static void put_bool(const char *key, bool value)
{
	put_key(key);
	printf("%s", value ? "true" : "false");
}

void jsonl_begin(const char *type)
{
	if (!headed)
		jsonl_head();
	putchar('{');
	comma = false;
	jsonl_string("type", type);
}

void jsonl_close(void)
{
	printf("}\n");
}

void jsonl_head(void)
{
	if (headed)
		return;
	headed = true;
	jsonl_begin("head");
	jsonl_string("schema", BENCH_SCHEMA);
	jsonl_string("program", bench.name);
	jsonl_string("cpu", machine_cpu());
	jsonl_string("system", machine_system());
	put_key("cpus");
	printf("[%d,%d]", bench.cpu[0], bench.cpu[1]);
	jsonl_number("rounds", bench.rounds);
	jsonl_number("repeats", bench.repeats);
	put_bool("quick", bench.quick);
	jsonl_close();
}

static void put_series(const char *name, const char *row, unsigned round, enum line_class class)
{
	jsonl_string("bench", name);
	jsonl_string("row", row);
	jsonl_number("round", round);
	jsonl_string("class", class_name[class]);
}

void jsonl_value(const struct value *v)
{
	jsonl_begin("value");
	put_series(v->bench, v->row, v->round, v->class);
	jsonl_string("column", v->column);
	jsonl_string("unit", v->unit);
	jsonl_string("versus", v->versus);
	jsonl_number("value", v->value);
	jsonl_number("line_before", v->before);
	jsonl_number("line_after", v->after);
	jsonl_number("others_percent", v->others_percent);
	if (v->axis[0] != '\0') {
		jsonl_string("axis", v->axis);
		jsonl_number("x", v->x);
		jsonl_string("what", v->what);
	}
	jsonl_close();
}

void jsonl_curve(const struct curve *c)
{
	jsonl_begin("curve");
	put_series(c->bench, c->row, c->round, c->class);
	put_key("percent");
	for (unsigned i = 0; i < CURVE_POINTS; i++)
		printf("%s%.9g", i == 0 ? "[" : ",", curve_percent[i]);
	putchar(']');
	put_key("ns");
	for (unsigned i = 0; i < CURVE_POINTS; i++)
		printf("%s%.9g", i == 0 ? "[" : ",", c->ns[i]);
	putchar(']');
	jsonl_close();
}

void jsonl_discard(const struct discard *d)
{
	jsonl_begin("discarded");
	put_series(d->bench, d->row, d->round, d->class);
	jsonl_number("line_before", d->before);
	jsonl_number("line_after", d->after);
	jsonl_number("others_percent", d->others_percent);
	jsonl_close();
}

void jsonl_skipped(const char *name, const char *why)
{
	jsonl_begin("skipped");
	jsonl_string("bench", name);
	jsonl_string("why", why);
	jsonl_close();
}

void jsonl_end(double others_percent, unsigned failed)
{
	jsonl_begin("end");
	jsonl_number("others_percent", others_percent);
	jsonl_number("discarded", (double)store.n_discards);
	jsonl_number("failed", failed);
	jsonl_close();
}

/* ---- reading our own lines back: flat objects, strings without escapes ---- */

static const char *find_key(const char *json, const char *key)
{
	char pattern[48];

	snprintf(pattern, sizeof pattern, "\"%s\":", key);
	const char *at = strstr(json, pattern);
	return at != NULL ? at + strlen(pattern) : NULL;
}

static bool get_string(const char *json, const char *key, char *ret, size_t bytes)
{
	const char *at = find_key(json, key);
	size_t n;

	if (at == NULL || *at != '"')
		return false;
	n = strcspn(++at, "\"");
	if (n >= bytes || at[n] != '"')
		return false;
	memcpy(ret, at, n);
	ret[n] = '\0';
	return true;
}

static double get_number(const char *json, const char *key)
{
	const char *at = find_key(json, key);

	return at != NULL ? strtod(at, NULL) : 0;
}

static bool get_series(const char *json, char *name, size_t name_bytes, char *row, unsigned *round,
		       enum line_class *class)
{
	char text[16];

	if (!get_string(json, "bench", name, name_bytes) ||
	    !get_string(json, "row", row, NAME_BYTES) ||
	    !get_string(json, "class", text, sizeof text))
		return false;
	*round = (unsigned)get_number(json, "round");
	for (unsigned i = 0; i < CLASSES; i++)
		if (strcmp(text, class_name[i]) == 0) {
			*class = (enum line_class)i;
			return true;
		}
	return false;
}

static bool get_value(const char *json, struct value *v)
{
	*v = (struct value){ .value = get_number(json, "value"),
			     .before = get_number(json, "line_before"),
			     .after = get_number(json, "line_after"),
			     .others_percent = get_number(json, "others_percent"),
			     .x = get_number(json, "x") };
	get_string(json, "axis", v->axis, sizeof v->axis);
	get_string(json, "what", v->what, sizeof v->what);
	return get_series(json, v->bench, sizeof v->bench, v->row, &v->round, &v->class) &&
	       get_string(json, "column", v->column, sizeof v->column) &&
	       get_string(json, "unit", v->unit, sizeof v->unit) &&
	       get_string(json, "versus", v->versus, sizeof v->versus);
}

static bool get_curve(const char *json, struct curve *c)
{
	const char *at = find_key(json, "ns");

	*c = (struct curve){ 0 };
	if (at == NULL || *at != '[' ||
	    !get_series(json, c->bench, sizeof c->bench, c->row, &c->round, &c->class))
		return false;
	for (unsigned i = 0; i < CURVE_POINTS; i++) {
		char *end;

		c->ns[i] = strtod(++at, &end);
		if (end == at)
			return false;
		at = end;
	}
	return *at == ']';
}

static bool get_discard(const char *json, struct discard *d)
{
	*d = (struct discard){ .before = get_number(json, "line_before"),
			       .after = get_number(json, "line_after"),
			       .others_percent = get_number(json, "others_percent") };
	return get_series(json, d->bench, sizeof d->bench, d->row, &d->round, &d->class);
}

enum jsonl jsonl_parse(const char *json, union jsonl_line *ret)
{
	char type[16];

	if (json[0] != '{' || !get_string(json, "type", type, sizeof type))
		return JSONL_NONE;
	if (strcmp(type, "value") == 0 && get_value(json, &ret->value))
		return JSONL_VALUE;
	if (strcmp(type, "curve") == 0 && get_curve(json, &ret->curve))
		return JSONL_CURVE;
	if (strcmp(type, "discarded") == 0 && get_discard(json, &ret->discard))
		return JSONL_DISCARDED;
	return JSONL_NONE;
}
