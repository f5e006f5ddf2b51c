# Puts the files of the console page into the program.
#
#   dw_embed_console(OUT FILES ...)       declares the command that writes the source OUT
#   cmake -DOUT=... -DFILES=... -P ...    is that command
#
# A source of plain arrays, made when a file changes: it needs no tool but CMake itself, and the build and ccache know
# what it depends on, which they do not of an assembler's .incbin. The ETag comes with it.

function(dw_embed_console out)
  cmake_parse_arguments(ARG "" "" "FILES" ${ARGN})
  list(TRANSFORM ARG_FILES PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  add_custom_command(OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} "-DOUT=${out}" "-DFILES=${ARG_FILES}" -P ${PROJECT_SOURCE_DIR}/cmake/embed.cmake
    DEPENDS ${ARG_FILES} ${PROJECT_SOURCE_DIR}/cmake/embed.cmake
    COMMENT "Embedding the console page" VERBATIM)
endfunction()

if(NOT CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
  return()
endif()

set(type_.html "text/html; charset=utf-8")
set(type_.css "text/css; charset=utf-8")
set(type_.js "text/javascript; charset=utf-8")
set(type_.svg "image/svg+xml")

set(arrays "")
set(entries "")
set(number 0)
foreach(file IN LISTS FILES)
  get_filename_component(name ${file} NAME)
  get_filename_component(suffix ${file} LAST_EXT)
  if(NOT DEFINED type_${suffix})
    message(FATAL_ERROR "no content type for ${file}: add it to cmake/embed.cmake")
  endif()
  set(path /console/${name})
  if(name STREQUAL "index.html")
    set(path /)
  endif()
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
  file(SHA256 ${file} etag)
  string(SUBSTRING ${etag} 0 16 etag)
  string(APPEND arrays "constexpr unsigned char kFile${number}[] = {${bytes}};\n")
  string(APPEND entries "    {\"${path}\", \"${type_${suffix}}\", \"\\\"${etag}\\\"\", View(kFile${number})},\n")
  math(EXPR number "${number} + 1")
endforeach()

file(WRITE ${OUT} "// Made by cmake/embed.cmake.
#include <cstddef>

#include \"server/http/console_files.h\"

namespace deweather {
namespace {

template <size_t N>
std::string_view View(const unsigned char (&bytes)[N]) {
  return {reinterpret_cast<const char*>(bytes), N};
}

${arrays}
}  // namespace

absl::Span<const ConsoleFile> ConsoleFiles() {
  static const ConsoleFile kFiles[] = {
${entries}  };
  return kFiles;
}

}  // namespace deweather
")
