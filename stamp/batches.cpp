#include "stamp/batches.h"

#include <algorithm>
#include <bit>

#include "stamp/philox.h"

namespace stamp {

namespace {

constexpr int kLengthBits = TrainingExamples::kLengthBits;
constexpr std::int64_t kLongest = (std::int64_t{1} << kLengthBits) - 1, kPlaces = std::int64_t{1} << (64 - kLengthBits);
constexpr std::int64_t kPieceBytes = 64 << 20;  // of a piece that travels, some more or less
constexpr std::int64_t kExampleBytes = sizeof(std::uint64_t) + sizeof(std::int32_t);

std::int64_t target_of(std::uint64_t example) { return static_cast<std::int64_t>(example >> kLengthBits); }
std::int64_t length_of(std::uint64_t example) { return static_cast<std::int64_t>(example) & kLongest; }

std::uint64_t example_of(std::int64_t target, std::int64_t length) {
  return static_cast<std::uint64_t>(target) << kLengthBits | static_cast<std::uint64_t>(length);
}

// Fisher and Yates, driven by Philox: the same order for the same seed and epoch, everywhere.
void shuffle(std::vector<std::uint64_t>& values, std::uint64_t seed, std::int64_t epoch) {
  for (std::size_t i = values.size(); i > 1; --i) {
    const auto words = philox(seed, streams::kShuffle + static_cast<std::uint64_t>(epoch), i);
    const std::uint64_t random = std::uint64_t{words[0]} << 32 | words[1];
    std::swap(values[i - 1], values[random % i]);
  }
}

// The next of a few sizes: eight from each power of two to the next, none closer than `padding`.
std::int64_t rounded(std::int64_t L, std::int64_t padding) {
  const std::int64_t eighth = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(L)) / 8);
  const std::int64_t step = std::max(padding, eighth / padding * padding);
  return (L + step - 1) / step * step;
}

}  // namespace

Batches::Batches(std::shared_ptr<Device> device, const Sessions& sessions, std::span<const std::int64_t> targets,
                 std::int64_t history, std::int64_t batch_size, std::uint64_t seed, std::int64_t room,
                 Objectives objectives)
    : device_(std::move(device)),
      sessions_(sessions),
      batch_size_(batch_size),
      seed_(seed),
      objectives_(objectives),
      items_(device_, 0),
      weights_(device_, 0),
      labels_(device_, 0),
      order_(device_, 0),
      begins_(device_, 0) {
  require(sessions.events() < kPlaces, "train: ", sessions.events(), " events, expected fewer than ", kPlaces);
  examples_.reserve(targets.size());
  const auto offsets = sessions.offsets();
  std::size_t session = 0;
  for (const std::int64_t target : targets) {
    while (offsets[session + 1] <= target) ++session;
    const std::int64_t before = target - offsets[session], length = history > 0 ? std::min(history, before) : before;
    require(length <= kLongest, "train: session ", session, " has ", before, " events before one, expected at most ",
            kLongest, "; cut it, or set Config::history");
    examples_.push_back(example_of(target, length));
  }
  const auto bytes = static_cast<std::int64_t>(sessions.items().size_bytes() + sessions.weights().size_bytes() +
                                               sessions.labels().size_bytes()) +
                     examples() * kExampleBytes;
  streamed_ = bytes > room && !device_->reads_host_memory();
  piece_bytes_ = std::min(room, kPieceBytes);
  if (streamed_ || device_->reads_host_memory()) return;
  items_.upload(sessions.items());
  weights_.upload(sessions.weights());
  labels_.upload(sessions.labels());
}

void Batches::start(std::int64_t epoch, bool another) {
  epoch_ = epoch;
  another_ = another;
}

const BatchPlace& Batches::at(std::int64_t i) {
  if (piece_.epoch != epoch_ || i < piece_.first || i >= piece_.last) {
    const std::int64_t first = streamed_ ? i : 0;
    Piece piece;
    if (next_.valid()) piece = next_.get();
    if (piece.epoch != epoch_ || piece.first != first)
      piece = make_piece(epoch_, first, piece_.epoch == epoch_ ? piece_.order : nullptr);
    send(std::move(piece));
    const bool waits = !device_->reads_host_memory();  // the host, while the device works
    if (waits && piece_.last < size())
      next_ = std::async(std::launch::async, &Batches::make_piece, this, epoch_, piece_.last, piece_.order);
    else if (waits && another_)
      next_ = std::async(std::launch::async, &Batches::make_piece, this, epoch_ + 1, 0, nullptr);
  }
  return piece_.places[static_cast<std::size_t>(i - piece_.first)];
}

std::shared_ptr<const Batches::Order> Batches::order_of(std::int64_t epoch) const {
  auto order = std::make_shared<Order>(examples_);
  shuffle(*order, seed_, epoch);
  for (std::int64_t first = 0; first < examples(); first += batch_size_)
    std::sort(order->begin() + first, order->begin() + std::min(first + batch_size_, examples()));
  return order;
}

