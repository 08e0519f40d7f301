// Runs a kernel's threads as fibers of one thread of the operating system.
//
// Several blocks are in flight at once, and the order in which their threads go on is forward,
// reverse or random: results must not depend on it. Under ThreadSanitizer every fiber is a thread
// of its own and only barriers order memory, so that what two threads do without one is a race
// even where they never overlapped. This file itself is compiled without that sanitizer.
#include <sys/mman.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda.h"
#include "device.h"

#if defined(LAE_EMULATE_TSAN)
#include <sanitizer/tsan_interface.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#define PLAIN __attribute__((noinline))

namespace emulate {
namespace {

constexpr size_t kStack = 128 << 10, kShared = 48 << 10, kGap = 64;
constexpr char kGapByte = 0x5A;
constexpr int kWarp = 32, kMaxThreads = 1024, kMaxArrays = 16;

enum class Order { kForward, kReverse, kRandom };
struct Settings {
  Order order = Order::kRandom;
  size_t resident = 4;  // blocks in flight
  std::mt19937_64 dice{1};
  bool count_only = false;  // launches are counted, and nothing runs
} settings;

// What a kernel was launched with, over all its launches.
struct Usage {
  long launches = 0;
  unsigned threads = 0;  // the most in a block
};
std::map<std::string, Usage, std::less<>> usage;

#if defined(__x86_64__)
using Context = void*;  // a stack pointer
extern "C" void lae_emulate_switch(void** from, void* to);
// Saves the registers that a callee must save, and changes stacks.
asm(R"(
.text
.globl lae_emulate_switch
.hidden lae_emulate_switch
.type lae_emulate_switch, @function
lae_emulate_switch:
  push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp
  ret
.size lae_emulate_switch, .-lae_emulate_switch
)");
void switch_context(Context& from, Context& to) { lae_emulate_switch(&from, to); }
void make_context(Context& context, char* stack, void (*entry)()) {
  void** top = reinterpret_cast<void**>(stack + kStack) - 1;  // aligned as after a call
  *--top = reinterpret_cast<void*>(entry);
  context = top - 6;
}
#else
using Context = ucontext_t;
void switch_context(Context& from, Context& to) { swapcontext(&from, &to); }
void make_context(Context& context, char* stack, void (*entry)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = kStack;
  context.uc_link = nullptr;
  makecontext(&context, entry, 0);
}
#endif

enum class State { kReady, kWaiting, kDone };

struct Block;
struct Fiber {
  Thread id;
  Block* block;
  int index;
  State state;
  Context context;
  char* stack;
  void* tsan;
};

struct Warp {
  unsigned arrived = 0, wanted = 0, ended = 0;  // lanes
  Where where;
  int generation = 0;
  uint64_t slots[2][kWarp];
  char sync[2];
};

struct Array {
  const void* key;
  size_t begin, bytes;
};

struct Block {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  int live = 0, arrived = 0, generation = 0;
  Where where;
  char sync[2];
  // Static shared memory, each array followed by a gap that nobody writes.
  std::vector<Array> shared;
  size_t shared_bytes = 0, used = 0;
  std::unique_ptr<char[]> arena{new char[kShared + kMaxArrays * 2 * kGap]};
};

std::string text(const Where& at) {
  const std::string file = at.file_name();
  return file.substr(file.rfind('/') + 1) + ":" + std::to_string(at.line());
}

Context host;
Fiber* current = nullptr;
struct Seat {
  char* stack;
  void* tsan;
};
// Not in use. A seat taken again is the same thread to ThreadSanitizer, so that it sees no race
// between the two; those in flight at the same time never share one.
std::vector<Seat> seats;
Body the_body;
void* the_data;
std::string fault;  // of the launch in progress; it ends at once
char launched, finished;
#if defined(LAE_EMULATE_TSAN)
void* host_tsan = nullptr;
#endif
#if defined(__SANITIZE_ADDRESS__)
const void* host_bottom;
size_t host_size;
#endif

void order_after([[maybe_unused]] char& event) {
#if defined(LAE_EMULATE_TSAN)
  __tsan_acquire(&event);
#endif
}

void order_before([[maybe_unused]] char& event) {
#if defined(LAE_EMULATE_TSAN)
  __tsan_release(&event);
#endif
}

PLAIN void switch_to_host() {
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(current->state == State::kDone ? nullptr : &fake, host_bottom,
                                 host_size);
#endif
#if defined(LAE_EMULATE_TSAN)
  __tsan_switch_to_fiber(host_tsan, __tsan_switch_to_fiber_no_sync);
#endif
  switch_context(current->context, host);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake, &host_bottom, &host_size);
#endif
}

PLAIN void resume(Fiber& fiber) {
  current = &fiber;
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, fiber.stack, kStack);
#endif
#if defined(LAE_EMULATE_TSAN)
  __tsan_switch_to_fiber(fiber.tsan, __tsan_switch_to_fiber_no_sync);
#endif
  switch_context(host, fiber.context);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
  current = nullptr;
}

