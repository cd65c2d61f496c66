// nearcell, all of it: include this to make, fill, search, tune, save and open indexes, to cluster,
// to reduce and to read vector files. Programs that want less include the parts they use.
//
//   auto index = nearcell::make_index("IVF1024,PQ16,RFlat", {.dim = 128});
//   index->train(rows);
//   index->add(rows);
//   nearcell::SearchResult found = index->search(queries, {.k = 10});
#pragma once

#include <nearcell/core/error.h>
#include <nearcell/core/id_filter.h>
#include <nearcell/core/matrix_view.h>
#include <nearcell/core/metric.h>
#include <nearcell/core/progress.h>
#include <nearcell/core/search_result.h>
#include <nearcell/core/vectors.h>
#include <nearcell/index/choose_spec.h>
#include <nearcell/index/exact_search.h>
#include <nearcell/index/factory.h>
#include <nearcell/index/held_out.h>
#include <nearcell/index/tune.h>
#include <nearcell/ivf/cell_index.h>
#include <nearcell/kernels/backend.h>
#include <nearcell/pca/pca.h>
#include <nearcell/quantize/kmeans.h>
#include <nearcell/storage/container.h>
#include <nearcell/storage/vector_file.h>
