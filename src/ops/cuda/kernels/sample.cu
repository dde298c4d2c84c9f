// From a row of logits to a token and its logprobs: engine/sampler/mod.rs with the same bits, so that a seed gives the same text
// wherever it is sampled.
//
// One block a row at a time. Sums that the CPU takes one after the other are taken by one thread, over what the others
// have prepared; they are over what truncation kept, or over sums of blocks. Only the natural logarithm of a sum
// is the platform's own (f64, before the result becomes f32).
#include "softmax_row.cuh"

enum LogprobsMode { RAW = 0, PROCESSED = 1, SCALED = 2 };

struct Request {
    uint32_t seed_low, seed_high;
    uint32_t position_low, position_high;  // in the output
    uint32_t choice;
    float temperature;
    uint32_t top_k;
    float top_p, min_p;
    int logprobs;  // how many of the best; below 0: none, nor the token's
    int mode;
};

struct Sampled {
    int status;
    uint32_t token;
    float logprob;
    uint32_t rank;
    float kept_mass;  // below 0: there is none
    int top_count;
};

// Uniform in [0, 1), 53 bits: Philox4x32-10 as in ops/philox.rs.
__device__ __forceinline__ double uniform(const Request& request) {
    uint32_t counter[4] = {request.position_low, request.position_high, request.choice, 0};
    uint32_t key[2] = {request.seed_low, request.seed_high};
    for (int round = 0; round < 10; ++round) {
        const uint64_t product0 = 0xD2511F53ull * counter[0], product1 = 0xCD9E8D57ull * counter[2];
        const uint32_t next[4] = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
                                  static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
        for (int i = 0; i < 4; ++i) counter[i] = next[i];
        key[0] += 0x9E3779B9u;
        key[1] += 0xBB67AE85u;
    }
    const uint64_t bits = (static_cast<uint64_t>(counter[0]) << 32 | counter[1]) >> 11;
    return static_cast<double>(bits) / 9007199254740992.0;
}

// The index in whose share of the running sum `target` lies; the last with any share if rounding runs past it.
template <class T>
__device__ __forceinline__ int walk(const T* weights, int count, double target) {
    int last = 0;
    for (int at = 0; at < count; ++at) {
        const double weight = static_cast<double>(weights[at]);
        if (weight > 0.0) {
            if (target < weight) return at;
            last = at;
        }
        target -= weight;
    }
    return last;
}

// How many of the best weights reach `mass` together, the one that crosses it included; all if they do not.
__device__ __forceinline__ int nucleus(const float* weights, int count, double mass) {
    double sum = 0.0;
    for (int at = 0; at < count; ++at) {
        sum += static_cast<double>(weights[at]);
        if (sum >= mass) return at + 1;
    }
    return count;
}

__device__ __forceinline__ double sum_of(const float* weights, int count) {
    double sum = 0.0;
    for (int at = 0; at < count; ++at) sum += static_cast<double>(weights[at]);
    return sum;
}

// What top-k, top-p and min-p leave, best first, as keys and weights in the workspace; below 0 if all are off.
__device__ __forceinline__ int truncate(Scratch& scratch, const Workspace& workspace, const Softmax& row, const Request& by,
                                        double total) {
    int count;
    if (by.top_k > 0) {
        count = pick_best(scratch, workspace, row, by.top_k);
    } else if (by.top_p < 1.0f || by.min_p > 0.0f) {
        // Entries that weigh less are in no nucleus: all of them together weigh less than what top-p may drop.
        const double least = by.top_p < 1.0f ? static_cast<double>(1.0f - by.top_p) * total / static_cast<double>(row.count)
                                             : static_cast<double>(by.min_p);
        count = pick(scratch, workspace, row, [&](float value) { return static_cast<double>(row.weight(value)) >= least; });
        sort_keys(workspace.keys, count);
    } else {
        return -1;
    }
    for (int at = threadIdx.x; at < count; at += blockDim.x) workspace.weights[at] = row.weight(value_of(workspace.keys[at]));
    __syncthreads();
    if (threadIdx.x == 0) {
        int kept = count;
        if (by.top_p < 1.0f) {
            const double mass = by.top_k > 0 ? sum_of(workspace.weights, count) : total;
            kept = nucleus(workspace.weights, count, static_cast<double>(by.top_p) * mass);
        }
        if (by.min_p > 0.0f) {
            int heavy = 0;
            while (heavy < kept && workspace.weights[heavy] >= by.min_p) ++heavy;
            kept = heavy;
        }
        scratch.count = kept;
    }
    __syncthreads();
    count = scratch.count;
    __syncthreads();
    return count;
}

__device__ __forceinline__ uint32_t draw_kept(Scratch& scratch, const Workspace& workspace, int kept, double uniform) {
    if (threadIdx.x == 0)
        scratch.prefix = id_of(workspace.keys[walk(workspace.weights, kept, uniform * sum_of(workspace.weights, kept))]);
    __syncthreads();
    const uint32_t token = scratch.prefix;
    __syncthreads();
    return token;
}

// A draw from the whole row: past blocks by their sums, then through one.
__device__ __forceinline__ uint32_t draw(Scratch& scratch, const Workspace& workspace, const Softmax& row, double total,
                                         double uniform) {
    if (threadIdx.x == 0) {
        double target = uniform * total;
        const int block = walk(workspace.block_sums, static_cast<int>((row.count + SUM_BLOCK - 1) / SUM_BLOCK), target);
        for (int before = 0; before < block; ++before) target -= workspace.block_sums[before];
        scratch.count = block;
        scratch.other = target;
    }
    __syncthreads();
    const uint32_t start = scratch.count * SUM_BLOCK;
    const int count = static_cast<int>(row.count - start < SUM_BLOCK ? row.count - start : SUM_BLOCK);
    for (int at = threadIdx.x; at < count; at += blockDim.x) workspace.weights[at] = row.weight(row.values[start + at]);
    __syncthreads();
    if (threadIdx.x == 0) scratch.prefix = start + walk(workspace.weights, count, scratch.other);
    __syncthreads();
    const uint32_t token = scratch.prefix;
    __syncthreads();
    return token;
}

