#include <nearcell/gpu/linear_algebra.h>

#include <dlfcn.h>

#include <cstdlib>
#include <initializer_list>

#include <nearcell/core/error.h>
#include <nearcell/gpu/device_array.h>

namespace nearcell::gpu {
namespace {

// cublasFillMode_t, cublasOperation_t, cusolverEigMode_t.
constexpr int kLower = 0, kNotTransposed = 0, kWithVectors = 1;

// The first of some names that can be loaded; they stay until the process ends.
void* open_first(const std::string& folder, std::initializer_list<const char*> names,
                 std::string& missing) {
    std::string tried;
    for (const char* const name : names) {
        const std::string path = folder.empty() ? name : folder + "/" + name;
        if (void* const library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
        const char* const why = ::dlerror();
        tried += (tried.empty() ? "" : "; ") + std::string(why == nullptr ? name : why);
    }
    if (missing.empty()) {
        missing = std::string(*names.begin()) + " cannot be loaded (" + tried +
                  "): install it, or name its folder in NEARCELL_CUDA_LIBRARIES";
    }
    return nullptr;
}

template <class Function>
void find_function(void* library, const char* name, Function*& function, std::string& missing) {
    if (library == nullptr) return;
    function = reinterpret_cast<Function*>(::dlsym(library, name));
    if (function == nullptr && missing.empty())
        missing = std::string(name) +
                  " is not in the library that was loaded: install a release "
                  "of CUDA 12 or 13";
}

int to_int(size_t value) { return static_cast<int>(value); }

}  // namespace

void LinearAlgebra::check_status(int status, const Library& library, const char* call) {
    const bool no_memory = status == library.no_memory;
    check(status == 0, no_memory ? StatusCode::OutOfMemory : StatusCode::NoDevice, call,
          " failed with status ", status, ": see the documentation of CUDA's libraries");
}

// A library's handle, for work in one stream.
class LinearAlgebra::Handle {
   public:
    Handle(const Library& library, const char* name, simt::Stream stream) : library_(library) {
        check_status(library_.create(&handle_), library_, name);
        const int status = library_.set_stream(handle_, reinterpret_cast<void*>(stream));
        if (status != 0) library_.destroy(handle_);
        check_status(status, library_, name);
    }
    ~Handle() { library_.destroy(handle_); }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    void* get() const { return handle_; }

   private:
    const Library& library_;
    void* handle_ = nullptr;
};

const LinearAlgebra& LinearAlgebra::of_process() {
    static const LinearAlgebra found = [] {
        const char* const folder = std::getenv("NEARCELL_CUDA_LIBRARIES");
        return LinearAlgebra(folder == nullptr ? "" : folder);
    }();
    return found;
}

LinearAlgebra::LinearAlgebra(const std::string& folder) {
    // cuSOLVER needs cuBLAS, which it then finds loaded.
    void* const cublas = open_first(folder, {"libcublas.so.13", "libcublas.so.12"}, missing_);
    find_function(cublas, "cublasCreate_v2", cublas_.create, missing_);
    find_function(cublas, "cublasDestroy_v2", cublas_.destroy, missing_);
    find_function(cublas, "cublasSetStream_v2", cublas_.set_stream, missing_);
    find_function(cublas, "cublasDsyrk_v2", dsyrk_, missing_);
    if (cublas == nullptr) return;
    void* const cusolver = open_first(folder, {"libcusolver.so.12", "libcusolver.so.11"}, missing_);
    find_function(cusolver, "cusolverDnCreate", cusolver_.create, missing_);
    find_function(cusolver, "cusolverDnDestroy", cusolver_.destroy, missing_);
    find_function(cusolver, "cusolverDnSetStream", cusolver_.set_stream, missing_);
    find_function(cusolver, "cusolverDnDsyevd_bufferSize", dsyevd_size_, missing_);
    find_function(cusolver, "cusolverDnDsyevd", dsyevd_, missing_);
}

LinearAlgebra::Products::Products(const LinearAlgebra& library, simt::Stream stream)
    : library_(library) {
    check(library.available(), StatusCode::NoDevice, library.missing_);
    handle_ = std::make_unique<const Handle>(library.cublas_, "cublasCreate", stream);
}
LinearAlgebra::Products::~Products() = default;

void LinearAlgebra::Products::add(size_t dim, size_t rows, const double* a, double* c) const {
    const double one = 1;
    const int status = library_.dsyrk_(handle_->get(), kLower, kNotTransposed, to_int(dim),
                                       to_int(rows), &one, a, to_int(dim), &one, c, to_int(dim));
    check_status(status, library_.cublas_, "cublasDsyrk");
}

bool LinearAlgebra::solve_symmetric(size_t dim, double* matrix, double* values,
                                    simt::Stream stream) const {
    check(available(), StatusCode::NoDevice, missing_);
    const Handle handle(cusolver_, "cusolverDnCreate", stream);
    const int n = to_int(dim);
    int size = 0;
    check_status(dsyevd_size_(handle.get(), kWithVectors, kLower, n, matrix, n, values, &size),
                 cusolver_, "cusolverDnDsyevd_bufferSize");
    const DeviceArray<double> work(static_cast<size_t>(size), stream);
    const DeviceArray<int> info(1, stream);
    check_status(dsyevd_(handle.get(), kWithVectors, kLower, n, matrix, n, values, work.data(),
                         size, info.data()),
                 cusolver_, "cusolverDnDsyevd");
    int failed = 0;
    info.copy_to(&failed, 1);
    simt::synchronize(stream);
    return failed == 0;
}

}  // namespace nearcell::gpu
