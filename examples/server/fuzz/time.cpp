// Texts that could be times: what is one is written as the same time.
#include <stdexcept>

#include "clock.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::int64_t time;
  try {
    time = server::parse_time(text_of(data, size));
  } catch (const std::invalid_argument&) {
    return 0;
  }
  constexpr std::int64_t kYear0 = -62167219200000, kYear10000 = 253402300800000;  // ms
  if (time >= kYear0 && time < kYear10000) FUZZ_CHECK(server::parse_time(server::format_time(time)) == time);
  return 0;
}
