#!/usr/bin/env bash
# Asserts that every object compiled with instruction-set flags defines no weak symbol and exactly one
# global one, its part of the kernel table. A weak symbol (an inline function or template that was not
# inlined) could be picked by the linker for the whole program, and then an old machine would meet
# instructions it does not have. (NEON is the only set of its machine: nothing to mistake.)
# Usage: check_symbols.sh BUILD_DIR
set -euo pipefail
build=${1:?usage: check_symbols.sh BUILD_DIR}
objects=0 bad=0
while IFS= read -r object; do
    objects=$((objects + 1))
    symbols=$(nm --defined-only --extern-only "$object")
    weak=$(awk '$2 ~ /^[WVuwv]$/' <<<"$symbols" | wc -l)
    global=$(awk '$2 ~ /^[A-TX-Z]$/' <<<"$symbols" | wc -l)
    if ((weak != 0 || global != 1)); then
        bad=$((bad + 1))
        echo "${object#"$build"/}: $weak weak symbols (0 allowed), $global global (exactly 1):"
        c++filt <<<"$symbols"
    fi
done < <(find "$build" -path '*/nearcell_*.dir/*' -name 'kernels_*.o' -not -path '*_neon.dir/*')
echo "$objects objects, $bad bad"
((objects > 0 && bad == 0))
