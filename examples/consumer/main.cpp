// Trains a small model and recommends with it, in C++, against the installed library.
#include <iostream>
#include <random>

#include "stamp/bundle.h"
#include "stamp/recommender.h"

int main() {
  // A shop of 100 products where visitors go from each product to the next.
  constexpr std::int64_t kProducts = 100;
  std::mt19937 random(1);
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0};
  for (int session = 0; session < 2000; ++session) {
    std::int32_t item = static_cast<std::int32_t>(random() % kProducts);
    for (int i = 0; i < 5; ++i, item = (item + 1) % kProducts) items.push_back(item);
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  const stamp::Sessions sessions(items, offsets);

  stamp::Config config = stamp::Config::preset("official");
  config.dim = 16;
  auto model = std::make_shared<stamp::Model>(config, kProducts, stamp::open_device("auto"));
  stamp::TrainConfig train = stamp::TrainConfig::preset("official");
  train.batch_size = 128;
  train.optimizer.learning_rate = 0.01f;
  const stamp::TrainReport report = stamp::train(*model, sessions, train);
  std::cout << "trained " << report.epochs.size() << " epochs, loss " << report.epochs.back().loss << '\n';

  const stamp::Recommender recommender(model);
  const stamp::Recommendation answer = recommender.recommend({.items = {40, 41, 42}, .exclude = {}, .only = {}}, 3);
  std::cout << "after 40, 41, 42 comes " << answer.items.front() << '\n';
  return answer.items.front() == 43 ? 0 : 1;
}
