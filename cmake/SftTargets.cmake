# sft_module(name EXCEPT ... DEPENDS ...): one static library per folder of src/, of all its .cpp files but those that
# belong to a shared library.
# sft_test(name SOURCES ... DEPENDS ...): one GoogleTest binary per folder of tests/. No test reaches the
# network; those of the hub turn HF_HUB_OFFLINE off and name a server on loopback.

add_library(sft_flags INTERFACE)
target_compile_options(sft_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict> -fopenmp-simd
  $<$<BOOL:${SFT_WERROR}>:-Werror>)
target_include_directories(sft_flags INTERFACE ${CMAKE_SOURCE_DIR}/src)

# layer_NAME builds a folder of src/ and its tests (make layer L=NAME).
function(sft_layer_has target)
  cmake_path(GET CMAKE_CURRENT_SOURCE_DIR FILENAME folder)
  if(NOT TARGET layer_${folder})
    add_custom_target(layer_${folder})
  endif()
  add_dependencies(layer_${folder} ${target})
endfunction()

function(sft_module name)
  cmake_parse_arguments(ARG "" "" "EXCEPT;DEPENDS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  foreach(pattern IN LISTS ARG_EXCEPT)
    list(FILTER sources EXCLUDE REGEX "/${pattern}")
  endforeach()
  add_library(sft_${name} STATIC ${sources})
  target_link_libraries(sft_${name} PUBLIC ${ARG_DEPENDS} PRIVATE sft_flags)
  target_include_directories(sft_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  sft_layer_has(sft_${name})
endfunction()

# For modules with kernels: the optimiser's full effort in every build type. Without the two flags a
# floating-point select or a square root would keep a loop from running in all lanes.
function(sft_kernel_options target)
  target_compile_options(${target} PRIVATE -O3 -fno-trapping-math -fno-math-errno)
endfunction()

# A library that the program loads when it needs it: it lies beside the program and shows its entry points alone.
function(sft_loaded_library target)
  set_target_properties(${target} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR} CXX_VISIBILITY_PRESET hidden)
  if(SFT_PORTABLE)
    add_dependencies(${target} sft_glibc_compat)
    target_link_options(${target} PRIVATE -Wl,--version-script=${CMAKE_SOURCE_DIR}/packaging/plugin.map)
  endif()
endfunction()

# What `target` loads when it runs is built with it, whichever target list asks for it.
function(sft_loads_at_run_time target)
  foreach(loaded sft_arrow sft_gloo sft_cuda sft_glibc_compat)
    if(TARGET ${loaded})
      add_dependencies(${target} ${loaded})
    endif()
  endforeach()
endfunction()

function(sft_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name}_test ${ARG_SOURCES})
  target_link_libraries(${name}_test PRIVATE ${ARG_DEPENDS} GTest::gtest_main sft_flags)
  target_include_directories(${name}_test PRIVATE ${CMAKE_SOURCE_DIR}/tests ${CMAKE_BINARY_DIR}/tests)
  sft_loads_at_run_time(${name}_test)
  sft_layer_has(${name}_test)
  cmake_path(GET CMAKE_CURRENT_SOURCE_DIR FILENAME folder)
  include(GoogleTest)
  gtest_discover_tests(${name}_test DISCOVERY_TIMEOUT 60 DISCOVERY_MODE PRE_TEST
                       PROPERTIES LABELS ${folder} TIMEOUT 600 ENVIRONMENT "HF_HUB_OFFLINE=1")
endfunction()
