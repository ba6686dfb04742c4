/* SPDX-License-Identifier: Apache-2.0 */
/* Options, progress and the report. */
#include "wordcount/show.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SIZE_LEAST (UINT64_C(16) << 20)

static const char *const default_paths[] = { "/usr/share/common-licenses", "/usr/share/doc",
					     NULL };

static const char help[] =
	"Usage: wordcount [OPTION...] [PATH...]\n"
	"\n"
	"Counts the words of all text files at or below each PATH with several processes\n"
	"that share one memory (default: /usr/share/common-licenses /usr/share/doc). Kills\n"
	"one of them half-way, goes on with another, and proves that the counts are right.\n"
	"\n"
	"  --workers N  processes that count (default: one per CPU, at least 2, at most 8)\n"
	"  --no-kill    let all of them live\n"
	"  --size SIZE  of the shared memory, e.g. 64M (default: half of this machine's)\n"
	"  --top N      so many words are shown (default 10)\n"
	"  --help       this text\n"
	"\n"
	"Exit status: 0 the counts are right, 1 not, or something failed, 2 wrong usage.\n";

static _Noreturn void misused(const char *option, const char *value, const char *want)
{
	fprintf(stderr, "wordcount: %s %s: not %s\n", option, value, want);
	exit(2);
}

static uint64_t number(const char *option, const char *text, uint64_t max, const char *want)
{
	char *end;
	unsigned long long n = strtoull(text, &end, 10);

	if (*text < '0' || *text > '9' || *end != '\0' || n < 1 || n > max)
		misused(option, text, want);
	return n;
}

static uint64_t size(const char *text)
{
	static const char units[] = "KMGT";
	char *end;
	unsigned long long n = strtoull(text, &end, 10);
	const char *unit = *end != '\0' ? strchr(units, *end & ~0x20) : NULL;
	unsigned shift = unit != NULL ? 10 * (unsigned)(unit - units + 1) : 0;

	if (*text < '1' || *text > '9' || (*end != '\0' && (unit == NULL || end[1] != '\0')) ||
	    n > UINT64_MAX >> shift)
		misused("--size", text, "a size such as 64M or 2G");
	if (n << shift < SIZE_LEAST)
		misused("--size", text, "enough: the least is 16M");
	return n << shift;
}

