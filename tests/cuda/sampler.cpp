// The sampler against what the CPU's says of the same rows, bit by bit: sampler_cases.txt, which src/engine/sampler/device_cases.rs
// records. And which logits a mask leaves.
#include <fstream>
#include <map>
#include <sstream>

#include "check.h"
#include "softmax_row.cuh"

namespace edits {
#include "edit_logits.cu"
}
namespace sampling {
#include "sample.cu"
}

using check::Buffer;
using check::expect;

// As src/engine/sampler/device_cases.rs makes it.
static std::vector<float> make_row(uint64_t seed, int kind, size_t vocab) {
    check::Random random(seed);
    std::vector<float> row;
    for (size_t at = 0; at < vocab; ++at) {
        const uint64_t z = random.next();
        const float flat = static_cast<float>(static_cast<int>(z >> 40) - (1 << 23)) / static_cast<float>(1 << 20);
        float value = flat;
        if (kind == 1) value = static_cast<float>(z >> 60);
        if (kind == 2) value = flat * flat * flat / 16.0f;
        if ((kind == 3 && z % 8 == 0) || kind == 5) value = -INFINITY;
        if (kind == 4 && at == 3) value = NAN;
        row.push_back(value);
    }
    return row;
}

struct Case {
    std::vector<float> logits;
    sampling::Request request;
    edits::Penalties penalties;
    std::vector<edits::Edit> edits;
    std::vector<long long> expected;
};

static Case read_case(const std::string& line) {
    std::istringstream in(line);
    auto next = [&] {
        long long number;
        if (!(in >> number)) emulation::fail("a case ends early");
        return number;
    };
    auto real = [&] { return __uint_as_float(static_cast<uint32_t>(next())); };
    Case read;
    uint64_t row_seed;
    in >> row_seed;
    const int kind = static_cast<int>(next());
    read.logits = make_row(row_seed, kind, next());
    auto& by = read.request;
    by.temperature = real();
    by.top_k = static_cast<uint32_t>(next());
    by.top_p = real();
    by.min_p = real();
    read.penalties.repetition = real();
    read.penalties.presence = real();
    read.penalties.frequency = real();
    read.penalties.mask = -1;
    const uint64_t seed = static_cast<uint64_t>(next());
    by.seed_low = static_cast<uint32_t>(seed), by.seed_high = static_cast<uint32_t>(seed >> 32);
    by.choice = static_cast<uint32_t>(next());
    by.logprobs = static_cast<int>(next());
    by.mode = static_cast<int>(next());
    std::map<uint32_t, edits::Edit> edits;
    auto edit = [&]() -> edits::Edit& {
        const uint32_t id = static_cast<uint32_t>(next());
        edits[id].id = id;
        return edits[id];
    };
    for (long long left = next(); left > 0; --left) edit().flags |= edits::SUPPRESSED;
    for (long long left = next(); left > 0; --left) {
        auto& of = edit();
        of.flags |= edits::BIASED;
        of.bias = real();
    }
    for (long long left = next(); left > 0; --left) edit().flags |= edits::SEEN;
    const long long output = next();
    for (long long left = output; left > 0; --left) {
        auto& of = edit();
        of.flags |= edits::SEEN;
        ++of.output_count;
    }
    by.position_low = static_cast<uint32_t>(output), by.position_high = 0;
    for (auto& [id, one] : edits) read.edits.push_back(one);
    for (long long number; in >> number;) read.expected.push_back(number);
    return read;
}

