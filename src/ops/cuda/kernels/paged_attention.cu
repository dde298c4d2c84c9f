// Causal attention over the paged KV pool: prompts in chunks and single decoding tokens by one kernel, on tensor cores.
//
// As in ops/paged_attention on the CPU, a lane is a row with one query head, and the lanes of a KV head are numbered row
// by row in the plan's order, so that the query heads that share a KV head stand together (GQA-packed). A block takes an
// item: up to 16 lanes a warp, and the positions first..end of one sequence's block table, read once for all of its lanes
// - of one prompt, or of many sequences that begin with the same blocks.
//
// Keys are taken in tiles of 32 absolute positions, left to right, within splits of 256 absolute positions. Every split is
// an online softmax of its own; splits are folded in ascending order, here or in merge_splits.cu, by the same
// function. So the bits of a (row, head) depend on its query and on its keys alone: not on the chunk, the lanes beside
// it, on who shares its blocks or on how many blocks worked on it.
//
// Scores of positions that a lane does not see are set to -infinity, not computed to it; what is beyond an item's positions is
// zero in shared memory. K and V come from `rope_kv_write`, which writes no V that is not finite.
#include "online_softmax.cuh"

constexpr int TILE = 32;
constexpr int SPLIT_TILES = 8;
constexpr int LANES = 16;
constexpr float LOG2_E = 1.4426950408889634f;

struct Item {
    int first_lane;
    int lanes;
    int sequence;
    int first_position;
    int end_position;
    // Whether this is one split of several whose results are merged later.
    int partial;
};

struct Attention {
    const uint16_t* q;        // [rows, heads, head_dim], rows q_stride apart
    const uint16_t* pool;     // of the layer, [blocks, kv_heads, K | V, 32, head_dim]
    const uint32_t* tables;   // [sequences, table_stride]
    const Item* items;        // [gridDim.x]
    const int* plan_rows;     // the batch's row of each of the plan's rows
    const int* positions;     // [rows]
    const int* slots;         // [rows]: where a row's partial results begin
    uint16_t* out;            // [rows, heads, head_dim]
    float* partial_values;    // [slots, heads, head_dim]
    float* partial_states;    // [slots, heads, maximum | sum]
    int q_stride, heads, kv_heads, table_stride;
    int window;               // 0: none
    float scale;
    float softcap;            // 0: none
};

// A lane's place in the batch; of lanes that are none, position -1, which sees nothing.
struct Lane {
    int row, head, position;
};

__device__ __forceinline__ Lane lane_at(const Attention& of, const Item& item, int index) {
    if (index >= item.lanes) return {0, 0, -1};
    const int group = of.heads / of.kv_heads, lane = item.first_lane + index;
    const int row = of.plan_rows[lane / group];
    return {row, static_cast<int>(blockIdx.y) * group + lane % group, of.positions[row]};
}

__device__ __forceinline__ int first_seen(const Attention& of, int position) {
    return of.window > 0 && position >= of.window ? position - of.window + 1 : 0;
}

// A score in units of log 2, or -infinity.
__device__ __forceinline__ float score(const Attention& of, float product, int position, const Lane& lane) {
    if (position > lane.position || position < first_seen(of, lane.position)) return -INFINITY;
    const float scaled = product * of.scale;
    if (of.softcap == 0.0f) return scaled * LOG2_E;
    // tanh x = 1 - 2 / (1 + e^2x)
    const float tanh = 1.0f - 2.0f / (1.0f + exp2_fast(2.0f * LOG2_E * (scaled / of.softcap)));
    return of.softcap * tanh * LOG2_E;
}

template <int HEAD_DIM>
__device__ __forceinline__ void load_tile(const Attention& of, const Item& item, int tile, uint16_t* to) {
    constexpr int STRIDE = HEAD_DIM + 8, CHUNKS = HEAD_DIM / 8;
    const size_t block = of.tables[static_cast<size_t>(item.sequence) * of.table_stride + tile];
    const uint16_t* from = of.pool + (block * of.kv_heads + blockIdx.y) * (2 * TILE * HEAD_DIM);
    for (int at = threadIdx.x; at < 2 * TILE * CHUNKS; at += blockDim.x) {
        // Rows of K are followed by those of V.
        const int row = at / CHUNKS, chunk = at % CHUNKS, position = tile * TILE + row % TILE;
        const bool present = position >= item.first_position && position < item.end_position;
        copy_16_async(to + row * STRIDE + chunk * 8, from + row * HEAD_DIM + chunk * 8, present);
    }
    commit_copies();
}

