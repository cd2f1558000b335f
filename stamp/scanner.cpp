#include "stamp/scanner.h"

#include <algorithm>
#include <bit>

#include "stamp/floors.h"

namespace stamp {

namespace {

constexpr std::size_t kAtOnce = 512;
constexpr std::int64_t kListed = 1 << 21;   // entries of all lists that are made at once
constexpr std::int64_t kSharedList = 4096;  // longer lists are made for whoever wants them alone
// Where filters leave less than a sixteenth of the candidates, those are gathered and scored, and not all scanned.
constexpr std::int64_t kFew = 16;

}  // namespace

// Rows of host memory for the queries of a batch, none for some, one for several, as catalog_top_k takes them.
template <class T>
class Scanner::PerQuery {
 public:
  explicit PerQuery(const std::shared_ptr<Device>& device)
      : device_(device), rows_(device, 0), device_pointers_(device, 0) {}

  void clear() { rows_of_.clear(); }
  // Empty for none. on_device: the same where the device has it already, else null.
  void add(std::span<const T> row, const T* on_device = nullptr) {
    rows_of_.push_back({row.empty() ? nullptr : row.data(), on_device});
  }
  // Pointers to rows of `width`, good until the next call; null where no query has one.
  const T* const* on_device(std::int64_t width) {
    if (std::all_of(rows_of_.begin(), rows_of_.end(), [](const Row& row) { return !row.host; })) return nullptr;
    pointers_.clear();
    if (device_->reads_host_memory()) {
      for (const Row& row : rows_of_) pointers_.push_back(row.host);
      return pointers_.data();
    }
    sources_.clear();  // each goes there once: a zone's are the same for all
    const auto find = [&](const T* row) { return std::find(sources_.begin(), sources_.end(), row) - sources_.begin(); };
    for (const Row& row : rows_of_)
      if (row.host && !row.device && find(row.host) == std::ssize(sources_)) sources_.push_back(row.host);
    rows_.resize(std::ssize(sources_) * width);
    for (std::int64_t i = 0; i < std::ssize(sources_); ++i)
      device_->copy_in(rows_.data() + i * width, sources_[i], width * sizeof(T));
    for (const Row& row : rows_of_)
      pointers_.push_back(!row.host || row.device ? row.device : rows_.data() + width * find(row.host));
    device_pointers_.upload(pointers_);
    return device_pointers_.data();
  }

 private:
  std::shared_ptr<Device> device_;
  struct Row {
    const T *host, *device;
  };
  std::vector<Row> rows_of_;  // of each query
  std::vector<const T*> sources_, pointers_;
  Array<T> rows_;
  Array<const T*> device_pointers_;
};

// What scans need for themselves: a device handle, activations and room for the lists. Kept for the next ones.
struct Scanner::Context {
  Context(int threads, const Model& model)
      : device(open_device(model.device()->name(), {threads, model.device()->precision()})),
        activations(device),
        floors(model, device, threads),
        excluded(device),
        boosts(device),
        gathered(device, 0),
        rows(device, 0),
        lists(device, 0) {}