Batches::Piece Batches::make_piece(std::int64_t epoch, std::int64_t first, std::shared_ptr<const Order> order) const {
  Piece piece;
  piece.epoch = epoch;
  piece.first = first;
  piece.last = size();
  piece.order = order ? std::move(order) : order_of(epoch);
  if (!streamed_) piece.begins.reserve(examples_.size());
  // Of a piece that travels, were no event shared by its batches: each example, its history and its target.
  const std::int64_t event_bytes = 4 + (sessions_.weights().empty() ? 0 : 4) + (sessions_.labels().empty() ? 0 : 1);
  std::int64_t bytes = 0;
  for (std::int64_t i = first; i < piece.last; ++i) {
    BatchPlace place{.data = {}, .first = (i - first) * batch_size_, .B = 0, .L = 0, .weight = 0};
    place.B = std::min(batch_size_, examples() - i * batch_size_);
    std::int64_t before = 0;  // the event up to which earlier examples have brought theirs
    for (const std::uint64_t example : std::span(*piece.order).subspan(i * batch_size_, place.B)) {
      const std::int64_t target = target_of(example), first_event = target - length_of(example);
      const std::int64_t shared = std::max<std::int64_t>(0, before - first_event);
      piece.begins.push_back(static_cast<std::int32_t>(place.L - shared));
      place.L += length_of(example) - shared;
      place.weight += sessions_.weights().empty() ? 1.0 : sessions_.weights()[target];
      before = target;
    }
    bytes += place.B * kExampleBytes + (place.L + place.B) * event_bytes;
    if (streamed_ && i > first && bytes > piece_bytes_) {
      piece.last = i;
      piece.begins.resize(static_cast<std::size_t>(place.first));
      break;
    }
    place.L = rounded(place.L, device_->padding());
    require(place.L < std::int64_t{1} << 31, "train: a batch of ", place.L,
            " events, expected fewer than 2^31; lower batch_size or Config::history");
    piece.places.push_back(place);
  }
  if (streamed_) pack(piece);
  return piece;
}

// What overlaps in the sessions does so here, and nothing else: events keep their order, and each target is there, too.
void Batches::pack(Piece& piece) const {
  const BatchPlace& last = piece.places.back();
  const auto examples = std::span(*piece.order).subspan(piece.first * batch_size_, last.first + last.B);
  piece.examples.assign(examples.begin(), examples.end());
  std::vector<std::uint32_t> sorted(piece.examples.size());
  for (std::size_t i = 0; i < sorted.size(); ++i) sorted[i] = static_cast<std::uint32_t>(i);
  std::sort(sorted.begin(), sorted.end(), [&](auto a, auto b) { return piece.examples[a] < piece.examples[b]; });
  std::int64_t packed = 0;  // the event up to which they are
  for (const std::uint32_t i : sorted) {
    std::uint64_t& example = piece.examples[i];
    const std::int64_t target = target_of(example), length = length_of(example);
    const std::int64_t from = std::max(packed, target - length), count = target + 1 - from;
    const auto items = sessions_.items().subspan(from, count);
    piece.items.insert(piece.items.end(), items.begin(), items.end());
    if (!sessions_.weights().empty()) {
      const auto weights = sessions_.weights().subspan(from, count);
      piece.weights.insert(piece.weights.end(), weights.begin(), weights.end());
    }
    if (!sessions_.labels().empty()) {
      const auto labels = sessions_.labels().subspan(from, count);
      piece.labels.insert(piece.labels.end(), labels.begin(), labels.end());
    }
    packed = target + 1;
    example = example_of(static_cast<std::int64_t>(piece.items.size()) - 1, length);
  }
}

void Batches::send(Piece piece) {
  piece_ = std::move(piece);
  TrainingExamples data{.items = sessions_.items().data(),
                        .weights = sessions_.weights().empty() ? nullptr : sessions_.weights().data(),
                        .examples = piece_.order->data(),
                        .begins = piece_.begins.data(),
                        .labels = sessions_.labels().empty() ? nullptr : sessions_.labels().data(),
                        .objectives = objectives_};
  if (!device_->reads_host_memory()) {
    if (streamed_) {
      items_.upload(piece_.items);
      weights_.upload(piece_.weights);
      labels_.upload(piece_.labels);
    }
    order_.upload(streamed_ ? piece_.examples : *piece_.order);
    begins_.upload(piece_.begins);
    data = {.items = items_.data(),
            .weights = data.weights ? weights_.data() : nullptr,
            .examples = order_.data(),
            .begins = begins_.data(),
            .labels = data.labels ? labels_.data() : nullptr,
            .objectives = objectives_};
    if (piece_.last == size()) piece_.order.reset();  // the device has it all
    piece_.examples = {};
    piece_.begins = {};
    piece_.items = {};
    piece_.weights = {};
    piece_.labels = {};
  }
  for (BatchPlace& place : piece_.places) place.data = data;
}

}  // namespace stamp
