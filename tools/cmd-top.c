/* SPDX-License-Identifier: Apache-2.0 */
/* tarn top: clients, calls, queues and memory as they move. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "top.h"

static bool batch;
static uint64_t delay_ns = 1000000000u, count;
static enum top_sort sort = TOP_BY_MESSAGES;

static void pause_for(uint64_t ns)
{
	nanosleep(&(struct timespec){ .tv_sec = (time_t)(ns / 1000000000u),
				      .tv_nsec = (long)(ns % 1000000000u) }, NULL);
}

/* ---- frames one below the other, or each over the last ---- */

static void print_lines(const struct top_frame *f, bool over, bool first)
{
	if (over)
		printf("\033[H\033[2J");
	else if (!first)
		printf("\n");
	for (unsigned i = 0; i < f->n; i++)
		printf("%s\n", f->line[i].text);
}

static int print_all(const struct context *c, bool over)
{
	struct top_look before = { .at_ns = 0 }, now;
	struct top_frame f = { .n = 0 };
	int status = CLI_OK;

	for (uint64_t i = 0; (count == 0 || i < count) && status == CLI_OK; i++) {
		if (i > 0)
			pause_for(delay_ns);
		status = top_look(c, &now);
		if (status != CLI_OK)
			break;
		if (c->table.json)
			top_json(&before, &now, sort);
		else if (top_frame(&f, &before, &now, sort))
			print_lines(&f, over, i == 0);
		top_look_free(&before);
		before = now;
		status = cli_finish(CLI_OK);
	}
	top_look_free(&before);
	top_frame_free(&f);
	return status;
}

/* ---- on a screen ---- */

static bool handle(int key)
{
	if (key == 's')
		sort = (enum top_sort)((sort + 1) % TOP_SORTS);
	return key != 'q' && key != 'Q';
}

static int run_screen(const struct context *c)
{
	struct top_look before = { .at_ns = 0 }, now;
	struct top_frame f = { .n = 0 };
	char foot[120];
	int status = CLI_OK;

	for (uint64_t i = 0; count == 0 || i < count; i++) {
		/* What is said on stderr must not be wiped with the screen. */
		status = top_look(c, &now);
		if (status != CLI_OK)
			break;
		if (i == 0 && (!table_screen() || !screen_open())) {
			top_look_free(&now);
			return print_all(c, table_screen());
		}
		snprintf(foot, sizeof foot, "q quit   s sort (by %s)   space look now", top_sort_names[sort]);
		if (top_frame(&f, &before, &now, sort))
			screen_show(f.line, f.n, foot);
		top_look_free(&before);
		before = now;
		if (!handle(screen_key(delay_ns)))
			break;
	}
	screen_close();
	if (status != CLI_OK)
		cli_say("the server was there, and does not answer any more");
	top_look_free(&before);
	top_frame_free(&f);
	return status;
}

static int run(struct context *c)
{
	if (batch || c->table.json)
		return print_all(c, false);
	if (isatty(STDOUT_FILENO) != 1)
		cli_usage_error("top: the output is not a terminal; --batch prints lines");
	return run_screen(c);
}

static const struct cli_option options[] = {
	{ 'b', "batch", NULL, "print lines, one look below the other" },
	{ 'd', "delay", "TIME", "from look to look (default 1s)" },
	{ 'n', "count", "N", "end after so many looks" },
	{ 'S', "sort", "KEY", "clients by messages (default), bytes, refs, ring or id",
	  .choices = top_sort_names },
	{ 0 },
};

static void option(int key, const char *value)
{
	if (key == 'b')
		batch = true;
	else if (key == 'd')
		delay_ns = (uint64_t)cli_duration("--delay", value);
	else if (key == 'n')
		count = cli_number("--count", value, 1, UINT32_MAX);
	else if (key == 'S')
		sort = (enum top_sort)cli_choice("--sort", value, top_sort_names);
	if (delay_ns == 0)
		cli_usage_error("--delay: 0 is too little");
}

const struct command command_top = {
	.name = "top",
	.arguments = "",
	.summary = "clients, calls, queues and memory as they move",
	.takes = TAKES_TIME | TAKES_SERVER | TAKES_JSON,
	.options = options,
	.option = option,
	.run = run,
};
