/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines on standard error, which nobody waits for for ever.
 *
 * Who reads it may have stopped reading: a pager that nobody pages, a terminal that hangs. A full pipe would then
 * stop whoever writes a line, which may be a server, and all who wait for that. So a line that finds no room waits a
 * little and is dropped; the next one that is written says how many are missing.
 *
 * A process waits for a second in all, and gets back one 64th of the time that passes: a reader that let it wait in
 * vain is not waited for again, and one that reads too slowly slows nobody down for good.
 */
#ifndef TARN_LIB_SAY_H
#define TARN_LIB_SAY_H

/* Writes @head, @text and a newline: in one piece up to PIPE_BUF bytes. The line about missing ones begins with
 * @head, too. Any thread; not in signal handlers. errno stays. */
void tarn__say(const char *head, const char *text);

#endif
