// The four Unicode normal forms on an AlignedText, with the origins Hugging Face's library reports.
#pragma once

#include "text/aligned_text.h"

namespace sft {

enum class NormalForm { nfc, nfd, nfkc, nfkd };

// Does nothing, and copies nothing, when the text is already in the form as far as a quick look
// tells.
void normalize(AlignedText& text, NormalForm form);

}  // namespace sft
