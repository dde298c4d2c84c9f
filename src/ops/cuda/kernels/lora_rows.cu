// LoRA adapters on the rows of a batch that go through one: `y += scale * B (A x)`, a small GEMM a group of rows, in two steps.
//
// A group is up to 16 rows that lie together and share an adapter, so tensor cores see them as one tile. A row's sums go over
// in_features, and over the rank, in an order that does not depend on the rows beside it. A x is rounded to bf16 between
// the steps.
#include "device.cuh"

struct Group {
    int first_row;
    int rows;     // 1 to 16
    int adapter;
};

// One linear of an adapter: a [rank, in_features], b [out_features, rank].
struct LowRank {
    const uint16_t* a;
    const uint16_t* b;
    int rank;
    float scale;
};

// Two neighbours of a row that has `width` elements, zeros beyond its end and in rows that are none. `at` is even, but a row of odd
// width may start anywhere.
__device__ __forceinline__ uint32_t pair_at(const uint16_t* row, int at, int width, bool present) {
    const uint32_t low = present && at < width ? row[at] : 0, high = present && at + 1 < width ? row[at + 1] : 0;
    return high << 16 | low;
}

// The fragment of 16 rows by 16 columns from `at` on.
__device__ __forceinline__ void rows_fragment(uint32_t (&a)[4], const uint16_t* x, size_t stride, int rows, int at,
                                              int width) {
    const int lane = threadIdx.x % WARP, row = lane / 4, column = at + lane % 4 * 2;
    a[0] = pair_at(x + row * stride, column, width, row < rows);
    a[1] = pair_at(x + (row + 8) * stride, column, width, row + 8 < rows);
    a[2] = pair_at(x + row * stride, column + 8, width, row < rows);
    a[3] = pair_at(x + (row + 8) * stride, column + 8, width, row + 8 < rows);
}

// down[row] = A x. x [tokens, in_features], down [tokens, rank_max], zeros beyond the adapter's rank. Grid: (groups, rank_max / 8); four
// warps share in_features and are added up in order.
KERNEL(128)
lora_down(const uint16_t* x, const Group* groups, const LowRank* adapters, uint16_t* down, int in_features,
          int rank_max) {
    __shared__ float parts[4][4][WARP];
    const Group group = groups[blockIdx.x];
    const LowRank adapter = adapters[group.adapter];
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, first = blockIdx.y * 8;
    const uint16_t* rows = x + static_cast<size_t>(group.first_row) * in_features;
    const int column = first + lane / 4;
    const uint16_t* weight = adapter.a + static_cast<size_t>(column) * in_features;
    float sum[4] = {};
    for (int at = warp * 16; at < in_features; at += 64) {
        uint32_t a[4];
        rows_fragment(a, rows, in_features, group.rows, at, in_features);
        const int k = at + lane % 4 * 2;
        const bool present = column < adapter.rank;
        multiply_add(sum, a, pair_at(weight, k, in_features, present), pair_at(weight, k + 8, in_features, present));
    }
    for (int i = 0; i < 4; ++i) parts[warp][i][lane] = sum[i];
    __syncthreads();
    if (warp > 0) return;
    for (int i = 0; i < 4; ++i) {
        const float total = ((parts[0][i][lane] + parts[1][i][lane]) + parts[2][i][lane]) + parts[3][i][lane];
        const int row = lane / 4 + i / 2 * 8, to = first + lane % 4 * 2 + i % 2;
        if (row < group.rows) down[static_cast<size_t>(group.first_row + row) * rank_max + to] = narrow(total);
    }
}

// y[row] += scale * B down. y [tokens, y_stride]: may be a part of a packed projection. Grid: (groups, out_features / 32, rounded up); a
// warp takes 8 columns.
KERNEL(128)
lora_up(const uint16_t* down, const Group* groups, const LowRank* adapters, uint16_t* y, int out_features,
        int y_stride, int rank_max) {
    const Group group = groups[blockIdx.x];
    const LowRank adapter = adapters[group.adapter];
    const int lane = threadIdx.x % WARP, first = (blockIdx.y * 4 + threadIdx.x / WARP) * 8;
    if (first >= out_features) return;
    const uint16_t* rows = down + static_cast<size_t>(group.first_row) * rank_max;
    const int column = first + lane / 4;
    const uint16_t* weight = adapter.b + static_cast<size_t>(column) * adapter.rank;
    float sum[4] = {};
    for (int at = 0; at < adapter.rank; at += 16) {
        uint32_t a[4];
        rows_fragment(a, rows, rank_max, group.rows, at, adapter.rank);
        const int k = at + lane % 4 * 2;
        const bool present = column < out_features;
        multiply_add(sum, a, pair_at(weight, k, adapter.rank, present), pair_at(weight, k + 8, adapter.rank, present));
    }
    for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + i / 2 * 8, to = first + lane % 4 * 2 + i % 2;
        if (row >= group.rows || to >= out_features) continue;
        uint16_t* place = y + static_cast<size_t>(group.first_row + row) * y_stride + to;
        *place = narrow(__fmaf_rn(adapter.scale, sum[i], widen(*place)));
    }
}
