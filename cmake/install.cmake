# What `cmake --install` puts in place: the library, the headers of its public folders, a CMake
# package (find_package(nearcell), target nearcell::nearcell) and nearcell.pc for pkg-config. The
# command's install rule is in cli/; a Python wheel takes nothing but its module (python/).
if(SKBUILD)
    return()
endif()
include(CMakePackageConfigHelpers)

foreach(folder IN LISTS NEARCELL_FOLDERS)
    install(DIRECTORY ${PROJECT_SOURCE_DIR}/${folder}
            DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/nearcell
            FILES_MATCHING PATTERN "*.h" PATTERN "*.def"
            PATTERN "hdf5_session.h" EXCLUDE)  # which wants headers of HDF5, and nobody else's does
endforeach()
install(TARGETS nearcell EXPORT nearcellTargets)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/nearcell)
install(EXPORT nearcellTargets NAMESPACE nearcell:: DESTINATION ${package_dir})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/nearcellConfig.cmake.in
    ${PROJECT_BINARY_DIR}/nearcellConfig.cmake INSTALL_DESTINATION ${package_dir})
# Before 1.0 a minor version may change anything.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/nearcellConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/nearcellConfig.cmake
              ${PROJECT_BINARY_DIR}/nearcellConfigVersion.cmake
        DESTINATION ${package_dir})

# pkg-config: paths relative to the .pc file, so that a tree may be moved. What only a static library
# passes on to its users goes to Libs.private (pkg-config --static).
file(RELATIVE_PATH prefix_from_pc
     ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" prefix_from_pc "${prefix_from_pc}")
set(private_libs)
set(libraries ${HDF5_LIBRARIES} ${JPEG_LIBRARIES} ${OPENSSL_CRYPTO_LIBRARY})
list(REMOVE_DUPLICATES libraries)  # HDF5 may use libcrypto, too
foreach(library IN LISTS libraries)
    if(library MATCHES "lib(hdf5|jpeg|crypto)\\.")
        cmake_path(GET library PARENT_PATH directory)
        string(APPEND private_libs " -L${directory} -l${CMAKE_MATCH_1}")
    endif()
endforeach()
if(NEARCELL_THREADS STREQUAL "openmp")
    string(APPEND private_libs " ${OpenMP_CXX_FLAGS}")
endif()
if(NEARCELL_SANITIZE)
    string(APPEND private_libs " -fsanitize=${NEARCELL_SANITIZE}")
endif()
string(APPEND private_libs " -lstdc++ -lm")
configure_file(${PROJECT_SOURCE_DIR}/cmake/nearcell.pc.in ${PROJECT_BINARY_DIR}/nearcell.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/nearcell.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
