/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the server and the host of its objects meet.
 *
 * The server (lib/server) owns META: which objects there are, who holds them, which calls are
 * under way. The host (lib/host) owns what a type's functions need: the tables, the contexts
 * that methods see, the executors. Neither includes the other's headers; the server calls
 * the functions of struct tarn__host_ops, the host answers an inline method's wishes by those of
 * struct tarn__reactor_ops, and everything else goes by messages: the executors are threads of an
 * ordinary client.
 */
#ifndef TARN_LIB_HOST_H
#define TARN_LIB_HOST_H

#include "lib/value/value.h"
#include "shm/layout.h"
#include "tarn/type.h"

/* ---- the types of one server: constant from its start to its end ---- */

/* A method, or a field's getter or setter, which are made into methods. */
struct tarn__offer {
	const char *name;
	tarn_method_fn *fn;
	unsigned flags;           /* of tarn_method; INLINE only if its result type is, too */
	const char *args, *result;
	struct tarn__plain plain; /* args, compiled */
	uint32_t result_type;     /* index; 0: the result as it is */
	const tarn_field *field;  /* NULL: a method */
};

struct tarn__served {
	const tarn_type *type;
	uint64_t hash;            /* of the table: names, flags, signatures */
	uint32_t index;
	uint32_t n_offers;
	struct tarn__offer *offer;
	char *names;              /* of setters */
	struct tarn__offer describe; /* TARN__METHOD_DESCRIBE */
	uint32_t header;          /* bytes before the instance in its block */
	uint64_t bytes;           /* of the block */
	bool own;                 /* one of Tarn's: its inline methods are made to be begun again */
	bool in_place;            /* of these, one whose instances clients change, too */
	struct tarn__entry *entry; /* of the registry */
};

struct tarn__catalog {
	uint32_t n;               /* types 1 to n - 1; 0 is none */
	struct tarn__served *served;
};

/* Every instance is led by this, so that its object is found by its address. It lies in memory
 * that clients can write: a hint, compared with DIR. */
struct tarn__instance {
	uint64_t id;
	uint64_t type;
};
static_assert(sizeof(struct tarn__instance) == 16, "leaves the instance at a multiple of 16");

/* 0, -EINVAL a result type that does not exist (the text names method and type), -ENOMEM. */
int tarn__catalog_new(tarn_registry *registry, struct tarn__catalog **ret);
void tarn__catalog_free(struct tarn__catalog *c);
/* By name; NULL. Not one that was unregistered since. */
const struct tarn__served *tarn__catalog_find(const struct tarn__catalog *c, const char *name);
bool tarn__served_withdrawn(const struct tarn__served *t);

/* ---- a method on the reactor's thread ---- */

/* A flag of methods of Tarn's own types: one way, it says what its caller did with references. It is heard of
 * evicted clients, too, whose partners rely on it. */
#define TARN__OFFER_BOOKS 0x100u /* as TARN__METHOD_BOOKS in lib/types/inside.h */

enum tarn__deed { TARN__DEED_METHOD, TARN__DEED_CREATE, TARN__DEED_DESTROY, TARN__DEED_DEPARTED };

struct tarn__run;
struct tarn__view_root;
struct tarn__ending;

/* What something is that a message names. */
struct tarn__look {
	uint64_t state;  /* as in DIR: kind, type, seal */
	uint64_t offset; /* of its memory in DATA */
	uint64_t size;   /* exact */
};