// Called by a thread: the launch ends here, and the host throws.
[[noreturn]] PLAIN void fail(const std::string& what) {
  fault = what;
  current->state = State::kDone;
  switch_to_host();
  __builtin_unreachable();
}

PLAIN void wait() {
  current->state = State::kWaiting;
  switch_to_host();
}

void wake(Fiber& fiber) {
  if (fiber.state == State::kWaiting) fiber.state = State::kReady;
}

PLAIN void finish_thread() {
  Block& block = *current->block;
  Warp& warp = block.warps[current->index / kWarp];
  warp.ended |= 1u << current->index % kWarp;
  if (warp.arrived != 0 && (warp.wanted & warp.ended) != 0) {
    fail("a lane ended that others of its warp wait for at " + text(warp.where));
  }
  --block.live;
  if (block.arrived != 0) {
    fail("a thread ended while others of its block wait at the barrier " + text(block.where));
  }
  current->state = State::kDone;
}

void entry() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &host_bottom, &host_size);
#endif
  order_after(launched);
  the_body(the_data);
  order_before(finished);
  finish_thread();
  switch_to_host();
}

PLAIN Seat take_seat() {
  if (!seats.empty()) {
    const Seat seat = seats.back();
    seats.pop_back();
    return seat;
  }
  void* const stack = mmap(nullptr, kStack, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stack == MAP_FAILED) throw std::runtime_error("emulator: no memory for a thread's stack");
#if defined(LAE_EMULATE_TSAN)
  return {static_cast<char*>(stack), __tsan_create_fiber(0)};
#else
  return {static_cast<char*>(stack), nullptr};
#endif
}

PLAIN void start(Block& block, dim3 grid, dim3 size, uint3 place) {
  const int threads = size.x * size.y * size.z;
  block.fibers.resize(threads);
  block.warps.resize((threads + kWarp - 1) / kWarp);
  block.live = threads;
  for (int i = 0; i < threads; ++i) {
    Fiber& fiber = block.fibers[i];
    const unsigned x = i % size.x, y = i / size.x % size.y, z = i / (size.x * size.y);
    fiber.id = {{x, y, z}, place, size, grid};
    fiber.block = &block;
    fiber.index = i;
    fiber.state = State::kReady;
    const Seat seat = take_seat();
    fiber.stack = seat.stack;
    fiber.tsan = seat.tsan;
    make_context(fiber.context, fiber.stack, entry);
  }
  if (threads % kWarp != 0) block.warps.back().ended = ~0u << threads % kWarp;
  order_before(launched);
}

PLAIN std::string shared_fault(const Block& block) {
  for (const Array& array : block.shared) {
    const char* const gap = block.arena.get() + array.begin + array.bytes;
    if (std::any_of(gap, gap + kGap, [](char c) { return c != kGapByte; })) {
      return "shared memory was written past the end of an array of " +
             std::to_string(array.bytes) + " bytes";
    }
  }
  return "";
}

PLAIN void retire(Block& block) {
  for (Fiber& fiber : block.fibers) {
    mark_readable(fiber.stack, kStack);
    seats.push_back({fiber.stack, fiber.tsan});
  }
}

