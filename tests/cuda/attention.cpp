// Paged attention against f64: prompts and decoding, splits in one block and in many, grouped prefixes. All ways give the same bits.
#include "check.h"
#include "online_softmax.cuh"

namespace attention {
#include "paged_attention.cu"
}
namespace merge {
#include "merge_splits.cu"
}

using attention::Item;
using check::Buffer;

constexpr int BLOCK = 32, SPLIT = 256;

struct Case {
    const char* name;
    int heads, kv_heads, head_dim;
    // Of each sequence: positions in all, and how many of the last are rows of the batch.
    std::vector<std::pair<int, int>> sequences;
    // Blocks that all sequences begin with.
    int shared = 0;
    int window = 0;
    float softcap = 0;
    // Of q: how far softmax leans to single positions.
    float sharpness = 1;
};

struct Batch {
    std::vector<int> first_rows, positions;
    std::vector<std::vector<uint32_t>> tables;
    int blocks = 0, rows = 0, stride = 0;
};

enum class Way { WHOLE, SPLIT, GROUPED };

struct Plan {
    std::vector<Item> items;
    std::vector<int> plan_rows, slots, merged_rows;
    int slots_count = 0;
};

static int first_seen(int window, int position) { return window > 0 ? std::max(0, position - window + 1) : 0; }

// Items for the plan's rows first..end, for one split or (-1) all, in pieces of up to `lanes_max`.
static void add_items(Plan& plan, const Case& of, const Batch& batch, int first, int end, int sequence, int split, int lanes_max) {
    const int group = of.heads / of.kv_heads;
    for (int lane = first * group; lane < end * group; lane += lanes_max) {
        const int lane_end = std::min(end * group, lane + lanes_max);
        int first_position = 1 << 30, end_position = 0;
        for (int row = lane / group; row <= (lane_end - 1) / group; ++row) {
            const int position = batch.positions[plan.plan_rows[row]];
            first_position = std::min(first_position, first_seen(of.window, position));
            end_position = std::max(end_position, position + 1);
        }
        if (split >= 0) {
            first_position = std::max(first_position, split * SPLIT);
            end_position = std::min(end_position, (split + 1) * SPLIT);
        }
        if (first_position < end_position)
            plan.items.push_back({lane, lane_end - lane, sequence, first_position, end_position, split >= 0});
    }
}

static Plan make_plan(const Case& of, const Batch& batch, Way way, int lanes_max) {
    Plan plan;
    const int sequences = static_cast<int>(of.sequences.size());
    std::vector<int> starts;
    // In reverse, so that the plan's order is not the batch's.
    for (int sequence = sequences - 1; sequence >= 0; --sequence) {
        starts.push_back(static_cast<int>(plan.plan_rows.size()));
        for (int row = 0; row < of.sequences[sequence].second; ++row)
            plan.plan_rows.push_back(batch.first_rows[sequence] + row);
    }
    starts.push_back(batch.rows);
    plan.slots.assign(batch.rows, -1);
    if (way != Way::WHOLE) {
        for (int row = 0; row < batch.rows; ++row) {
            const int position = batch.positions[row];
            plan.slots[row] = plan.slots_count;
            plan.slots_count += position / SPLIT - first_seen(of.window, position) / SPLIT + 1;
            plan.merged_rows.push_back(row);
        }
    }
    const int splits = (*std::max_element(batch.positions.begin(), batch.positions.end())) / SPLIT + 1;
    for (int split = way == Way::WHOLE ? -1 : 0; split < (way == Way::WHOLE ? 0 : splits); ++split) {
        if (way == Way::GROUPED && (split + 1) * SPLIT <= of.shared * BLOCK) {
            add_items(plan, of, batch, 0, batch.rows, 0, split, lanes_max);
            continue;
        }
        for (int i = 0; i < sequences; ++i)
            add_items(plan, of, batch, starts[i], starts[i + 1], sequences - 1 - i, split, lanes_max);
    }
    return plan;
}

static Batch make_batch(const Case& of, check::Random& random) {
    Batch batch;
    std::vector<uint32_t> prefix;
    int total = of.shared;
    for (auto [length, rows] : of.sequences) total += (length + BLOCK - 1) / BLOCK;
    std::vector<uint32_t> free(total + 3);
    for (size_t i = 0; i < free.size(); ++i) free[i] = static_cast<uint32_t>(i);
    for (size_t i = free.size() - 1; i > 0; --i) std::swap(free[i], free[random.below(static_cast<int>(i) + 1)]);
    batch.blocks = static_cast<int>(free.size());
    auto take = [&] {
        const uint32_t block = free.back();
        free.pop_back();
        return block;
    };
    for (int i = 0; i < of.shared; ++i) prefix.push_back(take());
    for (auto [length, rows] : of.sequences) {
        batch.first_rows.push_back(batch.rows);
        batch.rows += rows;
        for (int position = length - rows; position < length; ++position) batch.positions.push_back(position);
        std::vector<uint32_t> table = prefix;
        table.resize(std::min<size_t>(table.size(), (length + BLOCK - 1) / BLOCK));
        while (static_cast<int>(table.size()) * BLOCK < length) table.push_back(take());
        batch.stride = std::max<int>(batch.stride, table.size());
        batch.tables.push_back(table);
    }
    return batch;
}

