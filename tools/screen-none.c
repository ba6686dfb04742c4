/* SPDX-License-Identifier: Apache-2.0 */
/* Built without curses: tarn top prints each look over the last, and knows no keys. */
#include "top.h"

bool screen_open(void)
{
	return false;
}
void screen_close(void)
{
}
void screen_show(const struct top_line *lines, unsigned n, const char *foot)
{
	(void)lines;
	(void)n;
	(void)foot;
}
int screen_key(uint64_t ns)
{
	(void)ns;
	return 'q';
}