void options_read(struct options *options, int argc, char **argv)
{
	static const struct option known[] = {
		{ "workers", required_argument, NULL, 'w' }, { "no-kill", no_argument, NULL, 'k' },
		{ "size", required_argument, NULL, 's' },    { "top", required_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' },	     { NULL, 0, NULL, 0 },
	};
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	int c;

	*options = (struct options){ .workers = cpus < 2 ? 2 : cpus > 8 ? 8 : (unsigned)cpus,
				     .kill = true, .top = 10 };
	while ((c = getopt_long(argc, argv, "h", known, NULL)) != -1) {
		if (c == 'w') {
			options->workers = (unsigned)number("--workers", optarg, WORKERS_MAX,
							    "a number from 1 to 64");
		} else if (c == 'k') {
			options->kill = false;
		} else if (c == 's') {
			options->arena_bytes = size(optarg);
		} else if (c == 't') {
			options->top = number("--top", optarg, 1000, "a number from 1 to 1000");
		} else if (c == 'h') {
			fputs(help, stdout);
			exit(0);
		} else {
			exit(2); /* getopt has said why */
		}
	}
	options->path = optind < argc ? (const char *const *)(argv + optind) : default_paths;
}

void give_up(const char *what, const char *why)
{
	show_progress(NULL, 0, 0);
	fprintf(stderr, "wordcount: %s: %s\n", what, why);
	exit(1);
}

double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void show_progress(const char *what, size_t done, size_t all)
{
	static double last;
	double now = now_s();

	if (!isatty(STDERR_FILENO))
		return;
	if (what == NULL) {
		fputs("\r\033[K", stderr);
	} else if (now - last >= 0.05) {
		last = now;
		fprintf(stderr, "\r\033[K%s: %zu of %zu files", what, done, all);
	}
}

void show_record(const char *worker, const char *message)
{
	/* One call, so that lines of several threads do not mix. */
	fprintf(stdout, "%s%-15s %s\n", isatty(STDERR_FILENO) ? "\r\033[K" : "", worker, message);
}

/* "1,234,567"; four such texts can be in use at a time. */
static const char *grouped(uint64_t n)
{
	static char ring[4][32];
	static unsigned turn;
	char *at = ring[turn++ % 4] + sizeof ring[0] - 1;

	*at = '\0';
	for (unsigned digits = 0;; digits++) {
		if (digits > 0 && digits % 3 == 0)
			*--at = ',';
		*--at = (char)('0' + n % 10);
		n /= 10;
		if (n == 0)
			return at;
	}
}

static void line(const char *label)
{
	printf("%-15s ", label);
}

static void show_files(const struct texts *texts)
{
	line("files");
	printf("%s", grouped(texts->n - texts->n_lost));
	if (texts->n_empty > 0)
		printf(" (%s empty)", grouped(texts->n_empty));
	if (texts->n_binary + texts->n_unreadable > 0)
		printf("; left out: %s not text, %s unreadable", grouped(texts->n_binary),
		       grouped(texts->n_unreadable));
	if (texts->n_too_much > 0)
		printf("; %s more beyond the limit of %u MiB", grouped(texts->n_too_much),
		       (unsigned)(TEXTS_LIMIT >> 20));
	printf("\n");
	line("bytes");
	printf("%s\n", grouped(texts->bytes));
}

static void show_words(const struct words *words, size_t top)
{
	uint32_t *order = words_by_count(words);

	line("words");
	printf("%s, %s different\n", grouped(words->total), grouped(words->n));
	for (size_t i = 0; i < top && i < words->n; i++) {
		const struct word *word = &words->word[order[i]];

		line(i == 0 ? "most frequent" : "");
		printf("%12s  %.*s\n", grouped(word->count), (int)word->length,
		       words_letters(words, word));
	}
	free(order);
}

static void show_death(const struct victim *v, uint64_t again)
{
	line("worker killed");
	if (v->pid == 0) {
		printf("none: the work was over too soon\n");
		return;
	}
	printf("worker %u (pid %d), by SIGKILL at work. It held %s text%s (%s bytes),\n",
	       v->worker, v->pid, grouped(v->texts), v->texts == 1 ? "" : "s",
	       grouped(v->text_bytes));
	line("");
	printf("%s objects and %s free block%s (%s bytes); the last it logged: %s\n",
	       grouped(v->objects), grouped(v->cached_blocks), v->cached_blocks == 1 ? "" : "s",
	       grouped(v->cached_bytes), v->said[0] == 0 ? "nothing" : v->said);
	line("reclaimed");
	printf("%s after %.1f ms; the queue gave %s text%s to another worker\n",
	       v->left == 0 ? "all of it" : "NOT ALL", v->reclaimed_s * 1e3, grouped(again),
	       again == 1 ? "" : "s");
}

static void show_times(const struct options *options, const struct facts *facts)
{
	double with = facts->counting_s + facts->startup_s;

	line("time");
	printf("%.3f s with %u worker%s on %ld CPUs, %.3f s in one process alone: %.2f times as fast\n",
	       facts->counting_s, options->workers, options->workers == 1 ? "" : "s",
	       sysconf(_SC_NPROCESSORS_ONLN), facts->alone_s, facts->alone_s / facts->counting_s);
	line("");
	printf("(%.3f s and %.2f times with the start of server and workers); reading took %.3f s\n",
	       with, facts->alone_s / with, facts->reading_s);
}

void show_report(const struct options *options, const struct texts *texts,
		 const struct words *words, const struct facts *facts)
{
	show_files(texts);
	show_words(words, options->top);
	line("bytes copied");
	printf("%s between processes: each text and answer (%s bytes) was read where it was\n",
	       grouped(facts->copied_bytes), grouped(facts->answer_bytes));
	line("");
	printf("written; a queue and a dict carried %s references and numbers each way\n",
	       grouped(facts->texts));
	show_times(options, facts);
	if (options->kill)
		show_death(&facts->victim, facts->again);
	if (facts->deaths > (facts->victim.pid != 0))
		printf("%-15s %u more workers died and were replaced\n", "",
		       facts->deaths - (facts->victim.pid != 0));
	line("verified");
	if (facts->differences == 0)
		printf("every count is that of one process alone: 0 differences\n");
	else
		printf("WRONG: %s words have another count than in one process alone\n",
		       grouped(facts->differences));
	line("tarn check");
	printf("%d findings, %s blocks left\n", facts->findings, grouped(facts->blocks_left));
}
