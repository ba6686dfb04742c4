/* SPDX-License-Identifier: Apache-2.0 */
/* What several threads may do at once with one parcel, one fault and the domains. */
#include <pthread.h>
#include <string.h>

#include "handles.h"
#include "lib/value/fault.h"
#include "tests/common/plain.h"

#define THREADS 4
#define TIMES 2000

static void run(void *(*body)(void *), void *arg)
{
	pthread_t t[THREADS];

	for (int i = 0; i < THREADS; i++)
		PLAIN_EQ(pthread_create(&t[i], NULL, body, arg), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
}

static void *read_strings(void *parcel)
{
	const char *s;
	size_t n;

	for (int i = 0; i < TIMES; i++) {
		PLAIN_EQ(tarn_value_string(tarn_parcel_at(parcel, 0), &s, &n), 0);
		PLAIN_CHECK(n == 24 && strcmp(s, "a string of some letters") == 0);
	}
	return NULL;
}

PLAIN_TEST(many_threads_read_one_shared_parcel)
{
	struct tarn__payload payload;
	tarn_builder b;
	tarn_parcel p;

	handles_init();
	tarn_builder_init(&b);
	tarn_put_string(&b, "a string of some letters");
	PLAIN_EQ(tarn__builder_payload(&b, &payload), 0);
	PLAIN_EQ(tarn__parcel_lend(&p, payload.words, payload.n_words, 1, NULL, 0, true), 0);
	run(read_strings, &p);
	tarn_parcel_fini(&p);
	tarn_builder_fini(&b);
}

static void *use_fault(void *fault)
{
	char text[512];

	for (int i = 0; i < TIMES / 10; i++) {
		tarn_fault *f = tarn_fault_ref(fault);

		PLAIN_CHECK(tarn_fault_is(f, "ValueError"));
		PLAIN_CHECK(tarn_fault_format(f, text, sizeof text) > 0);
		PLAIN_EQ(tarn__fail_fault(f), -TARN_EREMOTE);
	}
	return NULL;
}

PLAIN_TEST(many_threads_hold_one_fault)
{
	tarn_fault *f = tarn_fault_new("ValueError", 0, "38");

	run(use_fault, f);
	PLAIN_EQ(f->refs, 1);
	tarn_fault_unref(f);
}

static void *register_domains(void *arg)
{
	tarn_fault *f = tarn_fault_new("OwnError", 0, "x");
	char name[32];

	(void)arg;
	for (int i = 0; i < TIMES / 20; i++) {
		snprintf(name, sizeof name, "Own%dError", i);
		PLAIN_EQ(tarn_fault_domain_register(name, "ValueError"), 0);
		tarn_fault_is(f, name);
	}
	tarn_fault_unref(f);
	return NULL;
}

PLAIN_TEST(many_threads_register_the_same_domains)
{
	tarn_fault *f;

	run(register_domains, NULL);
	f = tarn_fault_new("Own7Error", 0, "x");
	PLAIN_CHECK(tarn_fault_is(f, "ValueError"));
	tarn_fault_unref(f);
}

PLAIN_MAIN()
