// What the checks of the kernels share: buffers whose ends are guarded, random numbers, comparison with a reference.
#pragma once

#include <unistd.h>

#include "device.cuh"

namespace check {

// Memory behind which there is a page that nobody may touch: a kernel that goes beyond by sixteen bytes ends the program.
template <class T>
class Buffer {
   public:
    Buffer(size_t count, T fill) : count_(count) {
        const size_t page = sysconf(_SC_PAGESIZE), bytes = (count * sizeof(T) + 15) / 16 * 16;
        length_ = (bytes + page - 1) / page * page + page;
        start_ = static_cast<char*>(mmap(nullptr, length_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (start_ == MAP_FAILED || mprotect(start_ + length_ - page, page, PROT_NONE) != 0) emulation::fail("no memory");
        data_ = reinterpret_cast<T*>(start_ + length_ - page - bytes);
        std::fill(data_, data_ + count, fill);
    }
    explicit Buffer(const std::vector<T>& values) : Buffer(values.size(), T{}) {
        std::copy(values.begin(), values.end(), data_);
    }
    Buffer(const Buffer&) = delete;
    ~Buffer() { munmap(start_, length_); }

    operator T*() { return data_; }
    T* data() { return data_; }
    size_t size() const { return count_; }
    std::vector<T> copy() const { return {data_, data_ + count_}; }

   private:
    size_t count_, length_;
    char* start_;
    T* data_;
};

// SplitMix64: the checks see the same numbers on every machine.
class Random {
   public:
    explicit Random(uint64_t seed) : state_(seed) {}
    uint64_t next() {
        uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        return z ^ z >> 31;
    }
    int below(int bound) { return static_cast<int>(next() % bound); }
    // About normal: the sum of twelve uniforms.
    float normal() {
        double sum = -6;
        for (int i = 0; i < 12; ++i) sum += static_cast<double>(next() >> 11) / 9007199254740992.0;
        return static_cast<float>(sum);
    }
    std::vector<uint16_t> bf16s(size_t count, float scale = 1.0f) {
        std::vector<uint16_t> values(count);
        for (auto& value : values) value = narrow(normal() * scale);
        return values;
    }

   private:
    uint64_t state_;
};

constexpr uint16_t NOT_A_NUMBER = 0x7fff;

static int checks = 0;
// Of everything that was compared: the threads' order must not show.
static uint64_t digest = 0;

inline void expect(bool holds, const std::string& what) {
    ++checks;
    if (!holds) {
        std::fprintf(stderr, "FAILED: %s%s\n", what.c_str(), emulation::backwards ? " (threads backwards)" : "");
        std::exit(1);
    }
}

template <class T>
void remember(const T* values, size_t count) {
    const unsigned char* bytes = reinterpret_cast<const unsigned char*>(values);
    for (size_t i = 0; i < count * sizeof(T); ++i) digest = (digest ^ bytes[i]) * 0x100000001b3u;
}

// One number; a NaN passes nowhere.
inline void near(double got, double expected, double tolerance, const std::string& what) {
    if (std::fabs(got - expected) <= tolerance) {
        ++checks;
        return;
    }
    char line[160];
    std::snprintf(line, sizeof line, ": %.9g, expected %.9g within %.3g", got, expected, tolerance);
    expect(false, what + line);
}

// bf16 against f64: rounding to nearest, and a little for the f32 arithmetic before it.
inline void near_bf16(uint16_t got, double expected, double noise, const std::string& what) {
    near(widen(got), expected, std::fabs(expected) / 256 + noise, what);
}

// Runs the checks with the threads in both orders.
inline int run(const char* name, const std::function<void()>& body) {
    uint64_t digests[2];
    for (int order = 0; order < 2; ++order) {
        emulation::backwards = order == 1;
        digest = 0xcbf29ce484222325u;
        body();
        digests[order] = digest;
    }
    expect(digests[0] == digests[1], "the order of the threads changes a result");
    std::printf("%s: %d checks\n", name, checks);
    return 0;
}

}  // namespace check

#define LAUNCH(grid, threads, call) emulation::launch(Dim3 grid, threads, [&] { call; })
