// LoRA rows against f64: ranks and widths that fill no tile, several adapters, rows that go through none.
#include "check.h"

namespace lora {
#include "lora_rows.cu"
}

using check::Buffer;

struct Adapter {
    std::vector<uint16_t> a, b;
    int rank;
    float scale;
};

// Rows of the batch by adapter, -1 for none, from one linear of in_features to out_features that lies in a wider row.
static std::vector<uint16_t> run(const std::vector<int>& rows, const std::vector<Adapter>& adapters, const std::vector<uint16_t>& x,
                                 const std::vector<uint16_t>& y, int in_features, int out_features, int y_stride, int rank_max) {
    std::vector<lora::Group> groups;
    for (int row = 0; row < static_cast<int>(rows.size()); ++row) {
        if (rows[row] < 0) continue;
        const bool joins = !groups.empty() && groups.back().adapter == rows[row] && groups.back().rows < 16 &&
                           groups.back().first_row + groups.back().rows == row;
        if (joins) ++groups.back().rows;
        else groups.push_back({row, 1, rows[row]});
    }
    std::vector<Buffer<uint16_t>*> held;
    std::vector<lora::LowRank> low_ranks;
    for (const Adapter& adapter : adapters) {
        held.push_back(new Buffer<uint16_t>(adapter.a));
        held.push_back(new Buffer<uint16_t>(adapter.b));
        low_ranks.push_back({*held[held.size() - 2], *held.back(), adapter.rank, adapter.scale});
    }
    Buffer<lora::Group> its_groups(groups);
    Buffer<lora::LowRank> its_adapters(low_ranks);
    Buffer<uint16_t> in(x), down(rows.size() * rank_max, check::NOT_A_NUMBER), out(y);
    const unsigned count = static_cast<unsigned>(groups.size());
    LAUNCH(({count, static_cast<unsigned>(rank_max / 8)}), 128, lora::lora_down(in, its_groups, its_adapters, down, in_features, rank_max));
    LAUNCH(({count, static_cast<unsigned>((out_features + 31) / 32)}), 128,
           lora::lora_up(down, its_groups, its_adapters, out, out_features, y_stride, rank_max));
    for (auto* buffer : held) delete buffer;
    check::remember(out.data(), out.size());
    return out.copy();
}

static void check_case(int in_features, int out_features, const std::vector<int>& ranks, const std::vector<int>& rows) {
    const std::string name = "lora " + std::to_string(in_features) + " to " + std::to_string(out_features);
    const int y_stride = out_features + 24, count = static_cast<int>(rows.size());
    check::Random random(in_features + out_features);
    std::vector<Adapter> adapters;
    int rank_max = 8;
    for (int rank : ranks) {
        adapters.push_back({random.bf16s(static_cast<size_t>(rank) * in_features, 0.2f), random.bf16s(static_cast<size_t>(out_features) * rank),
                            rank, 0.5f + rank});
        rank_max = std::max(rank_max, (rank + 7) / 8 * 8);
    }
    const auto x = random.bf16s(static_cast<size_t>(count) * in_features), y = random.bf16s(static_cast<size_t>(count) * y_stride);
    const auto out = run(rows, adapters, x, y, in_features, out_features, y_stride, rank_max);
    for (int row = 0; row < count; ++row) {
        const Adapter* adapter = rows[row] < 0 ? nullptr : &adapters[rows[row]];
        std::vector<double> down;
        for (int r = 0; adapter && r < adapter->rank; ++r) {
            double sum = 0;
            for (int i = 0; i < in_features; ++i) sum += static_cast<double>(widen(x[row * in_features + i])) * widen(adapter->a[r * in_features + i]);
            down.push_back(sum);
        }
        for (int to = 0; to < y_stride; ++to) {
            const size_t at = static_cast<size_t>(row) * y_stride + to;
            if (!adapter || to >= out_features) {
                check::expect(out[at] == y[at], name + ": what no adapter changes");
                continue;
            }
            double sum = 0, size = 0;
            for (int r = 0; r < adapter->rank; ++r) {
                sum += down[r] * widen(adapter->b[to * adapter->rank + r]);
                size += std::fabs(down[r] * widen(adapter->b[to * adapter->rank + r]));
            }
            // A x is rounded between the steps.
            check::near_bf16(out[at], widen(y[at]) + adapter->scale * sum, adapter->scale * size * (1.05 / 256) + 1e-4, name);
        }
    }
    // The last row alone.
    if (rows.back() < 0) return;
    const auto alone = run({rows.back()}, adapters, {x.end() - in_features, x.end()}, {y.end() - y_stride, y.end()}, in_features,
                           out_features, y_stride, rank_max);
    check::expect(std::equal(alone.begin(), alone.end(), out.end() - y_stride), name + ": a row alone differs");
}

int main() {
    return check::run("lora", [] {
        check_case(64, 32, {8}, {0});
        check_case(200, 70, {16, 4, 33}, {0, 0, -1, 1, 1, 1, -1, 2, 0, 2});
        check_case(37, 9, {5, 1}, {-1, 0, 1, 1});
        check_case(128, 40, {64}, std::vector<int>(35, 0));
    });
}
