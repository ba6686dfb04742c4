/* SPDX-License-Identifier: Apache-2.0 */
/* What a service owes systemd, in a few lines instead of a library: sockets that it was given, and
 * the notice that it is ready. See sd_listen_fds(3) and sd_notify(3). */
#ifndef TARN_TOOLS_SYSTEMD_H
#define TARN_TOOLS_SYSTEMD_H

/* The socket that systemd gave this process; 0: none. Ends the program if there are several.
 * The variables are taken out of the environment. */
int systemd_socket(void);

/* "READY=1" or more lines of that kind; without systemd nothing happens. */
void systemd_notify(const char *state);

#endif
