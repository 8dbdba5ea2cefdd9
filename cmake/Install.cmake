# What a package holds, in the layout that core/installed.cpp looks through: bin/sft, the libraries that it loads in lib/sft, the
# manual page and completions, licences. `cmake --install build --prefix folder` and CPack read it; packaging/release.sh calls both.
set(SFT_CUDA_LIBRARIES "" CACHE STRING "libraries of the CUDA half, built apart, that go into packages (libsft_cuda12.so;libsft_cuda13.so)")

set(_pages ${CMAKE_BINARY_DIR}/pages)
add_custom_target(sft_pages ALL DEPENDS sft
  COMMAND ${CMAKE_COMMAND} -E make_directory ${_pages}
  COMMAND sft man > ${_pages}/sft.1
  COMMAND sft completion bash > ${_pages}/sft.bash
  COMMAND sft completion zsh > ${_pages}/_sft
  COMMAND sft completion fish > ${_pages}/sft.fish
  COMMENT "Writing the manual page and completions")

install(TARGETS sft RUNTIME DESTINATION bin)
if(TARGET sft_arrow)
  install(TARGETS sft_arrow LIBRARY DESTINATION lib/sft)
  if(SFT_PORTABLE)
    foreach(_library arrow parquet)
      get_target_property(_file ArrowFromPython::${_library} IMPORTED_LOCATION)
      install(PROGRAMS ${_file} DESTINATION lib/sft)
    endforeach()
    file(GLOB _texts ${SFT_DEPS}/licenses/*)
    install(FILES ${_texts} DESTINATION share/doc/sft-cpp/licenses)
    get_target_property(_include ArrowFromPython::arrow INTERFACE_INCLUDE_DIRECTORIES)
    file(GLOB _texts ${_include}/../../pyarrow-*.dist-info/licenses/*.txt ${_include}/../../pyarrow-*.dist-info/LICENSE.txt
      ${_include}/../../pyarrow-*.dist-info/NOTICE.txt)
    foreach(_text IN LISTS _texts)
      get_filename_component(_name ${_text} NAME)
      install(FILES ${_text} DESTINATION share/doc/sft-cpp/licenses RENAME arrow-${_name})
    endforeach()
  endif()
endif()
if(TARGET sft_gloo)
  install(TARGETS sft_gloo LIBRARY DESTINATION lib/sft)
endif()
if(TARGET sft_cuda)
  install(TARGETS sft_cuda LIBRARY DESTINATION lib/sft)
endif()
if(SFT_CUDA_LIBRARIES)
  install(PROGRAMS ${SFT_CUDA_LIBRARIES} DESTINATION lib/sft)
endif()
install(FILES ${_pages}/sft.1 DESTINATION share/man/man1)
install(FILES ${_pages}/sft.bash DESTINATION share/bash-completion/completions RENAME sft)
install(FILES ${_pages}/_sft DESTINATION share/zsh/site-functions)
install(FILES ${_pages}/sft.fish DESTINATION share/fish/vendor_completions.d)
install(FILES LICENSE README.md DESTINATION share/doc/sft-cpp)
install(FILES packaging/debian/copyright DESTINATION share/doc/sft-cpp)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME sft-cpp)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "sft.cpp <sft.cpp@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "supervised fine-tuning of language models, native")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
# Everything else is inside. Arrow's libraries want the system's libstdc++, CUDA's half a driver and cuBLAS.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libc6 (>= 2.31), libstdc++6")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "ca-certificates")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "nvidia-driver")
include(CPack)
