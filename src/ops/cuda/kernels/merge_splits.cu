// The results of a row's splits, folded in ascending order into its attention.
//
// A block has one (row, head), a thread one dimension. Every thread goes through the splits' maxima and sums by itself: they
// are few. Rows that the attention kernel finished in one block do not come here; online_softmax.cuh says why the bits agree.
#include "online_softmax.cuh"

constexpr int SPLIT = 256;

// rows [gridDim.x]: the batch's rows that are in splits; positions and slots [batch rows]; out [batch rows, heads, head_dim].
KERNEL(256)
merge_splits(const float* partial_values, const float* partial_states, const int* rows, const int* positions,
             const int* slots, uint16_t* out, int heads, int head_dim, int window) {
    const int row = rows[blockIdx.x], position = positions[row];
    const int first_seen = window > 0 && position >= window ? position - window + 1 : 0;
    const int splits = position / SPLIT - first_seen / SPLIT + 1;
    float maximum = -INFINITY, sum = 0.0f, value = 0.0f;
    for (int split = 0; split < splits; ++split) {
        const size_t at = static_cast<size_t>(slots[row] + split) * heads + blockIdx.y;
        const Fold by = fold(maximum, partial_states[at * 2]);
        maximum = by.maximum;
        sum = folded(by, sum, partial_states[at * 2 + 1]);
        value = folded(by, value, partial_values[at * head_dim + threadIdx.x]);
    }
    const size_t to = (static_cast<size_t>(row) * heads + blockIdx.y) * head_dim + threadIdx.x;
    out[to] = narrow(__fmul_rn(value, inverse_sum(sum)));
}
