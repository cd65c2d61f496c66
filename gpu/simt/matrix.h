// Tensor-core products of one warp, D += A * B, and the load of their operands. A is 16 x K by
// rows, B is K x 8 by columns, D is 16 x 8. With g = lane / 4 and t = lane % 4, and E elements in a
// 32-bit register (4 int8, 2 half or bfloat16, 1 tf32), lane holds
//
//   a[0]: row g,     k from E * t        a[2]: row g,     k from E * (t + 4)
//   a[1]: row g + 8, k from E * t        a[3]: row g + 8, k from E * (t + 4)
//   b[0]: column g,  k from E * t        b[1]: column g,  k from E * (t + 4)
//   d[0], d[1]: row g, columns 2t, 2t + 1           d[2], d[3]: row g + 8, the same columns
//
// All 32 lanes call together. Integer sums are exact and wrap. Float sums are rounded as the device
// likes; the emulation adds in order of k, in float. sm_75 computes half and int8 by smaller
// instructions and has no bfloat16 or tf32: there they trap. For kernels, by simt.h.
#pragma once

namespace nearcell::simt {

#if defined(__CUDACC__)

#define SIMT_MMA(TYPES, D, REGISTER)                                                              \
    asm volatile("mma.sync.aligned." TYPES                                                        \
                 " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"                         \
                 : "+" REGISTER(D[0]), "+" REGISTER(D[1]), "+" REGISTER(D[2]), "+" REGISTER(D[3]) \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))

// K = 16, half.
SIMT_DEVICE void mma_m16n8k16_half(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    SIMT_MMA("m16n8k16.row.col.f32.f16.f16.f32", d, "f");
#else
    for (int i = 0; i < 2; ++i) {
        asm volatile(
            "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
            "{%0,%1,%2,%3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[2 * i]), "r"(a[2 * i + 1]), "r"(b[i]));
    }
#endif
}

// K = 16, bfloat16.
SIMT_DEVICE void mma_m16n8k16_bfloat16(float (&d)[4], const unsigned (&a)[4],
                                       const unsigned (&b)[2]) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    SIMT_MMA("m16n8k16.row.col.f32.bf16.bf16.f32", d, "f");
#else
    __trap();
#endif
}

// K = 8, tf32: the bits of floats, of which the last 13 do not count (round_to_tf32).
SIMT_DEVICE void mma_m16n8k8_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    SIMT_MMA("m16n8k8.row.col.f32.tf32.tf32.f32", d, "f");
#else
    __trap();
#endif
}

// K = 32, int8.
SIMT_DEVICE void mma_m16n8k32_int8(int (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    SIMT_MMA("m16n8k32.row.col.s32.s8.s8.s32", d, "r");
#else
    for (int i = 0; i < 4; ++i) {
        const int row = i % 2, k = i / 2;  // eight rows, sixteen k
        asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};"
                     : "+r"(d[2 * row]), "+r"(d[2 * row + 1])
                     : "r"(a[2 * k + row]), "r"(b[k]));
    }
#endif
}

// The nearest number of 11 significant bits, ties away from zero, as bits.
SIMT_DEVICE unsigned round_to_tf32(float value) {
    unsigned bits = 0;
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    asm volatile("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
#else
    __trap();
#endif
    return bits;
}

// Four 8 x 8 matrices of 16-bit elements from shared memory: lane gives the address of 16 bytes,
// row lane % 8 of matrix lane / 8, and gets of each matrix row g, elements 2t and 2t + 1: as a or b
// above.
SIMT_DEVICE void ldmatrix_x4(unsigned (&registers)[4], const void* row) {
    const auto from = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(from)
                 : "memory");
}

// The same with every matrix transposed: rows 2t and 2t + 1, element g.
SIMT_DEVICE void ldmatrix_x4_transposed(unsigned (&registers)[4], const void* row) {
    const auto from = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(from)
                 : "memory");
}

#undef SIMT_MMA

#else

enum class MatrixType : uint8_t { Half, Bfloat16, Tf32, Int8 };

void multiply_matrices(MatrixType type, void* d, const unsigned* a, const unsigned* b,
                       CodeLine where);
void load_matrices(unsigned* registers, const void* row, bool transposed, CodeLine where);

inline void mma_m16n8k16_half(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                              SIMT_WHERE) {
    multiply_matrices(MatrixType::Half, d, a, b, where);
}
inline void mma_m16n8k16_bfloat16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                  SIMT_WHERE) {
    multiply_matrices(MatrixType::Bfloat16, d, a, b, where);
}
inline void mma_m16n8k8_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                             SIMT_WHERE) {
    multiply_matrices(MatrixType::Tf32, d, a, b, where);
}
inline void mma_m16n8k32_int8(int (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                              SIMT_WHERE) {
    multiply_matrices(MatrixType::Int8, d, a, b, where);
}
inline unsigned round_to_tf32(float value) {
    const unsigned bits = std::bit_cast<unsigned>(value);
    return (bits & 0x7f800000u) == 0x7f800000u ? bits & ~0x1fffu : (bits + 0x1000u) & ~0x1fffu;
}
inline void ldmatrix_x4(unsigned (&registers)[4], const void* row, SIMT_WHERE) {
    load_matrices(registers, row, false, where);
}
inline void ldmatrix_x4_transposed(unsigned (&registers)[4], const void* row, SIMT_WHERE) {
    load_matrices(registers, row, true, where);
}

#endif

}  // namespace nearcell::simt
