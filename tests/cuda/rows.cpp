// What works row by row, against f64: the norm, RoPE with the write into the pool, gated units, rows that move.
#include "check.h"

namespace norm {
#include "add_rms_norm.cu"
}
namespace rotary {
#include "rope_kv_write.cu"
}
namespace gated_units {
#include "glu.cu"
}
namespace moved {
#include "rows.cu"
}

using check::Buffer;
using check::expect;
using check::near_bf16;

static void norm_with_residual(int width, int rows, float offset) {
    check::Random random(width);
    const std::string name = "norm of " + std::to_string(width);
    const auto x = random.bf16s(static_cast<size_t>(rows) * width), before = random.bf16s(x.size(), 3), weight = random.bf16s(width);
    const int threads = width <= 256 ? 32 : 256;
    auto run = [&](int first, int count) {
        const auto start = static_cast<size_t>(first) * width, end = static_cast<size_t>(first + count) * width;
        Buffer<uint16_t> in(std::vector<uint16_t>(x.begin() + start, x.begin() + end));
        Buffer<uint16_t> residual(std::vector<uint16_t>(before.begin() + start, before.begin() + end));
        Buffer<uint16_t> weights(weight), out(end - start, check::NOT_A_NUMBER);
        LAUNCH(({static_cast<unsigned>(count)}), threads, norm::add_rms_norm(in, residual, weights, out, width, 1, width, width, 1e-6f, offset));
        check::remember(out.data(), out.size());
        return std::pair(residual.copy(), out.copy());
    };
    const auto [residual, out] = run(0, rows);
    for (int row = 0; row < rows; ++row) {
        double squares = 0;
        for (int i = row * width; i < (row + 1) * width; ++i) {
            near_bf16(residual[i], static_cast<double>(widen(x[i])) + widen(before[i]), 0, name + ": residual");
            squares += static_cast<double>(widen(residual[i])) * widen(residual[i]);
        }
        const double factor = 1 / std::sqrt(squares / width + 1e-6);
        for (int i = row * width; i < (row + 1) * width; ++i)
            near_bf16(out[i], widen(residual[i]) * factor * (offset + widen(weight[i - row * width])), 1e-5, name);
    }
    const auto [its_residual, its_out] = run(rows - 1, 1);
    expect(std::equal(its_out.begin(), its_out.end(), out.end() - width), name + ": a row alone differs");
}

// Heads of a packed projection, in place.
static void norm_of_heads() {
    const int tokens = 3, heads = 5, width = 24, stride = heads * width + 16;
    check::Random random(7);
    const auto x = random.bf16s(static_cast<size_t>(tokens) * stride), weight = random.bf16s(width);
    Buffer<uint16_t> packed(x), weights(weight);
    LAUNCH(({tokens * heads}), 32, norm::add_rms_norm(packed, nullptr, weights, packed, width, heads, stride, stride, 1e-5f, 0));
    for (int token = 0; token < tokens; ++token) {
        for (int at = 0; at < stride; ++at) {
            const size_t index = static_cast<size_t>(token) * stride + at;
            if (at >= heads * width) {
                expect(packed[index] == x[index], "norm of heads: what lies behind them");
                continue;
            }
            double squares = 0;
            for (int i = at / width * width; i < (at / width + 1) * width; ++i) {
                const double value = widen(x[static_cast<size_t>(token) * stride + i]);
                squares += value * value;
            }
            near_bf16(packed[index], widen(x[index]) / std::sqrt(squares / width + 1e-5) * widen(weight[at % width]), 1e-5, "norm of heads");
        }
    }
}

static void rope_and_write(int heads, int kv_heads, int head_dim, int half) {
    const int tokens = 5, blocks = 4, positions_max = 90, stride = (heads + 2 * kv_heads) * head_dim + 8;
    const std::string name = "rope " + std::to_string(head_dim) + "/" + std::to_string(2 * half);
    check::Random random(head_dim + half);
    auto qkv = random.bf16s(static_cast<size_t>(tokens) * stride);
    // Of token 3, a value of the last KV head is infinite.
    qkv[3 * stride + (heads + 2 * kv_heads) * head_dim - 1] = 0x7f80;
    std::vector<float> table(static_cast<size_t>(positions_max) * 2 * half);
    for (int position = 0; position < positions_max; ++position) {
        for (int i = 0; i < half; ++i) {
            const double angle = position * std::pow(10000.0, -static_cast<double>(i) / half);
            table[position * 2 * half + i] = static_cast<float>(std::cos(angle));
            table[position * 2 * half + half + i] = static_cast<float>(std::sin(angle));
        }
    }
    const std::vector<int> positions = {0, 89, 33, 5, 7}, slots = {3 * 32, 63, 33, 31, -1};
    const size_t tile = static_cast<size_t>(2) * 32 * head_dim;
    Buffer<uint16_t> in(qkv), q(static_cast<size_t>(tokens) * heads * head_dim, check::NOT_A_NUMBER), pool(blocks * kv_heads * tile, 0x1234);
    Buffer<float> turns(table);
    Buffer<int> at(positions), to(slots);
    LAUNCH(({tokens}), 128, rotary::rope_kv_write(in, turns, at, to, q, pool, stride, heads, kv_heads, head_dim, half));
    check::remember(pool.data(), pool.size());
    size_t written = 0;
    for (int token = 0; token < tokens; ++token) {
        auto turned = [&](const uint16_t* head, int i) {
            if (i >= 2 * half) return static_cast<double>(widen(head[i]));
            const double cos = table[positions[token] * 2 * half + i % half], sin = table[positions[token] * 2 * half + half + i % half];
            return i < half ? widen(head[i]) * cos - widen(head[i + half]) * sin : widen(head[i]) * cos + widen(head[i - half]) * sin;
        };
        for (int head = 0; head < heads + kv_heads; ++head) {
            const uint16_t* from = &qkv[static_cast<size_t>(token) * stride + head * head_dim];
            const int kv_head = head - heads;
            if (kv_head >= 0 && slots[token] < 0) continue;
            const bool unsound = token == 3 && kv_head == kv_heads - 1;
            const size_t start = (static_cast<size_t>(slots[token] / 32) * kv_heads + kv_head) * tile + slots[token] % 32 * head_dim;
            for (int i = 0; i < head_dim; ++i) {
                if (kv_head < 0) {
                    near_bf16(q[(static_cast<size_t>(token) * heads + head) * head_dim + i], turned(from, i), 1e-6, name + ": q");
                } else if (unsound) {
                    expect(std::isnan(widen(pool[start + i])) && pool[start + 32 * head_dim + i] == 0, name + ": unsound values");
                } else {
                    near_bf16(pool[start + i], turned(from, i), 1e-6, name + ": k");
                    expect(pool[start + 32 * head_dim + i] == from[kv_heads * head_dim + i], name + ": v");
                }
            }
            if (kv_head >= 0) written += 2 * head_dim;
        }
    }
    const size_t untouched = std::count(pool.data(), pool.data() + pool.size(), 0x1234);
    expect(untouched + written >= pool.size(), name + ": something else was written");
}

