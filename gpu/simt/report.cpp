#include <array>
#include <cstdio>
#include <map>
#include <sstream>
#include <string_view>

#include <unistd.h>

#include <nearcell/gpu/simt/runtime.h>

namespace nearcell::simt {

const char* fault_name(Fault fault) {
    switch (fault) {
        case Fault::Race: return "race";
        case Fault::DivergentBarrier: return "divergent barrier";
        case Fault::MissedBarrier: return "missed barrier";
        case Fault::MissedWait: return "missed wait";
        case Fault::Deadlock: return "deadlock";
        case Fault::BadMask: return "bad mask";
        case Fault::AbsentLane: return "absent lane";
        case Fault::OutOfBounds: return "out of bounds";
        case Fault::UseAfterFree: return "use after free";
        case Fault::UnwrittenRead: return "read of unwritten memory";
        case Fault::HostMemory: return "host memory in a kernel";
        case Fault::Misaligned: return "misaligned access";
        case Fault::SharedMemoryLimit: return "too much shared memory";
        case Fault::InvalidLaunch: return "invalid launch";
        case Fault::InvalidCopy: return "invalid copy";
        case Fault::Unsupported: return "unsupported instruction";
        case Fault::Trap: return "trap";
    }
    return "?";
}

namespace {

// The emulation's own wrappers are inlined into kernels: the line that matters is the kernel's.
bool is_own_file(std::string_view file) {
    static const std::string_view folder = [] {
        const std::string_view here = __FILE__;
        return here.substr(0, here.rfind('/') + 1);
    }();
    return file.starts_with(folder) || file.find("/include/nearcell/gpu/simt/") != file.npos;
}

// addr2line's answer: pairs of lines, function and FILE:LINE, the innermost inlined call first.
SourceLine first_kernel_line(FILE* answer) {
    std::array<char, 1024> buffer{};
    SourceLine found;
    for (int row = 0; std::fgets(buffer.data(), buffer.size(), answer) != nullptr; ++row) {
        if (row % 2 == 0) continue;
        const std::string_view text(buffer.data());
        const size_t colon = text.rfind(':');
        if (colon == text.npos || text[0] == '?') continue;
        SourceLine line{std::string(text.substr(0, colon)), std::atoi(&buffer[colon + 1])};
        const bool own = is_own_file(line.file);
        if (found.file.empty() || !own) found = std::move(line);
        if (!own) break;
    }
    return found;
}

SourceLine line_of(uint32_t address) {
    static std::map<uint32_t, SourceLine> known;
    if (address == 0) return {};
    if (const auto found = known.find(address); found != known.end()) return found->second;
    std::array<char, 4096> program{};
    SourceLine line;
    if (::readlink("/proc/self/exe", program.data(), program.size() - 1) > 0) {
        std::ostringstream command;  // the address is behind the call that it returns from
        command << "addr2line -f -i -e '" << program.data() << "' 0x" << std::hex << address - 1
                << " 2>/dev/null";
        if (FILE* const answer = ::popen(command.str().c_str(), "r")) {
            line = first_kernel_line(answer);
            ::pclose(answer);
        }
    }
    return known[address] = line;
}

void print_line(std::ostream& out, const char* name, const SourceLine& line, uint32_t address) {
    if (line.file.empty() && address == 0) return;
    out << "\n    " << name;
    if (line.file.empty()) {
        out << "address 0x" << std::hex << address << std::dec << " (no debug information)";
    } else {
        out << line.file << ':' << line.line;
    }
}

Report report_of_current(Fault fault, std::string message) {
    Report report;
    report.fault = fault;
    report.kernel = launch_state.kernel;
    if (current != nullptr) {
        report.block = current->block->index;
        report.thread = current->index;
    }
    report.message = std::move(message);
    return report;
}

// The first fault of a launch is the one that counts.
void keep(Report report) {
    if (launch_state.failed) return;
    launch_state.failed = true;
    launch_state.report = std::move(report);
}

}  // namespace

SourceLine Report::source() const { return known.file.empty() ? line_of(address) : known; }
SourceLine Report::other_source() const { return line_of(other_address); }

std::string Report::text() const {
    std::ostringstream out;
    out << fault_name(fault) << ": " << message;
    if (!kernel.empty()) {
        out << "\n    kernel " << kernel << ", block " << block.x << ' ' << block.y << ' '
            << block.z << ", thread " << thread.x << ' ' << thread.y << ' ' << thread.z;
    }
    print_line(out, "at ", source(), address);
    print_line(out, "conflicts with ", other_source(), other_address);
    return out.str();
}

const char* FaultError::what() const noexcept {
    try {
        if (text_.empty()) text_ = report_.text();
        return text_.c_str();
    } catch (...) {
        return "a fault that there is no memory to describe";
    }
}

uint32_t code_address(const void* address) {
    return static_cast<uint32_t>(static_cast<const char*>(address) - &__executable_start);
}

void record_fault(Fault fault, std::string message, CodeLine where) {
    Report report = report_of_current(fault, std::move(message));
    report.known = {where.file, where.line};
    keep(std::move(report));
}

void record_fault(Fault fault, std::string message, const void* address, uint32_t other_address) {
    Report report = report_of_current(fault, std::move(message));
    report.address = address == nullptr ? 0 : code_address(address);
    report.other_address = other_address;
    keep(std::move(report));
}

void throw_fault(Fault fault, std::string message) {
    Report report;
    report.fault = fault;
    report.message = std::move(message);
    throw FaultError(std::move(report));
}

}  // namespace nearcell::simt
