// Nothing allocates inside a training step or a request, once the largest batch has been seen.
#include <atomic>
#include <cstdlib>
#include <new>

#include "stamp/optimizer.h"
#include "stamp/release.h"
#include "tests/check.h"

namespace {

std::atomic<std::int64_t> g_allocations{0};

void* counted(std::size_t bytes, std::size_t alignment) {
  void* memory = std::aligned_alloc(alignment, (bytes + alignment) / alignment * alignment);
  return memory ? memory : throw std::bad_alloc();
}

}  // namespace

// Device memory of the CPU.
extern "C" void* aligned_alloc(std::size_t alignment, std::size_t bytes) {
  ++g_allocations;
  void* memory = nullptr;
  return posix_memalign(&memory, alignment, bytes) == 0 ? memory : nullptr;
}

void* operator new(std::size_t bytes) { return counted(bytes, alignof(std::max_align_t)); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return counted(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return counted(bytes, alignof(std::max_align_t));
}
// Where it inlines one of the two alone, GCC takes them for a mismatch.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

using namespace stamp;

namespace {

Sessions sessions(int count, std::int64_t products) {
  std::mt19937 random(1);
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0};
  for (int s = 0; s < count; ++s) {
    for (unsigned i = 2 + random() % 6; i > 0; --i) items.push_back(static_cast<std::int32_t>(random() % products));
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  return Sessions(items, offsets);
}

Config every_switch(const char* preset) {
  Config config = Config::preset(preset);
  config.dim = 20;
  config.dropout = 0.1f;
  config.normalization = Normalization::softmax;
  config.score = Score::cosine;
  config.repeat_floors = config.successor_floors = 2;
  config.second_floors = 1;
  return config;
}

}  // namespace

TEST_CASE("a training step") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const bool cpu = device->name() == "cpu", slow = check::slow(*device);
    const std::int64_t products = slow ? 300 : 3000;
    const Sessions data = sessions(slow ? 60 : 300, products);
    const auto targets = example_targets(data, 1);
    // A CPU's device memory is part of what is counted for all; launches of a GPU may use memory of the host.
    const auto allocations = [&] { return cpu ? g_allocations.load() : device->allocations(); };
    for (const char* preset : {"paper", "official"})
      for (float clip : {0.0f, 0.5f}) {
        Model model(every_switch(preset), products, device);
        OptimizerConfig config;
        config.clip_norm = clip;
        config.workspace_bytes = 1 << 20;
        Optimizer optimizer(config, model);
        Batches batches(device, data, targets, 0, 64, 1, device->free_memory() / 2);
        std::int64_t epoch = 0;
        const auto allocated = [&] {  // by the steps of an epoch, once its order is there
          batches.start(epoch++, false);
          batches.at(0);
          const auto before = allocations();
          for (std::int64_t i = 0; i < batches.size(); ++i) {
            optimizer.enqueue(batches.at(i), 0.001f);
            optimizer.wait();
          }
          return allocations() - before;
        };
        bool settled = false;  // once every thread of a CPU has worked on the longest session; elsewhere soon
        allocated();
        for (int i = 0; i < (cpu ? 50 : 5) && !settled; ++i) settled = allocated() == 0;
        CHECK(settled);
      }
  }
}

TEST_CASE("a query allocates its answer alone") {
  constexpr std::int64_t kProducts = 3000;
  Catalog catalog;
  for (std::int64_t id = 0; id < kProducts; ++id) catalog.add(id);
  Config config = every_switch("official");
  config.objectives = {"order"};
  const auto model = std::make_shared<Model>(config, kProducts, open_device("cpu"));
  auto floors = for_every_kind(std::vector<float>{2, 1});
  floors.insert(floors.end(), floors.begin(), floors.end());  // for orders likewise
  model->set_floors(floors, {2, 1, 1, 1, 2, 1});
  model->set_successors(std::make_shared<Successors>(sessions(300, kProducts), kProducts, 50, 2));
  Bundle bundle = bundle_of(model, catalog, std::vector<std::int64_t>(kProducts, 1));
  bundle.rules = R"({"zones": {"basket": {"objective": {"click": 1, "order": 1}}}})";
  const Release release(std::move(bundle));
  const std::vector<std::int32_t> events{1, 2, 1, 3}, exclude{5, 6}, only{1, 2, 3, 9};
  const Query queries[] = {{.events = events, .k = 10},
                           {.events = events, .exclude = exclude, .k = 10},
                           {.events = events, .k = 10, .zone = "basket"},
                           {.events = events, .exclude = exclude, .only = only, .restricted = true, .k = 4}};
  for (const Query& query : queries) release.list(query);
  for (const Query& query : queries) {
    const auto before = g_allocations.load();
    const Listing answer = release.list(query);
    CHECK(g_allocations - before == 2);  // ids and scores
    CHECK(!answer.items.empty());
  }
}

TEST_CASE("a query of 100,000 events takes no more memory than one of what is read of it") {
  constexpr std::int64_t kProducts = 300, kHistory = 20;
  Catalog catalog;
  for (std::int64_t id = 0; id < kProducts; ++id) catalog.add(id);
  Config config = every_switch("tuned");
  config.history = kHistory;
  const auto model = std::make_shared<Model>(config, kProducts, open_device("cpu"));
  model->set_floors(for_every_kind(std::vector<float>{2, 1}), {2, 1, 1});
  model->set_successors(std::make_shared<Successors>(sessions(300, kProducts), kProducts, 50, 2));
  const Release release(bundle_of(model, catalog, std::vector<std::int64_t>(kProducts, 1)));
  std::vector<std::int32_t> events(100'000);
  for (std::size_t i = 0; i < events.size(); ++i) events[i] = static_cast<std::int32_t>(i % kProducts);
  const auto last = std::span<const std::int32_t>(events).last(kHistory);
  const auto allocations = [&](std::span<const std::int32_t> read) {
    const auto before = g_allocations.load();
    release.list({.events = read, .k = 10});
    return g_allocations - before;
  };
  allocations(last);
  CHECK(allocations(last) == 2);
  CHECK(allocations(events) == 2);
}
