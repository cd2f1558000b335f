// Attribution tokens: bytes that are none are refused, and whatever is put into one comes out.
#include "tokens.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const server::Secret secret(""), another("");
  static const server::Tokens tokens(secret), others(another);
  const std::string_view text = text_of(data, size);
  FUZZ_CHECK(!tokens.read(text));  // nobody guesses 128 bits

  server::Attribution made;
  std::string* const parts[] = {&made.release, &made.zone, &made.arm, &made.request};
  for (std::size_t i = 0; i < size; ++i) *parts[data[i] % 4] += static_cast<char>(data[i]);
  made.time = static_cast<std::int64_t>(size) * 0x9e3779b97f4a7c15;
  std::string token = tokens.token(made);
  FUZZ_CHECK(!others.read(token));
  const auto read = tokens.read(token);
  FUZZ_CHECK(read && read->time == made.time);
  FUZZ_CHECK(read->release == made.release.substr(0, 128) && read->zone == made.zone.substr(0, 128));
  FUZZ_CHECK(read->arm == made.arm.substr(0, 128) && read->request == made.request.substr(0, 128));
  if (size == 0) return 0;
  token[data[0] * token.size() / 256] ^= static_cast<char>(1 + data[size - 1] % 127);
  if (const auto changed = tokens.read(token))
    FUZZ_CHECK(changed->time == made.time && changed->release == read->release);
  return 0;
}