PLAIN std::string deadlock(const Block& block) {
  std::ostringstream out;
  out << "deadlock: " << block.arrived << " of " << block.live << " threads wait at the barrier "
      << text(block.where);
  for (const Warp& warp : block.warps) {
    if (warp.arrived == 0) continue;
    out << "; lanes wait at " << text(warp.where) << " for others of their warp";
    break;
  }
  return out.str();
}

PLAIN void put_in_order(std::vector<Fiber*>& ready) {
  if (settings.order == Order::kReverse) std::reverse(ready.begin(), ready.end());
  if (settings.order == Order::kRandom) std::shuffle(ready.begin(), ready.end(), settings.dice);
}

PLAIN void run_blocks(dim3 grid, dim3 block_size) {
  const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
  std::vector<uint64_t> queue(blocks);
  for (uint64_t i = 0; i < blocks; ++i) {
    queue[i] = settings.order == Order::kReverse ? blocks - 1 - i : i;
  }
  if (settings.order == Order::kRandom) std::shuffle(queue.begin(), queue.end(), settings.dice);
  std::deque<std::unique_ptr<Block>> running;
  std::vector<Fiber*> ready;
  size_t next = 0;
  while ((next < queue.size() || !running.empty()) && fault.empty()) {
    while (next < queue.size() && running.size() < settings.resident) {
      const uint64_t b = queue[next++];
      running.push_back(std::make_unique<Block>());
      start(*running.back(), grid, block_size,
            {unsigned(b % grid.x), unsigned(b / grid.x % grid.y),
             unsigned(b / (uint64_t(grid.x) * grid.y))});
    }
    ready.clear();
    for (const auto& block : running) {
      for (Fiber& fiber : block->fibers) {
        if (fiber.state == State::kReady) ready.push_back(&fiber);
      }
    }
    if (ready.empty()) fault = deadlock(*running.front());
    put_in_order(ready);
    for (Fiber* fiber : ready) {
      if (fault.empty()) resume(*fiber);
    }
    for (size_t i = 0; i < running.size();) {
      if (running[i]->live > 0 && fault.empty()) {
        ++i;
        continue;
      }
      order_after(finished);
      if (fault.empty()) fault = shared_fault(*running[i]);
      retire(*running[i]);
      running.erase(running.begin() + i);
    }
  }
  for (auto& block : running) retire(*block);
}

}  // namespace

PLAIN const Thread& self() { return current->id; }
PLAIN int lane() { return current->index % kWarp; }

PLAIN void* shared_memory(const void* key, size_t bytes) {
  Block& block = *current->block;
  for (const Array& array : block.shared) {
    if (array.key == key) return block.arena.get() + array.begin;
  }
  block.shared_bytes += bytes;
  if (block.shared_bytes > kShared) fail("more than 48 KiB of static shared memory");
  if (block.shared.size() == kMaxArrays) fail("too many arrays in shared memory");
  const size_t begin = (block.used + 15) / 16 * 16, end = begin + bytes;
  // Written byte by byte: ThreadSanitizer would see a memset.
  volatile char* const arena = block.arena.get();
  for (size_t i = begin; i < end; ++i) arena[i] = char(0xFF);  // NaN, until it is written
  for (size_t i = end; i < end + kGap; ++i) arena[i] = kGapByte;
  block.shared.push_back({key, begin, bytes});
  block.used = end + kGap;
  return block.arena.get() + begin;
}

PLAIN void sync_block(Where where) {
  Block& block = *current->block;
  if (block.live != static_cast<int>(block.fibers.size())) {
    fail("some threads of the block had ended before the barrier " + text(where));
  }
  if (block.arrived == 0) {
    block.where = where;
  } else if (block.where.line() != where.line()) {
    fail("threads of a block wait at different barriers, " + text(block.where) + " and " +
         text(where));
  }
  char& event = block.sync[block.generation % 2];
  order_before(event);
  if (++block.arrived == block.live) {
    block.arrived = 0;
    ++block.generation;
    for (Fiber& fiber : block.fibers) wake(fiber);
  } else {
    wait();
  }
  order_after(event);
}

