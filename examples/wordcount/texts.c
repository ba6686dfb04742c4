/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text is what has none of the bytes 0 to 8 in its first 4 KiB. That rule needs no names:
 * it finds gzip (whose third byte is 8), images, programs and most PDF.
 */
#define _GNU_SOURCE /* nftw(), whatever -std= is */
#include "wordcount/texts.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <search.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAMED 5 /* so many unreadable files are named, the others only counted */

struct inode {
	dev_t device;
	ino_t number;
};

/* nftw() has no way to hand this through. */
static struct texts *current;

static void *checked(void *memory)
{
	if (memory == NULL) {
		fprintf(stderr, "wordcount: no memory for the list of files\n");
		exit(1);
	}
	return memory;
}

static void unreadable(struct texts *texts, const char *path, int error)
{
	if (texts->n_unreadable++ < NAMED)
		fprintf(stderr, "wordcount: left out: %s: %s\n", path, strerror(error));
}

void texts_lost(struct texts *texts, const struct text *text, int error)
{
	unreadable(texts, text->path, error);
	texts->n_lost++;
	texts->bytes -= text->bytes;
}

static int by_inode(const void *a, const void *b)
{
	const struct inode *x = a, *y = b;

	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return x->device < y->device ? -1 : x->device > y->device;
}

static bool seen_before(struct texts *texts, const struct stat *st)
{
	struct inode *inode = checked(malloc(sizeof *inode));

	*inode = (struct inode){ st->st_dev, st->st_ino };
	struct inode **found = checked(tsearch(inode, &texts->seen, by_inode));

	if (*found == inode)
		return false;
	free(inode);
	return true;
}

/* 1 text, 0 not, -errno. */
static int looks_like_text(const char *path)
{
	unsigned char head[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t n = fd >= 0 ? read(fd, head, sizeof head) : -1;
	int error = errno;

	if (fd >= 0)
		close(fd);
	if (n < 0)
		return -error;
	for (ssize_t i = 0; i < n; i++)
		if (head[i] <= 8)
			return 0;
	return 1;
}

static void take(struct texts *texts, const char *path, const struct stat *st)
{
	if (seen_before(texts, st))
		return;
	int r = looks_like_text(path);

	if (r < 0) {
		unreadable(texts, path, -r);
	} else if (r == 0) {
		texts->n_binary++;
	} else if (texts->bytes + (uint64_t)st->st_size > TEXTS_LIMIT) {
		texts->n_too_much++;
	} else {
		if (texts->n == texts->room) {
			texts->room = texts->room * 2 + 256;
			texts->text = checked(realloc(texts->text,
						      texts->room * sizeof *texts->text));
		}
		texts->text[texts->n++] = (struct text){ .path = checked(strdup(path)),
							 .bytes = (size_t)st->st_size };
		texts->bytes += (uint64_t)st->st_size;
		texts->n_empty += st->st_size == 0;
	}
}

static int visit(const char *path, const struct stat *st, int what, struct FTW *where)
{
	struct stat target;

	(void)where;
	if (what == FTW_SL) {
		if (stat(path, &target) != 0)
			return 0; /* leads nowhere: nothing is missed */
		st = &target;
	} else if (what == FTW_DNR || what == FTW_NS) {
		unreadable(current, path, errno != 0 ? errno : EACCES);
		return 0;
	}
	if (S_ISREG(st->st_mode))
		take(current, path, st);
	return 0;
}

void texts_find(struct texts *texts, const char *path)
{
	char *real = realpath(path, NULL);

	current = texts;
	if (real == NULL || nftw(real, visit, 32, FTW_PHYS) != 0)
		unreadable(texts, path, errno);
	free(real);
}

long text_read(const struct text *text, void *buffer)
{
	int fd = open(text->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	size_t at = 0;

	if (fd < 0)
		return -errno;
	while (at < text->bytes) {
		ssize_t n = read(fd, (char *)buffer + at, text->bytes - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			long r = n < 0 ? -errno : (long)at;

			close(fd);
			return r;
		}
		at += (size_t)n;
	}
	close(fd);
	return (long)at;
}

void texts_fini(struct texts *texts)
{
	for (size_t i = 0; i < texts->n; i++)
		free(texts->text[i].path);
	free(texts->text);
	tdestroy(texts->seen, free);
	memset(texts, 0, sizeof *texts);
}
