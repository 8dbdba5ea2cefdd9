# libsft_cuda.so: the CUDA half of device/, comm/, ops/ and optim/, loaded at run time when a GPU is there. Built where
# nvcc is found (SFT_CUDA=OFF leaves it out). cuDNN's fused attention needs cuDNN's headers and those of PyPI's
# nvidia-cudnn-frontend (SFT_CUDNN_FRONTEND names its include folder); without them attention runs in plain kernels.
option(SFT_CUDA "build the CUDA half when nvcc is found" ON)
set(SFT_CUDA_ARCHITECTURES "" CACHE STRING "compute capabilities to compile for, as CMake names them; \"\": this machine's GPUs")
set(SFT_CUDA_AT_MOST "" CACHE STRING "for tests: a newer GPU passes for one of this compute capability, 70 or more")
set(SFT_CUDNN_FRONTEND "" CACHE PATH "the include folder of cudnn-frontend")
if(NOT SFT_CUDA)
  return()
endif()
find_program(SFT_NVCC nvcc PATHS /usr/local/cuda/bin)
if(NOT SFT_NVCC)
  message(STATUS "nvcc not found: building for the CPU only")
  return()
endif()
if(NOT SFT_CUDA_ARCHITECTURES)
  execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader
    OUTPUT_VARIABLE _found ERROR_QUIET RESULT_VARIABLE _ignored)
  string(REGEX MATCHALL "[0-9]+\\.[0-9]" _found "${_found}")
  list(REMOVE_DUPLICATES _found)
  foreach(_capability IN LISTS _found)
    string(REPLACE "." "" _capability ${_capability})
    if(_capability EQUAL 90)
      list(APPEND SFT_CUDA_ARCHITECTURES 90a)
    elseif(_capability GREATER_EQUAL 75)  # the least that CUDA 13 compiles for
      list(APPEND SFT_CUDA_ARCHITECTURES ${_capability})
    endif()
  endforeach()
  if(NOT SFT_CUDA_ARCHITECTURES)
    set(SFT_CUDA_ARCHITECTURES 90a)
  endif()
  message(STATUS "CUDA for compute capability ${SFT_CUDA_ARCHITECTURES}")
endif()
set(CMAKE_CUDA_COMPILER ${SFT_NVCC})
set(CMAKE_CUDA_ARCHITECTURES ${SFT_CUDA_ARCHITECTURES})
if(CCACHE)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)

if(NOT SFT_CUDNN_FRONTEND)
  file(GLOB _frontend ${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages/include/cudnn_frontend.h)
  if(_frontend)
    list(GET _frontend 0 _frontend)
    get_filename_component(SFT_CUDNN_FRONTEND "${_frontend}" DIRECTORY)
  endif()
endif()
find_path(SFT_CUDNN_INCLUDE cudnn.h PATHS ${CUDAToolkit_INCLUDE_DIRS})

# Its own sources are all that is CUDA's; of the program it takes what these stand on.
file(GLOB _cuda_sources CONFIGURE_DEPENDS
  src/*/cuda/*.cu src/*/cuda/*.cpp src/*/*_cuda.cu)
add_library(sft_cuda SHARED ${_cuda_sources}
  src/core/cgroup.cpp src/core/content_hash.cpp src/core/dtype.cpp src/core/error.cpp src/core/fd.cpp src/core/file.cpp
  src/core/file_lock.cpp src/core/file_writer.cpp src/core/installed.cpp src/core/strings.cpp src/core/tensor.cpp src/core/thread_pool.cpp
  src/core/threads.cpp src/device/device.cpp src/formats/block8.cpp src/formats/convert.cpp
  src/formats/four_bit.cpp)
target_include_directories(sft_cuda PRIVATE src)
# A source that is missing above is an error of the build, not of the first run on a GPU.
target_link_options(sft_cuda PRIVATE -Wl,--no-undefined)
set_source_files_properties(src/device/cuda/cuda_device.cu PROPERTIES
  COMPILE_DEFINITIONS "SFT_CUDA_ARCHITECTURES=\"$<JOIN:${SFT_CUDA_ARCHITECTURES}, >\"")
# Packages have CUDA's runtime inside.
target_link_libraries(sft_cuda PRIVATE $<IF:$<BOOL:${SFT_PORTABLE}>,CUDA::cudart_static,CUDA::cudart> CUDA::cublasLt fmt::fmt
  Threads::Threads ${CMAKE_DL_LIBS})
if(SFT_PORTABLE)
  set_target_properties(sft_cuda PROPERTIES SKIP_BUILD_RPATH ON OUTPUT_NAME sft_cuda${CUDAToolkit_VERSION_MAJOR})
  set_target_properties(sft_cuda PROPERTIES CUDA_RUNTIME_LIBRARY Static)
  # Code for many cards lies packed in the library. What CUDA 13 packs is a tenth of it, and every driver that runs CUDA 13 reads it; the
  # drivers that run CUDA 12 read the older form, a third.
  target_compile_options(sft_cuda PRIVATE
    $<$<COMPILE_LANGUAGE:CUDA>:$<IF:$<EQUAL:${CUDAToolkit_VERSION_MAJOR},12>,-Xfatbin=-compress-all,--compress-mode=size>>)
endif()
# CMake 3.25 knows no C++20 flag for nvcc 13.
set_target_properties(sft_cuda PROPERTIES
  CUDA_STANDARD_REQUIRED OFF CUDA_EXTENSIONS OFF CUDA_VISIBILITY_PRESET hidden)
sft_loaded_library(sft_cuda)
target_compile_options(sft_cuda PRIVATE
  $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20 --expt-relaxed-constexpr --extended-lambda -Xcompiler=-Wall>
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wno-restrict>)
if(SFT_CUDA_AT_MOST)
  set_property(SOURCE src/device/cuda/cuda_device.cu APPEND PROPERTY COMPILE_DEFINITIONS SFT_CUDA_AT_MOST=${SFT_CUDA_AT_MOST})
endif()
# Kernels that use the instructions of compute capability 9.0 alone.
if(SFT_CUDA_ARCHITECTURES MATCHES "(^|;)90a")
  target_compile_definitions(sft_cuda PRIVATE SFT_HOPPER)
endif()
# 8.9 converts to fp8 by itself; whatever else it runs may be 8.0's code.
if(SFT_CUDA_ARCHITECTURES MATCHES "(^|;)80" AND NOT SFT_CUDA_ARCHITECTURES MATCHES "(^|;)89")
  set_property(SOURCE src/ops/fp8_linear_cuda.cu APPEND PROPERTY COMPILE_OPTIONS --generate-code=arch=compute_89,code=sm_89)
endif()
if(SFT_CUDNN_FRONTEND AND SFT_CUDNN_INCLUDE)
  set_source_files_properties(src/ops/cuda/attention_cudnn.cpp PROPERTIES COMPILE_OPTIONS "-w")
  target_compile_definitions(sft_cuda PRIVATE SFT_CUDNN)
  target_include_directories(sft_cuda SYSTEM PRIVATE ${SFT_CUDNN_FRONTEND} ${SFT_CUDNN_INCLUDE})
else()
  message(STATUS "cuDNN or cudnn-frontend not found: attention on GPUs runs in plain kernels")
endif()
