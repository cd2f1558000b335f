// Stands in for kernels/cuda/native/bulk_copy.h. Bytes arrive when the first thread waits for them, no sooner.
#pragma once

#include <cstdint>

#include "tests/simt/ptx.h"

bool has_bulk_copies();

using Arrival = std::uint64_t;

void begin_arrivals(Arrival* arrival, simt::Where where = simt::Where::current());
void expect_bytes(Arrival* arrival, std::uint32_t bytes, simt::Where where = simt::Where::current());
void copy_bulk(void* shared, const void* global, std::uint32_t bytes, Arrival* arrival,
               simt::Where where = simt::Where::current());
void await(Arrival* arrival, std::uint32_t parity, simt::Where where = simt::Where::current());
