// The oracle of the kernel tests: every operation of ops.def as its definition says, summed in
// double precision and rounded once at the end. Never used for search. Stateless: thread safe.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <type_traits>
#include <vector>

#include <nearcell/core/half.h>
#include <nearcell/kernels/kernel_table.h>

namespace nearcell {
namespace {

enum class Key { L2, Dot, L1 };

// The key of a vector whose values lie `stride` floats apart, and a query.
template <Key kKey>
double key_of(const float* x, size_t stride, const float* query, size_t d) {
    double sum = 0;
    for (size_t j = 0; j < d; ++j) {
        const double a = static_cast<double>(x[j * stride]), b = static_cast<double>(query[j]);
        if constexpr (kKey == Key::Dot) sum -= a * b;
        if constexpr (kKey == Key::L2) sum += (a - b) * (a - b);
        if constexpr (kKey == Key::L1) sum += std::fabs(a - b);
    }
    return sum;
}

// The key of row 16 * block + lane of blocked vectors.
template <Key kKey>
double key_of_row(const float* blocks, size_t row, const float* query, size_t d) {
    return key_of<kKey>(blocks + row / kBlock * d * kBlock + row % kBlock, kBlock, query, d);
}

template <Key kKey>
float pair(const float* a, const float* b, size_t d) {
    return static_cast<float>(key_of<kKey>(a, 1, b, d));
}

template <Key kKey>
size_t scan(const float* blocks, size_t block_count, size_t d, const float* bias,
            const float* const* queries, size_t query_count, const float* thresholds,
            const uint16_t* masks, Hit* hits) {
    size_t count = 0;
    for (size_t q = 0; q < query_count; ++q) {
        for (size_t row = 0; row < block_count * kBlock; ++row) {
            if ((masks[row / kBlock] >> (row % kBlock) & 1) == 0) continue;
            double key = key_of_row<kKey>(blocks, row, queries[q], d);
            if (bias != nullptr) key += static_cast<double>(bias[row]);
            const float rounded = static_cast<float>(key);
            if (!(rounded <= thresholds[q])) continue;
            hits[count++] = {rounded, static_cast<uint32_t>(q), static_cast<uint32_t>(row)};
        }
    }
    return count;
}

template <Key kKey>
void scores(const float* blocks, size_t rows, size_t d, const float* const* queries,
            size_t query_count, float* out, size_t out_stride) {
    for (size_t q = 0; q < query_count; ++q) {
        for (size_t row = 0; row < rows; ++row) {
            out[q * out_stride + row] =
                static_cast<float>(key_of_row<kKey>(blocks, row, queries[q], d));
        }
    }
}

void scores_int16(const uint32_t* blocks, size_t rows, size_t steps, const int16_t* const* queries,
                  size_t query_count, float* out, size_t out_stride) {
    for (size_t q = 0; q < query_count; ++q) {
        for (size_t row = 0; row < rows; ++row) {
            const uint32_t* block = blocks + row / kBlock * steps * 2 * kBlock;
            int64_t sum = 0;
            for (size_t j = 0; j < 4 * steps; ++j) {
                const auto byte = [&](size_t line) {
                    return block[line * kBlock + row % kBlock] >> (j % 4 * 8) & 255u;
                };
                const uint32_t bits = byte(j / 4 * 2) << 8 | byte(j / 4 * 2 + 1);
                sum += int64_t{queries[q][j]} * static_cast<int16_t>(bits);
            }
            out[q * out_stride + row] = -static_cast<float>(sum);
        }
    }
}

template <Key kKey>
void assign(const float* blocks, size_t block_count, size_t d, const float* const* rows,
            size_t row_count, const float* bias, float scale, uint32_t first_row,
            Nearest* nearest) {
    for (size_t i = 0; i < block_count * kBlock; ++i) {
        float& best = nearest[i / kBlock].best[i % kBlock];
        float& second = nearest[i / kBlock].second[i % kBlock];
        for (size_t row = 0; row < row_count; ++row) {
            double key = key_of_row<kKey>(blocks, i, rows[row], d);
            if constexpr (kKey == Key::Dot)
                key = static_cast<double>(bias[row]) - static_cast<double>(scale) * key;
            const float rounded = static_cast<float>(key);
            if (rounded < best) {
                second = best;
                best = rounded;
                nearest[i / kBlock].row[i % kBlock] = first_row + static_cast<uint32_t>(row);
            } else if (rounded < second) {
                second = rounded;
            }
        }
    }
}

uint32_t word_of(const void* block, size_t word, size_t lane) {
    return static_cast<const uint32_t*>(block)[word * kBlock + lane];
}
double float_of(const void* block, size_t word, size_t lane) {
    return static_cast<double>(std::bit_cast<float>(word_of(block, word, lane)));
}
double bits_factor_of(const CodeView& code, const void* block, BitsFactor which, size_t lane) {
    const size_t first = code.words - bits_factor_words(code.bits);
    const uint32_t* const words = static_cast<const uint32_t*>(block) + first * kBlock + lane;
    return static_cast<double>(bits_factor(words, kBlock, code.bits, which));
}
uint32_t byte_of(const void* block, size_t j, size_t lane) {
    return word_of(block, j / 4, lane) >> (j % 4 * 8) & 0xffu;
}
uint16_t half_word(const void* block, size_t j, size_t lane) {
    return static_cast<uint16_t>(word_of(block, j / 2, lane) >> (j % 2 * 16) & 0xffffu);
}

// value(j, lane) is what the code says of dimension j.
template <class Value>
void decode(const CodeView& code, const float* centroid, float* out, Value&& value) {
    for (size_t j = 0; j < code.dim; ++j) {
        for (size_t lane = 0; lane < kBlock; ++lane) {
            double x = value(j, lane);
            if (centroid != nullptr) x += static_cast<double>(centroid[j]);
            out[j * kBlock + lane] = static_cast<float>(x);
        }
    }
}

void decode_float32(const CodeView* code, const void* block, const float* centroid, float* out) {
    decode(*code, centroid, out, [&](size_t j, size_t lane) { return float_of(block, j, lane); });
}

void decode_float16(const CodeView* code, const void* block, const float* centroid, float* out) {
    decode(*code, centroid, out, [&](size_t j, size_t lane) {
        return static_cast<double>(float_from_float16(half_word(block, j, lane)));
    });
}

void decode_bfloat16(const CodeView* code, const void* block, const float* centroid, float* out) {
    decode(*code, centroid, out, [&](size_t j, size_t lane) {
        return static_cast<double>(float_from_bfloat16(half_word(block, j, lane)));
    });
}

void decode_range_int8(const CodeView* code, const void* block, const float* centroid, float* out) {
    decode(*code, centroid, out, [&](size_t j, size_t lane) {
        return static_cast<double>(code->offset[j]) +
               static_cast<double>(code->step[j]) * byte_of(block, j, lane);
    });
}

void decode_scaled_int8(const CodeView* code, const void* block, const float* centroid,
                        float* out) {
    decode(*code, centroid, out, [&](size_t j, size_t lane) {
        const int c = static_cast<int>(byte_of(block, j, lane));
        return float_of(block, code->words - 1, lane) * (c < 128 ? c : c - 256);
    });
}

template <size_t kBits>
void decode_product(const CodeView* code, const void* block, const float* centroid, float* out) {
    decode(*code, centroid, out, [&](size_t j, size_t lane) {
        size_t m = 0;
        while (code->sub_begin[m + 1] <= j)
            ++m;
        const size_t begin = code->sub_begin[m], width = code->sub_begin[m + 1] - begin;
        const uint32_t byte = byte_of(block, m * kBits / 8, lane);
        const size_t entry = byte >> (m * kBits % 8) & ((1u << kBits) - 1);
        return static_cast<double>(code->codebooks[(begin << kBits) + entry * width + (j - begin)]);
    });
}

void decode_bits(const CodeView* code, const void* block, const float* centroid, float* out) {
    const size_t plane = (code->dim + 31) / 32;
    decode(*code, centroid, out, [&](size_t j, size_t lane) {
        uint32_t value = 0;
        for (size_t p = 0; p < code->bits; ++p) {
            value = 2 * value + (word_of(block, p * plane + j / 32, lane) >> (j % 32) & 1u);
        }
        const double middle = 0.5 * ((1u << code->bits) - 1);
        return bits_factor_of(*code, block, BitsFactor::Scale, lane) * (value - middle);
    });
}

void lane_minima(float* keys, size_t count, const float* bias, float scale, size_t lanes,
                 float* minima) {
    std::fill_n(minima, lanes, std::numeric_limits<float>::infinity());
    for (size_t i = 0; i < count; ++i) {
        if (bias != nullptr) {
            keys[i] = static_cast<float>(static_cast<double>(scale) * static_cast<double>(keys[i]) +
                                         static_cast<double>(bias[i]));
        }
        if (keys[i] < minima[i % lanes]) minima[i % lanes] = keys[i];
    }
}

size_t collect_rows(const float* keys, size_t count, float bound, uint32_t* rows) {
    size_t found = 0;
    for (size_t i = 0; i < count; ++i) {
        if (keys[i] <= bound) rows[found++] = static_cast<uint32_t>(i);
    }
    return found;
}

float smallest_bound(const float* keys, size_t count, size_t wanted) {
    std::vector<float> sorted(keys, keys + count);
    std::sort(sorted.begin(), sorted.end());
    return sorted[wanted - 1];
}

void rank_keys(const float* keys, size_t count, uint32_t* ranks) {
    std::vector<uint32_t> order(count);
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(),
                     [&](uint32_t a, uint32_t b) { return keys[a] < keys[b]; });
    for (size_t i = 0; i < count; ++i)
        ranks[order[i]] = static_cast<uint32_t>(i);
}

void bits_tables(const float* query, size_t d, uint8_t* tables, float* unit, float* offset) {
    const size_t nibbles = (d + 31) / 32 * 8;
    const auto half = [&](size_t j) { return j < d ? 0.5 * static_cast<double>(query[j]) : 0.0; };
    const auto reach = [&](size_t m) {
        return std::fabs(half(4 * m)) + std::fabs(half(4 * m + 1)) + std::fabs(half(4 * m + 2)) +
               std::fabs(half(4 * m + 3));
    };
    double widest = 0, sum = 0;
    for (size_t m = 0; m < nibbles; ++m) {
        widest = std::max(widest, reach(m));
        sum += reach(m);
    }
    *unit = static_cast<float>(2 * widest / 31);
    *offset = static_cast<float>(-sum);
    for (size_t m = 0; m < nibbles; ++m) {
        for (size_t v = 0; v < 16; ++v) {
            double entry = reach(m);
            for (size_t i = 0; i < 4; ++i)
                entry -= (v >> i & 1) != 0 ? half(4 * m + i) : -half(4 * m + i);
            const double units = *unit >= 1e-36f ? entry / static_cast<double>(*unit) : 0.0;
            tables[(m / 8 * 8 + m % 2 * 4 + m % 8 / 2) * 16 + v] =
                static_cast<uint8_t>(std::clamp(std::nearbyint(units), 0.0, 31.0));
        }
    }
}

// Of a code's nibbles, in tables as BitsTablesKernel lays them out.
double sum_of_entries(const uint32_t* block, size_t lines, size_t lane, const uint8_t* tables) {
    double sum = 0;
    for (size_t m = 0; m < lines * 8; ++m) {
        const uint32_t nibble = word_of(block, m / 8, lane) >> (m % 8 * 4) & 15u;
        sum += tables[(m / 8 * 8 + m % 2 * 4 + m % 8 / 2) * 16 + nibble];
    }
    return sum;
}

// What scans of codes by integers share: key_of(query, block, lane) of every vector that the masks
// allow, kept where it meets the threshold.
template <class KeyOf>
size_t scan_codes(const CodeView* code, const void* blocks, size_t block_count,
                  const CodedQuery* queries, size_t query_count, const uint16_t* masks, Hit* hits,
                  KeyOf&& key_of) {
    size_t count = 0;
    for (size_t q = 0; q < query_count; ++q) {
        for (size_t row = 0; row < block_count * kBlock; ++row) {
            const size_t lane = row % kBlock;
            if ((masks[row / kBlock] >> lane & 1) == 0) continue;
            const uint32_t* block =
                static_cast<const uint32_t*>(blocks) + row / kBlock * code->words * kBlock;
            const float key = static_cast<float>(key_of(queries[q], block, lane));
            if (!(key <= queries[q].threshold)) continue;
            hits[count++] = {key, static_cast<uint32_t>(q), static_cast<uint32_t>(row)};
        }
    }
    return count;
}

size_t scan_bits(const CodeView* code, const void* blocks, size_t block_count,
                 const CodedQuery* queries, size_t query_count, const uint16_t* masks, Hit* hits) {
    const size_t lines = (code->dim + 31) / 32;
    return scan_codes(
        code, blocks, block_count, queries, query_count, masks, hits,
        [&](const CodedQuery& query, const uint32_t* block, size_t lane) {
            const double negated_dot =
                sum_of_entries(block, lines, lane, static_cast<const uint8_t*>(query.operand)) *
                    static_cast<double>(query.unit) +
                static_cast<double>(query.offset);
            return static_cast<double>(query.shift) -
                   static_cast<double>(query.reach) *
                       bits_factor_of(*code, block, BitsFactor::Error, lane) +
                   bits_factor_of(*code, block, BitsFactor::Term, lane) +
                   bits_factor_of(*code, block, BitsFactor::Scale, lane) * negated_dot;
        });
}

void product4_tables(const CodeView* code, const float* columns, const float* query, int similarity,
                     uint8_t* tables, float* unit, float* offset) {
    const size_t count = code->subquantizers;
    std::vector<double> entries(count * 16, 0.0), lows(count);
    double base = 0, spans = 0, magnitude = 0;
    for (size_t m = 0; m < count; ++m) {
        double* const entry = entries.data() + m * 16;
        for (size_t v = 0; v < 16; ++v) {
            for (size_t j = code->sub_begin[m]; j < code->sub_begin[m + 1]; ++j) {
                const double x = static_cast<double>(columns[j * 16 + v]);
                const double q = static_cast<double>(query[j]);
                entry[v] += similarity != 0 ? -q * x : (q - x) * (q - x);
            }
        }
        const auto [low, high] = std::minmax_element(entry, entry + 16);
        lows[m] = *low;
        base += *low;
        spans += *high - *low;
        magnitude += std::max(std::fabs(*low), std::fabs(*high));
    }
    *unit = static_cast<float>(spans / (63.0 * static_cast<double>(count)));
    const double slack = static_cast<double>(count + code->dim / 16 + 32) * 0x1p-24;
    *offset = static_cast<float>(base - slack * magnitude);
    std::fill_n(tables, code->words * 128, uint8_t{0});
    for (size_t i = 0; i < count * 16 && *unit >= 1e-36f; ++i) {
        const size_t m = i / 16;
        const double units = (entries[i] - lows[m]) / static_cast<double>(*unit);
        tables[(m / 8 * 8 + m % 2 * 4 + m % 8 / 2) * 16 + i % 16] =
            static_cast<uint8_t>(std::min(63.0, std::floor(units)));
    }
}

size_t scan_product4(const CodeView* code, const void* blocks, size_t block_count,
                     const CodedQuery* queries, size_t query_count, const uint16_t* masks,
                     Hit* hits) {
    return scan_codes(code, blocks, block_count, queries, query_count, masks, hits,
                      [&](const CodedQuery& query, const uint32_t* block, size_t lane) {
                          const uint8_t* const tables = static_cast<const uint8_t*>(query.operand);
                          return static_cast<double>(query.shift) +
                                 sum_of_entries(block, code->words, lane, tables) *
                                     static_cast<double>(query.unit) +
                                 static_cast<double>(query.offset);
                      });
}

void int8_query(const float* weights, const float* center, size_t d, int largest_pair,
                int8_t* bytes, float* unit, float* offset) {
    double widest = 0;
    for (size_t j = 0; j < d; j += 2) {
        const double other = j + 1 < d ? std::fabs(static_cast<double>(weights[j + 1])) : 0;
        widest = std::max(widest, std::fabs(static_cast<double>(weights[j])) + other);
    }
    *unit = static_cast<float>(widest / (largest_pair - 2));
    if (*unit < 1e-36f) *unit = 0;
    double sum = 0;
    for (size_t j = 0; j < (d + 15) / 16 * 16; ++j) {
        bytes[j] = 0;
        if (j >= d || *unit == 0) continue;
        const double units = static_cast<double>(weights[j]) / static_cast<double>(*unit);
        const double fraction =
            std::fmod(0.61803398874989485 * (static_cast<double>(j % 64) + 1), 1);
        bytes[j] = static_cast<int8_t>(std::floor(units + fraction));
        sum += static_cast<double>(bytes[j]) * static_cast<double>(center[j]);
    }
    *offset = static_cast<float>(-sum * static_cast<double>(*unit));
}

size_t scan_int8(const CodeView* code, const void* blocks, size_t block_count,
                 const CodedQuery* queries, size_t query_count, const uint16_t* masks, Hit* hits) {
    const size_t lines = code->words - kInt8Factors;
    return scan_codes(
        code, blocks, block_count, queries, query_count, masks, hits,
        [&](const CodedQuery& query, const uint32_t* block, size_t lane) {
            const int8_t* const bytes = static_cast<const int8_t*>(query.operand);
            int64_t sum = 0;
            for (size_t j = 0; j < code->dim; ++j)
                sum += int64_t{bytes[j]} * (word_of(block, j / 4, lane) >> (j % 4 * 8) & 255u);
            return static_cast<double>(query.shift) -
                   static_cast<double>(query.reach) * float_of(block, lines + 1, lane) +
                   float_of(block, lines, lane) +
                   static_cast<double>(sum) * static_cast<double>(query.unit) +
                   static_cast<double>(query.offset);
        });
}

void rotate_f32(const float* factors, size_t d, int inverse, float* x) {
    std::vector<double> y(x, x + d);
    size_t n = 1;
    while (2 * n <= d)
        n *= 2;
    const auto pair_up = [&](size_t i, size_t j) {
        const double a = y[i], b = y[j];
        y[i] = a + b;
        y[j] = a - b;
    };
    const auto multiply = [&](size_t round) {
        for (size_t j = 0; j < d; ++j)
            y[j] *= static_cast<double>(factors[round * d + j]);
    };
    const auto transform = [&](size_t round) {
        const size_t first = round % 2 == 0 ? 0 : d - n;
        for (size_t h = 1; h < n; h *= 2) {
            for (size_t i = 0; i < n; ++i) {
                if ((i & h) == 0) pair_up(first + i, first + i + h);
            }
        }
    };
    const auto mix = [&](size_t round) {
        for (size_t i = 0; round % 2 == 1 && i < d / 2; ++i)
            pair_up(i, d - d / 2 + i);
    };
    for (size_t step = 0; step < kRotationRounds; ++step) {
        const size_t round = inverse != 0 ? kRotationRounds - 1 - step : step;
        if (inverse != 0) {
            multiply(round + 1);
            mix(round);
            transform(round);
        } else {
            multiply(round);
            transform(round);
            mix(round);
        }
    }
    multiply(inverse != 0 ? 0 : kRotationRounds);
    for (size_t j = 0; j < d; ++j)
        x[j] = static_cast<float>(y[j]);
}

// The key of a row by itself: it is decoded as lane 0 of a block, then compared.
template <Key kKey, DecodeKernel* kDecode>
float row(const CodeView* code, const uint32_t* row, const float* query) {
    std::vector<uint32_t> block(code->words * kBlock, 0);
    for (size_t w = 0; w < code->words; ++w)
        block[w * kBlock] = row[w];
    std::vector<float> lanes(code->dim * kBlock);
    kDecode(code, block.data(), nullptr, lanes.data());
    return static_cast<float>(key_of<kKey>(lanes.data(), kBlock, query, code->dim));
}

template <Key kKey>
float lane(const CodeView* code, const uint32_t* block, size_t number, const float* query) {
    std::vector<uint32_t> words(code->words);
    for (size_t w = 0; w < code->words; ++w)
        words[w] = word_of(block, w, number);
    return row<kKey, decode_range_int8>(code, words.data(), query);
}

void lane_product4(const CodeView* code, const uint32_t* block, size_t number, float* out) {
    std::vector<float> lanes(code->dim * kBlock);
    decode_product<4>(code, block, nullptr, lanes.data());
    for (size_t j = 0; j < code->dim; ++j)
        out[j] = lanes[j * kBlock + number];
}

// What a channel's sum reads: value `at` of its inner products, and the weight that it meets.
template <class View>
void conv(const View* conv, const float* const* pixels, const float* const* added,
          float* const* out, size_t pixel_count) {
    constexpr bool kDepthwise = std::is_same_v<View, DepthwiseView>;
    const size_t inner = conv->piece_count * conv->length,
                 room = blocks_for(conv->channels) * kBlock;
    for (size_t p = 0; p < pixel_count; ++p) {
        for (size_t c = 0; c < conv->channels; ++c) {
            double sum = static_cast<double>(conv->bias[c]);
            if (added != nullptr) sum += static_cast<double>(added[p][c]);
            for (size_t i = 0; i < inner; ++i) {
                const float* const piece = pixels[p] + conv->offsets[i / conv->length];
                const size_t block = c / kBlock * inner * kBlock;
                sum +=
                    kDepthwise
                        ? static_cast<double>(piece[c]) *
                              static_cast<double>(conv->weights[i * room + c])
                        : static_cast<double>(piece[i % conv->length]) *
                              static_cast<double>(conv->weights[block + i * kBlock + c % kBlock]);
            }
            const double least =
                sum > static_cast<double>(conv->low) ? sum : static_cast<double>(conv->low);
            out[p][c] = static_cast<float>(
                least < static_cast<double>(conv->high) ? least : static_cast<double>(conv->high));
        }
    }
}

template <bool kMax>
void pool(const PoolView* pool, const float* const* pixels, float* const* out, size_t pixel_count) {
    for (size_t p = 0; p < pixel_count; ++p) {
        for (size_t c = 0; c < pool->channels; ++c) {
            double result = static_cast<double>(pixels[p][pool->offsets[0] + c]);
            for (size_t t = 1; t < pool->piece_count; ++t) {
                const double x = static_cast<double>(pixels[p][pool->offsets[t] + c]);
                result = kMax ? std::max(result, x) : result + x;
            }
            out[p][c] =
                static_cast<float>(kMax ? result : result / static_cast<double>(pool->piece_count));
        }
    }
}

template <Key kKey>
void peak(float x, float y, size_t rounds, float* sums) {
    const double key = key_of<kKey>(&x, 1, &y, 1);
    const double term = kKey == Key::Dot ? -key : key;
    for (size_t i = 0; i < kPeakSums; ++i)
        sums[i] =
            static_cast<float>(static_cast<double>(sums[i]) + static_cast<double>(rounds) * term);
}

void peak_lookup(const uint8_t* table, const uint8_t* indices, size_t rounds, uint8_t* sums) {
    for (size_t i = 0; i < 4 * kPeakSums; ++i)
        sums[i] = static_cast<uint8_t>(sums[i] + rounds * table[indices[i % 16]]);
}

void peak_product(const uint8_t* codes, const int8_t* query, size_t rounds, int32_t* sums) {
    int32_t sum = 0;
    for (size_t j = 0; j < 16; ++j)
        sum += codes[j] * query[j];
    for (size_t i = 0; i < kPeakSums; ++i)
        sums[i] += static_cast<int32_t>(rounds) * sum;
}

uint32_t peak_read(const uint32_t* words, size_t count) {
    return std::accumulate(words, words + count, uint32_t{0}, std::bit_xor<uint32_t>());
}

}  // namespace

