# What every target of ours is compiled with. -ffp-contract=off: the same bits on every machine; fused
# multiply-adds are written where they are wanted.
function(nearcell_settings target)
    target_compile_options(${target} PRIVATE
        -ffp-contract=off -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow
        -Wnon-virtual-dtor -Wold-style-cast -Wdouble-promotion -Wundef
        # g++ 12 warns inside std::string's operator+ (its bug 105651).
        $<$<AND:$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict>
        $<$<BOOL:${NEARCELL_WERROR}>:-Werror>)
    if(NEARCELL_SANITIZE)
        target_compile_definitions(${target} PRIVATE NEARCELL_SANITIZED)
        target_compile_options(${target} PRIVATE -fsanitize=${NEARCELL_SANITIZE}
                               -fno-omit-frame-pointer -fno-sanitize-recover=all)
        target_link_options(${target} PUBLIC -fsanitize=${NEARCELL_SANITIZE})
    endif()
endfunction()