template <int HEAD_DIM>
__device__ __forceinline__ void attend(const Attention& of) {
    // Rows are 16 bytes longer than they need be, so that the eight of a matrix lie in different banks.
    constexpr int STRIDE = HEAD_DIM + 8, PARTS = HEAD_DIM / 8, STAGE = 2 * TILE * STRIDE;
    DYNAMIC_SHARED(memory);
    const Item item = of.items[blockIdx.x];
    const int warps = blockDim.x / WARP, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    uint16_t* tiles = reinterpret_cast<uint16_t*>(memory);                   // [2][K | V][32][STRIDE]
    uint16_t* queries = tiles + 2 * STAGE;                                   // [warps][16][STRIDE]
    float* merged_values = reinterpret_cast<float*>(queries + warps * LANES * STRIDE);  // [warps][4 PARTS][32]
    uint16_t* warp_queries = queries + warp * LANES * STRIDE;
    float* merged = merged_values + static_cast<size_t>(warp) * 4 * PARTS * WARP + lane;

    const int first_tile = item.first_position / TILE, end_tile = (item.end_position + TILE - 1) / TILE;
    load_tile<HEAD_DIM>(of, item, first_tile, tiles);
    for (int at = lane; at < LANES * PARTS; at += WARP) {
        const Lane query = lane_at(of, item, warp * LANES + at / PARTS);
        uint4 bits = {0, 0, 0, 0};
        if (query.position >= 0) {
            const size_t start = static_cast<size_t>(query.row) * of.q_stride + query.head * HEAD_DIM;
            bits = *reinterpret_cast<const uint4*>(of.q + start + at % PARTS * 8);
        }
        *reinterpret_cast<uint4*>(warp_queries + at / PARTS * STRIDE + at % PARTS * 8) = bits;
    }

    // A thread has two of the warp's rows, lane / 4 and 8 more, and of a part of eight columns the pair 2 (lane % 4).
    const bool busy = warp * LANES < item.lanes;
    const Lane lanes[2] = {lane_at(of, item, warp * LANES + lane / 4), lane_at(of, item, warp * LANES + lane / 4 + 8)};
    float values[PARTS][4], maximum[2], sum[2];
    float merged_maximum[2] = {-INFINITY, -INFINITY}, merged_sum[2] = {0.0f, 0.0f};

    for (int tile = first_tile; tile < end_tile; ++tile) {
        const uint16_t* keys = tiles + (tile - first_tile) % 2 * STAGE;
        const uint16_t* its_values = keys + TILE * STRIDE;
        if (tile + 1 < end_tile) {
            load_tile<HEAD_DIM>(of, item, tile + 1, tiles + (tile + 1 - first_tile) % 2 * STAGE);
            wait_for_copies<1>();
        } else {
            wait_for_copies<0>();
        }
        __syncthreads();
        if (busy) {
            if (tile == first_tile || tile % SPLIT_TILES == 0) {
#pragma unroll
                for (int part = 0; part < PARTS; ++part)
                    for (int i = 0; i < 4; ++i) values[part][i] = 0.0f;
                maximum[0] = maximum[1] = -INFINITY;
                sum[0] = sum[1] = 0.0f;
            }
            float scores[TILE / 8][4] = {};
#pragma unroll
            for (int dim = 0; dim < HEAD_DIM; dim += 16) {
                uint32_t a[4];
                load_matrices(a, warp_queries + lane % 16 * STRIDE + dim + lane / 16 * 8);
#pragma unroll
                for (int part = 0; part < TILE / 8; part += 2) {
                    uint32_t b[4];
                    load_matrices(b, keys + (part * 8 + lane / 16 * 8 + lane % 8) * STRIDE + dim + lane / 8 % 2 * 8);
                    multiply_add(scores[part], a, b[0], b[1]);
                    multiply_add(scores[part + 1], a, b[2], b[3]);
                }
            }
            float tile_maximum[2] = {-INFINITY, -INFINITY};
#pragma unroll
            for (int part = 0; part < TILE / 8; ++part) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const int position = tile * TILE + part * 8 + lane % 4 * 2 + i % 2;
                    scores[part][i] = score(of, scores[part][i], position, lanes[i / 2]);
                    tile_maximum[i / 2] = fmaxf(tile_maximum[i / 2], scores[part][i]);
                }
            }
            float shrink[2], base[2];
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                float most = tile_maximum[half];
                most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, 1));
                most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, 2));
                most = fmaxf(most, maximum[half]);
                base[half] = most == -INFINITY ? 0.0f : most;
                shrink[half] = exp2_fast(maximum[half] - base[half]);
                maximum[half] = most;
                sum[half] = __fmul_rn(sum[half], shrink[half]);
            }
