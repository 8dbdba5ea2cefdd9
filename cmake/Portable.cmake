# Packages (SFT_PORTABLE): the sources as in an ordinary build, linked with static libraries (packaging/third_party.sh) against
# an older C library (packaging/sysroot.sh), so that a file asks the system for the C library and libgcc_s alone. A function that the older
# one lacks is an error of linking; packaging/check_files looks at what is asked for.
set(SFT_DEPS "" CACHE PATH "the folder of packaging/third_party.sh")
set(SFT_SYSROOT "" CACHE PATH "the folder of packaging/sysroot.sh")

# sft_static(target archives...): what an imported target links, in place of its shared library.
function(sft_static target)
  set(archives ${ARGN})
  list(TRANSFORM archives PREPEND ${SFT_DEPS}/lib/)
  foreach(archive IN LISTS archives)
    if(NOT EXISTS ${archive})
      message(FATAL_ERROR "${archive} is not there: run packaging/third_party.sh")
    endif()
  endforeach()
  get_target_property(type ${target} TYPE)
  if(NOT type STREQUAL "INTERFACE_LIBRARY")
    list(POP_FRONT archives first)
    get_target_property(configurations ${target} IMPORTED_CONFIGURATIONS)
    foreach(suffix "" _RELEASE _NONE _NOCONFIG ${configurations})
      string(REGEX REPLACE "^([^_])" "_\\1" suffix "${suffix}")
      set_target_properties(${target} PROPERTIES IMPORTED_LOCATION${suffix} ${first})
    endforeach()
  endif()
  set_target_properties(${target} PROPERTIES INTERFACE_LINK_LIBRARIES "${archives}" INTERFACE_LINK_OPTIONS "")
endfunction()

sft_static(fmt::fmt libfmt.a)
sft_static(yaml-cpp libyaml-cpp.a)
sft_static(OpenMP::OpenMP_CXX libgomp.a)
sft_static(DNNL::dnnl libdnnl.a libgomp.a)
sft_static(simdjson::simdjson libsimdjson.a)
sft_static(OpenSSL::Crypto libcrypto.a)
sft_static(PkgConfig::pcre2 libpcre2-8.a)
sft_static(PkgConfig::compression libz.a libzstd.a liblzma.a)
sft_static(PkgConfig::utf8proc libutf8proc.a)
sft_static(BZip2::BZip2 libbz2.a)
add_library(sft_curl INTERFACE IMPORTED)
sft_static(sft_curl libcurl.a libssl.a libcrypto.a libz.a)
set(SFT_GLOO_INCLUDE ${SFT_DEPS}/include)  # its classes are of its version
set(SFT_GLOO_LIBRARY ${SFT_DEPS}/lib/libgloo.a)
set(SFT_GLOO_FOUND TRUE)

# libgcc_s is shared, as the C library's package has it everywhere: an exception that is thrown in a library we load and caught in the
# program needs one unwinder for both.
set(_folder ${SFT_SYSROOT}/usr/lib/x86_64-linux-gnu)
add_link_options(--sysroot=${SFT_SYSROOT} -B${_folder} -L${_folder} -static-libstdc++
                 -Wl,--exclude-libs,ALL -Wl,--gc-sections -Wl,--as-needed -Wl,-z,relro,-z,now)
# Where the sources lie is nobody's: checks name their file (__FILE__), and two clones give the same bytes.
add_compile_options($<$<COMPILE_LANGUAGE:C,CXX>:-ffile-prefix-map=${CMAKE_SOURCE_DIR}/=>
                    $<$<COMPILE_LANGUAGE:C,CXX>:-ffile-prefix-map=${SFT_DEPS}/=>)
# A file of its own, so that it does not change what the other files are compiled with.
add_library(sft_glibc_compat STATIC packaging/glibc_compat.c)
set_target_properties(sft_glibc_compat PROPERTIES POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_STANDARD_LIBRARIES
  "${CMAKE_CXX_STANDARD_LIBRARIES} -Wl,--whole-archive ${CMAKE_BINARY_DIR}/libsft_glibc_compat.a -Wl,--no-whole-archive -lpthread -ldl -lm -lrt")
set(CMAKE_SKIP_BUILD_RPATH ON)               # static libraries need none, and a path of this machine is nobody's
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)    # what is installed is built by name
