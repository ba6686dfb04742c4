/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper: a process that maps nothing and waits. It holds what outlives a server
 * (estate.h), and when the server dies, and waitpid() says so, it starts the next one.
 */
#ifndef TARN_SERVER_KEEPER_H
#define TARN_SERVER_KEEPER_H

#include "estate.h"
#include "tarn/server.h"

#define KEEPER_FAST_MOST 10u /* servers that die in a row right after their start: there is no use in another */

/*
 * As tarn__serve(), in servers that are forked from here, one after the other. Returns in the
 * keeper alone: 0 after an orderly end, or the last server's failure. Servers end by exit() if
 * @own_process, else by _exit(), for then the program's atexit() functions are the keeper's.
 * @page: memory shared with the starter; NULL: nobody looks. -EBUSY: this process has more than
 * one thread, which fork() would not copy.
 */
int tarn__keep(const tarn_server_options *options, int parent_pidfd,
	       const volatile sig_atomic_t *stop_wanted, struct keeper_page *page,
	       bool own_process);

/* "SIGSEGV"; "signal 77" in @room for what has no name. */
const char *tarn__signal_name(int signal, char room[16]);

#endif
