// Rows that move: embeddings by id, the rows whose logits are wanted, the vectors of a soft prefix in the place of embeddings.
#include "device.cuh"

// out[i] = table[ids[i]] * scale; a row of zeros for an id that the table does not have. table [count, width], out [gridDim.x,
// width]; width a multiple of 8. Serves embeddings (Gemma's are scaled), and rows of hidden states with a scale of 1.
KERNEL(128)
gather_rows(const uint16_t* table, const uint32_t* ids, uint16_t* out, uint32_t count, int width, float scale) {
    const uint32_t id = ids[blockIdx.x];
    out += static_cast<size_t>(blockIdx.x) * width;
    for (int i = threadIdx.x * 8; i < width; i += blockDim.x * 8) {
        Eight values = {};
        if (id < count) {
            values = load_eight(table + static_cast<size_t>(id) * width + i);
            for (int j = 0; j < 8; ++j) values.values[j] *= scale;
        }
        store_eight(out + i, values);
    }
}

// out[rows[i]] = vectors[i], from f32. vectors [gridDim.x, width], out [count, width]; no row is named twice. Rows beyond are left out.
KERNEL(128)
scatter_vectors(const float* vectors, const uint32_t* rows, uint16_t* out, uint32_t count, int width) {
    const uint32_t row = rows[blockIdx.x];
    if (row >= count) return;
    const float* from = vectors + static_cast<size_t>(blockIdx.x) * width;
    out += static_cast<size_t>(row) * width;
    for (int i = threadIdx.x; i < width; i += blockDim.x) out[i] = narrow(from[i]);
}