static void gated_unit(int width, bool gelu) {
    const int tokens = 3;
    check::Random random(width);
    auto in = random.bf16s(static_cast<size_t>(tokens) * 2 * width, 3);
    // Where exponentials end.
    for (int i = 0; i < 8; ++i) in[i] = narrow((i % 2 ? -1 : 1) * std::pow(10.0f, static_cast<float>(i) - 1));
    Buffer<uint16_t> gate_up(in), out(static_cast<size_t>(tokens) * width, check::NOT_A_NUMBER);
    LAUNCH(({static_cast<unsigned>((width + 1023) / 1024), tokens}), 128,
           (gelu ? gated_units::gelu_tanh_mul : gated_units::silu_mul)(gate_up, out, width));
    check::remember(out.data(), out.size());
    for (int token = 0; token < tokens; ++token) {
        for (int i = 0; i < width; ++i) {
            const double x = widen(in[token * 2 * width + i]), up = widen(in[token * 2 * width + width + i]);
            const double inner = gelu ? 2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x) : x;
            // Where the negative end of GELU vanishes, an exponential of f32 has its own error.
            const double noise = std::fabs(x * up) * 1e-6;
            near_bf16(out[token * width + i], x / (1 + std::exp(-inner)) * up, noise, gelu ? "gelu_tanh_mul" : "silu_mul");
        }
    }
}

static void rows_that_move() {
    const int width = 1032, count = 7;
    check::Random random(3);
    const auto table = random.bf16s(static_cast<size_t>(count) * width);
    const std::vector<uint32_t> ids = {6, 0, 0, 7, 3};
    Buffer<uint16_t> embeddings(table), out(ids.size() * width, check::NOT_A_NUMBER);
    Buffer<uint32_t> wanted(ids);
    LAUNCH(({5}), 128, moved::gather_rows(embeddings, wanted, out, count, width, 33.5f));
    for (size_t i = 0; i < out.size(); ++i) {
        const uint32_t id = ids[i / width];
        near_bf16(out[i], id < 7 ? widen(table[id * width + i % width]) * 33.5 : 0, 0, "gather_rows");
    }
    LAUNCH(({5}), 128, moved::gather_rows(embeddings, wanted, out, count, width, 1.0f));
    for (size_t i = 0; i < out.size(); ++i)
        expect(out[i] == (ids[i / width] < 7 ? table[ids[i / width] * width + i % width] : 0), "gather_rows without a scale");

    std::vector<float> vectors(3 * width);
    for (float& value : vectors) value = random.normal();
    Buffer<float> from(vectors);
    Buffer<uint32_t> rows(std::vector<uint32_t>{5, 9, 1});
    Buffer<uint16_t> to(table);
    LAUNCH(({3}), 128, moved::scatter_vectors(from, rows, to, count, width));
    for (size_t i = 0; i < to.size(); ++i) {
        const size_t row = i / width;
        if (row == 5 || row == 1) near_bf16(to[i], vectors[(row == 5 ? 0 : 2) * width + i % width], 0, "scatter_vectors");
        else expect(to[i] == table[i], "scatter_vectors: another row");
    }
}

int main() {
    return check::run("rows", [] {
        for (int width : {8, 64, 256, 264, 2056, 4096}) norm_with_residual(width, 3, width % 3 == 1 ? 1.0f : 0.0f);
        norm_of_heads();
        rope_and_write(5, 1, 64, 32);
        rope_and_write(3, 3, 128, 48);
        rope_and_write(7, 2, 96, 20);
        for (int width : {8, 1016, 1032}) gated_unit(width, false), gated_unit(width, true);
        rows_that_move();
    });
}