/* What an inline method asks of the reactor; all in the transaction of its message. */
struct tarn__reactor_ops {
	/* An edge more or less from the run's object to @id. */
	int (*hold)(struct tarn__run *run, uint64_t id);
	int (*drop)(struct tarn__run *run, uint64_t id);
	/* Is @id alive, and what is it? -TARN_ESTALE. */
	int (*look)(struct tarn__run *run, uint64_t id, struct tarn__look *ret);
	/* Has the run's object an edge to it? NULL: it may look at whatever there is. */
	bool (*holds)(struct tarn__run *run, uint64_t id);
	/* A new object of @t, all 0, that nobody holds yet. */
	int (*make)(struct tarn__run *run, const struct tarn__served *t, uint64_t *ret_id,
		    void **ret_self);
	/* Its creator has succeeded. */
	void (*made)(struct tarn__run *run, uint64_t id);
	/* Container @root->id has that when this is committed. NULL: those methods change none. */
	void (*contents)(struct tarn__run *run, const struct tarn__view_root *root);
	/* @word of DATA is about to change: a successor that runs the method again puts back what it is.
	 * NULL: there is no need. */
	void (*note)(struct tarn__run *run, const uint64_t *word);
	/* @word becomes @value when all of it is committed. NULL: those methods have nothing such. */
#define TARN__LATER 3u
	void (*later)(struct tarn__run *run, uint64_t *word, uint64_t value);
	/* A unit of @id, a block, for the caller, whether it waits for a reply or not. NULL: nobody calls. */
	int (*give)(struct tarn__run *run, uint64_t id);
	/* One edge less to @id, which may not be there yet: a decrement, one epoch later. As often as the message
	 * has slots. NULL with give. */
	int (*drop_late)(struct tarn__run *run, uint64_t id);
};

struct tarn__run {
	const struct tarn__served *served;
	const struct tarn__offer *offer; /* DEED_METHOD */
	enum tarn__deed deed;
	uint64_t id;
	void *self;
	/* Arguments: stay where they are; nobody else can write to them. */
	const uint64_t *words;
	uint32_t n_words;
	unsigned n_values, n_refs;
	const uint64_t *refs;            /* id and second word of each; all are alive */
	const struct tarn__look *looks;  /* of each */
	tarn_caller caller;              /* DEED_DEPARTED: who is gone */
	const struct tarn__reactor_ops *ops;
	void *turn;                      /* the reactor's own */
	bool *deferred;                  /* set by the method: an executor is to run it. NULL: cannot be */
	bool succeeded;                  /* set by the reactor before run_end(): all of it is done */
	bool brief;                      /* see tarn__context_is_brief() */
	uint64_t from;                   /* DEED_DEPARTED: where the part before left off; 0: the first */
	bool repeatable;                 /* set by call(): another call() may follow at once */

	/* Set by the host: valid until run_end(). */
	struct tarn__payload result;     /* of a failure: what the reply says */
	const uint64_t *result_ids;      /* of its references */
	uint64_t instead;                /* CREATE: an object that exists; 0: none */
	uint64_t again;                  /* DEED_DEPARTED: there is more, from here on; 0: no */
	struct tarn_context *context;
};

/* Most references in the arguments of a method that runs on the reactor. */
#define TARN__RUN_REFS 16u

/* ---- a call for the executors ---- */

/* Who stands in line for an object: a job, or an executor's method that calls it in place. */
struct tarn__stand {
	struct tarn__stand *next;
	struct tarn__job *job;           /* NULL: an executor's */
	void *executor;
	bool reads;                      /* shares the object with others that do */
	bool granted;
};

struct tarn__job {
	struct tarn__job *next;          /* the server's, then the host's */
	struct tarn__stand stand;        /* the host's */
	void *actor;                     /* the host's: what it has, or stands in line for */
	uint64_t number;                 /* of the call; 0: a destructor, nobody waits for it */
	const struct tarn__served *served;
	const struct tarn__offer *offer;
	enum tarn__deed deed;
	uint64_t id;
	void *self;
	uint64_t state;                  /* of the object, as in DIR */
	tarn_caller caller;
	bool oneway;
	uint32_t canceled;               /* atomic; set by the reactor */
	bool broken;                     /* the host's: the object was never made */
	unsigned n_values, n_refs;
	uint32_t n_words;
	uint64_t spilled;                /* bytes of the payload in the first reference; 0: in words */
	uint64_t started_ns;
	/* The host holds a unit on @id and each reference for this call; one epoch after the result
	 * they are released. What the executor keeps longer it books for itself before. */
	uint64_t *words;                 /* in data[] */
	uint64_t *refs;                  /* id and second word of each; in data[] */
	uint64_t data[];
};

