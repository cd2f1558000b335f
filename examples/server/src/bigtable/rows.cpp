#include "rows.h"

#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <iterator>
#include <random>
#include <stdexcept>

#include "sha256.h"

namespace server::bigtable {

namespace {

constexpr int kTimeDigits = 12;
constexpr int kSequenceDigits = 13;
constexpr int kWriterDigits = 6;
constexpr int kDigits = kTimeDigits + kSequenceDigits + kWriterDigits;
constexpr std::int64_t kMaxTime = (std::int64_t{1} << 48) - 1;  // ms: the year 10889
constexpr std::int64_t kMaxSequence = (std::int64_t{1} << 52) - 1;
constexpr std::size_t kMaxTypeBytes = 64;

std::string hex(std::uint64_t value, int digits) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string text(digits, '0');
  for (int i = digits - 1; i >= 0; --i, value >>= 4) text[i] = kHex[value & 15];
  return text;
}

std::string reversed(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t end = text.size(); end > 0;) {
    std::size_t begin = end - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xc0) == 0x80) --begin;
    out.append(text.substr(begin, end - begin));
    end = begin;
  }
  return out;
}

bool is_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::int64_t micros(std::int64_t ms) { return 1000 * std::clamp<std::int64_t>(ms, 0, kMaxTime); }

}  // namespace

RowKeys::RowKeys(std::string_view form) {
  const auto wrong = [&] {
    return std::invalid_argument(
        "visits.bigtable.row_key: \"" + std::string(form) +
        "\" cannot be; text with {visitor} or {visitor_reversed} is expected, and {hash:N} where "
        "wanted, N from 1 to 64");
  };
  bool names_visitor = false;
  while (!form.empty()) {
    if (form[0] != '{') {
      const std::string_view text = form.substr(0, form.find('{'));
      if (text.find('}') != text.npos) throw wrong();
      parts_.push_back({Kind::kText, std::string(text)});
      form.remove_prefix(text.size());
      continue;
    }
    const std::size_t end = form.find('}');
    if (end == form.npos) throw wrong();
    const std::string_view name = form.substr(1, end - 1);
    if (name == "visitor" || name == "visitor_reversed") {
      parts_.push_back({name == "visitor" ? Kind::kVisitor : Kind::kReversed, ""});
      names_visitor = true;
    } else if (name.starts_with("hash:")) {
      Part part{Kind::kHash, ""};
      const auto [last, error] = std::from_chars(name.data() + 5, name.data() + name.size(), part.digits);
      if (error != std::errc() || last != name.data() + name.size() || part.digits < 1 || part.digits > 64)
        throw wrong();
      parts_.push_back(std::move(part));
    } else {
      throw wrong();
    }
    form.remove_prefix(end + 1);
  }
  if (!names_visitor) throw wrong();
}

std::string RowKeys::of(std::string_view visitor) const {
  std::string key;
  for (const Part& part : parts_) {
    switch (part.kind) {
      case Kind::kText:
        key += part.text;
        break;
      case Kind::kVisitor:
        key += visitor;
        break;
      case Kind::kReversed:
        key += reversed(visitor);
        break;
      case Kind::kHash:
        key += hexadecimal(sha256(visitor)).substr(0, part.digits);
        break;
    }
  }
  return key;
}

Cells::Cells(const BigtableOptions& options)
    : family_(options.family), prefix_(options.column + "#"), writer_(hex(std::random_device()(), kWriterDigits)) {
  if (family_.empty())
    throw std::invalid_argument("visits.bigtable.family: \"\" cannot be; the family's name is expected");
  if (options.column.empty())
    throw std::invalid_argument("visits.bigtable.column: \"\" cannot be; a name of at least one letter is expected");
  for (const std::string& other : options.other_columns) {
    const std::size_t middle = other.rfind('=');
    const std::string qualifier = other.substr(0, middle);
    if (middle == other.npos || qualifier.empty() || middle + 1 == other.size() ||
        other.size() - middle - 1 > kMaxTypeBytes || qualifier.starts_with(prefix_))
      throw std::invalid_argument(
          "visits.bigtable.other_columns: \"" + other +
          "\" cannot be; \"qualifier=type\" is expected, the qualifier none that begins with \"" + prefix_ + '"');
    others_.emplace_back(qualifier, other.substr(middle + 1));
  }
}

std::int64_t Cells::reserve(std::size_t events) {
  using namespace std::chrono;
  const std::int64_t now = duration_cast<microseconds>(system_clock::now().time_since_epoch()).count();
  std::int64_t before = sequence_.load();
  std::int64_t first;
  do {
    first = std::max(now, before + 1);
  } while (!sequence_.compare_exchange_weak(before, first + static_cast<std::int64_t>(events) - 1));
  return first;
}

