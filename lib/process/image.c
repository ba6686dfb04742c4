/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In a worker process: from its order to the entry, and back.
 *
 * The library's constructor finds the order, but those of the executable, which it depends
 * on not having run, come after it. So it puts the work behind the last of them: the executable's
 * table of constructors is read entry by entry, from memory, by whoever starts the program, and its
 * last entry is replaced by one that calls it and then works. main() is never reached.
 */
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "item.h"
#include "lib/entry.h"
#include "lib/error.h"
#include "lib/say.h"
#include "log.h"
#include "order.h"
#include "worker.h"

static struct {
	struct tarn__work *work; /* NULL: this process was not spawned */
	pid_t pid;
	tarn_client *client;
	tarn_object *object;
	tarn_parcel args;
	struct tarn_worker worker;
	bool attached, said;
} self;

/* ---- to the parent ---- */

static void phase_set(enum tarn__work_phase phase)
{
	/* SYNC work-phase, release: what the phase says has happened. */
	tarn__store32_release(&self.work->phase, phase);
}

/* What the server cannot be told goes into the order. */
static void say_failure(const tarn_fault *f)
{
	struct tarn__work *w = self.work;

	snprintf(w->domain, sizeof w->domain, "%s", tarn_fault_domain(f));
	snprintf(w->failure, sizeof w->failure, "%s", tarn_fault_message(f));
	w->code = tarn_fault_code(f);
	phase_set(TARN__WORK_FAILED);
}

/* Gives the outcome to the server, which holds it for the parent. */
static int say(bool failed, const tarn_builder *values)
{
	struct tarn_block *item;
	tarn_builder b;
	int r = tarn__carried_new(self.client, values, &item);

	if (r < 0)
		return r;
	tarn_builder_init(&b);
	tarn_put_bool(&b, failed);
	tarn__carried_put(&b, item);
	r = tarn_call(self.object, "finish", &b, NULL, TARN_FOREVER);
	tarn_builder_fini(&b);
	tarn__carried_drop(item);
	if (r == 0)
		self.said = true;
	return r;
}

static void say_fault(const tarn_fault *f)
{
	tarn_builder b;
	int r = -TARN_ESTATE;

	tarn_builder_init(&b);
	tarn_put_error(&b, f);
	if (self.object != NULL && !self.said)
		r = say(true, &b);
	tarn_builder_fini(&b);
	if (r == 0)
		phase_set(TARN__WORK_SAID);
	else if (!self.said)
		say_failure(f);
}

/* ---- from the parent ---- */

static int take_arguments(void)
{
	struct tarn_block *item;
	tarn_parcel answer;
	int r = tarn_object_import(self.client, &self.work->token, &self.object);

	if (r == 0)
		r = tarn_call(self.object, "take", NULL, &answer, TARN_FOREVER);
	if (r < 0)
		return r;
	r = tarn__carried_of(tarn_parcel_at(&answer, 0), &item);
	if (r == 0)
		r = tarn__carried_read(item, &self.args);
	tarn_parcel_fini(&answer);
	return r;
}

static int attach(void)
{
	struct tarn__work *w = self.work;
	tarn_client_options o = w->client;
	tarn_server *server;
	int r;

	self.attached = true;
	if (w->has_client == 0)
		return 0;
	o.authkey = w->key_bytes != 0 ? w->key : NULL;
	o.authkey_bytes = w->key_bytes;
	r = tarn_server_import(w->server, &server);
	if (r == 0) {
		r = tarn_server_client_open(server, &o, &self.client);
		tarn_server_unref(server);
	}
	explicit_bzero(w->key, sizeof w->key);
	if (r == 0)
		r = take_arguments();
	if (r == 0)
		phase_set(TARN__WORK_TOOK);
	return r;
}

/* ---- the end ---- */

/* Whether this is the only thread: then nobody is inside a call on the client. */
static bool is_alone(void)
{
	struct stat st;

	return stat("/proc/self/task", &st) == 0 && st.st_nlink == 3;
}

