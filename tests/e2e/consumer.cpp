// SPDX-License-Identifier: Apache-2.0
// A program in C++ as a user writes one: what is a macro or inline in the headers is used here, and
// names nothing that is C only. Built and run by test-install.sh against an installed library.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <tarn/tarn.h>

static void must(int r)
{
	if (r >= 0)
		return;
	tarn_error_print(stderr);
	std::exit(1);
}

// ---- a type: its table by a stub, what it holds, an error ----

#define SHELF(NEW, METHOD, x)                        \
	NEW(x, integer)                              \
	METHOD(x, add, 0, none, block)               \
	METHOD(x, count, TARN_METHOD_READ, integer, none) \
	METHOD(x, room, TARN_METHOD_READ, integer, flag, text)

struct shelf_self {
	int64_t room, n;
};

static int shelf_create(tarn_context *ctx, shelf_self *self, int64_t room)
{
	if (room < 0)
		return tarn_throw(ctx, "ValueError", "no shelf has room for %lld", (long long)room);
	self->room = room;
	return 0;
}
static int shelf_do_add(tarn_context *ctx, shelf_self *self, tarn_block *block)
{
	self->n++;
	return tarn_self_hold(ctx, block);
}
static int shelf_do_count(tarn_context *, shelf_self *self, int64_t *ret)
{
	*ret = self->n;
	return 0;
}
static int shelf_do_room(tarn_context *, shelf_self *self, bool all, const char *what, int64_t *ret)
{
	*ret = all || std::strcmp(what, "books") != 0 ? self->room : self->room - self->n;
	return 0;
}
TARN_STUB_SERVER(shelf, SHELF);
TARN_STUB_CLIENT("Shelf", shelf, SHELF);

// Constant, as it is in C: it is read before this program's constructors run.
static const tarn_type shelf_table = { "Shelf", sizeof(shelf_self), 0, 0, TARN_SERIAL, shelf_create_args,
				       shelf_create_stub, nullptr, nullptr, shelf_methods, nullptr,
				       nullptr };
TARN_TYPE_REGISTER(shelf_table)

// ---- a worker, and a queue of structs ----

struct point {
	double x, y;
};
TARN_QUEUE_OF(points, point)

TARN_WORKER(swap)
{
	tarn_object *queue;
	point p;
	int r = tarn_worker_get(worker, "O", &queue);

	if (r == 0)
		r = points_get(points_from(queue), &p, TARN_FOREVER);
	if (r < 0)
		return r;
	return tarn_put(tarn_worker_result(worker), "dd", p.y, p.x);
}

int main()
{
	TARN_AUTO(tarn_server) server = nullptr;
	tarn_client *client;

	must(tarn_server_start(nullptr, &server));
	must(tarn_client_open(tarn_server_name(server), nullptr, &client));
	{
		TARN_AUTO(tarn_block) block = nullptr;
		shelf *s, *none;
		int64_t n = 0, room = 0;

		must(tarn_block_new(client, 100, TARN_BLOCK_ZEROED, &block));
		must(shelf_new(client, 7, &s));
		must(shelf_add(s, block));
		must(shelf_count(s, &n));
		must(shelf_room(s, false, "books", &room));
		if (shelf_new(client, -1, &none) != -TARN_EREMOTE ||
		    !tarn_fault_is(tarn_error_fault(), "ValueError"))
			return 1;
		shelf_unref(s);
		if (n != 1 || room != 6)
			return 1;
	}
	{
		tarn_process_options worker = tarn_process_options();
		tarn_process *process;
		tarn_builder args;
		points *queue;
		point p = { 1, 2 };
		double x, y;

		must(points_new(client, nullptr, &queue));
		must(points_put(queue, &p, 0));
		tarn_builder_init(&args);
		tarn_put(&args, "O", points_object(queue));
		worker.entry = "swap";
		worker.args = &args;
		must(tarn_process_spawn(client, &worker, &process));
		tarn_builder_fini(&args);
		must(tarn_process_get(process, TARN_FOREVER, "dd", &x, &y));
		const tarn_waitable done[] = { tarn_waitable_process(process) };
		must(tarn_wait(done, 1, TARN_WAIT_ALL, TARN_FOREVER, nullptr));
		tarn_process_unref(process);
		points_unref(queue);
		if (x != 2 || y != 1)
			return 1;
	}
	{
		tarn_object *dict;
		int64_t cents = 0;

		must(tarn_dict_new(client, &dict));
		must(tarn_dict_setf(dict, "si", "apple", 35));
		must(tarn_dict_getf_key(dict, tarn_key_string("apple"), "q", &cents));
		tarn_object_unref(dict);
		if (cents != 35)
			return 1;
	}
	tarn_client_close(client);
	std::puts("all of it, from C++");
	return 0;
}
