/* SPDX-License-Identifier: Apache-2.0 */
#include "context.h"

int tarn__exec_self(struct tarn_context *ctx, tarn_object **ret)
{
	(void)ctx;
	(void)ret;
	return -ENOTSUP;
}
int tarn__exec_hold(struct tarn_context *ctx, struct tarn_block *handle)
{
	(void)ctx;
	(void)handle;
	return -ENOTSUP;
}
int tarn__exec_drop(struct tarn_context *ctx, uint64_t id)
{
	(void)ctx;
	(void)id;
	return -ENOTSUP;
}
int tarn__exec_grab(struct tarn_context *ctx, uint64_t id, struct tarn_block **ret)
{
	(void)ctx;
	(void)id;
	(void)ret;
	return -ENOTSUP;
}
int tarn__exec_make(struct tarn_context *ctx, const struct tarn__served *t, const void *instance,
		    const tarn_builder *args, tarn_object **ret)
{
	(void)ctx;
	(void)t;
	(void)instance;
	(void)args;
	(void)ret;
	return -ENOTSUP;
}
tarn_client *tarn__exec_client(const struct tarn_context *ctx)
{
	(void)ctx;
	return NULL;
}
