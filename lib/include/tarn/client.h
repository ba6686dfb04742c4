/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients: a process's attachment to an arena.
 *
 * A process opens a client once and uses it from any number of threads. Each
 * thread that works gets its own pair of rings to the server (a lane) on first
 * use; it is handed on when the thread ends. The 1025th at a time is told -EUSERS.
 * A process may be a client of several servers at once.
 *
 * Timeouts are nanoseconds: TARN_FOREVER waits without limit, and so does any other negative
 * number (who computes what is left of a deadline makes it 0 when that is over), 0 only looks,
 * anything else is relative to now. Every wait also ends when the server or the
 * peer dies. One rule for all that wait, which other comments do not repeat: who only
 * looked and would have to wait gets -EAGAIN, who waited in vain -ETIMEDOUT. What
 * is begun whatever the timeout (a call, a task, a ping, a flush) is -ETIMEDOUT also with 0: it may
 * have happened. Who looks for something that is not there, a server, a name, memory, gets the
 * word for that: -ENOENT, -ENOMEM.
 *
 * After fork() the child's inherited client and handles answer -TARN_EFORKED; the
 * child opens its own client. unref and close are allowed there and do nothing to
 * the parent's claims; close leaves a few KiB of the parent's book-keeping allocated.
 */
#ifndef TARN_CLIENT_H
#define TARN_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "version.h"

TARN_BEGIN

#define TARN_FOREVER INT64_C(-1)

typedef struct tarn_client tarn_client;

typedef struct tarn_client_options {
	uint64_t quota_bytes;  /* at most this many bytes of blocks; 0: the server's default */
	uint64_t cache_bytes;  /* free blocks kept per thread; 0: the default (64 MiB or
				* 1/64 of the arena, whichever is less) */
	int64_t connect_timeout_ns; /* wait so long for a server to appear; 0: do not wait */
	int64_t answer_timeout_ns;  /* how long a server that is there may take to let us in, to give a thread its
				* lane, and to let us go; one that takes longer hangs: -ETIMEDOUT. 0: 30 s */
	bool poison;           /* fill freed blocks with 0xDB: finds use after free */
	const void *authkey;   /* proves to the server that we may attach, and has it prove that
				* it knows the key, too (-TARN_EAUTH if it has none); it never
				* travels. NULL: if the server asks for one, that of the file which
				* TARN_AUTHKEY_FILE names */
	size_t authkey_bytes;
	bool any_server_user;  /* attach to a server whoever runs it. Else it must be of this
				* user or of root, or prove to know the authkey: abstract names, and
				* paths in /tmp, are anybody's to take */
} tarn_client_options;

/*
 * Attaches to the server @name: a plain name ("demo"), a path ("/run/x.sock"; "./x.sock" in the
 * directory of now) or an abstract socket ("@demo"). @options may be NULL. The caller owns the client in
 * @ret_client and ends it with tarn_client_close().
 * -ENOENT no such server, -TARN_ESRVDOWN it is just ending, -EACCES not admitted (or the
 * server is another user's), -TARN_EAUTH no or another authkey, -TARN_EVERSION other layout, -ETIMEDOUT none appeared
 * (connect_timeout_ns), or it does not answer (answer_timeout_ns), -EMFILE and others of the system.
 */
TARN_EXPORT int tarn_client_open(const char *name, const tarn_client_options *options,
				 tarn_client **ret_client);

/*
 * Detaches: cached blocks go back, handles that are still held become invalid (using
 * them is an error of the caller). NULL is allowed. Returns NULL. No other thread may
 * be inside a call on this client; one that is done with its calls may be ending.
 */
TARN_EXPORT tarn_client *tarn_client_close(tarn_client *client);

/* Asks the server for a sign of life. 0, -ETIMEDOUT, -TARN_ESRVDOWN. */
TARN_EXPORT int tarn_client_ping(tarn_client *client, int64_t timeout_ns);

/*
 * Waits until the server has taken note of everything that this thread did before
 * (and, if @settled, has applied all its decrements, two epochs). For tests and
 * tools; data paths do not need it. 0, -ETIMEDOUT, -TARN_ESRVDOWN.
 */
TARN_EXPORT int tarn_client_flush(tarn_client *client, bool settled, int64_t timeout_ns);

/* Gives the calling thread's cached free blocks back to the server. */
TARN_EXPORT int tarn_client_trim(tarn_client *client);

/* Facts that cost no message. */
TARN_EXPORT uint64_t tarn_client_arena_bytes(const tarn_client *client);
TARN_EXPORT int tarn_client_server_pid(const tarn_client *client);
/* The server's number for this client, as `tarn clients` and `tarn refs` show it. */
TARN_EXPORT uint32_t tarn_client_id(const tarn_client *client);

/* Its server as text, for tarn_server_import() (tarn/server.h) in any process. @bytes:
 * TARN_SERVER_TEXT are enough. -ENOBUFS, or as tarn_client_open() for the name. */
TARN_EXPORT int tarn_client_export(const tarn_client *client, char *ret_text, size_t bytes);

/* For TARN_AUTO(tarn_client). */
static inline void tarn_client_auto(tarn_client **client)
{
	tarn_client_close(*client);
}

TARN_END

#endif