// K or V of a position. A tile is [K | V][32][head_dim].
static size_t place(const Case& of, const Batch& batch, int sequence, int position, int kv_head, int which) {
    const size_t block = batch.tables[sequence][position / BLOCK];
    return (((block * of.kv_heads + kv_head) * 2 + which) * BLOCK + position % BLOCK) * of.head_dim;
}

struct Data {
    std::vector<uint16_t> q, pool;
    int q_stride;
};

static Data make_data(const Case& of, const Batch& batch, check::Random& random) {
    Data data;
    // Rows lie apart, as in a packed projection.
    data.q_stride = of.heads * of.head_dim + 8;
    data.q = random.bf16s(static_cast<size_t>(batch.rows) * data.q_stride, of.sharpness);
    // What nobody wrote is NaN.
    data.pool.assign(static_cast<size_t>(batch.blocks) * of.kv_heads * 2 * BLOCK * of.head_dim, check::NOT_A_NUMBER);
    for (size_t sequence = 0; sequence < batch.tables.size(); ++sequence) {
        for (int position = 0; position < of.sequences[sequence].first; ++position) {
            for (int part = 0; part < 2 * of.kv_heads; ++part) {
                uint16_t* to = &data.pool[place(of, batch, sequence, position, part / 2, part % 2)];
                if (to[0] != check::NOT_A_NUMBER) continue;
                for (int i = 0; i < of.head_dim; ++i) to[i] = narrow(random.normal());
            }
        }
    }
    return data;
}

static std::vector<uint16_t> run(const Case& of, const Batch& batch, const Data& data, Way way, int warps) {
    const int lanes_max = 16 * warps;
    Plan plan = make_plan(of, batch, way, lanes_max);
    std::vector<uint32_t> flat;
    for (auto& table : batch.tables) {
        flat.insert(flat.end(), table.begin(), table.end());
        flat.resize(flat.size() + batch.stride - table.size(), 0xffffffffu);
    }
    Buffer<uint16_t> q(data.q), pool(data.pool), out(static_cast<size_t>(batch.rows) * of.heads * of.head_dim, check::NOT_A_NUMBER);
    Buffer<uint32_t> tables(flat);
    Buffer<Item> items(plan.items);
    Buffer<int> plan_rows(plan.plan_rows), positions(batch.positions), slots(plan.slots);
    const size_t states = static_cast<size_t>(plan.slots_count) * of.heads;
    Buffer<float> values(states * of.head_dim, NAN), sums(states * 2, NAN);
    const float scale = 1.0f / std::sqrt(static_cast<float>(of.head_dim));
    auto kernel = of.head_dim == 64   ? attention::paged_attention_64
                  : of.head_dim == 96 ? attention::paged_attention_96
                  : of.head_dim == 128 ? attention::paged_attention_128
                                       : attention::paged_attention_256;
    LAUNCH(({static_cast<unsigned>(plan.items.size()), static_cast<unsigned>(of.kv_heads)}), warps * 32,
           kernel(q, pool, tables, items, plan_rows, positions, slots, out, values, sums, data.q_stride, of.heads, of.kv_heads,
                  batch.stride, of.window, scale, of.softcap));
    if (way != Way::WHOLE) {
        Buffer<int> rows(plan.merged_rows);
        LAUNCH(({static_cast<unsigned>(batch.rows), static_cast<unsigned>(of.heads)}), of.head_dim,
               merge::merge_splits(values, sums, rows, positions, slots, out, of.heads, of.head_dim, of.window));
    }
    check::remember(out.data(), out.size());
    return out.copy();
}

static void against_reference(const Case& of, const Batch& batch, const Data& data, const std::vector<uint16_t>& out) {
    const double scale = 1.0 / std::sqrt(static_cast<float>(of.head_dim));
    const int group = of.heads / of.kv_heads;
    for (size_t sequence = 0; sequence < batch.tables.size(); ++sequence) {
        for (int at = 0; at < of.sequences[sequence].second; ++at) {
            const int row = batch.first_rows[sequence] + at, position = batch.positions[row];
            const int first = first_seen(of.window, position);
            for (int head = 0; head < of.heads; ++head) {
                std::vector<double> weights;
                double most = -INFINITY, total = 0;
                for (int p = first; p <= position; ++p) {
                    const uint16_t* k = &data.pool[place(of, batch, sequence, p, head / group, 0)];
                    const uint16_t* q = &data.q[static_cast<size_t>(row) * data.q_stride + head * of.head_dim];
                    double product = 0;
                    for (int i = 0; i < of.head_dim; ++i) product += static_cast<double>(widen(q[i])) * widen(k[i]);
                    product *= scale;
                    if (of.softcap > 0) product = of.softcap * std::tanh(product / of.softcap);
                    weights.push_back(product);
                    most = std::max(most, product);
                }
                for (double& weight : weights) total += weight = std::exp(weight - most);
                for (int i = 0; i < of.head_dim; ++i) {
                    double sum = 0, size = 0;
                    for (int p = first; p <= position; ++p) {
                        const double value = widen(data.pool[place(of, batch, sequence, p, head / group, 1) + i]);
                        sum += weights[p - first] / total * value;
                        size += weights[p - first] / total * std::fabs(value);
                    }
                    // Weights are rounded to bf16 for the tensor cores, the result for the next operation.
                    const double tolerance = (size + std::fabs(sum)) * (1.05 / 256) + 2e-5;
                    check::near(widen(out[(static_cast<size_t>(row) * of.heads + head) * of.head_dim + i]), sum, tolerance,
                         std::string(of.name) + ": row " + std::to_string(row) + ", head " + std::to_string(head));
                }
            }
        }
    }
}

