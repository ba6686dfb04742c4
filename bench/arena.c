/* SPDX-License-Identifier: Apache-2.0 */
#include "arena.h"

#include <stdlib.h>
#include <unistd.h>

#define WAIT_NS INT64_C(10000000000)

static tarn_server *server;
static tarn_inspector *inspector;
static pid_t owner;

static void stop_at_exit(void)
{
	if (getpid() == owner)
		arena_stop();
}

void arena_start_pinned(uint64_t bytes, int cpu)
{
	const tarn_server_options options = { .arena_bytes = bytes };

	if (cpu >= 0) /* it has the CPUs of the thread that starts it */
		pin(cpu);
	else
		unpin();
	check(tarn_server_start(&options, &server), "start a server");
	unpin();
	ours_add(arena_pid());
	if (owner == 0)
		atexit(stop_at_exit);
	owner = getpid();
}

void arena_start(uint64_t bytes)
{
	arena_start_pinned(bytes, -1);
}

void arena_pin(int cpu)
{
	/* The thread that serves is its first. */
	if (!pin_process(arena_pid(), cpu))
		die("the server cannot run on CPU %d: %m", cpu);
}

void arena_stop(void)
{
	if (inspector != NULL)
		inspector = tarn_inspector_close(inspector);
	if (server != NULL) {
		ours_forget(arena_pid());
		tarn_server_shutdown(server, WAIT_NS);
	}
	server = tarn_server_unref(server);
}

const char *arena_name(void)
{
	return tarn_server_name(server);
}

pid_t arena_pid(void)
{
	return (pid_t)tarn_server_pid(server);
}

tarn_client *attach(void)
{
	const tarn_client_options options = { .cache_bytes = UINT64_C(1) << 30,
					      .connect_timeout_ns = WAIT_NS };
	tarn_client *c = NULL;

	check(tarn_client_open(arena_name(), &options, &c), "attach");
	return c;
}

tarn_channel *make_channel(tarn_client *client, const char *name, size_t capacity,
			   enum tarn_channel_end end)
{
	tarn_channel *ch = NULL;

	check(tarn_channel_new(client, capacity, name, &ch), "make a channel");
	check(tarn_channel_bind(ch, end), "take the channel's end");
	return ch;
}

tarn_channel *open_channel(tarn_client *client, const char *name, enum tarn_channel_end end)
{
	tarn_channel *ch = NULL;

	check(tarn_channel_open(client, name, WAIT_NS, &ch), "open a channel");
	check(tarn_channel_bind(ch, end), "take the channel's other end");
	return ch;
}

tarn_block *new_block(tarn_client *client, size_t size)
{
	tarn_block *b = NULL;

	check(tarn_block_new(client, size, 0, &b), "allocate");
	return b;
}

void give(tarn_channel *channel, tarn_block *block, uint64_t tag)
{
	check(tarn_channel_give(channel, block, tag, WAIT_NS), "give");
}

tarn_block *receive(tarn_channel *channel, uint64_t *ret_tag)
{
	tarn_block *b = NULL;

	check(tarn_channel_recv(channel, &b, ret_tag, WAIT_NS), "receive");
	return b;
}

tarn_stat arena_stat(void)
{
	tarn_stat s;

	if (inspector == NULL)
		check(tarn_inspector_open(arena_name(), WAIT_NS, &inspector), "inspect");
	check(tarn_inspector_stat(inspector, &s), "ask for the numbers");
	return s;
}

void arena_settle(tarn_client *client)
{
	check(tarn_client_flush(client, true, WAIT_NS), "flush");
}