struct tarn__host;

struct tarn__host_ops {
	/* 0 or the method's code, with run->result set in any case. */
	int (*run)(struct tarn__host *h, struct tarn__run *run);
	void (*run_end)(struct tarn__host *h, struct tarn__run *run);
	/* The transaction of a run that ended is committed, or rolled back: what is sealed is settled. */
	void (*settle)(struct tarn__host *h, bool committed);
	/* run() of methods one after the other, whose arguments are few values that fit their words, and
	 * no references. They share @run, in which the reactor changes served, offer, id, self, words,
	 * n_words and n_values. After one that left run->repeatable true, which only a success does, the
	 * next may follow without run_end(). The others, and the last, need it. context is NULL before the
	 * first, and is to be after run_end(). Nothing else runs between them. */
	int (*call)(struct tarn__host *h, struct tarn__run *run);
	/* May an inline method run on object @id now? If so it is locked until leave(). */
	bool (*enter)(struct tarn__host *h, const struct tarn__served *t,
		      const struct tarn__offer *offer, uint64_t id);
	void (*leave)(struct tarn__host *h, uint64_t id);
	/* Takes a job on; from then on its result comes by a message. Never fails. */
	void (*submit)(struct tarn__host *h, struct tarn__job *job);
	/* The job's caller is gone. One that no executor has begun never runs; its RESULT (ECANCELED)
	 * comes all the same. */
	void (*cancel)(struct tarn__host *h, struct tarn__job *job);
	/* Now and then, between messages: if executors run nothing and have nothing to run, the host is not
	 * busy any more. */
	void (*rest)(struct tarn__host *h);
};

struct tarn__host {
	const struct tarn__host_ops *ops;
	bool busy;                       /* executors may be running something; set by submit(), taken back
					  * by rest(). While not, enter() says yes and leave() does nothing */
	struct tarn__catalog *catalog;
	struct tarn__store *store;       /* contents of containers; the server's */
	struct tarn__ending *sealed;     /* the reactor's: changes of containers that wait for the commit */
};

/* A host of @catalog, which it takes over, with the real functions. @data: where the server has
 * mapped DATA. Executors are started as soon as tarn__host_attach() gave it a client. NULL: no
 * memory. */
struct tarn__host *tarn__host_new(struct tarn__catalog *catalog, uint32_t max_executors,
				  uint64_t max_objects, unsigned char *data, uint64_t data_bytes);
/* @socket: its end of a connection to the server, by which it attaches (from another thread,
 * when the server serves). Takes @socket over. */
int tarn__host_attach(struct tarn__host *h, int socket, const char *server);
/* Ends the executors, waiting for methods that run, up to @timeout_ns. False: some are still
 * running; nothing was freed then, and what they use must stay. NULL is allowed. */
bool tarn__host_free(struct tarn__host *h, int64_t timeout_ns);

/* What an executor did comes before what the reactor does when it has read its message. They
 * meet in a ring that each has mapped for itself, which ThreadSanitizer cannot know. */
#if defined(__SANITIZE_THREAD__)
#define TARN__HOST_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TARN__HOST_TSAN 1
#endif
#endif
#ifdef TARN__HOST_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define tarn__host_says(h) __tsan_release(h)
#define tarn__host_heard(h) __tsan_acquire(h)
#else
#define tarn__host_says(h) ((void)(h))
#define tarn__host_heard(h) ((void)(h))
#endif

/* Number of the call that the calling thread, an executor, runs; 0: none. For crash.c. */
extern __thread uint64_t tarn__call_running;

/* Figures for people. */
struct tarn__host_facts {
	uint32_t executors, idle, most;
	uint64_t queued;
};
void tarn__host_facts(const struct tarn__host *h, struct tarn__host_facts *ret);

#endif
