#include "settings/hub_options.h"

namespace sft {

void HubOptions::visit(OptionTable& v) {
  v.group("Hub");
  v("push_to_hub", &push_to_hub, "Upload what is saved to the hub.");
  v("hub_model_id", &hub_model_id, "Repository to upload to; without one, output_dir's name.");
  v("hub_token", &hub_token, "Token to upload with; better in HF_TOKEN.").secret();
  v("hub_private_repo", &hub_private_repo, "Make the repository private.");
  v("hub_strategy", &hub_strategy,
    "What to upload when: the model at the end, at every save, and with checkpoint or "
    "all_checkpoints what resuming needs.")
      .one_of({"end", "every_save", "checkpoint", "all_checkpoints"});
  v("hub_always_push", &hub_always_push, "Upload every save, however long the one before takes.");
  v("hub_revision", &hub_revision, "Branch to upload to.");
  v("push_to_hub_model_id", &push_to_hub_model_id, "Older hub_model_id.");
  v("push_to_hub_organization", &push_to_hub_organization, "Owner of it.");
  v("push_to_hub_token", &push_to_hub_token, "Older hub_token.").secret();
}

}  // namespace sft
