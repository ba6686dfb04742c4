/* SPDX-License-Identifier: Apache-2.0 */
/* All of Tarn. */
#ifndef TARN_TARN_H
#define TARN_TARN_H

#include "block.h"
#include "channel.h"
#include "client.h"
#include "container.h"
#include "entry.h"
#include "error.h"
#include "fault.h"
#include "gc.h"
#include "inspect.h"
#include "log.h"
#include "object.h"
#include "pool.h"
#include "process.h"
#include "queue.h"
#include "server.h"
#include "shared.h"
#include "stream.h"
#include "stub.h"
#include "sync.h"
#include "thread.h"
#include "token.h"
#include "topic.h"
#include "type.h"
#include "value.h"
#include "version.h"
#include "wait.h"

#endif
