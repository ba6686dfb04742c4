/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARN_SERVER_SERVE_H
#define TARN_SERVER_SERVE_H

#include "tarn/server.h"

/* tarn_server_run(), ending when the process behind @parent_pidfd (-1: none) ends. */
int tarn__serve(const tarn_server_options *options, int parent_pidfd);

#endif
