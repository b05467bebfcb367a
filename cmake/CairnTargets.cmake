# The only ways a target of ours comes into being, so that warnings and hardening are the same everywhere:
#   cairn_library(NAME SOURCES a.cc … [LINKS public…] [PRIVATE_LINKS …])
#   cairn_executable(NAME OUTPUT name SOURCES … LINKS …)
#   cairn_test(NAME LABEL unit [long] SOURCES x_test.cc … LINKS … [TIMEOUT s])   GoogleTest, one ctest entry
#   cairn_benchmark(NAME SOURCES … LINKS …)                               Google Benchmark
#   cairn_fuzzer(NAME SOURCES … LINKS … [CORPUS dir] [MAX_LEN n])         libFuzzer with preset fuzz only

# What a test is, and when it runs (CONTRIBUTING.md); the test presets choose by these.
set(CAIRN_TEST_LABELS unit transcript sim fault integration fuzz bench static long)
set(CAIRN_FUZZ_SECONDS 20 CACHE STRING "How long ctest runs each fuzzer")

if(CAIRN_FUZZ)
  add_custom_target(cairn_fuzzers)  # all of them, and nothing else: what preset fuzz builds
endif()

add_library(cairn_options INTERFACE)
target_include_directories(cairn_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(cairn_options INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Werror -fno-omit-frame-pointer
  -fstack-protector-strong)
target_link_options(cairn_options INTERFACE -Wl,-z,relro,-z,now)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(cairn_options INTERFACE -Wthread-safety)
else()
  # GCC 12 sees overflows in inlined std::string code that are not there (GCC bug 105329).
  target_compile_options(cairn_options INTERFACE -Wno-restrict)
endif()
if(CAIRN_SANITIZE)
  target_compile_options(cairn_options INTERFACE -fsanitize=${CAIRN_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(cairn_options INTERFACE -fsanitize=${CAIRN_SANITIZE})
endif()

function(cairn_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS;PRIVATE_LINKS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC cairn_options ${ARG_LINKS} PRIVATE ${ARG_PRIVATE_LINKS})
endfunction()

function(cairn_executable name)
  cmake_parse_arguments(ARG "" "OUTPUT" "SOURCES;LINKS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE cairn_options ${ARG_LINKS})
  if(CAIRN_JEMALLOC)
    # First on the line, so that malloc is jemalloc's in every translation unit.
    target_link_libraries(${name} PRIVATE PkgConfig::JEMALLOC)
  endif()
  set_target_properties(${name} PROPERTIES
    OUTPUT_NAME ${ARG_OUTPUT}
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
endfunction()

function(cairn_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "LABEL;SOURCES;LINKS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  foreach(label ${ARG_LABEL})
    if(NOT label IN_LIST CAIRN_TEST_LABELS)
      message(FATAL_ERROR "${name}: label ${label} is none of ${CAIRN_TEST_LABELS}")
    endif()
  endforeach()
  if(NOT ARG_LABEL)
    message(FATAL_ERROR "${name} has no label")
  endif()
  foreach(source ${ARG_SOURCES})
    set_property(GLOBAL APPEND PROPERTY CAIRN_TEST_FILES ${CMAKE_CURRENT_SOURCE_DIR}/${source})
  endforeach()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE cairn_options ${ARG_LINKS} GTest::gtest GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABEL}" TIMEOUT ${ARG_TIMEOUT})
endfunction()

function(cairn_benchmark name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS" ${ARGN})
  cairn_executable(${name} OUTPUT ${name} SOURCES ${ARG_SOURCES}
    LINKS ${ARG_LINKS} benchmark::benchmark benchmark::benchmark_main)
endfunction()

function(cairn_fuzzer name)
  cmake_parse_arguments(ARG "" "CORPUS;MAX_LEN" "SOURCES;LINKS" ${ARGN})
  foreach(source ${ARG_SOURCES})
    set_property(GLOBAL APPEND PROPERTY CAIRN_TEST_FILES ${CMAKE_CURRENT_SOURCE_DIR}/${source})
  endforeach()
  if(NOT CAIRN_FUZZ)
    return()
  endif()
  if(NOT ARG_MAX_LEN)
    set(ARG_MAX_LEN 4096)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE cairn_options ${ARG_LINKS})
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  add_dependencies(cairn_fuzzers ${name})
  set(work ${PROJECT_BINARY_DIR}/corpus/${name})
  file(MAKE_DIRECTORY ${work})
  add_test(NAME ${name} COMMAND ${name} -max_total_time=${CAIRN_FUZZ_SECONDS} -timeout=10 -max_len=${ARG_MAX_LEN}
    ${work} ${ARG_CORPUS})
  math(EXPR timeout "${CAIRN_FUZZ_SECONDS} + 70")
  set_tests_properties(${name} PROPERTIES LABELS fuzz TIMEOUT ${timeout})
endfunction()

# Fails the configure step when a test file exists that no target builds.
function(cairn_check_tests_registered)
  get_property(registered GLOBAL PROPERTY CAIRN_TEST_FILES)
  file(GLOB_RECURSE found ${PROJECT_SOURCE_DIR}/tests/*_test.cc ${PROJECT_SOURCE_DIR}/tests/*_fuzz.cc)
  foreach(file ${found})
    if(NOT file IN_LIST registered)
      message(FATAL_ERROR "${file} is not registered with cairn_test or cairn_fuzzer")
    endif()
  endforeach()
endfunction()
