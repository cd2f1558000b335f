// The C interface, from a C program.
#include "stamp/device.h"
#include "tests/check.h"
#include "tests/shop.h"

extern "C" int run_c_client(const char* bundle, const char* other);

TEST_CASE("a C program loads, recommends, reloads and frees") {
  const check::Folder folder;
  stamp::save_bundle(folder / "one", shop::bundle(1));
  stamp::save_bundle(folder / "two", shop::bundle(2));
  stamp::set_num_threads(1);
  const int line = run_c_client((folder / "one").c_str(), (folder / "two").c_str());
  CHECK_MESSAGE(line == 0, "c_client.c:", line);
}
