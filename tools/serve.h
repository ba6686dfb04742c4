/* SPDX-License-Identifier: Apache-2.0 */
/* Serving in the foreground: what `tarnd` and `tarn serve` have in common. */
#ifndef TARN_TOOLS_SERVE_H
#define TARN_TOOLS_SERVE_H

#include "cli.h"

/* What a server can be told; without --help and --version. */
extern const struct cli_option serve_options[];

/* Takes one of them. */
void serve_option(int key, const char *value);

/* Serves until it is told to end, as @default_name unless --name was given, with a keeper if @keep
 * unless --keeper was; logs to stderr as @program. Returns how the program ends. */
int serve(const char *program, const char *default_name, bool keep);

#endif