Cells::Mutations Cells::set(std::vector<Event> events) {
  std::int64_t sequence = reserve(events.size());
  Mutations mutations;
  for (Event& event : events) {
    if (event.time < 0 || event.time > kMaxTime)
      throw std::invalid_argument("an event's time " + std::to_string(event.time) +
                                  " cannot be; milliseconds since 1970 are expected, up to " +
                                  std::to_string(kMaxTime));
    Mutation::SetCell& cell = *mutations.Add()->mutable_set_cell();
    cell.set_family_name(family_);
    cell.set_column_qualifier(prefix_ + hex(kMaxTime - event.time, kTimeDigits) +
                              hex(kMaxSequence - sequence++, kSequenceDigits) + writer_ + '#' + event.type);
    cell.set_timestamp_micros(micros(event.time));
    cell.set_value(std::move(event.item));
  }
  return mutations;
}

Cells::Mutations Cells::erase() const {
  Mutations mutations;
  mutations.Add()->mutable_delete_from_family()->set_family_name(family_);
  return mutations;
}

Cells::Mutations Cells::erase(const Row& row) const {
  Mutations mutations;
  for (const Cell& cell : row.cells) {
    Mutation::DeleteFromColumn& gone = *mutations.Add()->mutable_delete_from_column();
    gone.set_family_name(cell.family);
    gone.set_column_qualifier(cell.qualifier);
    gone.mutable_time_range()->set_start_timestamp_micros(cell.timestamp);
    gone.mutable_time_range()->set_end_timestamp_micros(cell.timestamp + 1000);
  }
  return mutations;
}

Cells::Filter Cells::columns(int limit_of_each) const {
  // A chain or an interleave of one is refused.
  const auto limited = [&](Filter range, bool by_row) {
    if (limit_of_each == 0) return range;
    Filter chain;
    *chain.mutable_chain()->add_filters() = std::move(range);
    Filter& limit = *chain.mutable_chain()->add_filters();
    by_row ? limit.set_cells_per_row_limit_filter(limit_of_each)
           : limit.set_cells_per_column_limit_filter(limit_of_each);
    return chain;
  };
  Filter ours;
  auto& range = *ours.mutable_column_range_filter();
  range.set_family_name(family_);
  range.set_start_qualifier_closed(prefix_);
  range.set_end_qualifier_open(prefix_.substr(0, prefix_.size() - 1) + static_cast<char>(prefix_.back() + 1));
  ours = limited(std::move(ours), true);
  if (others_.empty()) return ours;
  Filter all;
  *all.mutable_interleave()->add_filters() = std::move(ours);
  for (const auto& [qualifier, type] : others_) {
    Filter other;
    auto& column = *other.mutable_column_range_filter();
    column.set_family_name(family_);
    column.set_start_qualifier_closed(qualifier);
    column.set_end_qualifier_closed(qualifier);
    *all.mutable_interleave()->add_filters() = limited(std::move(other), false);
  }
  return all;
}

Cells::Filter Cells::latest(int n, std::int64_t since) const {
  Filter filter;
  filter.mutable_chain()->add_filters()->mutable_timestamp_range_filter()->set_start_timestamp_micros(micros(since));
  *filter.mutable_chain()->add_filters() = columns(n);
  return filter;
}

Cells::Filter Cells::before(int n, std::int64_t time) const {
  Filter filter;
  filter.mutable_chain()->add_filters()->mutable_timestamp_range_filter()->set_end_timestamp_micros(micros(time));
  *filter.mutable_chain()->add_filters() = columns(0);
  filter.mutable_chain()->add_filters()->set_cells_per_row_limit_filter(n);
  filter.mutable_chain()->add_filters()->set_strip_value_transformer(true);
  return filter;
}

std::vector<Event> Cells::events(Row row, int n, std::int64_t since) const {
  std::vector<Event> events;
  events.reserve(row.cells.size());
  // From the back: ours lie the latest first, and so do versions of a column.
  for (auto cell = row.cells.rbegin(); cell != row.cells.rend(); ++cell) {
    if (cell->family != family_ || cell->timestamp < micros(since)) continue;
    const std::string_view qualifier = cell->qualifier;
    std::string_view type;
    if (qualifier.starts_with(prefix_)) {
      const std::string_view rest = qualifier.substr(prefix_.size());
      if (rest.size() <= kDigits || rest[kDigits] != '#' || !is_hex(rest.substr(0, kDigits))) continue;
      type = rest.substr(kDigits + 1);
    } else {
      const auto other = std::find_if(others_.begin(), others_.end(),
                                      [&](const auto& candidate) { return candidate.first == qualifier; });
      if (other == others_.end()) continue;
      type = other->second;
    }
    if (type.size() > kMaxTypeBytes || !simdjson::validate_utf8(type.data(), type.size()) ||
        !simdjson::validate_utf8(cell->value))
      continue;
    events.push_back({cell->timestamp / 1000, std::string(type), std::move(cell->value)});
  }
  if (!others_.empty())
    std::stable_sort(events.begin(), events.end(), [](const Event& a, const Event& b) { return a.time < b.time; });
  if (events.size() > static_cast<std::size_t>(std::max(n, 0)))
    events.erase(events.begin(), events.end() - std::max(n, 0));
  return events;
}

}  // namespace server::bigtable
