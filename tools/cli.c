/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tarn/error.h>

#define OPTIONS_MOST 40

/* An id is its generation and, in the low bits, its index. The library prints ids so, too
 * (tarn_block_format()); tests/e2e/test-cli.sh compares. */
#define INDEX_BITS 28
#define INDEX_MOST ((UINT64_C(1) << INDEX_BITS) - 1)
#define GENERATION_MOST ((UINT64_C(1) << (64 - INDEX_BITS)) - 1)

static const char *program = "tarn";

/*
 * Who starts us without standard descriptors would get our output into whatever we open next: a socket,
 * the arena. What is read is empty then, what is printed fails, and complaints are for nobody.
 */
static void fill_standard_descriptors(void)
{
	int fd;

	do /* it gets the lowest number that is free */
		fd = open("/dev/null", O_RDONLY);
	while (fd == STDIN_FILENO || fd == STDOUT_FILENO);
	if (fd >= 0)
		close(fd);
	if (fd == STDERR_FILENO && open("/dev/null", O_WRONLY) < 0)
		_exit(CLI_TROUBLE);
}

void cli_init(const char *name)
{
	fill_standard_descriptors();
	program = name;
}

/* ---- messages ---- */

static void say(const char *format, va_list args)
{
	char line[1024];

	/* One write, so that lines of several programs do not mix. */
	vsnprintf(line, sizeof line, format, args);
	fprintf(stderr, "%s: %s\n", program, line);
}

void cli_say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
}

void cli_usage_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	exit(CLI_TROUBLE);
}

const char *cli_last_error(int code)
{
	const tarn_error *e = tarn_error_last();

	return e->code == code && e->message[0] != '\0' ? e->message : tarn_error_text(code);
}

int cli_library_error(int code)
{
	cli_say("%s", cli_last_error(code));
	return CLI_TROUBLE;
}

int cli_finish(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	cli_say("cannot write the output: %s", strerror(errno));
	return CLI_TROUBLE;
}

/* ---- options ---- */

/* What getopt_long() wants to be told. */
struct getopt_tables {
	struct option longs[OPTIONS_MOST + 1];
	char shorts[2 * OPTIONS_MOST + 3];
};

static void fill(struct getopt_tables *t, const struct cli_scan *scan)
{
	size_t n = 0, s = 0;

	memset(t, 0, sizeof *t);
	if (scan->until_argument)
		t->shorts[s++] = '+';
	t->shorts[s++] = ':';
	for (unsigned k = 0; k < CLI_TABLES; k++) {
		const struct cli_option *o = scan->tables[k];

		for (; o != NULL && o->name != NULL && n < OPTIONS_MOST; o++) {
			t->longs[n++] = (struct option){
				o->name, o->value == NULL ? no_argument : o->optional ? optional_argument
								: required_argument, NULL, o->key
			};
			if (o->key >= CLI_LONG)
				continue;
			t->shorts[s++] = (char)o->key;
			if (o->value != NULL)
				t->shorts[s++] = ':';
		}
	}
}

_Noreturn static void wrong_option(const struct cli_scan *scan, int found)
{
	const char *word = scan->argv[optind - 1];
	bool is_long = strncmp(word, "--", 2) == 0;

	if (found == ':')
		cli_usage_error("option '%s' needs a value", word);
	if (is_long && optopt != 0)
		cli_usage_error("option '%.*s' takes no value", (int)strcspn(word, "="), word);
	/* Only ever one letter of a word like -abc is wrong. */
	if (!is_long && optopt != 0)
		cli_usage_error("unknown option '-%c'", optopt);
	cli_usage_error("unknown option '%s'", word);
}

int cli_next(struct cli_scan *scan, const char **ret_value)
{
	struct getopt_tables t;
	int found;

	fill(&t, scan);
	if (!scan->begun) {
		scan->begun = true;
		optind = 0; /* glibc: forget the last command line */
		opterr = 0;
	}
	found = getopt_long(scan->argc, scan->argv, t.shorts, t.longs, NULL);
	if (found == '?' || found == ':')
		wrong_option(scan, found);
	*ret_value = optarg;
	scan->next = optind;
	return found == -1 ? 0 : found;
}

void cli_print_options(const struct cli_option *table)
{
	for (const struct cli_option *o = table; o->name != NULL; o++) {
		char left[64], letter[8] = "    ";

		if (o->key < CLI_LONG)
			snprintf(letter, sizeof letter, "-%c, ", o->key);
		snprintf(left, sizeof left, o->optional ? "%s--%s[%s%s]" : "%s--%s%s%s", letter,
			 o->name, o->value == NULL ? "" : o->optional ? "=" : " ",
			 o->value != NULL ? o->value : "");
		printf("  %-30s %s\n", left, o->help);
	}
}

