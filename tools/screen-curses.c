/* SPDX-License-Identifier: Apache-2.0 */
/* The screen of tarn top, by curses. */
#include <curses.h>
#include <stdlib.h>

#include "top.h"

static SCREEN *screen;

bool screen_open(void)
{
	const char *terminal = getenv("TERM");

	/* initscr() would end the program where the terminal is unknown. */
	screen = newterm(terminal != NULL ? terminal : "dumb", stdout, stdin);
	if (screen == NULL)
		return false;
	set_term(screen);
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	curs_set(0);
	return true;
}

void screen_close(void)
{
	if (screen == NULL)
		return;
	endwin();
	delscreen(screen);
	screen = NULL;
}

void screen_show(const struct top_line *lines, unsigned n, const char *foot)
{
	int rows, columns;

	getmaxyx(stdscr, rows, columns);
	erase();
	for (int i = 0; i < rows - 1 && (unsigned)i < n; i++) {
		if (lines[i].heading)
			attron(A_REVERSE);
		mvprintw(i, 0, "%-*.*s", lines[i].heading ? columns : 0, columns, lines[i].text);
		if (lines[i].heading)
			attroff(A_REVERSE);
	}
	attron(A_DIM);
	mvprintw(rows - 1, 0, "%.*s", columns - 1, foot);
	attroff(A_DIM);
	refresh();
}

int screen_key(uint64_t ns)
{
	uint64_t ms = ns / 1000000u;
	int key;

	timeout(ms < 1 ? 1 : ms > 3600000u ? 3600000 : (int)ms);
	key = getch();
	return key == ERR ? 0 : key;
}
