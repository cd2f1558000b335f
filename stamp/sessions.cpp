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
                   std::vector<std::int64_t> timestamps, std::vector<float> weights, std::vector<std::uint8_t> labels) {
  const auto n = static_cast<std::int64_t>(items.size());
  require(!offsets.empty() && offsets.front() == 0 && offsets.back() == n,
          "Sessions: offsets must begin with 0 and end with the number of events, ", n);
  for (std::size_t i = 1; i < offsets.size(); ++i)
    require(offsets[i] >= offsets[i - 1], "Sessions: offsets fall from ", offsets[i - 1], " to ", offsets[i],
            " at session ", i - 1);
  for (std::int64_t i = 0; i < n; ++i)
    require(items[i] >= Catalog::kUnknown, "Sessions: event ", i, " has row ", items[i], ", expected -1 or more");
  require(timestamps.empty() || static_cast<std::int64_t>(timestamps.size()) == n, "Sessions: ", timestamps.size(),
          " timestamps for ", n, " events");
  require(weights.empty() || static_cast<std::int64_t>(weights.size()) == n, "Sessions: ", weights.size(),
          " weights for ", n, " events");
  for (std::size_t i = 0; i < weights.size(); ++i)
    require(weights[i] >= 0 && std::isfinite(weights[i]), "Sessions: event ", i, " has weight ", weights[i],
            ", expected 0 or more");
  require(labels.empty() || static_cast<std::int64_t>(labels.size()) == n, "Sessions: ", labels.size(), " labels for ",
          n, " events");
  require_few_bits("Sessions", "label", labels);
  columns_ = std::make_shared<Columns>(
      Columns{std::move(items), std::move(offsets), std::move(timestamps), std::move(labels)});
  weights_ = std::make_shared<std::vector<float>>(std::move(weights));
}

Sessions Sessions::of(std::shared_ptr<const Columns> columns, std::vector<float> weights) {
  Sessions sessions;
  sessions.columns_ = std::move(columns);
  sessions.weights_ = std::make_shared<std::vector<float>>(std::move(weights));
  return sessions;
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
  return items().subspan(offsets()[session], length(session));
}

std::int32_t Sessions::max_item() const {
  return events() == 0 ? Catalog::kUnknown : *std::max_element(items().begin(), items().end());
}

Sessions Sessions::slice(std::int64_t first, std::int64_t last) const {
  require(0 <= first && first <= last && last <= size(), "Sessions::slice: sessions ", first, " to ", last,
          ", expected a range within 0 to ", size());
  const std::int64_t from = offsets()[first], count = offsets()[last] - from;
  const auto part = [&](auto values) {
    if (!values.empty()) values = values.subspan(from, count);
    return std::vector(values.begin(), values.end());
  };
  Columns columns{part(items()), {}, part(timestamps()), part(labels())};
  columns.offsets.reserve(static_cast<std::size_t>(last - first) + 1);
  for (std::int64_t s = first; s <= last; ++s) columns.offsets.push_back(offsets()[s] - from);
  return of(std::make_shared<Columns>(std::move(columns)), part(weights()));
}

std::int64_t Sessions::count_before(std::int64_t time) const {
  require(!timestamps().empty() || size() == 0, "Sessions::count_before: these sessions have no timestamps");
  std::int64_t low = 0, high = size();
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    const std::int64_t end = offsets()[middle + 1];
    if (end == 0 || timestamps()[end - 1] < time)  // what is empty counts with those before it
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

Sessions Sessions::without_unknown() const {
  Columns known;
  std::vector<float> weights;
  for (std::int64_t s = 0; s < size(); ++s) {
    for (std::int64_t i = offsets()[s]; i < offsets()[s + 1]; ++i) {
      if (items()[i] == Catalog::kUnknown) continue;
      known.items.push_back(items()[i]);
      if (!timestamps().empty()) known.timestamps.push_back(timestamps()[i]);
      if (!weights_->empty()) weights.push_back((*weights_)[i]);
      if (!labels().empty()) known.labels.push_back(labels()[i]);
    }
    const auto events = static_cast<std::int64_t>(known.items.size());
    if (events > known.offsets.back()) known.offsets.push_back(events);
  }
  return of(std::make_shared<Columns>(std::move(known)), std::move(weights));
}

Sessions Sessions::concatenate(const Sessions& a, const Sessions& b) {
  Columns both = *a.columns_;
  std::vector<float> weights = *a.weights_;
  const auto append = [](auto& all, const auto& more) { all.insert(all.end(), more.begin(), more.end()); };
  append(both.items, b.items());
  for (std::int64_t s = 1; s <= b.size(); ++s) both.offsets.push_back(a.events() + b.offsets()[s]);
  append(both.timestamps, b.timestamps());
  if (both.timestamps.size() != both.items.size()) both.timestamps.clear();
  if (!a.weights().empty() || !b.weights().empty()) {
    weights.resize(a.items().size(), 1);
    append(weights, b.weights());
    weights.resize(both.items.size(), 1);
  }
  if (!a.labels().empty() || !b.labels().empty()) {
    both.labels.resize(a.items().size(), 0);
    append(both.labels, b.labels());
    both.labels.resize(both.items.size(), 0);
  }
  return of(std::make_shared<Columns>(std::move(both)), std::move(weights));
}

bool Sessions::has_example(std::int64_t session) const {
  for (std::int64_t event = offsets()[session] + 1; event < offsets()[session + 1]; ++event)
    if (is_target(event)) return true;
  return false;
}

Sessions Sessions::faded(float oldest) const {
  require(oldest > 0 && oldest <= 1, "Sessions::faded: the oldest session is to weigh ", oldest,
          " of the newest, expected above 0, 1 at most");
  std::int64_t examples = 0, place = 0;  // sessions that have some
  for (std::int64_t s = 0; s < size(); ++s) examples += has_example(s);
  if (oldest == 1 || examples < 2) return *this;
  std::vector<float> values(weights().begin(), weights().end());
  values.resize(items().size(), 1);
  for (std::int64_t s = 0; s < size(); ++s) {
    if (!has_example(s)) continue;
    const double age = 1 - static_cast<double>(place++) / static_cast<double>(examples - 1);
    const auto factor = static_cast<float>(std::pow(double{oldest}, age));
    for (std::int64_t event = offsets()[s]; event < offsets()[s + 1]; ++event) values[event] *= factor;
  }
  return of(columns_, std::move(values));
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
  add(items());
  add(offsets());
  add(timestamps());
  add(weights());
  if (!labels().empty()) add(labels());  // a hash of unlabelled sessions is what it was before there were labels
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
