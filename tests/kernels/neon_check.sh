#!/bin/sh
# neon_check.sh BUILD_DIR KERNEL_CHECK XSIMD_DIR: cross-compiles the kernels and their checks for aarch64, runs
# them under qemu, and compares their bits with those of KERNEL_CHECK, the same program built for
# this machine. XSIMD_DIR holds xsimdConfig.cmake. Exits 77, with the reason, where the cross
# compiler or qemu is missing.
set -eu
build=$1
native=$2
xsimd=$3
root=$(cd "$(dirname "$0")/../.." && pwd)

qemu=$(command -v qemu-aarch64 || command -v qemu-aarch64-static || true)
if [ -z "$qemu" ]; then
    echo "skipped: qemu-aarch64 is not installed (Debian: qemu-user)"
    exit 77
fi
if ! command -v aarch64-linux-gnu-g++ > /dev/null; then
    echo "skipped: aarch64-linux-gnu-g++ is not installed (Debian: g++-aarch64-linux-gnu)"
    exit 77
fi

mkdir -p "$build"
if ! { cmake -G Ninja -S "$root/tests/kernels/cross" -B "$build" -DCMAKE_BUILD_TYPE=Release -Dxsimd_DIR="$xsimd" \
             -DCMAKE_TOOLCHAIN_FILE="$root/cmake/aarch64.cmake" &&
       cmake --build "$build"; } > "$build/build.log" 2>&1; then
    cat "$build/build.log"
    exit 1
fi
"$qemu" "$build/kernel_check" > "$build/neon.txt"
"$native" > "$build/native.txt"

neon=$(sed 's/^neon //' "$build/neon.txt")
compared=0
for isa in $(cut -d' ' -f1 "$build/native.txt" | sort -u); do
    sed -n "s/^$isa //p" "$build/native.txt" > "$build/isa.txt"
    if ! printf '%s\n' "$neon" | diff - "$build/isa.txt"; then
        echo "failed: neon (<) and $isa (>) give different bits"
        exit 1
    fi
    echo "neon gives the bits of $isa: $(wc -l < "$build/isa.txt") operations"
    compared=$((compared + 1))
done
[ "$compared" -gt 0 ] || echo "neon passed; this machine has no such table to compare bits with"
