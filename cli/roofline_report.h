// RooflineReport: what `bench kernels` measured, as JSON and as two tables, of the ceilings and of
// the kernels. Not thread safe.
#pragma once

#include <string>

#include "kernel_calls.h"
#include "repeated.h"
#include "roofline.h"
#include "session.h"

namespace nearcell::cli {

// What was measured of one operation, and what the roofline allows.
struct KernelFigures {
    std::string isa;
    size_t dim;
    KernelCall call;
    Spread seconds;  // a pair
    Bound bound;

    double rate() const { return call.operations / seconds.median; }
    double bandwidth() const { return call.bytes / seconds.median; }
    double fraction() const { return rate() / bound.operations; }
};

class RooflineReport {
   public:
    // The level of memory that the stored vectors lie in, "l2" or "memory".
    explicit RooflineReport(std::string level) : level_(std::move(level)) {}
    void add(const std::string& isa, const Roofline& roofline);
    void add(const KernelFigures& figures);
    void print(Session& session);

   private:
    std::string level_;
    Json ceilings_json_ = Json::array(), kernels_json_ = Json::array();
    Table ceilings_{{}};
    Table kernels_{{{"operation", Table::Align::Left},
                    {"isa", Table::Align::Left},
                    {"dim"},
                    {"ns/pair"},
                    {"spread"},
                    {"op/pair"},
                    {"B/pair"},
                    {"Gop/s"},
                    {"GB/s"},
                    {"bound"},
                    {"by", Table::Align::Left},
                    {"reached"}}};
};

}  // namespace nearcell::cli
