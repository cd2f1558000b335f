// Little trainings for tests: a log that can be learnt, options, and how much of it a device trains on.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "stamp/trainer.h"
#include "tests/check.h"

constexpr std::int64_t kProducts = 60;

// Visitors go from each product to one of two successors.
inline stamp::Sessions chain(int count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0};
  for (int s = 0; s < count; ++s) {
    std::int64_t item = random() % kProducts, before = item;
    for (unsigned i = 2 + random() % 4; i > 0; --i) {
      items.push_back(static_cast<std::int32_t>(item));
      const std::int64_t next = (item + (random() % 4 == 0 ? 7 : 1)) % kProducts;
      item = std::exchange(before, item);  // sometimes back to the one before
      if (random() % 4 > 0) item = next;
    }
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  return stamp::Sessions(items, offsets);
}

inline stamp::Config config_of() {
  stamp::Config config = stamp::Config::preset("official");
  config.dim = 12;
  config.dropout = 0.1f;
  config.repeat_floors = 2;
  return config;
}

inline stamp::TrainConfig train_config() {
  stamp::TrainConfig config;
  config.epochs = 3;
  config.batch_size = 64;
  config.optimizer.learning_rate = 0.01f;
  config.optimizer.schedule = stamp::Schedule::cosine;
  config.optimizer.warmup = 0.1f;
  config.checkpoint_seconds = 0;
  return config;
}

using Values = std::map<std::string, std::vector<float>>;

// What a device trains on, and is judged by: little where it is slow.
inline stamp::Sessions training(const stamp::Device& device) { return chain(check::slow(device) ? 60 : 400, 1); }
inline stamp::Sessions validation_of(const stamp::Device& device) { return chain(check::slow(device) ? 20 : 100, 2); }
