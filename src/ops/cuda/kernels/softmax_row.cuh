// A row of logits under softmax and the best entries of it, by one block: engine/sampler/softmax.rs with the same bits.
//
// The same sums in the same order - lanes of eight in blocks of 256, blocks in order - and the same `exp`, plain multiplications and
// additions, which must be compiled without contraction. What the CPU sorts with a heap is sorted here as a whole, in the
// workspace, once the entries that can count have been picked out.
#pragma once

#include "device.cuh"

constexpr int SUM_BLOCK = 256;
constexpr int SUM_LANES = 8;
constexpr int THREADS_MAX = 1024;

// What the row's block has to itself, in global memory.
struct Workspace {
    uint64_t* keys;      // [vocab]
    float* weights;      // [vocab]
    double* block_sums;  // [(vocab + 255) / 256]
};

// In shared memory.
struct Scratch {
    double lanes[THREADS_MAX];
    float floats[THREADS_MAX / WARP];
    uint32_t words[THREADS_MAX / WARP];
    int histogram[256];
    uint32_t prefix;
    int count;
    int below;
    double total;
    double other;
};

enum Status { SAMPLED = 0, NOT_A_NUMBER = 1, NOTHING_LEFT = 2, OVERFLOW_BY_PARAMETERS = 3 };

// e^x for x <= 0, 0 below -87.
__device__ __forceinline__ float exp_nonpositive(float x) {
    constexpr float ROUND = 12582912.0f, LN2_HIGH = 0.6933594f, LN2_LOW = -2.1219444e-4f, LOG2_E = 1.4426950408889634f;
    const float clamped = x > -87.0f ? x : -87.0f;
    const float shifted = clamped * LOG2_E + ROUND;
    const float exponent = shifted - ROUND;
    const float r = clamped - exponent * LN2_HIGH - exponent * LN2_LOW;
    float p = 1.9875692e-4f;
    p = p * r + 1.3981999e-3f;
    p = p * r + 8.333452e-3f;
    p = p * r + 4.1665796e-2f;
    p = p * r + 1.6666665e-1f;
    p = p * r + 0.5f;
    const float fraction = p * r * r + r + 1.0f;
    const uint32_t bits = (__float_as_uint(shifted) - __float_as_uint(ROUND) + 127u) << 23;
    return x > -87.0f ? fraction * __uint_as_float(bits) : 0.0f;
}

// Ascending in this is best first: the larger value in total order, then the lower id.
__device__ __forceinline__ uint32_t descending(float value) {
    const uint32_t bits = __float_as_uint(value);
    return bits & 0x80000000u ? bits : ~(bits | 0x80000000u);
}
__device__ __forceinline__ uint64_t key_of(float value, uint32_t id) {
    return static_cast<uint64_t>(descending(value)) << 32 | id;
}
__device__ __forceinline__ float value_of(uint64_t key) {
    const uint32_t bits = static_cast<uint32_t>(key >> 32);
    return __uint_as_float(bits & 0x80000000u ? bits : ~bits & 0x7fffffffu);
}
__device__ __forceinline__ uint32_t id_of(uint64_t key) { return static_cast<uint32_t>(key); }

// Of all of the block's threads, for all of them.
__device__ __forceinline__ float block_maximum(Scratch& scratch, float value) {
    for (int step = 16; step > 0; step /= 2) value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, step));
    if (threadIdx.x % WARP == 0) scratch.floats[threadIdx.x / WARP] = value;
    __syncthreads();
    for (unsigned warp = 0; warp < blockDim.x / WARP; ++warp) value = fmaxf(value, scratch.floats[warp]);
    __syncthreads();
    return value;
}
__device__ __forceinline__ uint32_t block_sum(Scratch& scratch, uint32_t value) {
    for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(ALL_LANES, value, step);
    if (threadIdx.x % WARP == 0) scratch.words[threadIdx.x / WARP] = value;
    __syncthreads();
    value = 0;
    for (unsigned warp = 0; warp < blockDim.x / WARP; ++warp) value += scratch.words[warp];
    __syncthreads();
    return value;
}
__device__ __forceinline__ uint32_t block_minimum(Scratch& scratch, uint32_t value) {
    for (int step = 16; step > 0; step /= 2) {
        const uint32_t other = __shfl_xor_sync(ALL_LANES, value, step);
        value = other < value ? other : value;
    }
    if (threadIdx.x % WARP == 0) scratch.words[threadIdx.x / WARP] = value;
    __syncthreads();
    for (unsigned warp = 0; warp < blockDim.x / WARP; ++warp) value = scratch.words[warp] < value ? scratch.words[warp] : value;
    __syncthreads();
    return value;
}

struct Softmax {
    const float* values;
    uint32_t count;
    float maximum;
    float inverse_temperature;

    __device__ float scaled(float value) const { return (value - maximum) * inverse_temperature; }
    __device__ float weight(float value) const { return exp_nonpositive(scaled(value)); }
    __device__ float logprob(float value, double log_total) const {
        return static_cast<float>(static_cast<double>(scaled(value)) - log_total);
    }
};

