// LinearAlgebra: products and eigenvalues by cuBLAS and cuSOLVER, which are looked for when the
// process asks for the first time: no header of theirs is needed to build, no library to start.
// Where they are found: by the dynamic loader, or in the folder that the environment variable
// NEARCELL_CUDA_LIBRARIES names (of NVIDIA's packages of PyPI, for example, nvidia/cu13/lib in
// site-packages). Where they are not, our own kernel makes the products, and the CPU the
// eigenvalues.
//
// Prototypes and numbers are those of their documentation (cuBLAS 12 and 13; cuSOLVER 11 and 12).
// Thread safety: all calls may run at once.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include <nearcell/gpu/simt/host.h>

namespace nearcell::gpu {

class LinearAlgebra {
    class Handle;

   public:
    // Those of this process, looked for once.
    static const LinearAlgebra& of_process();
    // Those of a folder; empty: where the loader looks.
    explicit LinearAlgebra(const std::string& folder);

    bool available() const { return missing_.empty(); }
    // What is not there, and what to do; empty when nothing is missing.
    const std::string& missing() const { return missing_; }

    // Products in one stream, whose work must be done before this goes: libraries take longer to
    // begin than for a product.
    class Products {
       public:
        Products(const LinearAlgebra& library, simt::Stream stream);
        ~Products();
        // Adds A A^T to C: A has `rows` columns of `dim` doubles, C is dim x dim, column by column,
        // of which the lower triangle is changed. All on the device.
        void add(size_t dim, size_t rows, const double* a, double* c) const;

       private:
        const LinearAlgebra& library_;
        std::unique_ptr<const Handle> handle_;
    };
    // The eigenvalues, ascending, of a symmetric matrix whose lower triangle is given column by
    // column, and in its place the eigenvectors. On the device. False when they did not converge.
    bool solve_symmetric(size_t dim, double* matrix, double* values, simt::Stream stream) const;

    // Sizes are int in both libraries, those of scratch memory, too.
    static constexpr size_t kMostDim = 16384;

   private:
    // Opaque handles, and status 0 for success.
    using Create = int(void** handle);
    using Destroy = int(void* handle);
    using SetStream = int(void* handle, void* stream);
    using Dsyrk = int(void* handle, int lower, int transposed, int n, int k, const double* alpha,
                      const double* a, int lda, const double* beta, double* c, int ldc);
    using DsyevdSize = int(void* handle, int vectors, int lower, int n, const double* a, int lda,
                           const double* w, int* size);
    using Dsyevd = int(void* handle, int vectors, int lower, int n, double* a, int lda, double* w,
                       double* work, int size, int* info);
    struct Library {
        Create* create = nullptr;
        Destroy* destroy = nullptr;
        SetStream* set_stream = nullptr;
        int no_memory;  // its ..._STATUS_ALLOC_FAILED
    };
    static void check_status(int status, const Library& library, const char* call);

    Library cublas_{.no_memory = 3}, cusolver_{.no_memory = 2};
    Dsyrk* dsyrk_ = nullptr;
    DsyevdSize* dsyevd_size_ = nullptr;
    Dsyevd* dsyevd_ = nullptr;
    std::string missing_;
};

}  // namespace nearcell::gpu
