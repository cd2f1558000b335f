#include "stamp/sessions.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace stamp {

namespace {

void require_few_bits(const char* call, const char* what, std::span<const std::uint8_t> bits) {
  for (std::size_t i = 0; i < bits.size(); ++i)
    require(bits[i] >> Sessions::kMostLabels == 0, call, ": event ", i, " has ", what, " ", int{bits[i]},
            ", expected 0 to ", (1 << Sessions::kMostLabels) - 1);
}

}  // namespace

Sessions::Sessions(std::vector<std::int32_t> items, std::vector<std::int64_t> offsets,
                   std::vector<std::int64_t> timestamps, std::vector<float> weights, std::vector<std::uint8_t> labels)
    : items_(std::move(items)),
      offsets_(std::move(offsets)),
      timestamps_(std::move(timestamps)),
      weights_(std::move(weights)),
      labels_(std::move(labels)) {
  const std::int64_t n = events();
  require(!offsets_.empty() && offsets_.front() == 0 && offsets_.back() == n,
          "Sessions: offsets must begin with 0 and end with the number of events, ", n);
  for (std::size_t i = 1; i < offsets_.size(); ++i)
    require(offsets_[i] >= offsets_[i - 1], "Sessions: offsets fall from ", offsets_[i - 1], " to ", offsets_[i],
            " at session ", i - 1);
  for (std::int64_t i = 0; i < n; ++i)
    require(items_[i] >= Catalog::kUnknown, "Sessions: event ", i, " has row ", items_[i], ", expected -1 or more");
  require(timestamps_.empty() || static_cast<std::int64_t>(timestamps_.size()) == n, "Sessions: ", timestamps_.size(),
          " timestamps for ", n, " events");
  require(weights_.empty() || static_cast<std::int64_t>(weights_.size()) == n, "Sessions: ", weights_.size(),
          " weights for ", n, " events");
  for (std::size_t i = 0; i < weights_.size(); ++i)
    require(weights_[i] >= 0 && std::isfinite(weights_[i]), "Sessions: event ", i, " has weight ", weights_[i],
            ", expected 0 or more");
  require(labels_.empty() || static_cast<std::int64_t>(labels_.size()) == n, "Sessions: ", labels_.size(),
          " labels for ", n, " events");
  require_few_bits("Sessions", "label", labels_);
}

namespace {

// Numbers the sessions 0, 1, … by first row; returns how many.
std::int64_t number_sessions(std::span<const std::int64_t> ids, std::vector<std::int32_t>& number) {
  Catalog seen(Catalog::Kind::integers);
  number.resize(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i)
    number[i] = i > 0 && ids[i] == ids[i - 1] ? number[i - 1] : seen.add(ids[i]);
  return seen.size();
}

}  // namespace