/* The last of the process's exit handlers, for it was the first to be registered. */
static void detach(void)
{
	if (self.pid != getpid())
		return; /* a child that was forked from the worker */
	tarn__worker_fini(&self.worker);
	tarn_parcel_fini(&self.args);
	self.object = tarn_object_unref(self.object);
	if (self.client != NULL && is_alone())
		self.client = tarn_client_close(self.client);
}

static void tell_of_failure(void)
{
	const char *hook = self.work->on_error;
	tarn__worker_entry *fn = tarn__worker_find(hook);

	if (*hook != '\0' && fn != NULL) {
		tarn_fault *f = tarn_fault_ref(self.worker.fault);

		fn(&self.worker); /* what it returns changes nothing */
		tarn_fault_unref(self.worker.fault);
		self.worker.fault = f;
	} else {
		char head[512];

		snprintf(head, sizeof head, "Exception in %s: %s: ", self.work->name,
			 tarn_fault_domain(self.worker.fault));
		tarn__say(head, tarn_fault_message(self.worker.fault));
	}
}

static _Noreturn void fail(void)
{
	if (self.worker.fault == NULL)
		self.worker.fault = tarn_fault_from_last();
	say_fault(self.worker.fault);
	tell_of_failure();
	exit(1);
}

void tarn_worker_exit(tarn_worker *worker, const char *message)
{
	tarn_fault *f = tarn_fault_new("SystemExit", 0, "%s", message);

	tarn__say("", message);
	if (worker == &self.worker && self.work != NULL)
		say_fault(f);
	tarn_fault_unref(f);
	exit(1);
}

/* ---- the entry ---- */

/* A TARN_ENTRY gets bytes. */
static int call_plain(tarn_entry_fn *fn)
{
	tarn_value v = tarn_parcel_at(&self.args, 0);
	const void *data = NULL;
	const char *text;
	size_t bytes = 0;
	int r = 0;

	if (tarn_value_kind(v) == TARN_KIND_STRING) {
		r = tarn_value_string(v, &text, &bytes);
		data = text;
	} else if (tarn_value_kind(v) != TARN_KIND_NONE) {
		r = tarn_value_bytes(v, &data, &bytes);
	}
	return r < 0 ? r : fn(data, bytes);
}

static int plain(struct tarn_worker *w)
{
	(void)w;
	return call_plain(tarn_entry_find(self.work->entry));
}

static int call_entry(void)
{
	tarn__worker_entry *fn = tarn__worker_find(self.work->entry);

	if (*self.work->entry == '\0')
		return 0;
	if (fn == NULL && tarn_entry_find(self.work->entry) != NULL)
		fn = plain;
	if (fn == NULL)
		return tarn_error_set(-ENOENT, "There is no entry \"%s\" in the fresh image: was it "
				      "defined in a library that is loaded later?", self.work->entry);
	return tarn__worker_call(&self.worker, fn);
}

static _Noreturn void work(void)
{
	atexit(detach);
	tarn__worker_init(&self.worker, NULL, self.work->name, &self.args);
	tarn_parcel_init(&self.args);
	int r = attach();
	self.worker.client = self.client;
	if (r == 0)
		r = call_entry();
	if (r == 0 && self.object != NULL)
		r = say(false, &self.worker.result);
	if (r < 0)
		fail();
	phase_set(TARN__WORK_SAID);
	exit(0);
}

/* ---- behind the last constructor ---- */

typedef void constructor_fn(int argc, char **argv, char **envp);
static constructor_fn *last_constructor;

static void last_and_work(int argc, char **argv, char **envp)
{
	last_constructor(argc, argv, envp);
	work();
}

static void work_when_ordered(void);

/* The executable's table of constructors, as the dynamic section says, and what the linker makes
 * read-only when it is done with it. */
struct table {
	uintptr_t at;
	size_t bytes;
	uintptr_t sealed, sealed_end;
};

