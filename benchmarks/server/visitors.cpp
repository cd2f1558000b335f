#include "visitors.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace load {

namespace {

constexpr std::size_t kSessions = 50000;  // made up
constexpr double kMeanLength = 4;

bool is_plain(std::string_view id) {
  return std::ranges::all_of(id, [](char c) { return c > ' ' && c <= '~' && c != '"' && c != '\\'; });
}

}  // namespace

Visitors Visitors::from_file(const std::string& path, std::uint64_t seed) {
  Visitors visitors(seed);
  std::ifstream file(path);
  std::string line;
  for (std::size_t number = 1; std::getline(file, line); ++number) {
    std::istringstream words(line);
    std::string visitor, product;
    std::vector<std::string> products;
    words >> visitor;
    while (words >> product) products.push_back(product);
    if (products.empty() || !is_plain(visitor) || !std::ranges::all_of(products, is_plain))
      throw std::runtime_error(path + ":" + std::to_string(number) +
                               ": a visitor and products are expected, of printable ASCII without quotes");
    visitors.add(visitor, products);
  }
  if (visitors.names_.empty()) throw std::runtime_error(path + ": there is no session");
  return visitors;
}

Visitors Visitors::made_up(std::uint64_t products, std::uint64_t seed) {
  Visitors visitors(seed);
  std::vector<double> up_to(products);  // share of the looks at products 0 to i
  double sum = 0;
  for (std::uint64_t i = 0; i < products; ++i) up_to[i] = sum += 1.0 / static_cast<double>(i + 1);
  std::uniform_real_distribution<double> share(0, sum);
  std::geometric_distribution<int> more(1 / kMeanLength);
  for (std::size_t session = 0; session < kSessions; ++session) {
    std::vector<std::string> looks(1 + more(visitors.random_));
    for (std::string& look : looks) {
      const auto rank = std::ranges::lower_bound(up_to, share(visitors.random_)) - up_to.begin();
      look = std::to_string(std::min<std::int64_t>(rank, products - 1));
    }
    visitors.add("made-up-" + std::to_string(session), looks);
  }
  return visitors;
}

void Visitors::add(std::string visitor, const std::vector<std::string>& products) {
  names_.push_back(std::move(visitor));
  products_.insert(products_.end(), products.begin(), products.end());
  offsets_.push_back(products_.size());
}

Look Visitors::start() {
  if (started_ == names_.size()) {
    started_ = 0;
    ++round_;
  }
  return {.session = started_++, .round = round_, .seen = 0};
}

std::uint32_t Visitors::length(Look look) const {
  return static_cast<std::uint32_t>(offsets_[look.session + 1] - offsets_[look.session]);
}

void Visitors::admit(std::size_t visitors, bool at_end) {
  walking_.resize(std::min(visitors, names_.size()));
  for (Look& look : walking_) {
    look = start();
    if (at_end) look.seen = length(look);
  }
}

Look Visitors::next() {
  Look& look = walking_[random_() % walking_.size()];
  if (look.seen == length(look)) look = start();
  ++look.seen;
  return look;
}

void Visitors::written(Look look) {
  if (written_.size() == walking_.size()) written_.pop_front();  // nobody asks about as much as is written
  written_.push_back(look);
}

Look Visitors::ask() {
  Look look = walking_[random_() % walking_.size()];
  if (!written_.empty()) {
    look = written_.front();
    written_.pop_front();
  }
  look.seen = std::max(look.seen, 1u);
  return look;
}

std::string Visitors::visitor(Look look) const { return names_[look.session] + '.' + std::to_string(look.round); }

std::vector<std::string_view> Visitors::products(Look look) const {
  const auto first = products_.begin() + static_cast<std::ptrdiff_t>(offsets_[look.session]);
  return {first, first + look.seen};
}

}  // namespace load
