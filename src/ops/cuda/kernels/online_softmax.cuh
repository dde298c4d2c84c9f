// The state of an online softmax (arXiv:1805.02867) in base 2, and how two of them become one.
//
// One function for the attention kernel, which folds split after split where a block has all of them, and for the merge kernel, which
// folds what blocks left: both take splits in ascending order and round alike, so a row's bits do not depend on which
// of the two it went through.
#pragma once

#include "device.cuh"

// Factors that bring two states to one maximum.
struct Fold {
    float maximum;
    float of_merged;
    float of_next;
};

// Where nothing has been seen the maximum is -infinity: then 0 takes its place, so that no infinity is taken from another. Folding
// with an empty state changes no bit of the other.
__device__ __forceinline__ Fold fold(float merged_maximum, float next_maximum) {
    const float maximum = fmaxf(merged_maximum, next_maximum);
    const float base = maximum == -INFINITY ? 0.0f : maximum;
    return {maximum, exp2_fast(merged_maximum - base), exp2_fast(next_maximum - base)};
}

__device__ __forceinline__ float folded(const Fold& by, float merged, float next) {
    return __fmaf_rn(merged, by.of_merged, __fmul_rn(next, by.of_next));
}

// What the accumulator is multiplied with at the end; a row that sees nothing is 0.
__device__ __forceinline__ float inverse_sum(float sum) { return sum == 0.0f ? 0.0f : __fdiv_rn(1.0f, sum); }