const KernelTable& reference_table() {
    static const KernelTable table = [] {
        KernelTable t;
        t.isa = "reference";
        t.l2_f32 = pair<Key::L2>;
        t.ip_f32 = pair<Key::Dot>;
        t.l1_f32 = pair<Key::L1>;
        t.scan_l2_f32 = scan<Key::L2>;
        t.scan_ip_f32 = scan<Key::Dot>;
        t.scan_l1_f32 = scan<Key::L1>;
        t.scores_l2_f32 = scores<Key::L2>;
        t.scores_ip_f32 = scores<Key::Dot>;
        t.scores_l1_f32 = scores<Key::L1>;
        t.assign_dot_f32 = assign<Key::Dot>;
        t.assign_l2_f32 = assign<Key::L2>;
        t.decode_float32 = decode_float32;
        t.decode_float16 = decode_float16;
        t.decode_bfloat16 = decode_bfloat16;
        t.decode_range_int8 = decode_range_int8;
        t.decode_scaled_int8 = decode_scaled_int8;
        t.decode_product8 = decode_product<8>;
        t.decode_product4 = decode_product<4>;
        t.decode_bits = decode_bits;
        t.scores_int16 = scores_int16;
        t.lane_minima = lane_minima;
        t.collect_rows = collect_rows;
        t.smallest_bound = smallest_bound;
        t.rank_keys = rank_keys;
        t.bits_tables = bits_tables;
        t.scan_bits = scan_bits;
        t.product4_tables = product4_tables;
        t.scan_product4 = scan_product4;
        t.int8_query = int8_query;
        t.scan_int8 = scan_int8;
        t.rotate_f32 = rotate_f32;
        t.row_l2_float16 = row<Key::L2, decode_float16>;
        t.row_ip_float16 = row<Key::Dot, decode_float16>;
        t.row_l2_bfloat16 = row<Key::L2, decode_bfloat16>;
        t.row_ip_bfloat16 = row<Key::Dot, decode_bfloat16>;
        t.row_l2_range_int8 = row<Key::L2, decode_range_int8>;
        t.row_ip_range_int8 = row<Key::Dot, decode_range_int8>;
        t.lane_l2_range_int8 = lane<Key::L2>;
        t.lane_ip_range_int8 = lane<Key::Dot>;
        t.lane_product4 = lane_product4;
        t.conv_f32 = conv<ConvView>;
        t.depthwise_f32 = conv<DepthwiseView>;
        t.max_pool_f32 = pool<true>;
        t.mean_pool_f32 = pool<false>;
        t.peak_fma = peak<Key::Dot>;
        t.peak_sub_fma = peak<Key::L2>;
        t.peak_sub_abs_add = peak<Key::L1>;
        t.peak_lookup = peak_lookup;
        t.peak_product = peak_product;
        t.peak_read = peak_read;
        return t;
    }();
    return table;
}

}  // namespace nearcell