#pragma unroll
            for (int part = 0; part < TILE / 8; ++part) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    scores[part][i] = exp2_fast(scores[part][i] - base[i / 2]);
                    sum[i / 2] = __fadd_rn(sum[i / 2], scores[part][i]);
                }
            }
#pragma unroll
            for (int part = 0; part < PARTS; ++part)
                for (int i = 0; i < 4; ++i) values[part][i] = __fmul_rn(values[part][i], shrink[i / 2]);
#pragma unroll
            for (int step = 0; step < TILE / 16; ++step) {
                const float *left = scores[2 * step], *right = scores[2 * step + 1];
                const uint32_t a[4] = {narrow_pair(left[0], left[1]), narrow_pair(left[2], left[3]),
                                       narrow_pair(right[0], right[1]), narrow_pair(right[2], right[3])};
#pragma unroll
                for (int part = 0; part < PARTS; part += 2) {
                    uint32_t b[4];
                    load_matrices_transposed(
                        b, its_values + (step * 16 + lane / 8 % 2 * 8 + lane % 8) * STRIDE + part * 8 + lane / 16 * 8);
                    multiply_add(values[part], a, b[0], b[1]);
                    multiply_add(values[part + 1], a, b[2], b[3]);
                }
            }
            const bool ends = tile + 1 == end_tile || (tile + 1) % SPLIT_TILES == 0;
            if (ends) {
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    sum[half] = __fadd_rn(sum[half], __shfl_xor_sync(ALL_LANES, sum[half], 1));
                    sum[half] = __fadd_rn(sum[half], __shfl_xor_sync(ALL_LANES, sum[half], 2));
                }
            }
            if (ends && !item.partial) {
                const bool is_first = tile / SPLIT_TILES == first_tile / SPLIT_TILES;
                const bool is_last = tile + 1 == end_tile;
                const Fold folds[2] = {fold(merged_maximum[0], maximum[0]), fold(merged_maximum[1], maximum[1])};
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    merged_maximum[half] = folds[half].maximum;
                    merged_sum[half] = folded(folds[half], merged_sum[half], sum[half]);
                }
#pragma unroll
                for (int part = 0; part < PARTS; ++part) {
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        float* place = merged + (part * 4 + i) * WARP;
                        values[part][i] = folded(folds[i / 2], is_first ? 0.0f : *place, values[part][i]);
                        if (!is_last) *place = values[part][i];
                    }
                }
            }
        }
        __syncthreads();
    }
    if (!busy) return;

#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const Lane& mine = lanes[half];
        if (mine.position < 0) continue;
        const size_t column = static_cast<size_t>(mine.head) * HEAD_DIM + lane % 4 * 2;
        if (!item.partial) {
            const float inverse = inverse_sum(merged_sum[half]);
            uint16_t* out = of.out + static_cast<size_t>(mine.row) * of.heads * HEAD_DIM + column;
#pragma unroll
            for (int part = 0; part < PARTS; ++part) {
                const float low = __fmul_rn(values[part][2 * half], inverse);
                const float high = __fmul_rn(values[part][2 * half + 1], inverse);
                *reinterpret_cast<uint32_t*>(out + part * 8) = narrow_pair(low, high);
            }
            continue;
        }
        const int split_size = TILE * SPLIT_TILES, split = item.first_position / split_size;
        const int first_split = first_seen(of, mine.position) / split_size;
        if (split < first_split || split > mine.position / split_size) continue;
        const size_t slot = of.slots[mine.row] + split - first_split;
        float* out = of.partial_values + slot * of.heads * HEAD_DIM + column;
#pragma unroll
        for (int part = 0; part < PARTS; ++part) {
            out[part * 8] = values[part][2 * half];
            out[part * 8 + 1] = values[part][2 * half + 1];
        }
        if (lane % 4 == 0) {
            float* state = of.partial_states + (slot * of.heads + mine.head) * 2;
            state[0] = maximum[half];
            state[1] = sum[half];
        }
    }
}

#define PAGED_ATTENTION(head_dim)                                                                                     \
    KERNEL(128)                                                                                                       \
    paged_attention_##head_dim(const uint16_t* q, const uint16_t* pool, const uint32_t* tables, const Item* items,    \
                               const int* plan_rows, const int* positions, const int* slots, uint16_t* out,           \
                               float* partial_values, float* partial_states, int q_stride, int heads, int kv_heads,   \
                               int table_stride, int window, float scale, float softcap) {                            \
        attend<head_dim>({q, pool, tables, items, plan_rows, positions, slots, out, partial_values, partial_states,   \
                          q_stride, heads, kv_heads, table_stride, window, scale, softcap});                          \
    }

PAGED_ATTENTION(64)
PAGED_ATTENTION(96)
PAGED_ATTENTION(128)
PAGED_ATTENTION(256)