// Of the token and of the best `top` at the workspace's front. `kept` of them, or (below 0) all of the row, make up the sum.
__device__ __forceinline__ void report(Scratch& scratch, const Workspace& workspace, const Softmax& row, double total, int kept,
                                       int top_max, Sampled& sampled, uint32_t* top_ids, float* top_logprobs) {
    const float value = row.values[sampled.token];
    uint32_t rank = 0;
    if (kept < 0) {
        for (uint32_t id = threadIdx.x; id < row.count; id += blockDim.x) {
            const float other = row.values[id];
            rank += other > value || (other == value && id < sampled.token);
        }
        kept = pick_best(scratch, workspace, row, static_cast<uint32_t>(top_max));
    } else {
        const uint64_t key = key_of(value, sampled.token);
        for (int at = threadIdx.x; at < kept; at += blockDim.x) rank += workspace.keys[at] < key;
    }
    sampled.rank = block_sum(scratch, rank) + 1;
    const double log_total = log(total);
    sampled.logprob = row.logprob(value, log_total);
    sampled.top_count = kept < top_max ? kept : top_max;
    for (int at = threadIdx.x; at < sampled.top_count; at += blockDim.x) {
        top_ids[at] = id_of(workspace.keys[at]);
        top_logprobs[at] = row.logprob(value_of(workspace.keys[at]), log_total);
    }
    __syncthreads();
}

// logits (the model's) and processed (what edit_logits made of them; may be the same) f32 [rows, vocab]; top_ids and top_logprobs [rows, top_stride];
// keys and weights [gridDim.x, vocab], block_sums [gridDim.x, (vocab + 255) / 256]. A block takes every gridDim.x-th row.
KERNEL(1024)
sample(const float* logits, const float* processed, const Request* requests, Sampled* results, uint32_t* top_ids,
       float* top_logprobs, uint64_t* keys, float* weights, double* block_sums, int rows, uint32_t vocab, int top_stride) {
    __shared__ Scratch scratch;
    const Workspace workspace = {keys + static_cast<size_t>(blockIdx.x) * vocab, weights + static_cast<size_t>(blockIdx.x) * vocab,
                                 block_sums + static_cast<size_t>(blockIdx.x) * ((vocab + SUM_BLOCK - 1) / SUM_BLOCK)};
    for (int at = blockIdx.x; at < rows; at += gridDim.x) {
        const Request by = requests[at];
        const bool greedy = by.temperature < 1e-5f;
        const float inverse = __fdiv_rn(1.0f, greedy ? 1.0f : by.temperature);
        Softmax row = {processed + static_cast<size_t>(at) * vocab, vocab, 0.0f, inverse};
        Softmax raw = {logits + static_cast<size_t>(at) * vocab, vocab, 0.0f, 1.0f};
        Sampled sampled = {open_row(scratch, row), 0, 0.0f, 0, -1.0f, 0};
        const bool needs_raw = by.logprobs >= 0 && by.mode == RAW;
        if (sampled.status == NOT_A_NUMBER || needs_raw) {
            const Status of_raw = open_row(scratch, raw);
            if (sampled.status == NOT_A_NUMBER && of_raw != NOT_A_NUMBER) sampled.status = OVERFLOW_BY_PARAMETERS;
            if (sampled.status == SAMPLED) sampled.status = of_raw;
        }
        if (sampled.status != SAMPLED) {
            if (threadIdx.x == 0) results[at] = sampled;
            continue;
        }
        double total = 0.0;
        int kept = -1;
        if (!greedy || (by.logprobs >= 0 && by.mode != RAW)) total = sum_blocks(scratch, workspace, row);
        if (greedy) {
            uint32_t best = 0xffffffffu;
            for (uint32_t id = threadIdx.x; id < vocab; id += blockDim.x)
                if (row.values[id] == row.maximum && id < best) best = id;
            sampled.token = block_minimum(scratch, best);
        } else {
            kept = truncate(scratch, workspace, row, by, total);
            sampled.token = kept < 0 ? draw(scratch, workspace, row, total, uniform(by))
                                     : draw_kept(scratch, workspace, kept, uniform(by));
        }
        if (by.logprobs >= 0) {
            double kept_total = total;
            if (kept >= 0 && !needs_raw) {
                if (threadIdx.x == 0) scratch.other = sum_of(workspace.weights, kept);
                __syncthreads();
                kept_total = scratch.other;
                __syncthreads();
                sampled.kept_mass = static_cast<float>(kept_total / total);
            }
            if (needs_raw) total = sum_blocks(scratch, workspace, raw);
            const bool of_kept = by.mode == PROCESSED && kept >= 0;
            const int top_max = by.logprobs < top_stride ? by.logprobs : top_stride;
            report(scratch, workspace, needs_raw ? raw : row, of_kept ? kept_total : total, of_kept ? kept : -1, top_max, sampled,
                   top_ids + static_cast<size_t>(at) * top_stride, top_logprobs + static_cast<size_t>(at) * top_stride);
        }
        if (threadIdx.x == 0) results[at] = sampled;
        __syncthreads();
    }
}