Sessions Sessions::from_events(const EventColumns& events, std::vector<std::int64_t>* order_out) {
  const std::size_t n = events.session.size();
  require(events.item.size() == n, "Sessions::from_events: ", events.item.size(), " items for ", n, " events");
  require(events.timestamp.empty() || events.timestamp.size() == n, "Sessions::from_events: ", events.timestamp.size(),
          " timestamps for ", n, " events");
  require(events.weight.empty() || events.weight.size() == n, "Sessions::from_events: ", events.weight.size(),
          " weights for ", n, " events");
  require(events.label.empty() || events.label.size() == n, "Sessions::from_events: ", events.label.size(),
          " labels for ", n, " events");
  const bool timed = !events.timestamp.empty();

  // A counting sort by session keeps the order of the rows; only sessions out of time order are sorted further.
  std::vector<std::int32_t> number;
  const std::int64_t count = number_sessions(events.session, number);
  std::vector<std::int64_t> begin(static_cast<std::size_t>(count) + 1, 0);
  for (std::int32_t s : number) ++begin[s + 1];
  std::partial_sum(begin.begin(), begin.end(), begin.begin());
  std::vector<std::int64_t> rows(n);
  {
    std::vector<std::int64_t> next(begin.begin(), begin.end() - 1);
    for (std::size_t i = 0; i < n; ++i) rows[next[number[i]]++] = static_cast<std::int64_t>(i);
  }
  number = {};
  std::vector<std::int32_t> ranking(static_cast<std::size_t>(count));
  std::iota(ranking.begin(), ranking.end(), 0);
  if (timed) {
    const auto time = [&](std::int64_t row) { return events.timestamp[row]; };
    const auto earlier = [&](std::int64_t a, std::int64_t b) { return time(a) < time(b); };
    for (std::int64_t s = 0; s < count; ++s) {
      const auto first = rows.begin() + begin[s], last = rows.begin() + begin[s + 1];
      if (!std::is_sorted(first, last, earlier)) std::stable_sort(first, last, earlier);
    }
    const auto end_of = [&](std::int32_t s) { return time(rows[begin[s + 1] - 1]); };
    const auto ends_earlier = [&](std::int32_t a, std::int32_t b) { return end_of(a) < end_of(b); };
    if (!std::is_sorted(ranking.begin(), ranking.end(), ends_earlier))
      std::stable_sort(ranking.begin(), ranking.end(), ends_earlier);
  }

  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0}, timestamps;
  std::vector<float> weights;
  std::vector<std::uint8_t> labels;
  items.reserve(n);
  offsets.reserve(static_cast<std::size_t>(count) + 1);
  timestamps.reserve(timed ? n : 0);
  weights.reserve(events.weight.empty() ? 0 : n);
  labels.reserve(events.label.empty() ? 0 : n);
  if (order_out) order_out->clear(), order_out->reserve(n);
  for (std::int32_t s : ranking) {
    for (std::int64_t i = begin[s]; i < begin[s + 1]; ++i) {
      const std::int64_t row = rows[i];
      items.push_back(events.item[row]);
      if (timed) timestamps.push_back(events.timestamp[row]);
      if (!events.weight.empty()) weights.push_back(events.weight[row]);
      if (!events.label.empty()) labels.push_back(events.label[row]);
      if (order_out) order_out->push_back(row);
    }
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  return Sessions(std::move(items), std::move(offsets), std::move(timestamps), std::move(weights), std::move(labels));
}

std::span<const std::int32_t> Sessions::items(std::int64_t session) const {
  return std::span(items_).subspan(offsets_[session], length(session));
}

std::int32_t Sessions::max_item() const {
  return items_.empty() ? Catalog::kUnknown : *std::max_element(items_.begin(), items_.end());
}

Sessions Sessions::slice(std::int64_t first, std::int64_t last) const {
  require(0 <= first && first <= last && last <= size(), "Sessions::slice: sessions ", first, " to ", last,
          ", expected a range within 0 to ", size());
  const std::int64_t from = offsets_[first], to = offsets_[last];
  Sessions part;
  part.items_.assign(items_.begin() + from, items_.begin() + to);
  part.offsets_.assign(offsets_.begin() + first, offsets_.begin() + last + 1);
  for (auto& offset : part.offsets_) offset -= from;
  if (!timestamps_.empty()) part.timestamps_.assign(timestamps_.begin() + from, timestamps_.begin() + to);
  if (!weights_.empty()) part.weights_.assign(weights_.begin() + from, weights_.begin() + to);
  if (!labels_.empty()) part.labels_.assign(labels_.begin() + from, labels_.begin() + to);
  return part;
}

