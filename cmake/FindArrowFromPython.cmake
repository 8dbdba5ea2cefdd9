# Apache Arrow C++ and Parquet: a system package where there is one, else the headers and libraries
# inside a pyarrow wheel. SFT_PYARROW_DIR names the unpacked `pyarrow` folder; without it, the python3
# of .venv (which the Makefile makes) and then the system's are asked. Sets ArrowFromPython_FOUND and
# the target ArrowFromPython::parquet.
set(SFT_PYARROW_DIR "" CACHE PATH "the `pyarrow` folder of an installed or unpacked wheel")
set(ArrowFromPython_FOUND FALSE)
find_package(Parquet QUIET CONFIG)

set(_pyarrow "${SFT_PYARROW_DIR}")
if(NOT Parquet_FOUND AND NOT _pyarrow)
  foreach(_python ${CMAKE_SOURCE_DIR}/.venv/bin/python3 python3)
    if(NOT _pyarrow)
      execute_process(
        COMMAND ${_python} -c
          "import importlib.util as u; s = u.find_spec('pyarrow'); print(s.submodule_search_locations[0] if s else '')"
        OUTPUT_VARIABLE _pyarrow OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE _ignored)
    endif()
  endforeach()
endif()

if(Parquet_FOUND)
  add_library(ArrowFromPython::parquet INTERFACE IMPORTED)
  target_link_libraries(ArrowFromPython::parquet INTERFACE Parquet::parquet_shared)
  set(ArrowFromPython_FOUND TRUE)
elseif(_pyarrow AND EXISTS "${_pyarrow}/include/parquet/arrow/reader.h")
  # A wheel has no libarrow.so, only libarrow.so.<version>.
  file(GLOB _arrow "${_pyarrow}/libarrow.so*")
  file(GLOB _parquet "${_pyarrow}/libparquet.so*")
  if(_arrow AND _parquet)
    list(GET _arrow 0 _arrow)
    list(GET _parquet 0 _parquet)
    add_library(ArrowFromPython::arrow SHARED IMPORTED GLOBAL)
    set_target_properties(ArrowFromPython::arrow PROPERTIES
      IMPORTED_LOCATION "${_arrow}"
      INTERFACE_INCLUDE_DIRECTORIES "${_pyarrow}/include")
    add_library(ArrowFromPython::parquet SHARED IMPORTED GLOBAL)
    set_target_properties(ArrowFromPython::parquet PROPERTIES
      IMPORTED_LOCATION "${_parquet}"
      INTERFACE_LINK_LIBRARIES ArrowFromPython::arrow)
    set(ArrowFromPython_FOUND TRUE)
  endif()
endif()

if(ArrowFromPython_FOUND)
  message(STATUS "Apache Arrow found: parquet and arrow files can be read")
else()
  message(STATUS "Apache Arrow not found (set SFT_PYARROW_DIR): parquet files will be refused")
endif()
