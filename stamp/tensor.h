// Device memory, owned or kept.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "stamp/device.h"

namespace stamp {

// Device memory for values of T: move-only, zeroed when it grows. Or memory of somebody else, until it grows.
template <class T>
class Array {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Array() = default;
  Array(std::shared_ptr<Device> device, std::int64_t size) : device_(std::move(device)) { resize(size); }
  // `size` values in host memory, which are kept as they are, on a device that reads it.
  Array(std::shared_ptr<Device> device, std::shared_ptr<T> values, std::int64_t size)
      : device_(std::move(device)), kept_(std::move(values)), data_(kept_.get()), size_(size), capacity_(size) {}
  Array(Array&& other) noexcept { swap(other); }
  Array& operator=(Array&& other) noexcept {
    Array(std::move(other)).swap(*this);
    return *this;
  }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  ~Array() { release(); }

  // Allocates only when `size` is beyond what was ever asked for; the contents are then lost.
  void resize(std::int64_t size) {
    if (size > capacity_) {
      release();
      data_ = static_cast<T*>(device_->allocate(static_cast<std::size_t>(size) * sizeof(T)));
      capacity_ = size;
    }
    size_ = size;
  }

  void upload(std::span<const T> values) {
    resize(static_cast<std::int64_t>(values.size()));
    if (!values.empty()) device_->copy_in(data_, values.data(), values.size_bytes());
  }

  // Bytes from `first` on into a block of host memory.
  void read(std::size_t first, std::span<std::byte> block) const {
    device_->copy_out(block.data(), reinterpret_cast<const std::byte*>(data_) + first, block.size());
  }

  std::vector<T> download() const {
    std::vector<T> values(static_cast<std::size_t>(size_));
    if (size_) device_->copy_out(values.data(), data_, values.size() * sizeof(T));
    return values;
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::int64_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  void swap(Array& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(kept_, other.kept_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }

 private:
  void release() {
    if (data_ && !kept_) device_->release(data_);
    kept_.reset();
    data_ = nullptr;
    size_ = capacity_ = 0;
  }

  std::shared_ptr<Device> device_;
  std::shared_ptr<T> kept_;  // null where memory is the device's
  T* data_ = nullptr;
  std::int64_t size_ = 0, capacity_ = 0;
};

}  // namespace stamp
