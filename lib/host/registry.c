/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registries: sets of types. A table is checked when it is registered, by itself; what it
 * says of other types (result types) when a server starts.
 */
#include "registry.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/entry.h"
#include "lib/error.h"
#include "lib/types/types.h"
#include "shm/hash.h"
#include "shm/sizeclass.h"

#define ALIGN_MOST 4096u
#define BUCKETS 256u
#define OFFERS_MOST 4096u /* methods and fields of a type */

struct tarn_registry {
	pthread_mutex_t mutex;
	unsigned n, room;
	struct tarn__entry **entry; /* in the order of registration */
	struct tarn__entry *bucket[BUCKETS]; /* by name: thousands of types are found as quickly as a few */
	tarn_error wrong;           /* what was the matter with a table of the program; code 0: nothing */
};

/* ---- entries ---- */

struct tarn__entry *tarn__entry_new(const tarn_type *type)
{
	struct tarn__entry *e = calloc(1, sizeof *e);

	if (e != NULL)
		*e = (struct tarn__entry){ .refs = 1, .type = type };
	return e;
}

struct tarn__entry *tarn__entry_ref(struct tarn__entry *e)
{
	/* Relaxed: the caller has a reference, or the registry's lock. */
	__atomic_add_fetch(&e->refs, 1, __ATOMIC_RELAXED);
	return e;
}