// Fills in the maximum; whether the row can be sampled.
__device__ __forceinline__ Status open_row(Scratch& scratch, Softmax& row) {
    float most = -INFINITY;
    uint32_t unordered = 0;
    for (uint32_t id = threadIdx.x; id < row.count; id += blockDim.x) {
        const float value = row.values[id];
        unordered += value != value;
        most = fmaxf(most, value);
    }
    row.maximum = block_maximum(scratch, most);
    if (block_sum(scratch, unordered) > 0 || row.maximum == INFINITY) return NOT_A_NUMBER;
    return row.maximum == -INFINITY ? NOTHING_LEFT : SAMPLED;
}

// The sum of all weights, and in the workspace those of each block of 256. Eight threads take a block.
__device__ __forceinline__ double sum_blocks(Scratch& scratch, const Workspace& workspace, const Softmax& row) {
    const uint32_t blocks = (row.count + SUM_BLOCK - 1) / SUM_BLOCK, at_once = blockDim.x / SUM_LANES;
    for (uint32_t first = 0; first < blocks; first += at_once) {
        const uint32_t block = first + threadIdx.x / SUM_LANES;
        double sum = 0.0;
        for (uint32_t i = 0; i < SUM_BLOCK / SUM_LANES; ++i) {
            const uint32_t id = block * SUM_BLOCK + i * SUM_LANES + threadIdx.x % SUM_LANES;
            if (id < row.count) sum += static_cast<double>(row.weight(row.values[id]));
        }
        scratch.lanes[threadIdx.x] = sum;
        __syncthreads();
        if (threadIdx.x < at_once && first + threadIdx.x < blocks) {
            double lanes = 0.0;
            for (int lane = 0; lane < SUM_LANES; ++lane) lanes += scratch.lanes[threadIdx.x * SUM_LANES + lane];
            workspace.block_sums[first + threadIdx.x] = lanes;
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        double total = 0.0;
        for (uint32_t block = 0; block < blocks; ++block) total += workspace.block_sums[block];
        scratch.total = total;
    }
    __syncthreads();
    const double total = scratch.total;
    __syncthreads();
    return total;
}

// Keys to the workspace's front, in no order, of the ids for which `keep(value)`; how many.
template <class Keep>
__device__ __forceinline__ int pick(Scratch& scratch, const Workspace& workspace, const Softmax& row, Keep keep) {
    if (threadIdx.x == 0) scratch.count = 0;
    __syncthreads();
    for (uint32_t id = threadIdx.x; id < row.count; id += blockDim.x) {
        const float value = row.values[id];
        if (value > -INFINITY && keep(value)) workspace.keys[atomicAdd(&scratch.count, 1)] = key_of(value, id);
    }
    __syncthreads();
    const int count = scratch.count;
    __syncthreads();
    return count;
}

__device__ __forceinline__ void order(uint64_t* keys, int low, int high, int count) {
    if (high >= count || keys[low] <= keys[high]) return;
    const uint64_t key = keys[low];
    keys[low] = keys[high];
    keys[high] = key;
}

// Bitonic, in the form whose comparisons all point one way, so that what would fill up to a power of two need not exist. The keys
// differ from one another: their order does not depend on the one they came in.
__device__ __forceinline__ void sort_keys(uint64_t* keys, int count) {
    for (int size = 2; size / 2 < count; size *= 2) {
        const int pairs = (count + size - 1) / size * (size / 2);
        for (int i = threadIdx.x; i < pairs; i += blockDim.x) {
            const int start = i / (size / 2) * size, at = i % (size / 2);
            order(keys, start + at, start + size - 1 - at, count);
        }
        __syncthreads();
        for (int half = size / 4; half > 0; half /= 2) {
            for (int i = threadIdx.x; i < pairs; i += blockDim.x) {
                const int low = i / half * 2 * half + i % half;
                order(keys, low, low + half, count);
            }
            __syncthreads();
        }
    }
}

// The `k` best entries that are not -infinity, best first, at the workspace's front; how many. Finds the key of the k-th by its bytes
// from the top, then sorts what is not beyond it.
__device__ __forceinline__ int pick_best(Scratch& scratch, const Workspace& workspace, const Softmax& row, uint32_t k) {
    if (k == 0) return 0;
    uint32_t prefix = 0, left = k;
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (int i = threadIdx.x; i < 256; i += blockDim.x) scratch.histogram[i] = 0;
        __syncthreads();
        for (uint32_t id = threadIdx.x; id < row.count; id += blockDim.x) {
            const float value = row.values[id];
            const uint32_t bits = descending(value);
            const bool of_prefix = shift == 24 || bits >> (shift + 8) == prefix >> (shift + 8);
            if (value > -INFINITY && of_prefix) atomicAdd(&scratch.histogram[bits >> shift & 255], 1);
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            uint32_t byte = 0, before = 0;
            while (byte < 256 && before + scratch.histogram[byte] < left) before += scratch.histogram[byte++];
            scratch.below = byte < 256;
            scratch.prefix = prefix | byte << shift;
            scratch.count = static_cast<int>(left - before);
        }
        __syncthreads();
        const bool found = scratch.below;
        prefix = scratch.prefix;
        left = scratch.count;
        __syncthreads();
        if (!found) {  // fewer than k
            prefix = 0xffffffffu;
            break;
        }
    }
    int count = pick(scratch, workspace, row, [prefix](float value) { return descending(value) <= prefix; });
    sort_keys(workspace.keys, count);
    return count < static_cast<int>(k) ? count : static_cast<int>(k);
}
