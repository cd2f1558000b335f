// The training sessions where a device works, so that it builds its batches itself and nobody waits for the host.
#pragma once

#include <future>
#include <memory>
#include <span>
#include <vector>

#include "stamp/sessions.h"
#include "stamp/tensor.h"

namespace stamp {

// A batch of an epoch, and what the host knows of it.
struct BatchPlace {
  TrainingExamples data;  // on the device
  std::int64_t first;     // of its examples there
  std::int64_t B, L;      // L: room for its events; one of a few sizes, as a device records steps by them
  double weight;          // of its examples together
};

// The order of each epoch's examples is the host's, and the same everywhere: shuffled, then each batch by itself
// sorted. It makes that of the next epoch while a device works on one. The device holds every event once, in 4 bytes (8
// where they have weights), and 12 bytes an example. Where that does not fit, pieces of the epoch travel with the
// events that they need: the same batches.
class STAMP_API Batches {
 public:
  // `targets` as of example_targets, which ascend; `history`: at most so many last events of each, 0 for all; `room`:
  // bytes of the device's memory that may be filled; `objectives`: that each example has preferences among. Refers to
  // `sessions`. Throws std::invalid_argument for sessions of 2^40 events and histories of 2^24.
  Batches(std::shared_ptr<Device> device, const Sessions& sessions, std::span<const std::int64_t> targets,
          std::int64_t history, std::int64_t batch_size, std::uint64_t seed, std::int64_t room,
          Objectives objectives = {});
  Batches(const Batches&) = delete;  // a thread works on this one

  std::int64_t examples() const { return static_cast<std::int64_t>(examples_.size()); }
  std::int64_t size() const { return (examples() + batch_size_ - 1) / batch_size_; }  // batches of an epoch
  bool streamed() const { return streamed_; }  // whether sessions travel in pieces

  // Turns to an epoch; `another`: the one after it is likely to be asked for.
  void start(std::int64_t epoch, bool another);
  // Batch i of the epoch; sends what it needs. Good until the next call.
  const BatchPlace& at(std::int64_t i);

 private:
  using Order = std::vector<std::uint64_t>;  // examples as TrainingExamples has them
  // Batches first … last-1 of an epoch.
  struct Piece {
    std::int64_t epoch = -1, first = 0, last = 0;
    std::shared_ptr<const Order> order;  // of the whole epoch
    std::vector<BatchPlace> places;
    std::vector<std::int32_t> begins;  // of TrainingExamples, for these batches
    // Where sessions travel: these batches' examples, and the events that they need.
    Order examples;
    std::vector<std::int32_t> items;
    std::vector<float> weights;
    std::vector<std::uint8_t> labels;
  };
  Piece make_piece(std::int64_t epoch, std::int64_t first, std::shared_ptr<const Order> order) const;
  std::shared_ptr<const Order> order_of(std::int64_t epoch) const;
  void pack(Piece& piece) const;
  void send(Piece piece);

  const std::shared_ptr<Device> device_;
  const Sessions& sessions_;
  const std::int64_t batch_size_;
  const std::uint64_t seed_;
  const Objectives objectives_;
  Order examples_;  // in the order of the sessions
  bool streamed_;
  std::int64_t piece_bytes_;  // where streamed, at most, but for a single batch
  std::int64_t epoch_ = 0;
  bool another_ = false;
  Piece piece_;                // that the device has
  std::future<Piece> next_;    // made meanwhile
  Array<std::int32_t> items_;  // on the device, as are
  Array<float> weights_;
  Array<std::uint8_t> labels_;
  Array<std::uint64_t> order_;
  Array<std::int32_t> begins_;
};

}  // namespace stamp