std::int64_t Sessions::count_before(std::int64_t time) const {
  require(!timestamps_.empty() || size() == 0, "Sessions::count_before: these sessions have no timestamps");
  std::int64_t low = 0, high = size();
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    const std::int64_t end = offsets_[middle + 1];
    if (end == 0 || timestamps_[end - 1] < time)  // what is empty counts with those before it
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

Sessions Sessions::without_unknown() const {
  Sessions known;
  for (std::int64_t s = 0; s < size(); ++s) {
    for (std::int64_t i = offsets_[s]; i < offsets_[s + 1]; ++i) {
      if (items_[i] == Catalog::kUnknown) continue;
      known.items_.push_back(items_[i]);
      if (!timestamps_.empty()) known.timestamps_.push_back(timestamps_[i]);
      if (!weights_.empty()) known.weights_.push_back(weights_[i]);
      if (!labels_.empty()) known.labels_.push_back(labels_[i]);
    }
    if (known.events() > known.offsets_.back()) known.offsets_.push_back(known.events());
  }
  return known;
}

Sessions Sessions::concatenate(const Sessions& a, const Sessions& b) {
  Sessions both = a;
  both.items_.insert(both.items_.end(), b.items_.begin(), b.items_.end());
  for (std::int64_t s = 1; s <= b.size(); ++s) both.offsets_.push_back(a.events() + b.offsets_[s]);
  both.timestamps_.insert(both.timestamps_.end(), b.timestamps_.begin(), b.timestamps_.end());
  if (both.timestamps_.size() != both.items_.size()) both.timestamps_.clear();
  if (!a.weights_.empty() || !b.weights_.empty()) {
    both.weights_.resize(a.items_.size(), 1);
    if (b.weights_.empty())
      both.weights_.resize(both.items_.size(), 1);
    else
      both.weights_.insert(both.weights_.end(), b.weights_.begin(), b.weights_.end());
  }
  if (!a.labels_.empty() || !b.labels_.empty()) {
    both.labels_.resize(a.items_.size(), 0);
    both.labels_.insert(both.labels_.end(), b.labels_.begin(), b.labels_.end());
    both.labels_.resize(both.items_.size(), 0);
  }
  return both;
}

std::uint64_t Sessions::fingerprint() const {
  std::uint64_t hash = 0xcbf29ce484222325;
  const auto add = [&](const auto& values) {
    hash = (hash ^ values.size()) * 0x100000001b3;
    for (auto value : values) {
      std::uint64_t bits = 0;
      std::copy_n(reinterpret_cast<const char*>(&value), sizeof value, reinterpret_cast<char*>(&bits));
      hash = (hash ^ bits) * 0x100000001b3;
      hash ^= hash >> 32;
    }
  };
  add(items_);
  add(offsets_);
  add(timestamps_);
  add(weights_);
  if (!labels_.empty()) add(labels_);  // a hash of unlabelled sessions is what it was before there were labels
  return hash;
}

std::vector<std::uint8_t> leading_labels(const Sessions& sessions, std::span<const std::uint8_t> kinds) {
  require(static_cast<std::int64_t>(kinds.size()) == sessions.events(), "leading_labels: ", kinds.size(), " kinds for ",
          sessions.events(), " events");
  require_few_bits("leading_labels", "kind", kinds);
  const auto items = sessions.items();
  std::vector<std::uint8_t> labels(kinds.size(), 0);
  std::vector<std::uint8_t> ahead(static_cast<std::size_t>(sessions.max_item()) + 1, 0);  // of each product
  for (std::int64_t s = 0; s < sessions.size(); ++s) {
    const std::int64_t first = sessions.offsets()[s];
    for (std::int64_t event = sessions.offsets()[s + 1] - 1; event >= first; --event)
      if (items[event] >= 0) labels[event] = ahead[items[event]] |= kinds[event];
    for (const std::int32_t item : sessions.items(s))
      if (item >= 0) ahead[item] = 0;
  }
  return labels;
}

std::vector<std::int64_t> example_targets(const Sessions& sessions, std::int64_t min_history) {
  std::vector<std::int64_t> targets;
  for (std::int64_t s = 0; s < sessions.size(); ++s)
    for (std::int64_t event = sessions.offsets()[s] + min_history; event < sessions.offsets()[s + 1]; ++event)
      if (sessions.is_target(event)) targets.push_back(event);
  return targets;
}

void Batch::clear() {
  for (auto* values : {&items, &begin, &length, &targets}) values->clear();
  weights.clear();
  preferences.clear();
  weight = 0;
}

void Batch::add_history(std::span<const std::int32_t> history, std::span<const float> preference, std::int64_t K) {
  begin.push_back(static_cast<std::int32_t>(items.size()));
  length.push_back(static_cast<std::int32_t>(history.size()));
  items.insert(items.end(), history.begin(), history.end());
  targets.push_back(Catalog::kUnknown);
  weights.push_back(0);
  preferences.insert(preferences.end(), preference.begin(), preference.end());
  preferences.resize(static_cast<std::size_t>(B() * K), 0);
}

void SharedHistories::add(std::span<const std::int32_t> events, std::int64_t begin, std::int64_t end, Batch& batch) {
  if (begin > loaded_) {  // nothing to share with what is loaded
    loaded_ = begin;
    shift_ = batch.L() - begin;
  }
  batch.items.insert(batch.items.end(), events.begin() + loaded_, events.begin() + end);
  loaded_ = end;
  batch.begin.push_back(static_cast<std::int32_t>(begin + shift_));
  batch.length.push_back(static_cast<std::int32_t>(end - begin));
}

BatchBuilder::BatchBuilder(const Sessions& sessions, std::int64_t history) : sessions_(sessions), history_(history) {}

void BatchBuilder::build(std::span<const std::int64_t> targets, Batch& batch) {
  batch.clear();
  sorted_.assign(targets.begin(), targets.end());
  std::sort(sorted_.begin(), sorted_.end());
  const auto offsets = sessions_.offsets();
  SharedHistories histories;
  std::int64_t first = 0, last = 0;  // events of the session at hand
  for (const std::int64_t target : sorted_) {
    if (target >= last) {
      const auto after = std::upper_bound(offsets.begin(), offsets.end(), target);
      first = after[-1];
      last = *after;
      histories.restart();
    }
    histories.add(sessions_.items(), history_ > 0 ? std::max(first, target - history_) : first, target, batch);
    batch.targets.push_back(sessions_.items()[target]);
    batch.weights.push_back(sessions_.weights().empty() ? 1.0f : sessions_.weights()[target]);
    batch.weight += batch.weights.back();
  }
  if (batch.weight > 0)
    for (float& weight : batch.weights) weight = static_cast<float>(weight / batch.weight);
}

void walk_examples(const Sessions& sessions, const WalkOptions& options,
                   const std::function<bool(std::int32_t target, std::int64_t known)>& take,
                   const std::function<bool(const Batch& batch, std::int64_t done)>& answer) {
  Batch batch;
  std::vector<std::int32_t> known;  // events of the session at hand
  SharedHistories histories;
  for (std::int64_t s = 0; s < sessions.size(); ++s) {
    const auto events = sessions.items(s);
    const std::int64_t length = static_cast<std::int64_t>(events.size());
    known.clear();
    histories.restart();
    for (std::int64_t i = 0; i < length; ++i) {
      const bool inside = events[i] >= 0 && events[i] < options.V;
      const std::int32_t item = inside ? events[i] : Catalog::kUnknown;
      const bool target = i >= options.min_history && (!options.last_only || i == length - 1) &&
                          sessions.is_target(sessions.offsets()[s] + i);
      const std::int64_t end = static_cast<std::int64_t>(known.size());
      if (target && take(item, end)) {
        histories.add(known, options.history > 0 ? std::max<std::int64_t>(0, end - options.history) : 0, end, batch);
        batch.targets.push_back(item);
        batch.weights.push_back(1);
        batch.preferences.insert(batch.preferences.end(), options.preference.begin(), options.preference.end());
        if (batch.B() == options.batch) {
          if (!answer(batch, s)) return;
          batch.clear();
          histories.restart();
        }
      }
      if (inside) known.push_back(item);
    }
  }
  answer(batch, sessions.size());
}

}  // namespace stamp
