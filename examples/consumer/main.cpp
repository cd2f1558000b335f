// Trains a small model, saves it as a bundle with a zone of its own rules, and recommends from there, in C++, against
// the installed library.
#include <chrono>
#include <future>
#include <iostream>
#include <random>

#include "stamp/recommender.h"

int main(int argc, char** argv) {
  const std::string path = argc > 1 ? argv[1] : "bundle";

  // A shop of 100 products where visitors go from each product to the next. Every third one is red.
  constexpr std::int64_t kProducts = 100;
  stamp::Catalog catalog(stamp::Catalog::Kind::strings);
  stamp::TextAttribute colour{.name = "colour", .values = {"red", "blue"}, .codes = {}};
  for (int i = 0; i < kProducts; ++i) {
    catalog.add("sku-" + std::to_string(i));
    colour.codes.push_back(i % 3 == 0 ? 0 : 1);
  }
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

  stamp::Bundle bundle = stamp::bundle_of(model, catalog, stamp::item_counts(sessions, kProducts));
  bundle.attributes.add(colour);
  bundle.rules =
      R"({"zones": {"red": {"k": 3, "rules": [{"rule": "only_values", "attribute": "colour", "values": ["red"]}]}}})";
  stamp::save_bundle(path, bundle);

  const stamp::Recommender recommender(path);
  const std::vector<stamp::Id> events{"sku-40", "sku-41", "sku-42"};
  for (const char* zone : {"", "red"}) {
    const stamp::Recommendation answer = recommender.recommend({.events = events, .k = 3, .zone = zone});
    std::cout << "after sku-42 come";
    for (const stamp::Id& id : answer.items) std::cout << ' ' << stamp::to_string(id);
    std::cout << (*zone ? ", red ones alone\n" : "\n");
    if (stamp::to_string(answer.items.front()) != (*zone ? "sku-45" : "sku-43")) return 1;
  }

  const std::vector<stamp::Request> requests{{.events = events, .zone = "blue"}, {.events = events, .zone = "red"}};
  for (const stamp::Answer<stamp::Recommendation>& answer : recommender.recommend(requests)) {
    try {
      const stamp::Recommendation& found = answer.get();
      std::cout << "the first of " << found.items.size() << " is " << stamp::to_string(found.items[0]) << '\n';
    } catch (const std::invalid_argument& error) {  // of this one alone: there is no zone "blue"
      std::cout << error.what() << '\n';
    }
  }

  std::promise<stamp::Answer<stamp::Recommendation>> replied;
  const stamp::Ticket ticket = recommender.submit(
      {.events = events, .k = 3, .zone = "red"},
      [&](stamp::Answer<stamp::Recommendation> answer) { replied.set_value(std::move(answer)); },
      std::chrono::steady_clock::now() + std::chrono::seconds(10));
  // Meanwhile this thread does something else; had the visitor gone, it would call ticket.cancel().
  if (stamp::to_string(replied.get_future().get().get().items[0]) != "sku-45") return 1;
  return ticket.cancel() ? 1 : 0;  // too late
}
