// What the kernels ask of the device beyond C++ and CUDA's own names: bf16 as bits, tensor cores, asynchronous copies.
//
// Everything that is PTX stands here, so that tests/cuda/emulation.h can stand in for it and the kernels run on a CPU,
// thread by thread, where there is no GPU.
#pragma once

#include <stdint.h>

#ifdef CUDA_EMULATION
#include "emulation.h"
#else

// The block's dynamic shared memory.
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#define KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)

// A float to bf16, to nearest even.
__device__ __forceinline__ uint16_t narrow(float x) {
    uint16_t bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}

// Two floats to bf16, the first in the low half.
__device__ __forceinline__ uint32_t narrow_pair(float low, float high) {
    uint32_t bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}

// 2^x. Exact at 0 and -infinity.
__device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// c += a b for a warp's 16 x 16 a and 16 x 8 b, in the fragments of mma.m16n8k16.
__device__ __forceinline__ void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four 8 x 8 matrices out of shared memory; lane 8 i + j names row j of matrix i. A lane gets of each matrix the elements
// (lane / 4, 2 (lane % 4)) and the next of the row.
__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], const void* row) {
    uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
}

// The same of the transposed matrices.
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&to)[4], const void* row) {
    uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
}

// Sixteen bytes into shared memory, on their way until they are waited for; zeros, and nothing is read, if not `present`.
__device__ __forceinline__ void copy_16_async(void* shared, const void* global, bool present) {
    uint32_t to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(present ? 16 : 0) : "memory");
}

// Ends a group of copies.
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits for this thread's groups but the last `LEFT`.
template <int LEFT>
__device__ __forceinline__ void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

#endif

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

__device__ __forceinline__ float widen(uint16_t bits) { return __uint_as_float(static_cast<uint32_t>(bits) << 16); }
__device__ __forceinline__ float widen_low(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float widen_high(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

// Eight bf16 that lie together.
struct Eight {
    float values[8];
};

__device__ __forceinline__ Eight load_eight(const uint16_t* from) {
    const uint4 bits = *reinterpret_cast<const uint4*>(from);
    return {{widen_low(bits.x), widen_high(bits.x), widen_low(bits.y), widen_high(bits.y), widen_low(bits.z),
             widen_high(bits.z), widen_low(bits.w), widen_high(bits.w)}};
}

__device__ __forceinline__ void store_eight(uint16_t* to, const Eight& eight) {
    const float* v = eight.values;
    uint4 bits;
    bits.x = narrow_pair(v[0], v[1]);
    bits.y = narrow_pair(v[2], v[3]);
    bits.z = narrow_pair(v[4], v[5]);
    bits.w = narrow_pair(v[6], v[7]);
    *reinterpret_cast<uint4*>(to) = bits;
}