void tarn__entry_unref(struct tarn__entry *e)
{
	/* SYNC entry: what others did with it is over before it is freed. */
	if (e != NULL && __atomic_sub_fetch(&e->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(e);
}

/* ---- checks ---- */

size_t tarn__field_bytes(char letter)
{
	switch (letter) {
	case 'b':
		return sizeof(bool);
	case 'i':
		return sizeof(int);
	case 'I':
		return sizeof(unsigned);
	case 'q':
		return sizeof(int64_t);
	case 'Q':
		return sizeof(uint64_t);
	case 'd':
		return sizeof(double);
	default:
		return 0;
	}
}

static int check_name(const char *type, const char *what, const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n >= TARN__NAME_BYTES)
		return tarn__fail(-EINVAL, "Type %s: the name of a %s has %zu bytes; expected 1 to %u.",
				  type, what, n, TARN__NAME_BYTES - 1);
	return 0;
}

static int check_signature(const char *type, const char *method, const char *what,
			   const char *signature)
{
	if (signature == NULL || tarn__signature_check(signature) == 0)
		return 0;
	char why[300];

	snprintf(why, sizeof why, "%.299s", tarn_error_last()->message);
	return tarn__fail(-EINVAL, "Type %s, method %s: the signature \"%s\" of its %s is wrong: %s", type,
			  method, signature, what, why);
}

static bool has_offer(const tarn_type *t, const tarn_method *methods, const tarn_field *fields,
		      const char *name)
{
	unsigned n = 0;

	(void)t;
	for (; methods != NULL && methods->name != NULL; methods++)
		n += strcmp(methods->name, name) == 0;
	for (; fields != NULL && fields->name != NULL; fields++)
		n += strcmp(fields->name, name) == 0;
	return n > 1;
}

static int check_method(const tarn_type *t, const tarn_method *m)
{
	const unsigned known = TARN_METHOD_INLINE | TARN_METHOD_READ | TARN_METHOD_INTERNAL;
	int r = check_name(t->name, "method", m->name);

	if (r < 0)
		return r;
	if (m->fn == NULL)
		return tarn__fail(-EINVAL, "Type %s, method %s: there is no function.", t->name, m->name);
	if ((m->flags & ~known) != 0)
		return tarn__fail(-EINVAL, "Type %s, method %s: unknown flags %#x.", t->name, m->name,
				  m->flags & ~known);
	if (has_offer(t, t->methods, t->fields, m->name))
		return tarn__fail(-EINVAL, "Type %s has more than one method or field %s.", t->name,
				  m->name);
	if (m->result_type != NULL && *m->result_type == '\0')
		return tarn__fail(-EINVAL, "Type %s, method %s: the result type has no name.", t->name,
				  m->name);
	r = check_signature(t->name, m->name, "arguments", m->args);
	return r < 0 ? r : check_signature(t->name, m->name, "result", m->result);
}

static int check_field(const tarn_type *t, const tarn_field *f)
{
	size_t bytes = tarn__field_bytes(f->letter);
	int r = check_name(t->name, "field", f->name);

	if (r < 0)
		return r;
	if (bytes == 0)
		return tarn__fail(-EINVAL, "Type %s, field %s: '%c' is none of b, i, I, q, Q and d.", t->name,
				  f->name, f->letter);
	if (f->offset > t->size || bytes > t->size - f->offset)
		return tarn__fail(-EINVAL, "Type %s, field %s: %zu bytes at %zu are not within the "
				  "instance's %zu.", t->name, f->name, bytes, f->offset, t->size);
	if (has_offer(t, t->methods, t->fields, f->name))
		return tarn__fail(-EINVAL, "Type %s has more than one method or field %s.", t->name,
				  f->name);
	return 0;
}

static int check_type(const tarn_type *t)
{
	const unsigned known = TARN_TYPE_INLINE | TARN_TYPE_RESULT_ONLY | TARN_TYPE_PRIVATE |
			       TARN_TYPE_ADOPT;
	unsigned n = 0;
	int r;

	if (t == NULL || t->name == NULL)
		return tarn__fail(-EINVAL, "A type without a name cannot be registered.");
	r = check_name(t->name, "type", t->name);
	if (r < 0)
		return r;
	if (strncmp(t->name, TARN__BUILTIN_PREFIX, strlen(TARN__BUILTIN_PREFIX)) == 0)
		return tarn__fail(-EINVAL, "Type %s: names that begin with \"" TARN__BUILTIN_PREFIX
				  "\" are Tarn's own.", t->name);
	if ((t->flags & ~known) != 0 || (unsigned)t->concurrency > TARN_READ_MOSTLY)
		return tarn__fail(-EINVAL, "Type %s: unknown flags %#x or concurrency %d.", t->name,
				  t->flags & ~known, (int)t->concurrency);
	if (t->align > ALIGN_MOST || (t->align != 0 && !tarn__is_power_of_two(t->align)))
		return tarn__fail(-EINVAL, "Type %s: alignment %zu is no power of two up to %u.", t->name,
				  t->align, ALIGN_MOST);
	if (t->size > TARN__SIZE_MAX / 2)
		return tarn__fail(-EINVAL, "Type %s: an instance of %zu bytes fits into no arena.", t->name,
				  t->size);
	if ((t->flags & TARN_TYPE_ADOPT) && (t->create != NULL || t->destroy != NULL || t->size != 0))
		return tarn__fail(-EINVAL, "Type %s adopts objects as they are: it has no instances, no "
				  "create and no destroy.", t->name);
	r = check_signature(t->name, "create", "arguments", t->args);
	for (const tarn_method *m = t->methods; m != NULL && m->name != NULL && r == 0; m++, n++)
		r = check_method(t, m);
	for (const tarn_field *f = t->fields; f != NULL && f->name != NULL && r == 0; f++, n += 2)
		r = check_field(t, f);
	if (r == 0 && n > OFFERS_MOST)
		r = tarn__fail(-EINVAL, "Type %s has %u methods and fields; the most is %u.", t->name, n,
			       OFFERS_MOST);
	return r;
}

/* ---- registries ---- */

tarn_registry *tarn_registry_new(void)
{
	tarn_registry *r = calloc(1, sizeof *r);

	if (r != NULL)
		pthread_mutex_init(&r->mutex, NULL);
	else
		tarn__fail(-ENOMEM, "No memory for a registry.");
	return r;
}

/* Where the entry of that name hangs, or would. Locked. */
static struct tarn__entry **find(tarn_registry *r, const char *name)
{
	struct tarn__entry **at = &r->bucket[tarn__hash64(name, strlen(name), 0) % BUCKETS];

	while (*at != NULL && strcmp((*at)->type->name, name) != 0)
		at = &(*at)->next;
	return at;
}

/* Locked. */
static int add(tarn_registry *r, const tarn_type *type)
{
	struct tarn__entry **at = find(r, type->name);

	if (*at != NULL)
		return tarn__fail(-EEXIST, "The registry has a type %s already.", type->name);
	if (r->n == r->room) {
		unsigned room = r->room != 0 ? 2 * r->room : 16;
		struct tarn__entry **e = realloc(r->entry, room * sizeof(struct tarn__entry *));

		if (e == NULL)
			return tarn__fail(-ENOMEM, "No memory for type %s.", type->name);
		r->entry = e;
		r->room = room;
	}
	struct tarn__entry *e = tarn__entry_new(type);
	if (e == NULL)
		return tarn__fail(-ENOMEM, "No memory for type %s.", type->name);
	r->entry[r->n++] = *at = e;
	return 0;
}

/* ---- the process's own ---- */

static tarn_registry process = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static bool add_noted(void *target, const char *text, size_t bytes, void *arg)
{
	const tarn_type *type = *(const tarn_type *const *)target;
	int r = check_type(type);

	(void)text, (void)bytes, (void)arg;
	if (r == 0)
		r = add(&process, type);
	if (r < 0)
		process.wrong = *tarn_error_last();
	return r < 0;
}

static void add_all_noted(void)
{
	tarn__notes_walk(TARN__NOTE_TYPE, add_noted, NULL);
}

tarn_registry *tarn_registry_default(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, add_all_noted);
	return &process;
}