PLAIN void sync_warp(unsigned mask, bool orders_memory, Where where) {
  Block& block = *current->block;
  const int first = current->index / kWarp * kWarp;
  Warp& warp = block.warps[first / kWarp];
  const unsigned mine = 1u << lane();
  if ((mask & mine) == 0) fail("a lane outside its own mask at " + text(where));
  if ((mask & warp.ended) != 0) fail("a mask names a lane that has ended, at " + text(where));
  if (warp.arrived == 0) {
    warp.wanted = mask;
    warp.where = where;
  } else if (warp.wanted != mask || warp.where.line() != where.line()) {
    fail("lanes of a warp diverged: some are at " + text(warp.where) + ", some at " + text(where));
  }
  char& event = warp.sync[warp.generation % 2];
  if (orders_memory) order_before(event);
  warp.arrived |= mine;
  if (warp.arrived == mask) {
    warp.arrived = 0;
    ++warp.generation;
    for (int i = 0; i < kWarp; ++i) {
      if ((mask >> i & 1) != 0) wake(block.fibers[first + i]);
    }
  } else {
    wait();
  }
  if (orders_memory) order_after(event);
}

PLAIN uint64_t exchange(unsigned mask, uint64_t bits, int source, Where where) {
  Warp& warp = current->block->warps[current->index / kWarp];
  uint64_t* const slots = warp.slots[warp.generation % 2];
  slots[lane()] = bits;
  if ((mask >> source & 1) == 0) fail("a shuffle from a lane outside its mask, " + text(where));
  sync_warp(mask, false, where);
  return slots[source];
}

PLAIN void run(std::string_view kernel, dim3 grid, dim3 block, Body body, void* data) {
  const uint64_t threads = uint64_t(block.x) * block.y * block.z;
  const auto refuse = [&](const std::string& why) {
    throw std::runtime_error("emulator: " + std::string(kernel) + ": " + why);
  };
  if (threads == 0 || threads > kMaxThreads || grid.x == 0 || grid.y == 0 || grid.z == 0 ||
      grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535) {
    refuse("a grid of " + std::to_string(grid.x) + " x " + std::to_string(grid.y) + " x " +
           std::to_string(grid.z) + " blocks of " + std::to_string(threads) +
           " threads cannot be launched");
  }
  the_body = body;
  the_data = data;
  fault.clear();
#if defined(LAE_EMULATE_TSAN)
  host_tsan = __tsan_get_current_fiber();
#endif
  if (!settings.count_only) run_blocks(grid, block);
  order_after(finished);
  const auto entry = usage.find(kernel);
  Usage& mine = entry == usage.end() ? usage[std::string(kernel)] : entry->second;
  ++mine.launches;
  mine.threads = std::max(mine.threads, static_cast<unsigned>(threads));
  if (fault.empty()) fault = check_guards();
  if (!fault.empty()) refuse(fault);
}

}  // namespace emulate

#define EXPORTED extern "C" __attribute__((visibility("default")))

// order: 0 forward, 1 reverse, 2 random.
EXPORTED void lae_emulate_schedule(int order, long resident, long seed) {
  emulate::settings.order = static_cast<emulate::Order>(order);
  emulate::settings.resident = static_cast<size_t>(resident < 1 ? 1 : resident);
  emulate::settings.dice.seed(static_cast<uint64_t>(seed));
}

// A line per kernel: launches, threads of its largest block, name. Good until the next call.
EXPORTED const char* lae_emulate_usage() {
  static std::string lines;
  std::ostringstream out;
  for (const auto& [kernel, use] : emulate::usage) {
    out << use.launches << ' ' << use.threads << ' ' << kernel << '\n';
  }
  return (lines = out.str()).c_str();
}

EXPORTED void lae_emulate_count_only(int yes) { emulate::settings.count_only = yes != 0; }

EXPORTED long lae_emulate_reads() { return emulate::reads; }
