# What `cmake --install` lays down: programs that start without the build tree and the virtual environment of
# scripts/setup, with the libraries of LibTorch's wheels that they need in a folder of their own.
#
#   cmake --install build/release --prefix DIR [--strip]
#
# Libraries of the distribution stay where they are.

cmake_path(GET DEWEATHER_TORCH PARENT_PATH wheels)
string(REGEX REPLACE "([][+.*()^$?|])" "\\\\\\1" wheels_pattern "${wheels}")

install(TARGETS deweather-server deweather-train deweather
  RUNTIME_DEPENDENCY_SET dw_libraries DESTINATION bin)
install(RUNTIME_DEPENDENCY_SET dw_libraries
  PRE_EXCLUDE_REGEXES "^libcuda\\.so" # the driver's
  POST_INCLUDE_REGEXES "^${wheels_pattern}/" POST_EXCLUDE_REGEXES ".*"
  LIBRARY DESTINATION lib/deweather)
if(DEWEATHER_CUDA)
  # Opened by name while the program runs.
  file(GLOB opened ${DEWEATHER_TORCH_LIB_DIR}/libtorch_cuda_linalg.so ${DEWEATHER_TORCH_LIB_DIR}/libcaffe2_nvrtc.so
    ${wheels}/nvidia/cu13/lib/libnvrtc*.so.* ${wheels}/nvidia/cudnn/lib/libcudnn*.so.*)
  foreach(name libnvrtc libcudnn)
    if(NOT opened MATCHES ${name})
      install(CODE "message(FATAL_ERROR \"no ${name} in ${wheels}: is this LibTorch without CUDA?\")")
    endif()
  endforeach()
  install(FILES ${opened} DESTINATION lib/deweather)
endif()
# `--strip` means the programs alone to CMake; LibTorch's symbol tables are a fifth of it.
install(CODE [[
  if(CMAKE_INSTALL_DO_STRIP)
    file(GLOB libraries "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}/lib/deweather/*.so*")
    foreach(library IN LISTS libraries)
      execute_process(COMMAND strip --strip-unneeded ${library} COMMAND_ERROR_IS_FATAL ANY)
    endforeach()
  endif()]])
# Whose libraries these are, and on what terms.
file(GLOB wheel_notes RELATIVE ${wheels} ${wheels}/torch-*.dist-info ${wheels}/nvidia_*.dist-info)
foreach(notes IN LISTS wheel_notes)
  install(DIRECTORY ${wheels}/${notes} DESTINATION share/doc/deweather/wheels
    FILES_MATCHING PATTERN METADATA PATTERN licenses/*)
endforeach()

install(FILES
  model/weights/deweather-small.safetensors model/weights/deweather-small.md
  model/weights/deweather-rain.safetensors model/weights/deweather-rain.md
  DESTINATION share/deweather/models)
install(PROGRAMS deploy/backup DESTINATION share/deweather)
install(FILES LICENSE README.md CHANGELOG.md DESTINATION share/doc/deweather)
install(DIRECTORY docs DESTINATION share/doc/deweather
  FILES_MATCHING PATTERN *.md PATTERN *.png PATTERN *.jpg)

install(FILES deploy/systemd/sysusers.conf DESTINATION lib/sysusers.d RENAME deweather.conf)
install(FILES deploy/systemd/gpu.conf DESTINATION share/doc/deweather/examples)
install(CODE "set(source \"${PROJECT_SOURCE_DIR}\")")
install(SCRIPT cmake/install_service.cmake)
