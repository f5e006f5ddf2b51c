# find_package(deweather_client) gives deweather::client. The library needs nothing more to be found: what it is made of
# comes with it, or from the distribution's own packages.
include(${CMAKE_CURRENT_LIST_DIR}/deweather_client-targets.cmake)
