# One object library per instruction set, all from the same cpu/kernels_*.cpp sources with thin flags.
# Every object exports one symbol, its part of the kernel table (asserted by tools/check_symbols.sh).
find_package(xsimd CONFIG REQUIRED)  # no version: its config accepts the same major only
if(xsimd_VERSION VERSION_LESS 8.1)
    message(FATAL_ERROR "xsimd ${xsimd_VERSION} is too old: 8.1 or later is needed")
endif()
file(GLOB NEARCELL_KERNELS CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/../cpu/kernels_*.cpp)

function(nearcell_add_isa target isa arch)
    add_library(nearcell_${isa} OBJECT ${NEARCELL_KERNELS})
    nearcell_settings(nearcell_${isa})
    target_include_directories(nearcell_${isa} PRIVATE ${PROJECT_BINARY_DIR}/include)
    target_include_directories(nearcell_${isa} SYSTEM PRIVATE
        $<TARGET_PROPERTY:xsimd,INTERFACE_INCLUDE_DIRECTORIES>)
    target_compile_definitions(nearcell_${isa} PRIVATE NEARCELL_ISA=${isa} NEARCELL_ARCH=${arch})
    target_compile_options(nearcell_${isa} PRIVATE -O3 -fno-lto -fno-exceptions -fno-rtti
        -fvisibility=hidden -fno-math-errno -fno-trapping-math ${ARGN})
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:nearcell_${isa}>)
    string(TOUPPER ${isa} upper)
    target_compile_definitions(${target} PRIVATE NEARCELL_HAS_${upper})
endfunction()

function(nearcell_add_isas target)
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
        set(v3 -mavx2 -mfma -mf16c -mpopcnt -mbmi -mbmi2 -mlzcnt)
        set(v4 ${v3} -mavx512f -mavx512cd -mavx512dq -mavx512bw -mavx512vl -mprefer-vector-width=512
               -Wno-maybe-uninitialized -Wno-uninitialized)  # g++ 12 warns inside its own intrinsics
        nearcell_add_isa(${target} base xsimd::sse2)
        nearcell_add_isa(${target} avx2 xsimd::fma3<xsimd::avx2> ${v3})
        nearcell_add_isa(${target} avx512 xsimd::avx512bw ${v4})
        nearcell_add_isa(${target} avx512vnni xsimd::avx512bw ${v4} -mavx512vnni -mavx512vbmi)
        nearcell_add_isa(${target} amx xsimd::avx512bw ${v4} -mavx512vnni -mavx512vbmi -mamx-tile
            -mamx-int8)
    elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
        nearcell_add_isa(${target} neon xsimd::neon64)
    else()
        message(FATAL_ERROR "no kernels for ${CMAKE_SYSTEM_PROCESSOR}")
    endif()
endfunction()
