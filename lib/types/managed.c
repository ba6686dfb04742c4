/* SPDX-License-Identifier: Apache-2.0 */
/* Containers made by methods. */
#include "contents.h"
#include "lib/error.h"
#include "tarn/container.h"

int tarn_managed_list(tarn_context *ctx, const tarn_builder *values, tarn_object **ret_list)
{
	return tarn_managed(ctx, "tarn.List", values, ret_list);
}

int tarn_managed_dict(tarn_context *ctx, const tarn_builder *values, tarn_object **ret_dict)
{
	return tarn_managed(ctx, "tarn.Dict", values, ret_dict);
}

int tarn_managed_namespace(tarn_context *ctx, const tarn_builder *values, tarn_object **ret_ns)
{
	return tarn_managed(ctx, "tarn.Namespace", values, ret_ns);
}

int tarn_managed_iterator(tarn_context *ctx, const tarn_builder *values, tarn_object **ret_iterator)
{
	return tarn_managed(ctx, "tarn.Iterator", values, ret_iterator);
}
