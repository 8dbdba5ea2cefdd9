// Options of uploads to the hub.
#pragma once

#include <optional>
#include <string>

#include "options/options.h"

namespace sft {

struct HubOptions {
  bool push_to_hub = false;
  std::optional<std::string> hub_model_id;
  std::optional<std::string> hub_token;
  std::optional<bool> hub_private_repo;
  std::string hub_strategy = "every_save";
  bool hub_always_push = false;
  std::optional<std::string> hub_revision;
  std::optional<std::string> push_to_hub_model_id;
  std::optional<std::string> push_to_hub_organization;
  std::optional<std::string> push_to_hub_token;

  void visit(OptionTable& v);
};

}  // namespace sft
