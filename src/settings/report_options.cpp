#include "settings/report_options.h"

namespace sft {

void ReportOptions::visit(OptionTable& v) {
  v.group("Looking at the run");
  v("watch", &watch, "Serve a page that follows the run; its address is printed.");
  v("watch_host", &watch_host,
    "Where the page is served; 0.0.0.0 lets other machines reach it, with the address's token.");
  v("watch_port", &watch_port, "Its port; 0: any that is free.").at_most(65535);
  v("price_per_hour", &price_per_hour,
    "What an hour of the machine costs: page and report then show what the run does.");
  v("eval_samples", &eval_samples,
    "Let the model answer so many of the evaluation data's first rows, before training, at each "
    "evaluation and at the end: page and report show them, and eval_exact_match and eval_rougeL "
    "compare them with the data's answers.");
  v("eval_prompts", &eval_prompts,
    "The same for the rows of a file: prompts or conversations, with answers or without, or lines "
    "of text.");
  v("eval_max_new_tokens", &eval_max_new_tokens, "How many tokens such an answer has at most.")
      .at_least(1);
  v("eval_do_sample", &eval_do_sample,
    "Draw their tokens by their probability; otherwise the likeliest one.");
  v("eval_temperature", &eval_temperature, "Below 1: sharper; above: more varied.").above(0);
  v("early_stopping_patience", &early_stopping_patience,
    "Stop after so many evaluations in a row that are no better than the best.")
      .at_least(1);
  v("early_stopping_threshold", &early_stopping_threshold,
    "By how much an evaluation has to be better, to count as such.");
}

}  // namespace sft