tarn_registry *tarn_registry_clone(const tarn_registry *registry)
{
	tarn_registry *from = (tarn_registry *)(uintptr_t)registry, *r = tarn_registry_new();
	int e = 0;

	if (r == NULL)
		return NULL;
	r->wrong = from->wrong;
	pthread_mutex_lock(&from->mutex);
	for (unsigned i = 0; i < from->n && e == 0; i++)
		e = add(r, from->entry[i]->type);
	pthread_mutex_unlock(&from->mutex);
	return e == 0 ? r : tarn_registry_free(r);
}

tarn_registry *tarn_registry_free(tarn_registry *registry)
{
	if (registry == NULL || registry == tarn_registry_default())
		return NULL;
	for (unsigned i = 0; i < registry->n; i++)
		tarn__entry_unref(registry->entry[i]);
	free(registry->entry);
	pthread_mutex_destroy(&registry->mutex);
	free(registry);
	return NULL;
}

int tarn_type_register(tarn_registry *registry, const tarn_type *type)
{
	int r = check_type(type);

	if (r < 0)
		return r;
	pthread_mutex_lock(&registry->mutex);
	r = add(registry, type);
	pthread_mutex_unlock(&registry->mutex);
	return r;
}

int tarn_type_unregister(tarn_registry *registry, const char *name)
{
	if (name == NULL)
		name = ""; /* of which there is none */
	pthread_mutex_lock(&registry->mutex);
	struct tarn__entry **at = find(registry, name), *e = *at;
	unsigned i = 0;
	if (e != NULL) {
		*at = e->next;
		while (registry->entry[i] != e)
			i++;
		memmove(&registry->entry[i], &registry->entry[i + 1], (registry->n - i - 1) * sizeof *registry->entry);
		registry->n--;
	}
	pthread_mutex_unlock(&registry->mutex);
	if (e == NULL)
		return tarn__fail(-TARN_ENOTYPE, "The registry has no type %s.", name);
	/* SYNC entry, release; a server looks at it before it creates. */
	__atomic_store_n(&e->withdrawn, 1, __ATOMIC_RELEASE);
	tarn__entry_unref(e);
	return 0;
}

const tarn_type *tarn_type_find(const tarn_registry *registry, const char *name)
{
	tarn_registry *r = (tarn_registry *)(uintptr_t)registry;

	pthread_mutex_lock(&r->mutex);
	const struct tarn__entry *e = name != NULL ? *find(r, name) : NULL;
	const tarn_type *type = e != NULL ? e->type : NULL;
	pthread_mutex_unlock(&r->mutex);
	return type;
}

