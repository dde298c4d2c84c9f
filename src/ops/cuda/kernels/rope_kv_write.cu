// Rotary position embedding of q and k out of a packed projection, and the write of k and v into the paged pool.
//
// The half-rotation form of ops/rope.rs: dimension i turns with i + rotary_dim / 2; dimensions from rotary_dim on stay.
// A warp takes a head. As on the CPU (ops/paged_attention/write.rs) a value that is no finite number is not written: its row
// gets a key of NaN and a value of 0, so that whoever sees it gets NaN and whoever does not multiplies 0 by 0.
#include "device.cuh"

struct Turn {
    const float* cos_sin;  // [cos | sin][half]
    int half, head_dim;
};

// `unsound` writes NaN instead.
__device__ __forceinline__ void turn_head(const Turn& turn, const uint16_t* from, uint16_t* to, bool unsound) {
    const int lane = threadIdx.x % WARP, half = turn.half;
    for (int i = lane; i < turn.head_dim - half; i += WARP) {
        if (i >= half) {  // not turned: rotary_dim and beyond
            to[half + i] = unsound ? 0x7fc0 : from[half + i];
            continue;
        }
        const float cos = turn.cos_sin[i], sin = turn.cos_sin[half + i];
        const float x = widen(from[i]), y = widen(from[half + i]);
        to[i] = unsound ? 0x7fc0 : narrow(x * cos - y * sin);
        to[half + i] = unsound ? 0x7fc0 : narrow(y * cos + x * sin);
    }
}

// qkv [tokens, qkv_stride], a row being q | k | v; q_out [tokens, heads, head_dim]; pool of the layer, [blocks, kv_heads, K | V, 32,
// head_dim]; table f32 [positions, cos | sin, half]; slots [tokens]: block * 32 + its row, below 0 for rows that pad a
// graph's batch. One block a token.
KERNEL(128)
rope_kv_write(const uint16_t* qkv, const float* table, const int* positions, const int* slots, uint16_t* q_out,
              uint16_t* pool, int qkv_stride, int heads, int kv_heads, int head_dim, int half) {
    const size_t token = blockIdx.x;
    const int slot = slots[token], warps = blockDim.x / WARP, lane = threadIdx.x % WARP;
    const uint16_t* row = qkv + token * qkv_stride;
    const Turn turn = {table + static_cast<size_t>(positions[token]) * 2 * half, half, head_dim};
    for (int head = threadIdx.x / WARP; head < heads + kv_heads; head += warps) {
        const uint16_t* from = row + static_cast<size_t>(head) * head_dim;
        if (head < heads) {
            turn_head(turn, from, q_out + (token * heads + head) * head_dim, false);
            continue;
        }
        if (slot < 0) continue;
        const uint16_t* v = from + static_cast<size_t>(kv_heads) * head_dim;
        bool unsound = false;
        for (int i = lane; i < head_dim; i += WARP) unsound |= (v[i] & 0x7f80) == 0x7f80;
        unsound = __any_sync(ALL_LANES, unsound);
        uint16_t* tile = pool + (static_cast<size_t>(slot / 32) * kv_heads + head - heads) * (2 * 32 * head_dim);
        turn_head(turn, from, tile + slot % 32 * head_dim, unsound);
        uint16_t* values = tile + (32 + slot % 32) * head_dim;
        for (int i = lane; i < head_dim; i += WARP) values[i] = unsound ? 0 : v[i];
    }
}