  std::shared_ptr<Device> device;
  Activations activations;
  HistoryFloors floors;
  Batch batch;
  std::vector<ScanRequest> order;  // of the batch: those that scan everything, then the others
  PerQuery<std::uint64_t> excluded;
  PerQuery<float> boosts;
  std::vector<std::int32_t> few, few_rows;  // places and rows that a filter leaves
  std::vector<float> few_boosts;
  std::vector<std::int32_t> listed;  // `lists` on the host
  Array<float> gathered;
  Array<std::int32_t> rows;
  Array<std::int32_t> lists;  // [2,B,n] ids, then the bits of scores, so that one copy brings both
};

Scanner::Scanner(std::shared_ptr<const Model> shared, std::vector<std::int32_t> candidates, const ScanOptions& options,
                 std::shared_ptr<std::byte> packed)
    : model_(std::move(shared)),
      candidates_(std::move(candidates)),
      options_(options),
      table_(*model_, model_->device(), candidates_, std::move(packed)) {
  require(options_.most >= 1, "Scanner: most is ", options_.most, ", expected 1 or more");
  if (options_.most > 1) {
    // A pass keeps a core busy. A GPU works on one after the other: while it does, the next one is made ready.
    const bool cpu = model_->device()->name() == "cpu";
    queue_ = std::make_unique<ScanQueue>([this](std::span<const ScanRequest> requests) { pass(1, requests); },
                                         [cpu] { return cpu ? num_threads() : 2; }, options_.most);
  }
}

Scanner::~Scanner() = default;

void Scanner::keep(std::span<const float> boosts) {
  const auto& device = model_->device();
  if (boosts.empty() || device->reads_host_memory()) return;
  const auto bytes = static_cast<std::int64_t>(boosts.size_bytes());
  if (kept_bytes_ + bytes > (device->free_memory() + kept_bytes_) / 10) return;
  Array<float> line(device, 0);
  line.upload(boosts);
  device->synchronize();  // requests read it through handles of their own
  kept_.emplace(boosts.data(), std::move(line));
  kept_bytes_ += bytes;
}

std::unique_ptr<Scanner::Context> Scanner::borrow(int threads) const {
  return pool(threads).take([&] { return std::make_unique<Context>(threads, *model_); });
}

void Scanner::pass(int threads, std::span<const ScanRequest> requests) const {
  auto context = borrow(threads);
  for (std::size_t first = 0; first < requests.size(); first += kAtOnce)
    answer(*context, requests.subspan(first, std::min(kAtOnce, requests.size() - first)));
  pool(threads).give_back(std::move(context));
}

void Scanner::scan(const ScanRequest& request) const { pass(1, std::span(&request, 1)); }

void Scanner::scan(std::span<const ScanRequest> requests, std::span<std::exception_ptr> errors) const {
  scan_each([this](std::span<const ScanRequest> all) { pass(0, all); }, requests, errors);
}

void Scanner::scan_shared(std::span<const ScanRequest> requests, std::span<std::exception_ptr> errors) const {
  std::size_t first = 0;  // of those that go into the queue together
  for (std::size_t i = 0; i <= requests.size(); ++i) {
    if (i < requests.size() && queue_ && requests[i].n <= kSharedList && !requests[i].alone) continue;
    if (queue_) queue_->scan(requests.subspan(first, i - first), errors.subspan(first, i - first));
    first = i + 1;
    if (i < requests.size())
      scan_each([this](std::span<const ScanRequest> one) { pass(1, one); }, requests.subspan(i, 1),
                errors.subspan(i, 1));
  }
}

void Scanner::answer(Context& c, std::span<const ScanRequest> requests) const {
  c.order.assign(requests.begin(), requests.end());
  const auto few = std::partition(c.order.begin(), c.order.end(), [&](const ScanRequest& request) {
    return !request.excluded || request.excluded->left() * kFew >= size();
  });
  c.batch.clear();
  for (const auto& request : c.order) c.batch.add_history(request.history, request.preference, model_->config().K());
  c.activations.upload(c.batch, model_->config());
  model_->forward(*c.device, c.activations);
  const auto all = static_cast<std::size_t>(few - c.order.begin());
  for (std::size_t first = 0, end = 0; first < all; first = end) {  // as many as their lists allow
    std::int64_t longest = 0;
    do longest = std::max(longest, entries(c.order[end++]));
    while (end < all &&
           std::max(longest, entries(c.order[end])) * static_cast<std::int64_t>(end + 1 - first) <= kListed);
    scan_all(c, first, end - first);
  }
  for (std::size_t row = all; row < c.order.size(); ++row) scan_few(c, row);
}

// Where bits would have to be copied to the device, the few places that a request excludes beside those that are
// pointed to stay in the scan instead, of which so many more are listed, and are left out of its list.
std::int64_t Scanner::entries(const ScanRequest& request) const {
  const bool stay = request.excluded && !model_->device()->reads_host_memory();
  return std::min(request.n + (stay ? static_cast<std::int64_t>(request.excluded->few().size()) : 0), size());
}

void Scanner::scan_all(Context& c, std::size_t first, std::size_t count) const {
  c.excluded.clear();
  c.boosts.clear();
  std::int64_t n = 0;
  for (std::size_t b = 0; b < count; ++b) {
    const ScanRequest& request = c.order[first + b];
    n = std::max(n, entries(request));
    if (!request.excluded)
      c.excluded.add({});
    else
      c.excluded.add(c.device->reads_host_memory() ? request.excluded->bits() : request.excluded->most_bits());
    const auto kept = kept_.find(request.boosts.data());
    c.boosts.add(request.boosts, kept == kept_.end() ? nullptr : kept->second.data());
  }
  const auto* candidates = table_.holds_all() ? nullptr : &candidates_;
  top_k(c, first, count, candidates, size(), n, table_.items(), table_.packed().data());
  for (std::size_t b = 0; b < count; ++b) take(c, b, n, nullptr, c.order[first + b]);
}

void Scanner::scan_few(Context& c, std::size_t row) const {
  const ScanRequest& request = c.order[row];
  c.few.clear();
  c.few_rows.clear();
  c.few_boosts.clear();
  const auto excluded = request.excluded->bits();
  for (std::int64_t place = 0; place < size(); ++place) {
    if (place % 64 == 0 && excluded[place / 64] == ~std::uint64_t{0}) {
      place += 63;
      continue;
    }
    if (excluded[place / 64] >> (place % 64) & 1) continue;
    c.few.push_back(static_cast<std::int32_t>(place));
    c.few_rows.push_back(candidates_[place]);
    if (!request.boosts.empty()) c.few_boosts.push_back(request.boosts[place]);
  }
  request.list->clear();
  if (c.few.empty()) return;
  const std::int64_t V = static_cast<std::int64_t>(c.few.size()), n = std::min(request.n, V);
  c.excluded.clear();
  c.boosts.clear();
  c.boosts.add(c.few_boosts);
  c.rows.upload(c.few_rows);
  top_k(c, row, 1, &c.few_rows, V, n, model_->item_rows(c.rows.data()), nullptr);
  take(c, 0, n, c.few.data(), request);
}

// The lists of queries first … first+count-1 over V products, of rows `candidates` or all, into c.listed. `items` are
// the same on the device.
void Scanner::top_k(Context& c, std::size_t first, std::size_t count, const std::vector<std::int32_t>* candidates,
                    std::int64_t V, std::int64_t n, const ItemRows& items, const std::byte* packed) const {
  const std::int64_t D = model_->config().dim, B = static_cast<std::int64_t>(count);
  c.lists.resize(2 * B * n);
  c.device->catalog_top_k({.B = B,
                           .D = D,
                           .V = V,
                           .k = n,
                           .queries = c.activations.q.data() + static_cast<std::int64_t>(first) * D,
                           .items = items,
                           .packed = packed,
                           .floors = c.floors.of(c.batch, first, count, candidates),
                           .excluded = c.excluded.on_device((V + 63) / 64),
                           .boosts = c.boosts.on_device(V),
                           .ids = c.lists.data(),
                           .scores = reinterpret_cast<float*>(c.lists.data() + B * n)});
  c.listed.resize(static_cast<std::size_t>(2 * B * n));
  c.device->copy_out(c.listed.data(), c.lists.data(), c.listed.size() * sizeof(std::int32_t));
}

// Line b of the lists; `few` names the places behind the ids, where not all were scanned.
void Scanner::take(const Context& c, std::size_t b, std::int64_t n, const std::int32_t* few,
                   const ScanRequest& request) const {
  request.list->clear();
  const std::int32_t *ids = c.listed.data() + b * n, *scores = ids + c.listed.size() / 2;
  for (std::int64_t i = 0; i < n && static_cast<std::int64_t>(request.list->size()) < request.n && ids[i] >= 0; ++i) {
    const std::int32_t place = few ? few[ids[i]] : ids[i];
    if (request.excluded && request.excluded->contains(place)) continue;
    request.list->push_back({place, std::bit_cast<float>(scores[i])});
  }
}

void Scanner::embeddings(std::span<const std::int32_t> places, std::vector<float>& rows) const {
  const std::int64_t D = model_->config().dim, n = static_cast<std::int64_t>(places.size());
  rows.resize(static_cast<std::size_t>(n * D));
  if (n == 0) return;
  auto context = borrow(1);
  Context& c = *context;
  c.few_rows.clear();
  for (std::int32_t place : places) c.few_rows.push_back(candidates_[place]);
  c.rows.upload(c.few_rows);
  c.gathered.resize(n * D);
  c.device->gather_rows(n, D, model_->weights().items.data(), c.rows.data(), c.gathered.data());
  c.device->copy_out(rows.data(), c.gathered.data(), rows.size() * sizeof(float));
  pool(1).give_back(std::move(context));
}

}  // namespace stamp