const tarn_type *tarn_registry_at(const tarn_registry *registry, unsigned index)
{
	tarn_registry *r = (tarn_registry *)(uintptr_t)registry;

	pthread_mutex_lock(&r->mutex);
	const tarn_type *type = index < r->n ? r->entry[index]->type : NULL;
	pthread_mutex_unlock(&r->mutex);
	return type;
}

/* ---- modules ---- */

/* What lies in the module of @m and came behind the first @i types goes from the registry: also
 * what its load() registered by itself. */
static void unregister_module(tarn_registry *registry, const struct tarn_module *m, unsigned i)
{
	const tarn_type *type;
	Dl_info ours, its;

	if (dladdr(m, &ours) == 0)
		return;
	while ((type = tarn_registry_at(registry, i)) != NULL) {
		if (dladdr(type, &its) == 0 || its.dli_fbase != ours.dli_fbase ||
		    tarn_type_unregister(registry, type->name) < 0)
			i++;
	}
}

static int register_all(tarn_registry *registry, const struct tarn_module *m, bool *ret_entered)
{
	unsigned done = 0;
	int r = 0;

	pthread_mutex_lock(&registry->mutex);
	const unsigned before = registry->n;
	pthread_mutex_unlock(&registry->mutex);
	for (; m->types != NULL && m->types[done] != NULL && r == 0; done += r == 0)
		r = tarn_type_register(registry, m->types[done]);
	*ret_entered = r == 0 && m->load != NULL;
	if (*ret_entered)
		r = m->load(registry);
	if (r < 0) {
		const tarn_error error = *tarn_error_last();

		if (*ret_entered)
			unregister_module(registry, m, before);
		else
			while (done-- > 0)
				tarn_type_unregister(registry, m->types[done]->name);
		if (error.code == r)
			tarn__fail(r, "%s", error.message);
		else
			tarn__fail(r, "its load() returned %d (%s)", r, tarn_error_name(r));
	}
	return r;
}

int tarn_registry_load(tarn_registry *registry, const char *path)
{
	char file[4096], why[400];

	if (path == NULL || *path == '\0')
		return tarn__fail(-EINVAL, "The path of a module is missing.");
	/* A plain name is meant as a file here, not as one of the system's libraries. */
	snprintf(file, sizeof file, "%s%s", strchr(path, '/') == NULL ? "./" : "", path);
	void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
	if (handle == NULL)
		return tarn__fail(-ENOENT, "The module %s cannot be loaded: %s.", path, dlerror());
	const struct tarn_module *m = dlsym(handle, "tarn_module");
	if (m == NULL || m->version != TARN_MODULE_VERSION) {
		const bool none = m == NULL;
		const unsigned version = none ? 0 : m->version;

		dlclose(handle);
		return none
			? tarn__fail(-ENOEXEC, "%s is no module: it has no symbol tarn_module.", path)
			: tarn__fail(-ENOEXEC, "The module %s is of version %u; expected %u.", path, version,
				     TARN_MODULE_VERSION);
	}
	bool entered;
	int r = register_all(registry, m, &entered);
	if (r < 0) {
		snprintf(why, sizeof why, "%.399s", tarn_error_last()->message);
		/* Who knows what its load() has begun: threads, types made elsewhere. */
		if (!entered)
			dlclose(handle);
		return tarn__fail(r, "The module %s cannot be used: %s", path, why);
	}
	return 0; /* never closed: its functions may be running */
}

/* ---- for catalogs ---- */

int tarn__registry_entries(tarn_registry *registry, struct tarn__entry ***ret, unsigned *ret_n)
{
	if (registry->wrong.code < 0)
		return tarn__fail(registry->wrong.code, "%s", registry->wrong.message);
	pthread_mutex_lock(&registry->mutex);
	unsigned n = registry->n;
	struct tarn__entry **e = calloc(n + 1u, sizeof(struct tarn__entry *));
	for (unsigned i = 0; e != NULL && i < n; i++)
		e[i] = tarn__entry_ref(registry->entry[i]);
	pthread_mutex_unlock(&registry->mutex);
	if (e == NULL)
		return tarn__fail(-ENOMEM, "No memory for the server's types.");
	*ret = e;
	*ret_n = n;
	return 0;
}
