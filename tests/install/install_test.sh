#!/usr/bin/env bash
# Stages an install, moves it, and builds and runs the example against it twice: by find_package and
# by pkg-config. Usage: install_test.sh BUILD_DIR WORK_DIR
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
build=$1 work=$2
examples=$here/../../examples/cpp

rm -rf "$work"
mkdir -p "$work"
cmake --install "$build" --prefix "$work/staged" >"$work/install.log"
mv "$work/staged" "$work/prefix"  # nothing may remember where it was first put

echo "by find_package"
cmake -S "$here" -B "$work/consumer" -G Ninja -DCMAKE_PREFIX_PATH="$work/prefix" \
    -DEXAMPLES="$examples" -DCMAKE_BUILD_TYPE=Release >"$work/configure.log"
cmake --build "$work/consumer"
"$work/consumer/search"

echo "by pkg-config"
PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name nearcell.pc)")
export PKG_CONFIG_PATH
# shellcheck disable=SC2046
g++ -std=c++20 -O2 "$examples/search.cpp" -o "$work/search" \
    $(pkg-config --cflags --libs --static nearcell)
"$work/search"

if grep -rlE "$(readlink -f "$here/../..")|$(readlink -f "$build")" "$work/prefix/lib" \
    --include='*.cmake' --include='*.pc'; then
    echo "the files above name the source or build folder"
    exit 1
fi
