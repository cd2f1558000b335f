#include "metrics.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>

#include "json_writer.h"

namespace server {

std::size_t Sum::cell() {
  static std::atomic<std::size_t> threads{0};
  thread_local const std::size_t mine = threads++ % kCells;
  return mine;
}

std::uint64_t Sum::value() const {
  std::uint64_t sum = 0;
  for (const Cell& each : cells_) sum += each.value.load(std::memory_order_relaxed);
  return sum;
}

void Histogram::observe(std::chrono::steady_clock::duration time) {
  add(std::max<std::int64_t>(0, std::chrono::duration_cast<std::chrono::microseconds>(time).count()));
}

void Histogram::observe(double share) { add(std::llround(1e6 * share)); }

void Histogram::add(std::int64_t millionths) {
  counts_[static_cast<std::size_t>(std::ranges::lower_bound(edges_, millionths) - edges_.begin())].add();
  millionths_.add(static_cast<std::uint64_t>(millionths));
}

Metrics::Entry& Metrics::entry(const std::string& name, const std::string& help, const std::string& labels,
                               const char* type) {
  const std::lock_guard lock(mutex_);
  for (Entry& entry : entries_)
    if (entry.name == name && entry.labels == labels) return entry;
  Entry& added = entries_.emplace_back();
  added.name = name;
  added.help = help;
  added.labels = labels;
  added.type = type;
  return added;
}

Sum& Metrics::counter(const std::string& name, const std::string& help, const std::string& labels) {
  return entry(name, help, labels, "counter").sum;
}

Histogram& Metrics::histogram(const std::string& name, const std::string& help, const std::string& labels,
                              std::span<const int> edges) {
  Entry& of = entry(name, help, labels, "histogram");
  const std::lock_guard lock(mutex_);
  if (!of.histogram) of.histogram = std::make_unique<Histogram>(edges);
  return *of.histogram;
}

std::string Metrics::label(std::string_view key, std::string_view value) {
  std::string text(key);
  text += '=';
  append_json(text, value);  // Prometheus escapes as JSON does what names have
  return text;
}

void Metrics::gauge(const std::string& name, const std::string& help, std::function<double()> value,
                    const std::string& labels) {
  entry(name, help, labels, "gauge").values = [value = std::move(value)] { return Samples{{"", value()}}; };
}

void Metrics::gauges(const std::string& name, const std::string& help, std::function<Samples()> values) {
  entry(name, help, "", "gauge").values = std::move(values);
}

std::string Metrics::text() const {
  const std::lock_guard lock(mutex_);
  std::string out;
  const auto number = [&](double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.15g", value);
    out += text;
  };
  const auto line = [&](const std::string& name, const std::string& labels, const std::string& more, double value) {
    out += name;
    if (!labels.empty() || !more.empty()) {
      out += '{';
      out += labels;
      if (!labels.empty() && !more.empty()) out += ',';
      out += more;
      out += '}';
    }
    out += ' ';
    number(value);
    out += '\n';
  };
  std::set<std::string> written;
  for (const Entry& first : entries_) {
    if (!written.insert(first.name).second) continue;
    out += "# HELP " + first.name + ' ' + first.help + "\n# TYPE " + first.name + ' ' + first.type + '\n';
    for (const Entry& entry : entries_) {
      if (entry.name != first.name) continue;
      if (entry.values) {
        for (const auto& [labels, value] : entry.values()) line(entry.name, entry.labels, labels, value);
      } else if (entry.type == "histogram") {
        if (!entry.histogram) continue;  // it is being made
        const Histogram& histogram = *entry.histogram;
        std::uint64_t count = 0;
        for (std::size_t i = 0; i <= histogram.edges_.size(); ++i) {
          count += histogram.counts_[i].value();
          std::string edge = "+Inf";
          if (i < histogram.edges_.size()) {
            char text[32];
            std::snprintf(text, sizeof text, "%g", histogram.edges_[i] / 1e6);
            edge = text;
          }
          line(entry.name + "_bucket", entry.labels, "le=\"" + edge + '"', static_cast<double>(count));
        }
        line(entry.name + "_sum", entry.labels, "", static_cast<double>(histogram.millionths_.value()) / 1e6);
        line(entry.name + "_count", entry.labels, "", static_cast<double>(count));
      } else {
        line(entry.name, entry.labels, "", static_cast<double>(entry.sum.value()));
      }
    }
  }
  return out;
}

}  // namespace server
