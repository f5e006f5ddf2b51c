# Third-party libraries, all from the distribution but for LibTorch (a PyPI wheel, see scripts/setup).

find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(spdlog REQUIRED)
find_package(Protobuf REQUIRED)         # module mode: Debian ships no CMake config of it
find_package(gRPC REQUIRED)
find_package(prometheus-cpp REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(JPEG REQUIRED)
find_package(PNG REQUIRED)
find_package(TIFF REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(SQLiteCpp REQUIRED)
find_package(GTest REQUIRED)
include(GoogleTest)
find_package(PkgConfig REQUIRED)
pkg_check_modules(WEBP REQUIRED IMPORTED_TARGET libwebp libwebpdemux libwebpmux)
pkg_check_modules(LCMS2 REQUIRED IMPORTED_TARGET lcms2)
pkg_check_modules(JEMALLOC REQUIRED IMPORTED_TARGET jemalloc)

# OpenCV's own CMake package comes with libopencv-dev alone, which drags in all of its modules.
find_path(OPENCV_INCLUDE_DIR opencv2/core.hpp PATH_SUFFIXES opencv4 REQUIRED)
foreach(module IN ITEMS core imgproc)
  find_library(OPENCV_${module} opencv_${module} REQUIRED)
  add_library(opencv_${module} INTERFACE)
  target_include_directories(opencv_${module} SYSTEM INTERFACE ${OPENCV_INCLUDE_DIR})
  target_link_libraries(opencv_${module} INTERFACE ${OPENCV_${module}})
endforeach()

# LibTorch is the wheel's own folder. An imported target instead of find_package(Torch): that one asks
# for a CUDA dialect which CMake 3.25 does not know, and needs a toolkit even for a CPU build.
set(DEWEATHER_TORCH "" CACHE PATH "The torch folder of the installed wheel (site-packages/torch)")
if(NOT DEWEATHER_TORCH)
  execute_process(COMMAND ${PROJECT_SOURCE_DIR}/scripts/setup --print-torch
    OUTPUT_VARIABLE DEWEATHER_TORCH OUTPUT_STRIP_TRAILING_WHITESPACE)
endif()
set(DEWEATHER_TORCH_LIB_DIR ${DEWEATHER_TORCH}/lib)
if(NOT EXISTS ${DEWEATHER_TORCH_LIB_DIR}/libtorch_cpu.so)
  message(FATAL_ERROR "no LibTorch in '${DEWEATHER_TORCH}': run scripts/setup, or set DEWEATHER_TORCH")
endif()
add_library(dw_torch INTERFACE)
add_library(Torch::Torch ALIAS dw_torch)
# Looked into last: the wheel carries a protobuf and a fmt of its own, which must not shadow the system's.
foreach(folder IN ITEMS include include/torch/csrc/api/include)
  target_compile_options(dw_torch INTERFACE
    "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter ${DEWEATHER_TORCH}/${folder}>")
endforeach()
# Without the first, narrow ATen headers pull in every operator: twice the time to compile.
target_compile_definitions(dw_torch INTERFACE AT_PER_OPERATOR_HEADERS _GLIBCXX_USE_CXX11_ABI=1)
# Linked with libtorch_cpu and libc10 alone a program loads none of the 2.7 GB of CUDA libraries.
target_link_libraries(dw_torch INTERFACE
  ${DEWEATHER_TORCH_LIB_DIR}/libtorch_cpu.so ${DEWEATHER_TORCH_LIB_DIR}/libc10.so Threads::Threads)
target_link_options(dw_torch INTERFACE -Wl,--allow-shlib-undefined)
# Ranks talk over c10d, which is in LibTorch, but for the headers of what it is built on: Gloo on the CPU,
# NCCL on GPUs.
find_path(GLOO_INCLUDE_DIR gloo/algorithm.h)
if(NOT GLOO_INCLUDE_DIR)
  message(FATAL_ERROR "no headers of Gloo: run scripts/setup, or install libgloo-dev")
endif()
if(DEWEATHER_CUDA)
  find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${DEWEATHER_TORCH}/../nvidia/nccl/include)
  if(NCCL_INCLUDE_DIR)
    target_compile_options(dw_torch INTERFACE
      "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter ${NCCL_INCLUDE_DIR}>")
  else()
    message(WARNING "no nccl.h: several GPUs cannot train together; pip install nvidia-nccl-cu13")
  endif()
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  target_link_libraries(dw_torch INTERFACE -Wl,--no-as-needed
    ${DEWEATHER_TORCH_LIB_DIR}/libtorch_cuda.so ${DEWEATHER_TORCH_LIB_DIR}/libc10_cuda.so
    -Wl,--as-needed CUDA::cudart)
endif()
