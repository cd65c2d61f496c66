#include "roofline_report.h"

#include <utility>

#include "number_text.h"

namespace nearcell::cli {
namespace {

constexpr const char* kNotes =
    "\nA pair is a query and a stored vector, which is read once for all queries of a call; or a\n"
    "vector alone where there is no query. op, B: of kernels/ops.def. ns: the median, and lowest-\n"
    "highest of nine. bound: the Gop/s that the ceilings allow at so many operations a byte; by:\n"
    "the ceiling that binds.\n";

std::string without_peak(const std::string& op) { return op.substr(op.find('_') + 1); }

std::string giga_text(double rate) { return fixed_text(rate * 1e-9, rate < 99.95e9 ? 1 : 0); }

std::string nanoseconds_text(double seconds) {
    return fixed_text(seconds * 1e9, seconds < 0.9995e-9 ? 3 : seconds < 99.5e-9 ? 2 : 0);
}

}  // namespace

void RooflineReport::add(const std::string& isa, const Roofline& roofline) {
    Json json = {{"instruction_set", isa}};
    std::vector<Table::Column> columns = {{"ceilings", Table::Align::Left}};
    std::vector<std::string> cells = {isa};
    const auto add_one = [&](const std::string& name, const std::string& unit, double rate) {
        json[name + "_" + unit] = rate * 1e-9;
        columns.push_back({name + (unit == "gops" ? " Gop/s" : " GB/s")});
        cells.push_back(giga_text(rate));
    };
    for (const auto& [op, rate] : roofline.arithmetic)
        add_one(without_peak(op), "gops", rate);
    add_one("l1", "gbps", roofline.l1);
    add_one("l2", "gbps", roofline.l2);
    add_one("memory", "gbps", roofline.memory);
    ceilings_json_.push_back(std::move(json));
    if (ceilings_.empty()) ceilings_ = Table(std::move(columns));
    ceilings_.add_row(std::move(cells));
}

void RooflineReport::add(const KernelFigures& figures) {
    const KernelCall& call = figures.call;
    const std::string peak = without_peak(call.peak);
    const std::string by = figures.bound.by_reading ? level_ : peak;
    kernels_json_.push_back(
        {{"operation", call.op},
         {"instruction_set", figures.isa},
         {"dim", figures.dim},
         {"ns_per_pair", figures.seconds.median * 1e9},
         {"ns_low", figures.seconds.low * 1e9},
         {"ns_high", figures.seconds.high * 1e9},
         {"operations_per_pair", call.operations},
         {"bytes_per_pair", call.bytes},
         {"intensity", call.bytes > 0 ? Json(call.operations / call.bytes) : Json()},
         {"gops", figures.rate() * 1e-9},
         {"gbps", figures.bandwidth() * 1e-9},
         {"peak", peak},
         {"bound_gops", figures.bound.operations * 1e-9},
         {"bound_by", by},
         {"fraction", figures.fraction()}});
    kernels_.add_row(
        {call.op, figures.isa, grouped_text(figures.dim), nanoseconds_text(figures.seconds.median),
         nanoseconds_text(figures.seconds.low) + "-" + nanoseconds_text(figures.seconds.high),
         count_text(call.operations), count_text(call.bytes), giga_text(figures.rate()),
         giga_text(figures.bandwidth()), giga_text(figures.bound.operations), by,
         fixed_text(100 * figures.fraction(), figures.fraction() < 0.0995 ? 1 : 0) + "%"});
}

void RooflineReport::print(Session& session) {
    session.detail("ceilings", std::move(ceilings_json_));
    session.detail("kernels", std::move(kernels_json_));
    session.text(ceilings_.text() + "\n" + kernels_.text() + kNotes);
}

}  // namespace nearcell::cli
