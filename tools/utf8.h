/* SPDX-License-Identifier: Apache-2.0 */
/* Names come from other processes and may be any bytes. */
#ifndef TARN_TOOLS_UTF8_H
#define TARN_TOOLS_UTF8_H

/* Bytes of the character at @text; 0 if it is not one in UTF-8. @text is not empty. */
static inline unsigned utf8_length(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	unsigned n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3
		     : p[0] < 0xf5 ? 4 : 0;

	for (unsigned i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	/* Too long a form, halves of UTF-16 pairs, beyond the last code point. */
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90))
		return 0;
	return n;
}

#endif
