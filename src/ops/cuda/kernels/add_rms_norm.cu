// RMSNorm with the residual's addition: `residual += x`, then `residual / sqrt(mean(residual^2) + eps) * weight`.
//
// Without a residual x itself is normed, which may be the heads of a packed projection, in place: rows of `width` lie `inner` together
// and x_stride apart. The sum is rounded to bf16 before it is normed, as it is kept. Partial sums of a thread go
// through the row at a fixed step and are folded in a fixed order, so a row's bits depend on `width` alone (the
// launch's threads follow from it).
#include "device.cuh"

// x [outer, x_stride], out [outer, out_stride], residual [outer * inner, width] or null, weight [width]; width a multiple of 8. One block a row.
// The norm is multiplied by weight_offset + weight: 1 for Gemma.
KERNEL(256)
add_rms_norm(const uint16_t* x, uint16_t* residual, const uint16_t* weight, uint16_t* out, int width, int inner,
             int x_stride, int out_stride, float eps, float weight_offset) {
    __shared__ float sums[8];
    const size_t row = blockIdx.x, outer = row / inner, at = row % inner * width;
    x += outer * x_stride + at;
    out += outer * out_stride + at;
    float sum = 0.0f;
    for (int i = threadIdx.x * 8; i < width; i += blockDim.x * 8) {
        Eight values = load_eight(x + i);
        if (residual) {
            const Eight before = load_eight(residual + row * width + i);
            for (int j = 0; j < 8; ++j) values.values[j] = widen(narrow(values.values[j] + before.values[j]));
            store_eight(residual + row * width + i, values);
        }
        for (int j = 0; j < 8; ++j) sum = __fmaf_rn(values.values[j], values.values[j], sum);
    }
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, step);
    if (threadIdx.x % WARP == 0) sums[threadIdx.x / WARP] = sum;
    __syncthreads();
    sum = 0.0f;
    for (unsigned warp = 0; warp < blockDim.x / WARP; ++warp) sum += sums[warp];
    const float factor = __fdiv_rn(1.0f, __fsqrt_rn(sum / width + eps));
    // A thread reads again what it alone has written.
    const uint16_t* source = residual ? residual + row * width : x;
    for (int i = threadIdx.x * 8; i < width; i += blockDim.x * 8) {
        Eight values = load_eight(source + i);
        const Eight weights = load_eight(weight + i);
        for (int j = 0; j < 8; ++j) values.values[j] *= factor * (weight_offset + weights.values[j]);
        store_eight(out + i, values);
    }
}
