// CUDA's execution model on one CPU thread, as far as the kernels of src/ops/cuda/kernels use it, for tests without a GPU.
//
// The threads of a block are fibers that run one at a time; they change where a warp or the block meets. What a warp does together
// (shuffles, matrix products, loads of matrices) happens when its last lane arrives, by plain loops over the fragments as the PTX
// manual lays them out. Threads run forwards, and copies that are asynchronous on the device happen when they are waited for; or
// backwards, and copies happen at once: so a wait or a barrier that is missing shows.
//
// Not here: races within one stretch between barriers, ex2.approx's rounding, how tensor cores round their sums, speed.
#pragma once

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(threads)
// In a section of their own, which is filled before each block. Kernels are no templates nor inline, whose statics have sections already.
#define __shared__ static __attribute__((section("shared_statics")))
#define DYNAMIC_SHARED(name) unsigned char* name = emulation::shared_memory()
#define KERNEL(threads) static void

struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};
struct Dim3 {
    unsigned x = 1, y = 1, z = 1;
};
static Dim3 threadIdx, blockIdx, blockDim, gridDim;
// The linker's names for where that section begins and ends; a program without such variables has none.
extern "C" __attribute__((weak)) unsigned char __start_shared_statics[], __stop_shared_statics[];

namespace emulation {

constexpr int LANES = 32;
constexpr size_t STACK = 128 << 10;
constexpr size_t SHARED_MAX = 227 << 10;

// The order in which a block's threads run, and whether copies happen early.
static bool backwards = false;

[[noreturn]] inline void fail(const char* what) {
    std::fprintf(stderr, "emulation: %s (block %u %u, thread %u)\n", what, blockIdx.x, blockIdx.y, threadIdx.x);
    std::exit(1);
}

struct Copy {
    void* to;
    const void* from;
    bool present;
};

inline void perform(const Copy& copy) {
    if (copy.present) std::memcpy(copy.to, copy.from, 16);
    else std::memset(copy.to, 0, 16);
}

struct Fiber {
    ucontext_t start;
    jmp_buf state;
    bool started, finished;
    long meets;  // the meeting it waits for, of its warp or of the block
    bool at_block;
    std::vector<std::vector<Copy>> copies;
};

struct Warp {
    void* slots[LANES];
    const void* operation;
    int arrived, alive;
    long meetings;
};

static std::vector<Fiber> fibers;
static std::vector<Warp> warps;
static unsigned char* stacks = nullptr;
static jmp_buf scheduler;
static const std::function<void()>* body;
static int at_block, alive;
static long block_meetings;

inline unsigned char* shared_memory() {
    alignas(128) static unsigned char memory[SHARED_MAX];
    return memory;
}

inline Fiber& self() { return fibers[threadIdx.x]; }

__attribute__((noinline)) inline void leave() {
    if (_setjmp(self().state) == 0) _longjmp(scheduler, 1);
}

inline void release_block() {
    if (at_block > 0 && at_block == alive) {
        at_block = 0;
        ++block_meetings;
    }
}

inline void enter() {
    (*body)();
    Fiber& fiber = self();
    for (auto& group : fiber.copies)
        if (!group.empty()) fail("a thread ends with copies that nobody waited for");
    fiber.finished = true;
    --alive;
    Warp& warp = warps[threadIdx.x / LANES];
    --warp.alive;
    if (warp.arrived > 0) fail("a lane ends while others of its warp wait for it");
    release_block();
    _longjmp(scheduler, 1);
}

// What a warp does together: `with(slots)` once all of its lanes have brought their `mine`.
template <class With>
inline void together(void* mine, const void* operation, With with) {
    Warp& warp = warps[threadIdx.x / LANES];
    if (warp.arrived == 0) warp.operation = operation;
    if (warp.operation != operation) fail("the lanes of a warp do different things together");
    warp.slots[threadIdx.x % LANES] = mine;
    if (++warp.arrived == LANES) {
        with(warp.slots);
        warp.arrived = 0;
        ++warp.meetings;
        return;
    }
    self().at_block = false;
    self().meets = warp.meetings + 1;
    leave();
}

inline bool can_run(const Fiber& fiber) {
    const long met = fiber.at_block ? block_meetings : warps[threadIdx.x / LANES].meetings;
    return !fiber.finished && (!fiber.started || met >= fiber.meets);
}

// Goes on with the current thread; comes back by the scheduler's state.
inline void resume() {
    Fiber& fiber = self();
    if (fiber.started) _longjmp(fiber.state, 1);
    fiber.started = true;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = stacks + STACK * threadIdx.x;
    fiber.start.uc_stack.ss_size = STACK;
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, enter, 0);
    setcontext(&fiber.start);
}

