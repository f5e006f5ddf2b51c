# The client library's part of an installation, a component of its own: the server's image and package do not have it.
#
#   cmake --install build/release --prefix DIR --component client

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/deweather_client)
install(TARGETS deweather_client EXPORT deweather_client
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT client EXCLUDE_FROM_ALL
  FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT client EXCLUDE_FROM_ALL)
install(EXPORT deweather_client NAMESPACE deweather:: FILE deweather_client-targets.cmake
  DESTINATION ${package} COMPONENT client EXCLUDE_FROM_ALL)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/deweather_client-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES cmake/deweather_client-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/deweather_client-config-version.cmake
  DESTINATION ${package} COMPONENT client EXCLUDE_FROM_ALL)
