// What changes logits before temperature, as in engine/sampler/processors.rs and with its bits: suppressed ids, bias, penalties, then the
// ids that a grammar allows.
//
// The host keeps one edit an id, so no two threads have the same; counts stand in it. Compiled without contraction.
#include "device.cuh"

struct Edit {
    uint32_t id;
    uint32_t flags;
    uint32_t output_count;
    float bias;
};

constexpr uint32_t SUPPRESSED = 1, BIASED = 2, SEEN = 4;

struct Penalties {
    float repetition, frequency, presence;
    // The row of `masks` that says what is allowed; below 0: everything.
    int mask;
};

__device__ __forceinline__ bool allowed(const uint32_t* mask, uint32_t id) { return !mask || (mask[id / 32] >> id % 32 & 1); }

// logits and processed f32 [gridDim.x, vocab], cu_edits [gridDim.x + 1], masks [.., (vocab + 31) / 32]. One block a row. Ids beyond the
// row are left out.
KERNEL(256)
edit_logits(const float* logits, float* processed, const Edit* edits, const int* cu_edits, const Penalties* penalties,
            const uint32_t* masks, uint32_t vocab) {
    const Penalties by = penalties[blockIdx.x];
    const uint32_t* mask = by.mask < 0 ? nullptr : masks + static_cast<size_t>(by.mask) * ((vocab + 31) / 32);
    const float* from = logits + static_cast<size_t>(blockIdx.x) * vocab;
    float* to = processed + static_cast<size_t>(blockIdx.x) * vocab;
    for (uint32_t id = threadIdx.x; id < vocab; id += blockDim.x) to[id] = allowed(mask, id) ? from[id] : -INFINITY;
    __syncthreads();
    for (int at = cu_edits[blockIdx.x] + threadIdx.x; at < cu_edits[blockIdx.x + 1]; at += blockDim.x) {
        const Edit edit = edits[at];
        if (edit.id >= vocab || !allowed(mask, edit.id)) continue;
        float logit = edit.flags & SUPPRESSED ? -INFINITY : from[edit.id];
        if (edit.flags & BIASED) logit = logit + edit.bias;
        if (by.repetition != 1.0f && edit.flags & SEEN)
            logit = logit > 0.0f ? __fdiv_rn(logit, by.repetition) : logit * by.repetition;
        if (edit.output_count > 0 && (by.frequency != 0.0f || by.presence != 0.0f))
            logit = logit - (by.frequency * static_cast<float>(edit.output_count) + by.presence);
        to[edit.id] = logit;
    }
}