// The last row of each sequence, alone in its batch, as it decodes.
static void alone(const Case& of, const Batch& batch, const Data& data, const std::vector<uint16_t>& together) {
    const size_t width = static_cast<size_t>(of.heads) * of.head_dim;
    for (size_t sequence = 0; sequence < batch.tables.size(); ++sequence) {
        const int length = of.sequences[sequence].first, rows = of.sequences[sequence].second;
        const size_t row = batch.first_rows[sequence] + rows - 1;
        Case one = of;
        one.sequences = {{length, 1}};
        Batch single = {{0}, {length - 1}, {batch.tables[sequence]}, batch.blocks, 1, batch.stride};
        Data its = {{data.q.begin() + row * data.q_stride, data.q.begin() + (row + 1) * data.q_stride}, data.pool, data.q_stride};
        const auto out = run(one, single, its, Way::SPLIT, 1);
        check::expect(std::equal(out.begin(), out.end(), together.begin() + row * width),
                      std::string(of.name) + ": a row alone differs from the same row in its batch");
    }
}

static void check_case(const Case& of) {
    check::Random random(of.heads * 1000 + of.head_dim + of.window);
    const Batch batch = make_batch(of, random);
    const Data data = make_data(of, batch, random);
    const auto whole = run(of, batch, data, Way::WHOLE, 4);
    against_reference(of, batch, data, whole);
    const std::string name = of.name;
    check::expect(run(of, batch, data, Way::WHOLE, 1) == whole, name + ": one warp a block differs from four");
    check::expect(run(of, batch, data, Way::SPLIT, 2) == whole, name + ": merged splits differ");
    if (of.shared > 0) check::expect(run(of, batch, data, Way::GROUPED, 4) == whole, name + ": grouped prefixes differ");
    alone(of, batch, data, whole);
}

// A key of NaN, as `rope_kv_write` leaves it where a value was not finite, reaches those who see it and nobody else.
static void unsound_values() {
    const Case of = {"unsound", 2, 1, 64, {{70, 70}}};
    check::Random random(5);
    const Batch batch = make_batch(of, random);
    Data data = make_data(of, batch, random);
    const auto sound = run(of, batch, data, Way::WHOLE, 4);
    for (int i = 0; i < 64; ++i) {
        data.pool[place(of, batch, 0, 40, 0, 0) + i] = check::NOT_A_NUMBER;
        data.pool[place(of, batch, 0, 40, 0, 1) + i] = 0;
    }
    const auto found = run(of, batch, data, Way::WHOLE, 4);
    for (size_t i = 0; i < found.size(); ++i) {
        const bool sees = i / 128 >= 40;
        check::expect(sees ? std::isnan(widen(found[i])) : found[i] == sound[i], "unsound: row " + std::to_string(i / 128));
    }
}

int main() {
    return check::run("attention", [] {
        check_case({"one position", 4, 2, 64, {{1, 1}}});
        check_case({"prompts, seven heads a KV head", 7, 1, 64, {{45, 45}, {33, 33}}});
        check_case({"a chunk behind a context", 4, 2, 96, {{300, 37}, {64, 1}}});
        check_case({"decoding, several splits", 6, 2, 128, {{700, 1}, {256, 1}, {257, 1}, {31, 1}}});
        check_case({"prompt over splits, leaning", 3, 1, 64, {{530, 20}, {288, 3}}, 0, 0, 0.0f, 4.0f});
        check_case({"sliding window", 4, 2, 64, {{600, 9}, {100, 40}, {290, 2}}, 0, 70});
        check_case({"window longer than the text", 2, 2, 64, {{90, 5}}, 0, 200});
        check_case({"soft cap", 4, 1, 64, {{280, 6}, {19, 19}}, 0, 0, 5.0f, 3.0f});
        check_case({"wide heads, window and cap", 2, 1, 256, {{310, 4}, {40, 1}}, 0, 64, 30.0f});
        check_case({"samples of one prompt", 7, 1, 64, {{590, 1}, {600, 1}, {577, 1}, {545, 2}}, 17});
        check_case({"samples with a window", 2, 1, 64, {{590, 1}, {600, 1}, {577, 3}}, 17, 300});
        unsound_values();
    });
}