inline void run_block(unsigned threads) {
    fibers.resize(std::max<size_t>(fibers.size(), threads));
    if (!stacks) {
        stacks = static_cast<unsigned char*>(
            mmap(nullptr, STACK * 1024, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        if (stacks == MAP_FAILED) fail("no memory for stacks");
    }
    warps.assign(threads / LANES, Warp{{}, nullptr, 0, LANES, 0});
    at_block = 0, alive = static_cast<int>(threads), block_meetings = 0;
    // NaN to whoever reads before he writes.
    std::memset(shared_memory(), 0xff, SHARED_MAX);
    if (__start_shared_statics) std::memset(__start_shared_statics, 0xff, __stop_shared_statics - __start_shared_statics);
    for (unsigned i = 0; i < threads; ++i) {
        Fiber& fiber = fibers[i];
        fiber.started = fiber.finished = fiber.at_block = false;
        fiber.meets = 0;
        fiber.copies.assign(1, {});
    }
    // A warp runs as far as it gets before the next one begins, so that who relies on another warp without a barrier is early.
    static unsigned warp, turn;
    static bool moved, warp_moved;
    do {
        moved = false;
        for (warp = 0; warp < threads / LANES; ++warp) {
            do {
                warp_moved = false;
                for (turn = warp * LANES; turn < (warp + 1) * LANES; ++turn) {
                    threadIdx.x = backwards ? threads - 1 - turn : turn;
                    if (!can_run(self())) continue;
                    moved = warp_moved = true;
                    if (_setjmp(scheduler) == 0) resume();
                }
            } while (warp_moved);
        }
    } while (moved);
    if (alive > 0) fail("threads wait for a meeting that never comes");
}

// A launch: `kernel` is called in every thread.
inline void launch(Dim3 grid, unsigned threads, const std::function<void()>& kernel) {
    if (threads % LANES != 0 || threads > 1024) fail("blocks are whole warps, up to 1024 threads");
    gridDim = grid, blockDim = {threads, 1, 1};
    body = &kernel;
    for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) run_block(threads);
}

inline float bf16_to_float(uint16_t bits) {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float x;
    std::memcpy(&x, &wide, 4);
    return x;
}

inline float element(const uint32_t* registers, int index, int half) {
    return bf16_to_float(static_cast<uint16_t>(registers[index] >> (16 * half)));
}

// Names an operation.
inline const char SHUFFLE[] = "shuffle", ANY[] = "any", PRODUCT[] = "product", LOAD[] = "load", TRANSPOSED[] = "transposed";

inline void load_matrices(uint32_t (&to)[4], const void* row, bool transposed) {
    struct Mine {
        const uint16_t* row;
        uint32_t* to;
    } mine = {static_cast<const uint16_t*>(row), to};
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) fail("rows of matrices are aligned to 16 bytes");
    together(&mine, transposed ? TRANSPOSED : LOAD, [transposed](void** slots) {
        auto lane = [&](int i) { return static_cast<Mine*>(slots[i]); };
        for (int matrix = 0; matrix < 4; ++matrix) {
            for (int i = 0; i < LANES; ++i) {
                uint32_t pair[2];
                for (int j = 0; j < 2; ++j) {
                    const int row = transposed ? i % 4 * 2 + j : i / 4, column = transposed ? i / 4 : i % 4 * 2 + j;
                    pair[j] = lane(matrix * 8 + row)->row[column];
                }
                lane(i)->to[matrix] = pair[1] << 16 | pair[0];
            }
        }
    });
}

}  // namespace emulation

