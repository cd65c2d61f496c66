// Vector files: reading and writing the formats that vectors are exchanged in. The format follows
// the file's suffix unless one is named. Every header is checked against the file's length before
// anything is allocated.
//   fvecs bvecs ivecs      each row: int32 dimension, then float32 / uint8 / int32 values
//   fbin u8bin i8bin ibin  uint32 rows, uint32 columns, then float32 / uint8 / int8 / int32 values
//   npy                    numpy 1.0 to 3.0, C order, little endian: f4 f2 i1 u1 i4 i8 (f8 is
//                          narrowed)
//   raw                    values only: the caller gives element type and columns
//   hdf5                   ann-benchmarks layout: train, test, neighbors, distances.
//                          "file.hdf5:test" names a data set; else vectors are in "train" and ids
//                          in "neighbors". Writing keeps a file's other data sets, and replaces one
//                          only when the file holds nothing but it and those written `together`.
// All but HDF5 are safe to read from strangers. HDF5 is parsed by libhdf5, which a file made for it
// can crash: convert those from strangers in a process of their own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nearcell/core/aligned_buffer.h>
#include <nearcell/core/vectors.h>

namespace nearcell {

enum class VectorFormat { Fvecs, Bvecs, Ivecs, Fbin, U8bin, I8bin, Ibin, Npy, Raw, Hdf5 };

std::string_view format_name(VectorFormat format);
std::optional<VectorFormat> format_from_name(std::string_view name);
// By suffix; throws InvalidArgument listing the known ones.
VectorFormat format_from_path(const std::string& path);

struct VectorFileOptions {
    std::optional<VectorFormat> format;           // else by suffix
    ElementType raw_type = ElementType::Float32;  // Raw only
    size_t raw_cols = 0;                          // Raw only
    size_t first_row = 0;                         // skip this many rows
    size_t max_rows = static_cast<size_t>(-1);    // and read at most so many
    // Hdf5, writing: paths of data sets, file.hdf5:name, in the order in which they are written.
    std::vector<std::string> together = {};
    bool exact_whole = false;  // whole float64 values that float32 would round are refused
};

// Vectors that own their memory.
struct VectorData {
    AlignedBuffer<uint8_t> bytes;
    ElementType type = ElementType::Float32;
    size_t rows = 0;
    size_t cols = 0;
    Vectors view() const { return {bytes.data(), type, rows, cols}; }
};

// Ids or neighbour lists: rows x cols of int64.
struct IdData {
    std::vector<int64_t> values;
    size_t rows = 0;
    size_t cols = 0;
};

// Rows and columns without reading the data.
struct VectorFileInfo {
    VectorFormat format;
    std::string element;  // "float32", "int32", ...
    size_t rows = 0;
    size_t cols = 0;
};

// Throw NotFound, Io, Corrupt (naming file, offset, found and expected), Unsupported (element
// types).
VectorFileInfo vector_file_info(const std::string& path, const VectorFileOptions& options = {});
VectorData read_vectors(const std::string& path, const VectorFileOptions& options = {});
IdData read_ids(const std::string& path, const VectorFileOptions& options = {});

// Written atomically. Throw InvalidArgument when the format cannot hold the element type.
void write_vectors(const std::string& path, const Vectors& vectors,
                   const VectorFileOptions& options = {});
void write_ids(const std::string& path, const int64_t* ids, size_t rows, size_t cols,
               const VectorFileOptions& options = {});
// Throw what these would, as far as that is known before there are rows, and write nothing.
void check_writes_vectors(const std::string& path, ElementType type,
                          const VectorFileOptions& options = {});
void check_writes_ids(const std::string& path, const VectorFileOptions& options = {});

}  // namespace nearcell
