// Random numbers, drawn in tiles: the words of a tile lie in one array per component, so that the
// compiler turns each loop into vector arithmetic.
#pragma once

#include "../normal.h"
#include "../philox.h"
#include "parallel.h"

namespace lae::cpu {

constexpr int64_t kTile = 256;          // elements drawn at a time
constexpr int64_t kBlocks = kTile / 4;  // Philox blocks of a tile

struct WordTile {
  alignas(64) uint32_t w0[kBlocks], w1[kBlocks], w2[kBlocks], w3[kBlocks];
};

// The words of `count` blocks from `first_block` on.
LAE_INLINE void draw_word_tile(RngKey rng, uint64_t first_block, Stream stream, int64_t count,
                               WordTile& words) {
  for (int64_t j = 0; j < count; ++j) {
    const Words4 w = draw_words(rng, first_block + static_cast<uint64_t>(j), stream);
    words.w0[j] = w.w0;
    words.w1[j] = w.w1;
    words.w2[j] = w.w2;
    words.w3[j] = w.w3;
  }
}

// Noise for elements 4 * first_block .. 4 * first_block + kTile - 1.
template <class T>
LAE_INLINE void draw_tile(RngKey rng, uint64_t first_block, T* __restrict eps) {
  WordTile words;
  draw_word_tile(rng, first_block, kNoise, kBlocks, words);
  for (int64_t j = 0; j < kBlocks; ++j) {
    T a, b, c, d;
    normal_pair(words.w0[j], words.w1[j], a, b);
    normal_pair(words.w2[j], words.w3[j], c, d);
    eps[4 * j] = a;
    eps[4 * j + 1] = b;
    eps[4 * j + 2] = c;
    eps[4 * j + 3] = d;
  }
}

// Uniforms that decide rows first_row .. first_row + count - 1; first_row is a multiple of four and
// `uniforms` has room for kTile.
LAE_INLINE void draw_uniform_tile(RngKey rng, int64_t first_row, int64_t count,
                                  double* __restrict uniforms) {
  WordTile words;
  const int64_t blocks = (count + 3) / 4;
  draw_word_tile(rng, static_cast<uint64_t>(first_row) / 4, kAccept, blocks, words);
  for (int64_t j = 0; j < blocks; ++j) {
    uniforms[4 * j] = uniform_of(words.w0[j]);
    uniforms[4 * j + 1] = uniform_of(words.w1[j]);
    uniforms[4 * j + 2] = uniform_of(words.w2[j]);
    uniforms[4 * j + 3] = uniform_of(words.w3[j]);
  }
}

}  // namespace lae::cpu
