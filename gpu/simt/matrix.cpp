// Tensor-core operations in plain loops: the lanes' fragments are put together to matrices,
// multiplied, and given back.
#include <cstring>
#include <string>
#include <type_traits>

#include <nearcell/core/half.h>
#include <nearcell/gpu/simt/runtime.h>
#include <nearcell/gpu/simt/simt.h>

namespace nearcell::simt {
namespace {

constexpr unsigned kRows = 16, kColumns = 8, kWholeWarp = 0xffffffffu;

struct ProductLane {
    void* d;
    const unsigned *a, *b;
    MatrixType type;
};

constexpr unsigned per_register(MatrixType type) {
    return type == MatrixType::Int8 ? 4 : type == MatrixType::Tf32 ? 1 : 2;
}

template <MatrixType kType>
using Sum = std::conditional_t<kType == MatrixType::Int8, unsigned, float>;

// Element i of a register; integers as unsigned, so that sums wrap.
template <MatrixType kType>
Sum<kType> element(unsigned bits, unsigned i) {
    if constexpr (kType == MatrixType::Int8) {
        return static_cast<unsigned>(static_cast<int>(static_cast<int8_t>(bits >> (8 * i))));
    } else if constexpr (kType == MatrixType::Tf32) {
        return std::bit_cast<float>(bits & ~0x1fffu);
    } else {
        const auto half = static_cast<uint16_t>(bits >> (16 * i));
        return kType == MatrixType::Half ? float_from_float16(half) : float_from_bfloat16(half);
    }
}

template <MatrixType kType>
void multiply_lanes(const LaneData& data, uint32_t) {
    constexpr unsigned kEach = per_register(kType), kInner = 8 * kEach;
    Sum<kType> a[kRows][kInner], b[kInner][kColumns];
    for (unsigned lane = 0; lane < kLanes; ++lane) {
        const auto& mine = *static_cast<const ProductLane*>(data[lane]);
        const unsigned g = lane / 4, t = lane % 4;
        for (size_t part = 0; part < 2; ++part) {
            for (unsigned i = 0; i < kEach; ++i) {
                const size_t k = kEach * (t + 4 * part) + i;
                a[g][k] = element<kType>(mine.a[2 * part], i);
                a[g + 8][k] = element<kType>(mine.a[2 * part + 1], i);
                b[k][g] = element<kType>(mine.b[part], i);
            }
        }
    }
    for (unsigned lane = 0; lane < kLanes; ++lane) {
        const auto& mine = *static_cast<const ProductLane*>(data[lane]);
        Sum<kType> d[4];
        std::memcpy(d, mine.d, sizeof d);
        for (unsigned i = 0; i < 4; ++i) {
            const unsigned row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
            for (unsigned k = 0; k < kInner; ++k)
                d[i] += a[row][k] * b[k][column];
        }
        std::memcpy(mine.d, d, sizeof d);
    }
}

WarpOperation operation_of(MatrixType type) {
    switch (type) {
        case MatrixType::Half: return multiply_lanes<MatrixType::Half>;
        case MatrixType::Bfloat16: return multiply_lanes<MatrixType::Bfloat16>;
        case MatrixType::Tf32: return multiply_lanes<MatrixType::Tf32>;
        case MatrixType::Int8: return multiply_lanes<MatrixType::Int8>;
    }
    return nullptr;
}

struct LoadLane {
    unsigned* registers;
    const char* row;
    bool transposed;
};

void load_lanes(const LaneData& data, uint32_t) {
    for (unsigned lane = 0; lane < kLanes; ++lane) {
        const auto& mine = *static_cast<const LoadLane*>(data[lane]);
        for (unsigned matrix = 0; matrix < 4; ++matrix) {
            uint16_t pair[2];
            for (unsigned i = 0; i < 2; ++i) {
                const unsigned g = lane / 4, along = 2 * (lane % 4) + i;
                const unsigned row = mine.transposed ? along : g;
                const size_t column = mine.transposed ? g : along;
                const auto& giver = *static_cast<const LoadLane*>(data[8 * matrix + row]);
                std::memcpy(&pair[i], giver.row + 2 * column, sizeof pair[i]);
            }
            std::memcpy(&mine.registers[matrix], pair, sizeof pair);
        }
    }
}

// Records a fault when the warp is not whole.
bool is_whole_warp(CodeLine where) {
    if (current->warp->live == kWholeWarp) return true;
    record_fault(Fault::AbsentLane,
                 "a matrix operation of a warp of which lanes do not exist or returned", where);
    return false;
}

}  // namespace

void multiply_matrices(MatrixType type, void* d, const unsigned* a, const unsigned* b,
                       CodeLine where) {
    const InsideRuntime inside;
    if (!is_whole_warp(where)) abandon();
    const bool recent = type == MatrixType::Bfloat16 || type == MatrixType::Tf32;
    if (recent && config().architecture < 80) {
        record_fault(Fault::Unsupported, "bfloat16 and tf32 products need sm_80", where);
        abandon();
    }
    passes(SiteKind::Matrix, where);  // only to count it: products are not left out
    ProductLane lane{d, a, b, type};
    meet(kWholeWarp, SiteKind::Matrix, operation_of(type), &lane, where);
}

void load_matrices(unsigned* registers, const void* row, bool transposed, CodeLine where) {
    const void* const code = __builtin_return_address(0);
    const InsideRuntime inside;
    if (!is_whole_warp(where)) abandon();
    const auto* const address = static_cast<const char*>(row);
    if (!arena().contains(address) || address >= arena().device) {
        record_fault(Fault::OutOfBounds, "ldmatrix from an address that is not shared memory",
                     where);
        abandon();
    }
    check_access(address, 16, false, false, code);
    LoadLane lane{registers, address, transposed};
    meet(kWholeWarp, SiteKind::Matrix, load_lanes, &lane, where);
}

}  // namespace nearcell::simt
