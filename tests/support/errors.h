// The error that a piece of work ends in, for tests that say which.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "core/error.h"

namespace sft {

// Fails the test when nothing is thrown.
template <class Work>
Error error_of(const Work& work) {
  try {
    work();
  } catch (const Error& e) {
    EXPECT_FALSE(e.message().empty());
    return e;
  }
  ADD_FAILURE() << "nothing was thrown";
  return {"X000", "nothing was thrown"};
}

// "" when nothing is thrown.
template <class Work>
std::string code_of(const Work& work) {
  try {
    work();
  } catch (const Error& e) {
    EXPECT_FALSE(e.message().empty());
    return std::string(e.code().text());
  }
  return "";
}

}  // namespace sft
