# Run by `cmake --install`: the configuration and the unit, with the paths of the prefix in them.
#
#   source   the root of the repository
#
# Of /usr the configuration is in /etc; any other prefix keeps it to itself. One that is there is kept.

cmake_path(ABSOLUTE_PATH CMAKE_INSTALL_PREFIX NORMALIZE OUTPUT_VARIABLE prefix)
string(REGEX REPLACE "/$" "" prefix "${prefix}")
set(etc "${prefix}/etc")
if(prefix STREQUAL "/usr")
  set(etc /etc)
endif()

# install_edited(FROM TO WAS IS ...): a copy with each WAS replaced, which must be there.
function(install_edited from to)
  file(READ "${source}/${from}" text)
  while(ARGN)
    list(POP_FRONT ARGN was is)
    string(FIND "${text}" "${was}" at)
    if(at EQUAL -1)
      message(FATAL_ERROR "no '${was}' in ${from}")
    endif()
    string(REPLACE "${was}" "${is}" text "${text}")
  endwhile()
  message(STATUS "Installing: $ENV{DESTDIR}${to}")
  file(WRITE "$ENV{DESTDIR}${to}" "${text}")
  file(CHMOD "$ENV{DESTDIR}${to}" PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
endfunction()

if(EXISTS "$ENV{DESTDIR}${etc}/deweather/server.textproto")
  message(STATUS "Kept: $ENV{DESTDIR}${etc}/deweather/server.textproto")
else()
  install_edited(deploy/server.textproto "${etc}/deweather/server.textproto"
    "data_dir: \"\"" "data_dir: \"/var/lib/deweather\"")
endif()
install_edited(deploy/systemd/deweather.service "${prefix}/lib/systemd/system/deweather.service"
  "/usr/bin/" "${prefix}/bin/" "/etc/deweather/" "${etc}/deweather/" "/usr/share/" "${prefix}/share/")