static int find_table(struct dl_phdr_info *o, size_t size, void *arg)
{
	struct table *t = arg;

	(void)size;
	for (unsigned i = 0; i < o->dlpi_phnum; i++) {
		const ElfW(Phdr) *h = &o->dlpi_phdr[i];

		if (h->p_type == PT_GNU_RELRO) {
			t->sealed = o->dlpi_addr + h->p_vaddr;
			t->sealed_end = t->sealed + h->p_memsz;
		}
		if (h->p_type != PT_DYNAMIC)
			continue;
		for (const ElfW(Dyn) *d = (const void *)(uintptr_t)(o->dlpi_addr + h->p_vaddr);
		     d->d_tag != DT_NULL; d++) {
			if (d->d_tag == DT_INIT_ARRAY)
				t->at = o->dlpi_addr + d->d_un.d_ptr;
			else if (d->d_tag == DT_INIT_ARRAYSZ)
				t->bytes = d->d_un.d_val;
		}
	}
	return 1; /* the first object is the executable */
}

/* Replaces the last entry. False: it cannot be done, or we are the last ourselves. */
static bool put_behind_the_last(void)
{
	struct table t = { 0 };

	dl_iterate_phdr(find_table, &t);
	if (t.at == 0 || t.bytes < sizeof(constructor_fn *))
		return false;
	constructor_fn **last = (constructor_fn **)(t.at + t.bytes) - 1;
	if ((uintptr_t)*last == (uintptr_t)work_when_ordered)
		return false;
	const bool sealed = (uintptr_t)last >= t.sealed && (uintptr_t)last < t.sealed_end;
	const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	void *page = (void *)((uintptr_t)last & ~(uintptr_t)(page_bytes - 1));

	if (sealed && mprotect(page, page_bytes, PROT_READ | PROT_WRITE) != 0)
		return false;
	last_constructor = *last;
	*last = last_and_work;
	if (sealed)
		mprotect(page, page_bytes, PROT_READ);
	return true;
}

__attribute__((constructor)) static void work_when_ordered(void)
{
	int fd = tarn__order_find(TARN__WORK_VARIABLE);

	if (fd < 0)
		return;
	self.work = tarn__order_map(fd, TARN__WORK_MAGIC, sizeof *self.work);
	if (self.work == NULL)
		_exit(126);
	close(fd);
	self.pid = getpid();
	if (self.work->bell >= 0) {
		fcntl(self.work->bell, F_SETFD, FD_CLOEXEC);
		tarn__log_forward(&self.work->ring, self.work->bell, self.work->name);
	}
	phase_set(TARN__WORK_FOUND);
	prctl(PR_SET_NAME, self.work->name, 0, 0, 0);
	if (self.work->program != 0)
		return; /* main() works */
	if (!put_behind_the_last())
		work();
}

int tarn__work_check(void)
{
	const char *text = self.work == NULL ? secure_getenv(TARN__WORK_VARIABLE) : NULL;

	if (text == NULL)
		return 0;
	struct tarn__work *w = tarn__order_map(atoi(text), TARN__WORK_MAGIC, sizeof *w);
	const bool is_entry = w != NULL && w->program == 0;
	if (w != NULL)
		munmap(w, w->head.bytes);
	return !is_entry ? 0
	       : tarn__fail(-TARN_ESTATE, "This process was to run an entry, but runs main(): libtarn was "
			    "not loaded when it started. Processes that it spawned would do the same.");
}

/* ---- in a program that was spawned by its path ---- */

static __thread struct tarn_worker *of_thread;

void tarn__worker_set(struct tarn_worker *w)
{
	of_thread = w;
}

static void attach_program(void)
{
	atexit(detach);
	tarn__worker_init(&self.worker, NULL, self.work->name, &self.args);
	tarn_parcel_init(&self.args);
	if (attach() < 0)
		fail();
	self.worker.client = self.client;
}

/* A program says its result by ending with status 0 after it built one. */
static void say_program(void)
{
	if (self.pid == getpid() && self.object != NULL && !self.said &&
	    tarn_builder_count(&self.worker.result) > 0 && say(false, &self.worker.result) == 0)
		phase_set(TARN__WORK_SAID);
}

static void attach_and_say(void)
{
	attach_program();
	atexit(say_program);
}

tarn_worker *tarn_worker_self(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	if (of_thread != NULL)
		return of_thread;
	if (self.work == NULL || self.pid != getpid())
		return NULL;
	if (self.work->program != 0)
		pthread_once(&once, attach_and_say);
	return &self.worker;
}
