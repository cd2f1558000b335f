# libstamp_cuda.so, for the GPUs of this machine, or where there is none for compute capability 9.0 and, as PTX, later
# ones. "90a" has what is 9.0's alone. A release gives CMAKE_CUDA_ARCHITECTURES all of them (docs/cuda.md).
if(STAMP_CUDA STREQUAL "AUTO" AND NOT EXISTS /proc/driver/nvidia/version)
  message(STATUS "stamp: no CUDA module: no NVIDIA driver is here, and STAMP_CUDA=AUTO wants one")
  return()
endif()
find_program(STAMP_NVCC nvcc PATHS /usr/local/cuda/bin)  # which is not always on PATH
if(STAMP_NVCC AND NOT DEFINED ENV{CUDACXX})
  set(ENV{CUDACXX} ${STAMP_NVCC})
endif()
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER AND STAMP_CUDA STREQUAL "AUTO")
  message(STATUS "stamp: no CUDA module: no nvcc that works was found, and STAMP_CUDA=AUTO wants one")
  return()
elseif(NOT CMAKE_CUDA_COMPILER)
  message(FATAL_ERROR "stamp: STAMP_CUDA=${STAMP_CUDA}, but no nvcc that works was found; put it on PATH, set CUDACXX, "
                      "or configure with STAMP_CUDA=OFF")
endif()
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})
  execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader
                  OUTPUT_VARIABLE capabilities ERROR_QUIET)
  string(REGEX MATCHALL "[0-9]+\\.[0-9]" CMAKE_CUDA_ARCHITECTURES "${capabilities}")
  list(REMOVE_DUPLICATES CMAKE_CUDA_ARCHITECTURES)
  list(TRANSFORM CMAKE_CUDA_ARCHITECTURES REPLACE "\\." "")
  list(TRANSFORM CMAKE_CUDA_ARCHITECTURES REPLACE "^90$" "90a")
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 90a-real 90-virtual)
  endif()
endif()
enable_language(CUDA)
find_package(CUDAToolkit 12.4 REQUIRED)

add_library(stamp_cuda MODULE ${STAMP_CUDA_SOURCES})
# The standard as an option: CMake 3.25 does not know that CUDA 13 has it.
target_compile_options(stamp_cuda PRIVATE -std=c++20 --expt-relaxed-constexpr -lineinfo -Werror=all-warnings)
target_include_directories(stamp_cuda PRIVATE ${PROJECT_SOURCE_DIR}/kernels/cuda/native)
target_compile_definitions(stamp_cuda PRIVATE STAMP_CUDA_NAME="cuda" STAMP_VERSION="${STAMP_MODULE_VERSION}")
target_link_libraries(stamp_cuda PRIVATE stamp CUDA::cudart_static CUDA::cublas)
# Beside libstamp. Its cuBLAS: as PyPI lays it out beside the package, else the toolkit's, else the system's.
if(CUDAToolkit_VERSION_MAJOR GREATER_EQUAL 13)
  set(pypi "$ORIGIN/../nvidia/cu${CUDAToolkit_VERSION_MAJOR}/lib")
else()
  set(pypi "$ORIGIN/../nvidia/cublas/lib")
endif()
set_target_properties(stamp_cuda PROPERTIES
  CUDA_RUNTIME_LIBRARY Static CUDA_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR} BUILD_RPATH "${CUDAToolkit_LIBRARY_DIR}"
  INSTALL_RPATH "$ORIGIN;${pypi};${CUDAToolkit_LIBRARY_DIR}")
install(TARGETS stamp_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library)
if(STAMP_BUILD_PYTHON)
  install(TARGETS stamp_cuda LIBRARY DESTINATION stamp COMPONENT python)
endif()
