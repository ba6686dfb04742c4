/* SPDX-License-Identifier: Apache-2.0 */
#include "sets.h"

#include <stddef.h>
#include <string.h>

const struct program programs[] = {
	{ "limits", "what the machine can do without Tarn", NULL },
	{ "alloc", "a warm block beside malloc of glibc and mimalloc", NULL },
	{ "refs", "one more reference within a process", NULL },
	{ "handover", "a block to another process and the answer", NULL },
	{ "queue", "items through a queue to another process, and back", NULL },
	{ "lock", "a lock or semaphore that nobody else wants, beside pthread mutexes", NULL },
	{ "contents", "reading in dicts and lists, in place and by a call", NULL },
	{ "call", "method calls: waited for, in flight, one way; objects", NULL },
	{ "callwake", "calls of sleepers", NULL },
	{ "callgrowth", "cost of a call against the number of clients and of objects", NULL },
	{ "value", "values encoded and decoded, beside a struct", NULL },
	{ "server", "the server's work for a hand-over, in one process", NULL },
	{ "stream", "blocks per second in one direction", NULL },
	{ "touch", "first touch of memory against its use again", NULL },
	{ "growth", "cost against the number of clients and of live blocks", NULL },
	{ "lanes", "a question to the server among many idle lanes", NULL },
	{ "reclaim", "from a kill until all is free again", NULL },
	{ "attach", "becoming a client, starting a server, beside bare system calls", NULL },
	{ "spawn", "worker processes beside posix_spawn", NULL },
	{ "idle", "a server with nothing to do: wake-ups, memory", NULL },
	{ "boost", "Boost.Interprocess: segment manager, message_queue", "libboost-dev" },
	{ "iceoryx", "Eclipse iceoryx: loan, publish/subscribe, request/response",
	  "libiceoryx-posh-dev iceoryx" },
	{ "zeromq", "ZeroMQ over ipc", "libzmq3-dev" },
	{ "nng", "nng over ipc", "libnng-dev" },
	{ "ucx", "UCX tagged messages over shared memory", "libucx-dev" },
	{ "redis", "Redis over a unix socket", "redis-server" },
	{ "python", "multiprocessing: managers, shared_memory", "python3" },
	{ NULL, NULL, NULL },
};

#define ALLOC_OF_PEERS { "boost", { "--only", "allocate" } }, { "iceoryx", { "--only", "allocate" } }
#define TRIP_OF_PEERS(only)                                                        \
	{ "boost", { "--only", only } }, { "iceoryx", { "--only", only } },        \
	{ "zeromq", { "--only", only } }, { "nng", { "--only", only } },           \
	{ "ucx", { "--only", only } }

const struct set sets[] = {
	{ "tarn", "all of Tarn, with the limits, without peers",
	  { { "limits", { 0 } }, { "alloc", { 0 } }, { "refs", { 0 } }, { "handover", { 0 } },
	    { "queue", { 0 } }, { "lock", { 0 } }, { "contents", { 0 } }, { "call", { 0 } }, { "callwake", { 0 } },
	    { "value", { 0 } }, { "server", { 0 } },
	    { "stream", { 0 } }, { "callgrowth", { "--big" } }, { "touch", { 0 } }, { "growth", { 0 } }, { "lanes", { 0 } },
	    { "reclaim", { "--big" } },
	    { "attach", { 0 } }, { "spawn", { 0 } }, { "idle", { 0 } } } },
	{ "all", "the same, and all peers",
	  { { "limits", { 0 } }, { "alloc", { 0 } }, { "refs", { 0 } }, { "handover", { 0 } },
	    { "queue", { 0 } }, { "lock", { 0 } }, { "contents", { 0 } }, { "call", { 0 } }, { "callwake", { 0 } },
	    { "callgrowth", { "--big" } }, { "boost", { 0 } }, { "iceoryx", { 0 } }, { "zeromq", { 0 } }, { "nng", { 0 } },
	    { "ucx", { 0 } }, { "redis", { 0 } }, { "python", { 0 } }, { "value", { 0 } },
	    { "server", { 0 } }, { "stream", { 0 } },
	    { "touch", { 0 } }, { "growth", { 0 } }, { "lanes", { 0 } },
	    { "reclaim", { "--big" } },
	    { "attach", { 0 } }, { "spawn", { 0 } }, { "idle", { 0 } } } },
	{ "limits", "the machine alone", { { "limits", { 0 } } } },
	{ "peers", "the peers alone, with the limits",
	  { { "limits", { 0 } }, { "boost", { 0 } }, { "iceoryx", { 0 } }, { "zeromq", { 0 } },
	    { "nng", { 0 } }, { "ucx", { 0 } }, { "redis", { 0 } }, { "python", { 0 } } } },
	{ "alloc", "allocate and release, beside allocators", { { "alloc", { 0 } }, ALLOC_OF_PEERS } },
	{ "refs", "references within a process", { { "refs", { 0 } } } },
	{ "queue", "items through queues", { { "limits", { 0 } }, { "queue", { 0 } } } },
	{ "inplace", "locks, and what is read in place", { { "lock", { 0 } }, { "contents", { 0 } } } },
	{ "spawn", "worker processes", { { "spawn", { 0 } } } },
	{ "handover", "blocks to another process and back, beside messages of peers",
	  { { "limits", { 0 } }, { "handover", { 0 } }, TRIP_OF_PEERS("back"),
	    { "python", { "--only", "back" } } } },
	{ "call", "method calls and objects, beside calls of peers",
	  { { "limits", { 0 } }, { "call", { 0 } }, { "callwake", { 0 } }, { "value", { 0 } },
	    { "iceoryx", { "--only", "call" } }, { "zeromq", { "--only", "call" } },
	    { "nng", { "--only", "call" } }, { "redis", { 0 } }, { "python", { "--only", "call" } },
	    { "boost", { "--only", "create" } }, { "python", { "--only", "create" } } } },
	{ "stream", "blocks per second in one direction", { { "limits", { 0 } }, { "stream", { 0 } } } },
	{ "touch", "first touch against use again",
	  { { "touch", { 0 } }, { "python", { "--only", "touch" } } } },
	{ "growth", "cost against clients, live blocks, objects",
	  { { "growth", { 0 } }, { "lanes", { 0 } }, { "callgrowth", { "--big" } } } },
	{ "death", "from a kill until all is free again, up to 10^6 references",
	  { { "reclaim", { "--big" } } } },
	{ "attach", "becoming a client, starting a server", { { "attach", { 0 } } } },
	{ "idle", "a server with nothing to do", { { "idle", { 0 } } } },
	{ NULL, NULL, { { NULL, { 0 } } } },
};

const struct program *program_find(const char *name)
{
	for (const struct program *p = programs; p->name != NULL; p++)
		if (strcmp(p->name, name) == 0)
			return p;
	return NULL;
}

bool program_is_peer(const char *name)
{
	const struct program *p = program_find(name);

	return p != NULL && p->packages != NULL;
}

const struct set *set_find(const char *name)
{
	for (const struct set *s = sets; s->name != NULL; s++)
		if (strcmp(s->name, name) == 0)
			return s;
	return NULL;
}
