# The Debian package: what `cmake --install` lays down under /usr, a user, a service and a configuration that
# upgrades leave alone. scripts/package makes it.
#
# It is for the distribution that it was built on: what that has comes from its packages, by their versions.

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_CONTACT "deweather maintainers <deweather@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "server that takes rain, drops, snow and haze out of photos")
set(CPACK_PACKAGE_DESCRIPTION "\
deweather-server restores photos over gRPC, trains models as jobs and puts them\n\
live without a restart, and tells Prometheus what it does. deweather is its\n\
client, deweather-train trains without a server. Two models are included.")
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_SET_DESTDIR ON) # for what is outside of it: /etc
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

set(CPACK_DEBIAN_PACKAGE_NAME deweather)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION graphics)
set(CPACK_DEBIAN_COMPRESSION_TYPE zstd)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(debian ${PROJECT_SOURCE_DIR}/deploy/debian)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${debian}/conffiles ${debian}/postinst ${debian}/prerm ${debian}/postrm)
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/cmake/package_files.cmake)
# For systemd-sysusers, where there is no systemd the small one of the two; and for share/deweather/backup.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "systemd-standalone-sysusers | systemd, python3")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "prometheus")
if(DEWEATHER_CUDA)
  set(CPACK_DEBIAN_PACKAGE_NAME deweather-cuda)
  foreach(relation IN ITEMS PROVIDES CONFLICTS REPLACES)
    set(CPACK_DEBIAN_PACKAGE_${relation} deweather)
  endforeach()
endif()
include(CPack)
