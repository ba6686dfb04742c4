// SPDX-License-Identifier: Apache-2.0
/*
 * Boost.Interprocess: allocate and deallocate in a managed segment, a named object made and
 * destroyed, and messages there and back by message_queue, which copies in and out.
 */
#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/interprocess/managed_shared_memory.hpp>
#include <cstdio>
#include <cstring>
#include <string>
#include <unistd.h>
#include <vector>

#include "pair.h"

namespace ip = boost::interprocess;

static std::string name_of(const char *what, unsigned run)
{
	return "tarn-bench-boost-" + std::string(what) + "-" + std::to_string(getppid()) + "-" +
	       std::to_string(run);
}

/* ---- messages ---- */

static void send_it(ip::message_queue &q, const struct pair *p, const void *bytes)
{
	if (p->is->asleep)
		q.send(bytes, p->size, 0);
	else
		while (!q.try_send(bytes, p->size, 0))
			spin_pause();
}

static void receive_it(ip::message_queue &q, const struct pair *p, void *bytes)
{
	ip::message_queue::size_type n = 0;
	unsigned priority;

	if (p->is->asleep)
		q.receive(bytes, p->size, n, priority);
	else
		while (!q.try_receive(bytes, p->size, n, priority))
			spin_pause();
	if (n != p->size)
		die("a message of %zu bytes came", static_cast<size_t>(n));
}

static void exchange(struct pair *p)
{
	const std::string there = name_of("there", p->run), back = name_of("back", p->run);
	std::vector<char> out(p->size), in(p->size);

	/* Both open or make both: whoever comes first. */
	ip::message_queue a(ip::open_or_create, there.c_str(), 4, p->size);
	ip::message_queue b(ip::open_or_create, back.c_str(), 4, p->size);
	pair_meet(p);
	ip::message_queue::remove(there.c_str()); /* nothing stays, whoever dies */
	ip::message_queue::remove(back.c_str());
	pair_start(p);
	while (pair_next(p)) {
		if (p->is_first) {
			std::memcpy(out.data(), &p->trip, sizeof p->trip);
			send_it(a, p, out.data());
			receive_it(b, p, in.data());
			pair_check(p, in.data());
		} else {
			receive_it(a, p, in.data());
			pair_check(p, in.data());
			send_it(b, p, in.data());
		}
	}
}

static void side(struct pair *p)
{
	try {
		exchange(p);
	} catch (const std::exception &e) {
		die("message_queue: %s", e.what());
	}
}

/* ---- memory ---- */

static const unsigned blocks_most = 33;

/* Median over blocks of @n times @fn(), in ns each. */
template <class Fn> static double time_it(uint64_t n, Fn fn)
{
	double block[blocks_most];
	unsigned blocks = static_cast<unsigned>(often(blocks_most));

	for (uint64_t i = 0; i < n; i++)
		fn();
	for (unsigned k = 0; k < blocks; k++) {
		uint64_t from = ticks();

		for (uint64_t i = 0; i < n; i++)
			fn();
		block[k] = ticks_to_ns(ticks() - from) / static_cast<double>(n);
	}
	return median_of(block, blocks);
}

static void measure_allocation(unsigned round, ip::managed_shared_memory &segment, size_t size)
{
	const std::string row = std::string(TOPIC_ALLOC) + text_size(size);

	if (!wanted_row(row.c_str()))
		return;
	do {
		run_begin(round, true);
		run_axis("bytes", static_cast<double>(size), "allocate and release");
		pin(bench.cpu[0]);
		record(row.c_str(), "each", "ns", time_it(2000, [&] {
			void *b = segment.allocate(size);
			*static_cast<volatile char *>(b) = 1;
			segment.deallocate(b);
		}), nullptr);
		unpin();
	} while (run_again());
}

static void measure_objects(unsigned round, ip::managed_shared_memory &segment)
{
	if (!wanted_row(TOPIC_CREATE))
		return;
	do {
		run_begin(round, true);
		pin(bench.cpu[0]);
		record(TOPIC_CREATE, "each", "ns", time_it(1000, [&] {
			segment.construct<long>("an object")(1);
			segment.destroy<long>("an object");
		}), nullptr);
		unpin();
	} while (run_again());
}

static void measure_memory(unsigned round)
{
	static const size_t sizes[] = { 64, 4096, 65536, 1u << 20 };
	const std::string name = name_of("segment", round);

	ip::shared_memory_object::remove(name.c_str());
	ip::managed_shared_memory segment(ip::create_only, name.c_str(), 64u << 20);
	ip::shared_memory_object::remove(name.c_str());
	for (size_t size : sizes)
		measure_allocation(round, segment, size);
	measure_objects(round, segment);
}

int main(int argc, char **argv)
{
	struct about about = {};
	struct pair_kinds kinds = {};

	about.name = "boost";
	about.question = "Boost.Interprocess: what do allocation, a named object, and a message there and\n"
			 "one back by message_queue cost?";
	about.rounds = 5;
	about.only = true;
	bench_start(argc, argv, &about);
	kinds.first = kinds.second = side;
	kinds.spins = kinds.sleeps = kinds.trips = true;
	kinds.large = pair_kinds::LARGE_ASLEEP; /* a spinner would hammer on the lock that a copy holds */
	try {
		for (unsigned r = 0; r < bench.rounds; r++) {
			measure_memory(r);
			pair_measure_all(r, &kinds);
		}
	} catch (const std::exception &e) {
		die("%s", e.what());
	}
	report();
	return 0;
}
