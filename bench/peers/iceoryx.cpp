// SPDX-License-Identifier: Apache-2.0
/*
 * Eclipse iceoryx 2: loan and release of a chunk, chunks by publish and subscribe, a request and its
 * response; spinning by take() and asleep in a WaitSet. Its daemon iox-roudi is started for
 * this and stopped again, unless one runs already.
 */
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <unistd.h>

#include "iceoryx_hoofs/log/logmanager.hpp"
#include "iceoryx_posh/iceoryx_posh_types.hpp"
#include "iceoryx_posh/popo/untyped_client.hpp"
#include "iceoryx_posh/popo/untyped_publisher.hpp"
#include "iceoryx_posh/popo/untyped_server.hpp"
#include "iceoryx_posh/popo/untyped_subscriber.hpp"
#include "iceoryx_posh/popo/wait_set.hpp"
#include "iceoryx_posh/runtime/posh_runtime.hpp"

#include "pair.h"

using iox::capro::IdString_t;
using iox::capro::ServiceDescription;

static ServiceDescription service(const struct pair *p, const char *what)
{
	char run[32];

	snprintf(run, sizeof run, "%d-%u", static_cast<int>(getppid()), p->run);
	return { "tarn-bench", IdString_t(iox::cxx::TruncateToCapacity, run, std::strlen(run)),
		 IdString_t(iox::cxx::TruncateToCapacity, what, std::strlen(what)) };
}

static void start_runtime(const char *who)
{
	char name[64];

	iox::log::LogManager::GetLogManager().SetDefaultLogLevel(iox::log::LogLevel::kOff,
								 iox::log::LogLevelOutput::kHideLogLevel);
	snprintf(name, sizeof name, "tarn-bench-%s-%d", who, static_cast<int>(getpid()));
	iox::runtime::PoshRuntime::initRuntime(
		iox::RuntimeName_t(iox::cxx::TruncateToCapacity, name, std::strlen(name)));
}

/* ---- chunks ---- */

/* The chunk that comes, by spinning or in the wait set. */
template <class Port> static const void *take_one(Port &port, iox::popo::WaitSet<> *wait)
{
	const void *got = nullptr;

	while (got == nullptr) {
		port.take().and_then([&](auto &payload) { got = payload; });
		if (got == nullptr && wait != nullptr)
			wait->wait();
	}
	return got;
}

static void publish_one(iox::popo::UntypedPublisher &out, const struct pair *p)
{
	out.loan(static_cast<uint32_t>(p->size))
		.and_then([&](auto &payload) {
			std::memcpy(payload, &p->trip, sizeof p->trip);
			out.publish(payload);
		})
		.or_else([](auto &) { die("no chunk to loan"); });
}

static void exchange_chunks(struct pair *p)
{
	const char *mine = p->is_first ? "there" : "back", *other = p->is_first ? "back" : "there";

	start_runtime(p->is_first ? "first" : "second");
	iox::popo::WaitSet<> wait;
	iox::popo::UntypedPublisher out(service(p, mine), iox::popo::PublisherOptions{ 1U });
	iox::popo::UntypedSubscriber in(service(p, other), iox::popo::SubscriberOptions{ 2U, 1U });
	if (p->is->asleep)
		wait.attachState(in, iox::popo::SubscriberState::HAS_DATA).or_else([](auto &) {
			die("cannot attach to the wait set");
		});
	while (in.getSubscriptionState() != iox::SubscribeState::SUBSCRIBED || !out.hasSubscribers())
		sleep_ms(1);
	pair_start(p);
	while (pair_next(p)) {
		if (p->is_first)
			publish_one(out, p);
		const void *chunk = take_one(in, p->is->asleep ? &wait : nullptr);
		pair_check(p, chunk);
		in.release(chunk);
		if (!p->is_first)
			publish_one(out, p);
	}
	pair_meet(p); /* neither goes while the other still takes */
}

/* ---- calls ---- */

static void call_first(struct pair *p)
{
	start_runtime("client");
	iox::popo::WaitSet<> wait;
	iox::popo::UntypedClient client(service(p, "call"));
	if (p->is->asleep)
		wait.attachState(client, iox::popo::ClientState::HAS_RESPONSE).or_else([](auto &) {
			die("cannot attach to the wait set");
		});
	while (client.getConnectionState() != iox::ConnectionState::CONNECTED)
		sleep_ms(1);
	pair_start(p);
	while (pair_next(p)) {
		client.loan(static_cast<uint32_t>(p->size), 8)
			.and_then([&](auto &payload) {
				std::memcpy(payload, &p->trip, sizeof p->trip);
				client.send(payload).or_else([](auto &) { die("cannot send a request"); });
			})
			.or_else([](auto &) { die("no request to loan"); });
		const void *response = take_one(client, p->is->asleep ? &wait : nullptr);
		pair_check(p, response);
		client.releaseResponse(response);
	}
	pair_meet(p);
}

