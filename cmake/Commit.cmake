# Writes a header with the commit that is built, when it has changed: cmake -DSOURCE=folder -DOUT=commit.h -P Commit.cmake
# $SFT_COMMIT names it where the sources lie outside of git.
set(commit "$ENV{SFT_COMMIT}")
if(commit STREQUAL "")
  execute_process(COMMAND git -C ${SOURCE} describe --always --dirty --exclude=* --abbrev=12
    OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE _ignored)
endif()
set(text "#define SFT_COMMIT \"${commit}\"\n")
set(before "")
if(EXISTS ${OUT})
  file(READ ${OUT} before)
endif()
if(NOT before STREQUAL text)
  file(WRITE ${OUT} "${text}")
endif()