inline void __syncthreads() {
    using namespace emulation;
    self().at_block = true;
    self().meets = block_meetings + 1;
    ++at_block;
    const long meeting = block_meetings;
    release_block();
    if (block_meetings == meeting) leave();
}

template <class T>
inline T __shfl_xor_sync(unsigned, T value, int mask) {
    struct Mine {
        T in, out;
        int mask;
    } mine = {value, value, mask};
    emulation::together(&mine, emulation::SHUFFLE, [](void** slots) {
        for (int i = 0; i < emulation::LANES; ++i) {
            Mine* lane = static_cast<Mine*>(slots[i]);
            lane->out = static_cast<Mine*>(slots[i ^ lane->mask])->in;
        }
    });
    return mine.out;
}

inline bool __any_sync(unsigned, bool value) {
    bool mine = value;
    emulation::together(&mine, emulation::ANY, [](void** slots) {
        bool any = false;
        for (int i = 0; i < emulation::LANES; ++i) any |= *static_cast<bool*>(slots[i]);
        for (int i = 0; i < emulation::LANES; ++i) *static_cast<bool*>(slots[i]) = any;
    });
    return mine;
}

template <class T>
inline T atomicAdd(T* at, T value) {
    const T before = *at;
    *at += value;
    return before;
}

inline uint32_t __float_as_uint(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    return bits;
}
inline float __uint_as_float(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }

inline uint16_t narrow(float x) {
    const uint32_t bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}
inline uint32_t narrow_pair(float low, float high) { return static_cast<uint32_t>(narrow(high)) << 16 | narrow(low); }
inline float exp2_fast(float x) { return std::exp2(x); }

inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    struct Mine {
        float* c;
        const uint32_t* a;
        uint32_t b[2];
    } mine = {c, a, {b0, b1}};
    emulation::together(&mine, emulation::PRODUCT, [](void** slots) {
        // a: lane 4 (row % 8) + column % 8 / 2 holds it in register row / 8 + 2 (column / 8); b: lane 4 column + row % 8 / 2, register row / 8;
        // c: lane 4 (row % 8) + column / 2, register 2 (row / 8) + column % 2.
        float a[16][16], b[16][8];
        for (int row = 0; row < 16; ++row) {
            for (int k = 0; k < 16; ++k)
                a[row][k] = emulation::element(static_cast<Mine*>(slots[row % 8 * 4 + k % 8 / 2])->a, row / 8 + k / 8 * 2, k % 2);
            for (int column = 0; column < 8; ++column)
                b[row][column] = emulation::element(static_cast<Mine*>(slots[column * 4 + row % 8 / 2])->b, row / 8, row % 2);
        }
        for (int row = 0; row < 16; ++row) {
            for (int column = 0; column < 8; ++column) {
                float& sum = static_cast<Mine*>(slots[row % 8 * 4 + column / 2])->c[row / 8 * 2 + column % 2];
                for (int k = 0; k < 16; ++k) sum += a[row][k] * b[k][column];
            }
        }
    });
}

inline void load_matrices(uint32_t (&to)[4], const void* row) { emulation::load_matrices(to, row, false); }
inline void load_matrices_transposed(uint32_t (&to)[4], const void* row) { emulation::load_matrices(to, row, true); }

inline void copy_16_async(void* shared, const void* global, bool present) {
    if (reinterpret_cast<uintptr_t>(shared) % 16 != 0 || (present && reinterpret_cast<uintptr_t>(global) % 16 != 0))
        emulation::fail("copies are aligned to 16 bytes");
    const emulation::Copy copy = {shared, global, present};
    if (emulation::backwards) emulation::perform(copy);
    emulation::self().copies.back().push_back(copy);
}
inline void commit_copies() { emulation::self().copies.emplace_back(); }
template <int LEFT>
inline void wait_for_copies() {
    auto& groups = emulation::self().copies;
    // The last is open and holds what was not committed.
    while (static_cast<int>(groups.size()) - 1 > LEFT) {
        if (!emulation::backwards)
            for (const emulation::Copy& copy : groups.front()) emulation::perform(copy);
        groups.erase(groups.begin());
    }
}
