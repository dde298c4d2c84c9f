// The middle of gated linear units, `activation(gate) * up`, out of a packed projection; formulas as in ops/glu.rs.
//
// Both activations are x times the logistic function of something, of which 1 / (1 + 2^-y) is the form that neither end overflows.
#include "device.cuh"

constexpr float LOG2_E = 1.4426950408889634f;
// 2 sqrt(2 / pi), and GELU's cubic term times it.
constexpr float GELU_LINEAR = 1.5957691216057307f;
constexpr float GELU_CUBIC = GELU_LINEAR * 0.044715f;

struct Silu {
    __device__ static float inner(float x) { return x; }
};
struct GeluTanh {
    __device__ static float inner(float x) { return x * (GELU_LINEAR + GELU_CUBIC * x * x); }
};

template <class Activation>
__device__ __forceinline__ void gated(const uint16_t* gate_up, uint16_t* out, int width) {
    const size_t row = blockIdx.y;
    const int at = (blockIdx.x * blockDim.x + threadIdx.x) * 8;
    if (at >= width) return;
    const uint16_t* from = gate_up + row * 2 * width + at;
    Eight gate = load_eight(from);
    const Eight up = load_eight(from + width);
    for (int i = 0; i < 8; ++i) {
        const float x = gate.values[i];
        gate.values[i] = x / (1.0f + exp2_fast(-LOG2_E * Activation::inner(x))) * up.values[i];
    }
    store_eight(out + row * width + at, gate);
}

// gate_up [tokens, gate | up], out [tokens, width]; width a multiple of 8. blockIdx.y is the token.
KERNEL(128) silu_mul(const uint16_t* gate_up, uint16_t* out, int width) { gated<Silu>(gate_up, out, width); }
KERNEL(128) gelu_tanh_mul(const uint16_t* gate_up, uint16_t* out, int width) { gated<GeluTanh>(gate_up, out, width); }
