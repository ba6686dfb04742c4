/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked of pools: single calls, maps, and iterators over them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/entry.h"
#include "lib/value/fault.h"
#include "pool.h"

static int check_entry(const tarn_pool *pool, const char *entry)
{
	/* Which there are in another program, its worker says. */
	if (entry == NULL || (pool->kind->here && tarn__worker_find(entry) == NULL))
		return tarn__fail(-ENOENT, "There is no entry \"%s\" in this program.",
				  entry != NULL ? entry : "(NULL)");
	return strlen(entry) < sizeof ((struct tarn__task *)0)->entry
		       ? 0
		       : tarn__fail(-ENAMETOOLONG, "The entry's name is too long.");
}

/* Posts @request as the @part'th of @result. */
static int post(tarn_pool *pool, const char *entry, const tarn_builder *request,
		tarn_pool_result *result, size_t part)
{
	struct tarn__task *t = calloc(1, sizeof *t);

	if (t == NULL)
		return tarn__fail(-ENOMEM, "No memory for a task.");
	t->result = tarn_pool_result_ref(result);
	t->part = part;
	snprintf(t->entry, sizeof t->entry, "%s", entry);
	int r = tarn__carried_new(pool->client, request, &t->item);
	if (r < 0) {
		tarn__task_free(t);
		return r;
	}
	return tarn__pool_post(pool, t);
}

/* ---- one call ---- */

int tarn_pool_apply_async(tarn_pool *pool, const char *entry, const tarn_builder *args,
			  tarn_pool_result **ret_result)
{
	tarn_pool_result *result;
	tarn_builder request;
	tarn_parcel values;
	int r = check_entry(pool, entry);

	tarn_parcel_init(&values);
	if (r == 0 && args != NULL)
		r = tarn_parcel_from(args, &values);
	if (r < 0)
		return r;
	tarn_builder_init(&request);
	tarn_put(&request, "si", entry, (int)TARN__TASK_ONE);
	for (unsigned i = 0; i < tarn_parcel_count(&values); i++)
		tarn_put_value(&request, tarn_parcel_at(&values, i));
	result = tarn__pool_result_new(1, TARN__TASK_ONE);
	r = result != NULL ? 0 : -ENOMEM;
	if (r == 0) {
		result->part[0].n_items = 1;
		r = post(pool, entry, &request, result, 0);
	}
	if (r == 0)
		*ret_result = result;
	else
		tarn_pool_result_unref(result);
	tarn_builder_fini(&request);
	tarn_parcel_fini(&values);
	return r;
}

/* The values of @result when it is there, as a parcel of the caller's; drops the reference. */
static int take(tarn_pool_result *result, int64_t timeout_ns, tarn_parcel *ret)
{
	const tarn_parcel *values;
	tarn_builder b;
	int r = tarn__fail_late(tarn_pool_result_get(result, timeout_ns, &values), TARN_FOREVER); /* it was begun */

	if (r == 0 && ret != NULL) {
		tarn_builder_init(&b);
		for (unsigned i = 0; i < tarn_parcel_count(values); i++)
			tarn_put_value(&b, tarn_parcel_at(values, i));
		r = tarn_parcel_from(&b, ret);
		tarn_builder_fini(&b);
	}
	tarn_pool_result_unref(result);
	return r;
}

int tarn_pool_apply(tarn_pool *pool, const char *entry, const tarn_builder *args, int64_t timeout_ns,
		    tarn_parcel *ret_result)
{
	tarn_pool_result *result;
	int r = tarn_pool_apply_async(pool, entry, args, &result);

	return r < 0 ? r : take(result, timeout_ns, ret_result);
}

/* ---- maps ---- */

static int post_part(tarn_pool *pool, const char *entry, tarn_value items, size_t first, size_t n,
		     tarn_pool_result *result, size_t part)
{
	tarn_builder request;

	tarn_builder_init(&request);
	tarn_put(&request, "si", entry, (int)result->mode);
	tarn_list_begin(&request);
	for (size_t i = first; i < first + n; i++)
		tarn_put_value(&request, tarn_value_at(items, i));
	tarn_list_end(&request);
	result->part[part].n_items = n;
	int r = post(pool, entry, &request, result, part);
	tarn_builder_fini(&request);
	return r;
}

static int map(tarn_pool *pool, const char *entry, tarn_value items, size_t chunk,
	       enum tarn__task_mode mode, tarn_pool_result **ret)
{
	const size_t n = tarn_value_count(items);
	int r = check_entry(pool, entry);

	if (r == 0 && tarn_value_kind(items) != TARN_KIND_LIST)
		r = tarn__fail(-TARN_EKIND, "The items of a map are a list, not %s.",
			       tarn_kind_name(tarn_value_kind(items)));
	if (r < 0)
		return r;
	if (chunk == 0)
		chunk = (n + 4 * pool->kind->workers(pool) - 1) / (4 * pool->kind->workers(pool));
	if (chunk > n)
		chunk = n;
	if (chunk == 0)
		chunk = 1;
	const size_t parts = (n + chunk - 1) / chunk;
	tarn_pool_result *result = tarn__pool_result_new(parts, mode);
	if (result == NULL)
		return -ENOMEM;
	for (size_t k = 0; k < parts && r == 0; k++) {
		const size_t first = k * chunk, left = n - first;

		r = post_part(pool, entry, items, first, left < chunk ? left : chunk, result, k);
	}
	/* Of a map that was not posted whole the posted parts are done for nobody. */
	if (r < 0)
		tarn_pool_result_unref(result);
	else
		*ret = result;
	return r;
}

