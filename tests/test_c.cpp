// The C interface, from a C program.
#include "stamp/device.h"
#include "tests/check.h"
#include "tests/shop.h"

extern "C" int run_c_client(const char* bundle, const char* other);

TEST_CASE("a C program loads, recommends, reloads and frees") {
  const check::Folder folder;
  stamp::Bundle bundle = shop::bundle(1);
  for (stamp::Cluster& cluster : bundle.clusters) {  // which have learnt orders, too
    stamp::Config config = cluster.model->config();
    config.objectives = {"order"};
    cluster.model = std::make_shared<stamp::Model>(config, cluster.model->V(), cluster.model->device());
    auto values = cluster.model->download();
    values.at("mlp_anchor.objectives") = check::random(static_cast<std::size_t>(config.dim), 1, 5);
    cluster.model->upload(values);
  }
  stamp::save_bundle(folder / "one", bundle);
  stamp::save_bundle(folder / "two", shop::bundle(2));
  stamp::set_num_threads(1);
  const int line = run_c_client((folder / "one").c_str(), (folder / "two").c_str());
  CHECK_MESSAGE(line == 0, "c_client.c:", line);
}
