# How this project declares its targets.

# Flags of our own code; third-party headers come in as SYSTEM.
add_library(dw_flags INTERFACE)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  # GCC 12 warns of std::string concatenation when it inlines it (its bug 105651).
  target_compile_options(dw_flags INTERFACE -Wno-restrict)
endif()
target_compile_options(dw_flags INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor)
if(DEWEATHER_WERROR)
  target_compile_options(dw_flags INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  target_compile_options(dw_flags INTERFACE -Wthread-safety)
  if(CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 18)
    # It spells templates in symbols as GCC 12 does not, which built absl and LibTorch.
    target_compile_options(dw_flags INTERFACE -fclang-abi-compat=17)
  endif()
endif()
if(DEWEATHER_SANITIZE)
  target_compile_options(dw_flags INTERFACE
    -fsanitize=${DEWEATHER_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -g1)
  target_link_options(dw_flags INTERFACE -fsanitize=${DEWEATHER_SANITIZE})
  # GCC 12 warns of the standard library's own code once it is instrumented (its bug 105562).
  target_compile_options(dw_flags INTERFACE
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
endif()
if(DEWEATHER_FUZZ)
  target_compile_options(dw_flags INTERFACE -fsanitize=fuzzer-no-link,address,undefined -g1)
  target_link_options(dw_flags INTERFACE -fsanitize=address,undefined)
endif()

# dw_library(NAME HDRS ... SRCS ... DEPS ... PRIVATE_DEPS ...): one folder, one static library.
# Headers are included by their path from the project's root.
function(dw_library name)
  cmake_parse_arguments(ARG "" "" "HDRS;SRCS;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SRCS})
  target_sources(${name} PUBLIC FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${ARG_HDRS})
  target_link_libraries(${name} PUBLIC ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS} $<BUILD_INTERFACE:dw_flags>)
endfunction()

# dw_program(NAME SRCS ... DEPS ...): an executable in <build>/bin.
function(dw_program name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} dw_flags)
  target_compile_definitions(${name} PRIVATE DW_VERSION="${PROJECT_VERSION}")
  set_target_properties(${name} PROPERTIES
    BUILD_RPATH "${DEWEATHER_TORCH_LIB_DIR}" INSTALL_RPATH "$ORIGIN/../lib/deweather")
endfunction()

# dw_test(NAME SRCS ... DEPS ... LABELS ...): one test binary per target, each case a ctest test.
function(dw_test name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS;LABELS" ${ARGN})
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  if(DEWEATHER_SANITIZE STREQUAL thread)
    # Two properties, as a list of variables does not survive gtest_discover_tests.
    set(environment ENVIRONMENT "TSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/tsan.supp"
      ENVIRONMENT_MODIFICATION "OMP_NUM_THREADS=set:1")
  endif()
  add_executable(${name} ${ARG_SRCS})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_compile_definitions(${name} PRIVATE DW_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
    DW_BINARY_DIR="${PROJECT_BINARY_DIR}")
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gtest GTest::gmock GTest::gtest_main dw_flags)
  set_target_properties(${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests
    BUILD_RPATH "${DEWEATHER_TORCH_LIB_DIR}")
  gtest_discover_tests(${name} TEST_PREFIX "${name}." DISCOVERY_TIMEOUT 60
    WORKING_DIRECTORY ${PROJECT_BINARY_DIR} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 600 ${environment})
endfunction()