int tarn_pool_map_async(tarn_pool *pool, const char *entry, tarn_value items, size_t chunk,
			tarn_pool_result **ret_result)
{
	return map(pool, entry, items, chunk, TARN__TASK_EACH, ret_result);
}

int tarn_pool_starmap_async(tarn_pool *pool, const char *entry, tarn_value items, size_t chunk,
			    tarn_pool_result **ret_result)
{
	return map(pool, entry, items, chunk, TARN__TASK_STAR, ret_result);
}

int tarn_pool_map(tarn_pool *pool, const char *entry, tarn_value items, size_t chunk,
		  int64_t timeout_ns, tarn_parcel *ret_list)
{
	tarn_pool_result *result;
	int r = map(pool, entry, items, chunk, TARN__TASK_EACH, &result);

	return r < 0 ? r : take(result, timeout_ns, ret_list);
}

int tarn_pool_starmap(tarn_pool *pool, const char *entry, tarn_value items, size_t chunk,
		      int64_t timeout_ns, tarn_parcel *ret_list)
{
	tarn_pool_result *result;
	int r = map(pool, entry, items, chunk, TARN__TASK_STAR, &result);

	return r < 0 ? r : take(result, timeout_ns, ret_list);
}

/* ---- one by one ---- */

struct tarn_pool_iterator {
	tarn_pool_result *result;
	bool ordered;
	size_t part;  /* how many were given whole */
	size_t item;  /* the next in the one that is being given */
};

static int imap(tarn_pool *pool, const char *entry, tarn_value items, size_t chunk, bool ordered,
		tarn_pool_iterator **ret)
{
	struct tarn_pool_iterator *it = calloc(1, sizeof *it);

	if (it == NULL)
		return tarn__fail(-ENOMEM, "No memory for an iterator.");
	it->ordered = ordered;
	int r = map(pool, entry, items, chunk != 0 ? chunk : 1, TARN__TASK_EACH, &it->result);
	if (r < 0)
		free(it);
	else
		*ret = it;
	return r;
}

int tarn_pool_imap(tarn_pool *pool, const char *entry, tarn_value items, size_t chunk,
		   tarn_pool_iterator **ret_iterator)
{
	return imap(pool, entry, items, chunk, true, ret_iterator);
}

int tarn_pool_imap_unordered(tarn_pool *pool, const char *entry, tarn_value items, size_t chunk,
			     tarn_pool_iterator **ret_iterator)
{
	return imap(pool, entry, items, chunk, false, ret_iterator);
}

static bool part_done(const tarn_pool_result *r, size_t part)
{
	return r->part[part].done;
}
static bool more_done(const tarn_pool_result *r, size_t n)
{
	return r->n_done > n;
}

/* The part that is to be given next; NULL: not in time. */
static const struct tarn__part *await_part(struct tarn_pool_iterator *it, int64_t timeout_ns)
{
	tarn_pool_result *r = it->result;

	tarn__pool_result_lock(r);
	const bool there = tarn__pool_result_await(r, it->ordered ? part_done : more_done, it->part,
						   timeout_ns);
	const struct tarn__part *p = !there ? NULL
				     : it->ordered ? &r->part[it->part] : &r->part[r->order[it->part]];
	tarn__pool_result_unlock(r);
	return p;
}

/* What item @index of a part that is done returned. */
static int give(const struct tarn__part *p, size_t index, tarn_parcel *ret)
{
	tarn_builder b;
	int r;

	if (p->fault != NULL)
		return tarn__fail_fault(tarn_fault_ref(p->fault));
	tarn_builder_init(&b);
	if (tarn_value_kind(tarn_parcel_at(&p->answer, 0)) == TARN_KIND_BOOL)
		r = tarn__answer_results(&p->answer, &b); /* too large to be told */
	else
		r = tarn__answer_results_of(tarn_value_at(tarn_parcel_at(&p->answer, 0), index), &b);
	if (r == 0)
		r = tarn_parcel_from(&b, ret);
	tarn_builder_fini(&b);
	return r;
}

int tarn_pool_iterator_next(tarn_pool_iterator *iterator, int64_t timeout_ns, tarn_parcel *ret_values)
{
	const struct tarn__part *p;

	if (iterator->part == iterator->result->n_parts)
		return tarn__fail_static(-TARN_EOF, "All results have been given.");
	p = await_part(iterator, timeout_ns);
	if (p == NULL)
		return tarn__pool_result_fail(iterator->result, timeout_ns, "The next result is not there yet");
	const size_t index = iterator->item++;
	if (iterator->item == p->n_items) {
		iterator->item = 0;
		iterator->part++;
	}
	return give(p, index, ret_values);
}

tarn_pool_iterator *tarn_pool_iterator_free(tarn_pool_iterator *iterator)
{
	if (iterator != NULL)
		tarn_pool_result_unref(iterator->result);
	free(iterator);
	return NULL;
}