static void call_second(struct pair *p)
{
	start_runtime("server");
	iox::popo::WaitSet<> wait;
	iox::popo::UntypedServer server(service(p, "call"));
	if (p->is->asleep)
		wait.attachState(server, iox::popo::ServerState::HAS_REQUEST).or_else([](auto &) {
			die("cannot attach to the wait set");
		});
	pair_start(p);
	while (pair_next(p)) {
		const void *request = take_one(server, p->is->asleep ? &wait : nullptr);

		pair_check(p, request);
		server.loan(iox::popo::RequestHeader::fromPayload(request),
			    static_cast<uint32_t>(p->size), 8)
			.and_then([&](auto &payload) {
				std::memcpy(payload, &p->trip, sizeof p->trip);
				server.send(payload).or_else([](auto &) { die("cannot respond"); });
			})
			.or_else([](auto &) { die("no response to loan"); });
		server.releaseRequest(request);
	}
	pair_meet(p);
}

/* ---- loan and release ---- */

struct loans {
	uint64_t size;
	double ns;
};

/* In a process of its own: a runtime is for life. */
static void time_loans(void *arg)
{
	static const unsigned blocks_most = 33;
	struct loans *l = static_cast<struct loans *>(arg);
	double block[blocks_most];
	unsigned blocks = static_cast<unsigned>(often(blocks_most));

	start_runtime("loans");
	iox::popo::UntypedPublisher out({ "tarn-bench", "loans", "one" });
	for (unsigned k = 0; k < blocks; k++) {
		uint64_t from = ticks();

		for (unsigned i = 0; i < 1000; i++)
			out.loan(static_cast<uint32_t>(l->size))
				.and_then([&](auto &payload) {
					*static_cast<volatile char *>(payload) = 1;
					out.release(payload);
				})
				.or_else([](auto &) { die("no chunk to loan"); });
		block[k] = ticks_to_ns(ticks() - from) / 1000;
	}
	l->ns = median_of(block, blocks);
	std::exit(0); /* not _exit: the runtime takes its files away */
}

static void measure_loans(unsigned round, size_t size)
{
	static struct loans *l;
	const std::string row = std::string(TOPIC_ALLOC) + text_size(size);

	if (!wanted_row(row.c_str()))
		return;
	if (l == nullptr)
		l = static_cast<struct loans *>(shared_memory(sizeof *l));
	do {
		l->size = size;
		run_begin(round, true);
		run_axis("bytes", static_cast<double>(size), "allocate and release");
		pid_t pid = start_process(time_loans, l, bench.cpu[0]);
		await_processes(&pid, 1);
		record(row.c_str(), "each", "ns", l->ns, nullptr);
	} while (run_again());
}

int main(int argc, char **argv)
{
	static const size_t sizes[] = { 64, 4096, 65536, 1u << 20 };
	struct about about = {};
	struct pair_kinds chunks = {}, calls = {};
	char roudi[] = "iox-roudi", level[] = "--log-level=off";
	char *const daemon[] = { roudi, level, nullptr };

	about.name = "iceoryx";
	about.question = "Eclipse iceoryx: what do loan and release, a chunk there and one back, and a request\n"
			 "with its response cost? Starts and stops its daemon iox-roudi.";
	about.rounds = 5;
	about.only = true;
	bench_start(argc, argv, &about);
	pid_t pid = helper_start(daemon, -1, "iceoryx");
	chunks.first = chunks.second = exchange_chunks;
	chunks.spins = chunks.sleeps = chunks.trips = true;
	chunks.large = pair_kinds::LARGE_SPINNING;
	calls.first = call_first;
	calls.second = call_second;
	calls.spins = calls.sleeps = calls.calls = true;
	for (unsigned r = 0; r < bench.rounds; r++) {
		for (size_t size : sizes)
			measure_loans(r, size);
		pair_measure_all(r, &chunks);
		pair_measure_all(r, &calls);
	}
	if (helper_ended(pid))
		remark("an iox-roudi ran already: that one was used");
	helper_stop(pid);
	report();
	return 0;
}