/* ---- values ---- */

/* Digits only: strtoull() alone would take " -1" too. False: not a number of 64 bits. */
static bool read_digits(const char *text, int base, uint64_t *ret, const char **ret_end)
{
	const char *digits = base == 16 ? "0123456789abcdefABCDEF" : "0123456789";
	char *end;

	if (*text == '\0' || strchr(digits, *text) == NULL)
		return false;
	errno = 0;
	*ret = strtoull(text, &end, base);
	*ret_end = end;
	return errno == 0;
}

uint64_t cli_number(const char *what, const char *text, uint64_t least, uint64_t most)
{
	const char *end;
	uint64_t v;

	if (!read_digits(text, 10, &v, &end) || *end != '\0')
		cli_usage_error("%s: '%s' is not a number", what, text);
	if (v < least || v > most)
		cli_usage_error("%s: %s is not in %" PRIu64 " to %" PRIu64, what, text, least, most);
	return v;
}

uint64_t cli_size(const char *what, const char *text)
{
	static const char units[] = "KMGT";
	const char *end, *unit;
	unsigned shift = 0;
	uint64_t v;

	if (!read_digits(text, 10, &v, &end))
		end = "wrong";
	else if (*end != '\0' && (unit = strchr(units, *end & ~0x20)) != NULL && end[1] == '\0')
		shift = 10 * (unsigned)(unit - units + 1), end++;
	if (*end != '\0' || v > UINT64_MAX >> shift)
		cli_usage_error("%s: '%s' is not a size (such as 4096, 64K, 2M, 1G)", what, text);
	return v << shift;
}

/* What follows a point, as billionths; further digits are of no weight. False: none follow. */
static bool read_fraction(const char **at, uint64_t *ret_billionths)
{
	uint64_t scale = 100000000;

	for (*ret_billionths = 0; **at >= '0' && **at <= '9'; (*at)++, scale /= 10)
		*ret_billionths += scale * (uint64_t)(**at - '0');
	return (*at)[-1] != '.';
}

int64_t cli_duration(const char *what, const char *text)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = { { "", 1000000000 }, { "s", 1000000000 },	{ "ms", 1000000 },
		      { "us", 1000 },	  { "m", 60000000000 }, { "h", 3600000000000 } };
	uint64_t v, billionths = 0;
	const char *end;
	bool right = read_digits(text, 10, &v, &end);

	if (right && *end == '.')
		end++, right = read_fraction(&end, &billionths);
	for (size_t i = 0; right && i < sizeof units / sizeof *units; i++)
		/* Nothing in here is beyond 64 bits. */
		if (strcmp(end, units[i].name) == 0 && v < INT64_MAX / units[i].ns)
			return (int64_t)(v * units[i].ns +
					 billionths * (units[i].ns / 1000) / 1000000);
	cli_usage_error("%s: '%s' is not a time (such as 2, 0.5, 500ms, 3s, 1m)", what, text);
}

unsigned cli_choice(const char *what, const char *text, const char *const *choices)
{
	char all[256] = "";
	size_t used = 0;

	for (unsigned i = 0; choices[i] != NULL; i++) {
		if (strcmp(text, choices[i]) == 0)
			return i;
		if (used < sizeof all)
			used += (size_t)snprintf(all + used, sizeof all - used, "%s%s",
						 i > 0 ? ", " : "", choices[i]);
	}
	cli_usage_error("%s: '%s' is none of %s", what, text, all);
}

static bool read_id(const char *text, uint64_t *ret)
{
	uint64_t index, generation;
	const char *end;

	if (strncmp(text, "0x", 2) == 0)
		return read_digits(text + 2, 16, ret, &end) && *end == '\0' && *ret != 0;
	if (!read_digits(text, 10, &index, &end) || *end != ':' || index > INDEX_MOST)
		return false;
	if (!read_digits(end + 1, 10, &generation, &end) || *end != '\0' ||
	    generation > GENERATION_MOST || generation == 0)
		return false;
	*ret = generation << INDEX_BITS | index;
	return true;
}

uint64_t cli_id(const char *what, const char *text)
{
	uint64_t id;

	if (!read_id(text, &id))
		cli_usage_error("%s: '%s' is not an id (such as 5:3 or 0x30000005)", what, text);
	return id;
}

void cli_format_id(char text[CLI_ID_BYTES], uint64_t id)
{
	snprintf(text, CLI_ID_BYTES, "%" PRIu64 ":%" PRIu64, id & INDEX_MOST, id >> INDEX_BITS);
}

const char *cli_default_server(void)
{
	const char *name = getenv("TARN_SERVER");

	return name != NULL && *name != '\0' ? name : "default";
}
