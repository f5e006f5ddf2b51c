# Run by CPack on the files of the package, before it packs them: what Debian wants beside them, and which of its
# packages the programs need.
#
#   CPACK_TEMPORARY_INSTALL_DIRECTORY   where the files are

set(root ${CPACK_TEMPORARY_INSTALL_DIRECTORY})
set(debian ${CMAKE_CURRENT_LIST_DIR}/../deploy/debian)

file(COPY_FILE ${debian}/copyright ${root}/usr/share/doc/deweather/copyright)
file(REMOVE ${root}/usr/share/doc/deweather/LICENSE) # /usr/share/common-licenses/Apache-2.0
file(MAKE_DIRECTORY ${root}/usr/share/lintian/overrides)
file(COPY_FILE ${debian}/lintian-overrides ${root}/usr/share/lintian/overrides/${CPACK_DEBIAN_PACKAGE_NAME})

# Not CPack's own way, which asks for the libraries of LibTorch as well: those need nothing that the programs do
# not, but for the NVIDIA driver, which no package of the distribution is sure to be.
find_program(SHLIBDEPS dpkg-shlibdeps)
if(NOT SHLIBDEPS)
  message(FATAL_ERROR "no dpkg-shlibdeps: install dpkg-dev")
endif()
file(GLOB programs ${root}/usr/bin/*)
set(scratch ${CPACK_TOPLEVEL_DIRECTORY}/shlibdeps)
file(WRITE ${scratch}/debian/control "")
file(MAKE_DIRECTORY ${root}/DEBIAN) # tells it where a package's root is, for $ORIGIN
execute_process(COMMAND ${SHLIBDEPS} -O --ignore-missing-info ${programs}
  WORKING_DIRECTORY ${scratch} OUTPUT_VARIABLE depends COMMAND_ERROR_IS_FATAL ANY)
file(REMOVE_RECURSE ${root}/DEBIAN ${scratch})
string(REGEX REPLACE "^shlibs:Depends=|\n" "" depends "${depends}")
string(APPEND CPACK_DEBIAN_PACKAGE_DEPENDS ", ${depends}")