// Samples rows of one vocabulary; each result as the cases write it.
static std::vector<std::vector<long long>> run(const std::vector<const Case*>& cases, unsigned threads, unsigned blocks) {
    const size_t vocab = cases[0]->logits.size(), rows = cases.size();
    const int top_stride = 20;
    std::vector<float> logits;
    std::vector<edits::Edit> all;
    std::vector<int> cu_edits = {0};
    std::vector<edits::Penalties> penalties;
    std::vector<sampling::Request> requests;
    for (const Case* of : cases) {
        logits.insert(logits.end(), of->logits.begin(), of->logits.end());
        all.insert(all.end(), of->edits.begin(), of->edits.end());
        cu_edits.push_back(static_cast<int>(all.size()));
        penalties.push_back(of->penalties);
        requests.push_back(of->request);
    }
    Buffer<float> in(logits), processed(logits.size(), NAN), top_logprobs(rows * top_stride, NAN), weights(blocks * vocab, NAN);
    Buffer<edits::Edit> its_edits(all);
    Buffer<int> starts(cu_edits);
    Buffer<edits::Penalties> its_penalties(penalties);
    Buffer<sampling::Request> its_requests(requests);
    Buffer<sampling::Sampled> results(rows, {});
    Buffer<uint32_t> top_ids(rows * top_stride, 0);
    Buffer<uint64_t> keys(blocks * vocab, 0);
    Buffer<double> sums(blocks * ((vocab + 255) / 256), NAN);
    LAUNCH(({static_cast<unsigned>(rows)}), 64,
           edits::edit_logits(in, processed, its_edits, starts, its_penalties, nullptr, static_cast<uint32_t>(vocab)));
    LAUNCH(({blocks}), threads,
           sampling::sample(in, processed, its_requests, results, top_ids, top_logprobs, keys, weights, sums, static_cast<int>(rows),
                            static_cast<uint32_t>(vocab), top_stride));
    std::vector<std::vector<long long>> found;
    for (size_t row = 0; row < rows; ++row) {
        const sampling::Sampled& of = results[row];
        std::vector<long long> line = {of.status};
        if (of.status == SAMPLED) line.push_back(of.token);
        if (of.status == SAMPLED && requests[row].logprobs >= 0) {
            for (long long number : {static_cast<long long>(__float_as_uint(of.logprob)), static_cast<long long>(of.rank),
                                     static_cast<long long>(__float_as_uint(of.kept_mass)), static_cast<long long>(of.top_count)})
                line.push_back(number);
            for (int i = 0; i < of.top_count; ++i) {
                line.push_back(top_ids[row * top_stride + i]);
                line.push_back(__float_as_uint(top_logprobs[row * top_stride + i]));
            }
        }
        check::remember(line.data(), line.size());
        found.push_back(line);
    }
    return found;
}

static void recorded_cases() {
    std::ifstream file("sampler_cases.txt");
    std::map<size_t, std::vector<std::pair<int, Case>>> by_vocab;
    int number = 0;
    for (std::string line; std::getline(file, line); ++number) {
        Case read = read_case(line);
        const size_t vocab = read.logits.size();
        by_vocab[vocab].push_back({number, std::move(read)});
    }
    expect(number == 400, "400 cases");
    for (auto& [vocab, cases] : by_vocab) {
        std::vector<const Case*> all;
        for (auto& [at, of] : cases) all.push_back(&of);
        // Few blocks for many rows, and blocks without any.
        const auto found = run(all, 128, 3);
        for (size_t i = 0; i < cases.size(); ++i) {
            if (found[i] != cases[i].second.expected) {
                for (auto& line : {found[i], cases[i].second.expected}) {
                    for (long long value : line) std::fprintf(stderr, "%lld ", value);
                    std::fprintf(stderr, "\n");
                }
            }
            expect(found[i] == cases[i].second.expected, "recorded case " + std::to_string(cases[i].first));
        }
        expect(run({all[0]}, 1024, 2)[0] == found[0], "a row alone, by another number of threads");
        // So few threads that every loop goes round, as those of 1024 do over a vocabulary above 32,768.
        expect(run(all, 32, 2) == found, "rows by one warp");
    }
}

static void masks() {
    const uint32_t vocab = 75;
    check::Random random(1);
    std::vector<float> logits;
    for (uint32_t i = 0; i < 2 * vocab; ++i) logits.push_back(random.normal());
    const std::vector<uint32_t> words = {0x80000001u, 0x00f00000u, 0x00000401u};
    // An edit of an allowed id, of one that is not, of one beyond the row.
    Buffer<edits::Edit> its_edits(std::vector<edits::Edit>{{74, edits::BIASED, 0, 2.5f}, {1, edits::BIASED, 0, 50.0f}, {99, edits::SUPPRESSED, 0, 0}});
    Buffer<int> starts(std::vector<int>{0, 3, 3});
    Buffer<edits::Penalties> penalties(std::vector<edits::Penalties>{{1, 0, 0, 0}, {1, 0, 0, -1}});
    Buffer<uint32_t> mask(words);
    Buffer<float> in(logits), out(logits.size(), NAN);
    LAUNCH(({2}), 64, edits::edit_logits(in, out, its_edits, starts, penalties, mask, vocab));
    for (uint32_t id = 0; id < vocab; ++id) {
        const bool allowed = words[id / 32] >> id % 32 & 1;
        expect(out[id] == (!allowed ? -INFINITY : id == 74 ? logits[id] + 2.5f : logits[id]), "what is allowed");
        expect(out[vocab + id] == logits[vocab + id], "a row without a mask");
    }
}

int main() {
    return check::run("sampler", [] {
        recorded_cases();
        masks();
    });
}
