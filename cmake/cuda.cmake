# CUDA sources are compiled by nvcc, when one is found, for every architecture at once. No GPU and no
# driver are needed for that; `./run gpu-toolkit` gets a compiler from PyPI. CMake's own CUDA language
# wants a toolkit laid out as NVIDIA's installer does, which the packages of PyPI are not.
set(NEARCELL_CUDA auto CACHE STRING
    "The GPU part: on (in the library), auto (built when asked for, when nvcc is found) or off")
set_property(CACHE NEARCELL_CUDA PROPERTY STRINGS auto on off)
set(NEARCELL_CUDA_ARCHITECTURES 75 80 86 89 90 100 120 CACHE STRING
    "Compute capabilities; of the last there is PTX, too, for those to come")

if(NOT NEARCELL_CUDA STREQUAL "off")
    # That of build/cuda before any other: gpu/ptxas.txt is what its release makes of the kernels.
    find_program(NEARCELL_NVCC nvcc HINTS ${PROJECT_SOURCE_DIR}/build/cuda/nvidia/cu13/bin
                 PATHS ENV CUDA_PATH ENV CUDA_HOME /usr/local/cuda PATH_SUFFIXES bin)
    if(NOT NEARCELL_NVCC AND NEARCELL_CUDA STREQUAL "on")
        message(FATAL_ERROR "NEARCELL_CUDA is on, but there is no nvcc: ./run gpu-toolkit gets one")
    endif()
    if(NEARCELL_NVCC)
        cmake_path(GET NEARCELL_NVCC PARENT_PATH cuda_bin)
        find_library(NEARCELL_CUDART cudart_static REQUIRED HINTS ${cuda_bin}/../lib
                     ${cuda_bin}/../lib64 ${cuda_bin}/../targets/x86_64-linux/lib)
        find_path(NEARCELL_CUDA_INCLUDE cuda_runtime.h REQUIRED HINTS ${cuda_bin}/../include
                  ${cuda_bin}/../targets/x86_64-linux/include)
    endif()
endif()

# nearcell_cuda_objects(OUT SOURCE...): OUT becomes the list of object files. What ptxas says of each
# kernel (registers, spills, shared memory) is kept beside the object, as SOURCE.ptxas, for
# tools/ptxas_table.py.
function(nearcell_cuda_objects out)
    # -fmad=false: as -ffp-contract=off elsewhere: a fused multiply-add is one that was written.
    set(flags -std=c++20 -O3 -fmad=false --expt-relaxed-constexpr -ccbin ${CMAKE_CXX_COMPILER}
        -Xcompiler=-fPIC,-Wall,-Wextra,-Werror -Werror=all-warnings -Xptxas=-v
        -I ${PROJECT_BINARY_DIR}/include)
    foreach(arch IN LISTS NEARCELL_CUDA_ARCHITECTURES)
        list(APPEND flags -gencode arch=compute_${arch},code=sm_${arch})
    endforeach()
    list(GET NEARCELL_CUDA_ARCHITECTURES -1 last)
    list(APPEND flags -gencode arch=compute_${last},code=compute_${last})
    # What the code of devices beyond the list is made of (gpu/simt/host_cuda.h).
    list(APPEND flags -DNEARCELL_LAST_ARCHITECTURE=${last})
    set(objects)
    foreach(source IN LISTS ARGN)
        cmake_path(ABSOLUTE_PATH source)
        cmake_path(GET source FILENAME name)
        set(object ${CMAKE_CURRENT_BINARY_DIR}/${name}.o)
        set(log ${CMAKE_CURRENT_BINARY_DIR}/${name}.ptxas)
        add_custom_command(OUTPUT ${object} BYPRODUCTS ${log}
            COMMAND sh -c "\"$@\" >${log} 2>&1 || { cat ${log}; exit 1; }" nvcc
                    ${NEARCELL_NVCC} ${flags} -MD -MF ${object}.d -MT ${object} -c ${source} -o ${object}
            DEPENDS ${source} DEPFILE ${object}.d
            COMMENT "Compiling ${name} for ${NEARCELL_CUDA_ARCHITECTURES}" VERBATIM)
        list(APPEND objects ${object})
    endforeach()
    set(${out} ${objects} PARENT_SCOPE)
endfunction()

# nearcell_cuda_program(TARGET): a program of ours with the GPU part, which calls it by gpu/simt/host.h,
# too, or by CUDA's runtime.
function(nearcell_cuda_program target)
    nearcell_settings(${target})
    target_compile_definitions(${target} PRIVATE NEARCELL_CUDA)
    target_include_directories(${target} SYSTEM PRIVATE ${NEARCELL_CUDA_INCLUDE})
    target_link_libraries(${target} PRIVATE $<LINK_LIBRARY:WHOLE_ARCHIVE,nearcell_cuda>
                          nearcell::nearcell)
    if(NEARCELL_STATIC_PROGRAMS)  # for machines that have not what they were built with
        target_link_options(${target} PRIVATE -static-libstdc++ -static-libgcc -s -Wl,--as-needed
                            -Wl,--gc-sections)
    endif()
endfunction()
