#include "run/speaker.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "core/error.h"

namespace sft {

namespace {

int64_t context_of(OpenRun& run, int64_t wanted) {
  const int64_t most = run.shape().config.max_positions;
  return wanted == 0 ? most : std::min(wanted, most);
}

}  // namespace

Speaker::Speaker(OpenRun& run, int64_t context)
    : run_(run),
      context_(context_of(run, context)),
      generator_(run.device(), run.weights(), context_),
      ends_(end_tokens(run.source(), run.text())) {
  if (!run.text().chat || run.text().chat_is_default) {
    throw Error("D071", fmt::format("{} has no chat template", run.source().name()))
        .hint("give one with --chat_template_path, or go on from plain text: sft generate");
  }
}

Answer Speaker::answer(const Json& messages, int64_t max_new_tokens, const SamplingOptions& options,
                       const std::function<void(const std::string&)>& on_text,
                       const std::function<bool()>& stop) {
  const TextSetup& text = run_.text();
  RenderOptions render;
  render.add_generation_prompt = true;
  // A rendered chat brings its own special tokens.
  const std::vector<int32_t> prompt =
      text.tokenizer.encode(text.chat->render(messages, render).text, false);
  const auto length = static_cast<int64_t>(prompt.size());
  if (length >= context_) {
    throw Error("M037", fmt::format("the conversation has {} tokens, and there is room for {}",
                                    length, context_))
        .hint("/undo takes back the last turn, /reset begins anew");
  }
  const auto same = std::ranges::mismatch(prompt, known_).in1 - prompt.begin();
  // The last token is read again at least: its logits are the answer's beginning.
  const int64_t kept = std::min<int64_t>(same, length - 1);
  generator_.rewind(kept);
  known_.resize(static_cast<size_t>(kept));
  Answer answer;
  answer.kept = kept;
  answer.read = length - kept;
  const std::span<const float> logits =
      generator_.feed(std::span(prompt).subspan(static_cast<size_t>(kept)));
  known_ = prompt;
  StreamDecoder decoder(text.tokenizer, true);
  const auto give = [&](const std::string& piece) {
    answer.text += piece;
    on_text(piece);
  };
  const auto start = std::chrono::steady_clock::now();
  // What is given and not the last has been taken in.
  int32_t last = -1;
  generator_.write(logits, max_new_tokens, options, [&](int32_t token) {
    if (last >= 0) {
      known_.push_back(last);
    }
    last = token;
    ++answer.written;
    answer.ended = std::ranges::find(ends_, token) != ends_.end();
    if (!answer.ended) {
      give(decoder.push(token));
      answer.stopped = stop();
    }
    return !answer.ended && !answer.stopped;
  });
  give(decoder.finish());
  answer.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return answer;
}

}  // namespace sft
