//! The SHA instructions of x86, with one, two or four streams in turn: while one waits for its result, the others go on.
#![expect(
    unsafe_code,
    reason = "instructions that not every processor has, and their loads"
)]
#![expect(
    clippy::indexing_slicing,
    reason = "the bounds are constants, and checked before"
)]

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_loadu_si128, _mm_set_epi32,
    _mm_set_epi64x, _mm_setzero_si128, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32,
    _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_storeu_si128,
};

use super::constants::ROUND;
use super::{BLOCK, State, Stream};

pub(super) fn is_here() -> bool {
    is_x86_feature_detected!("sha")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("sse4.1")
}

/// Compresses `blocks` blocks of each of up to `N` streams. False, and nothing done, if that cannot be.
pub(super) fn compress<const N: usize>(streams: &mut [Stream<'_>], blocks: usize) -> bool {
    if streams.is_empty() || streams.len() > N || !is_here() {
        return false;
    }
    // Places without a stream repeat the last one, and are forgotten.
    let last = streams.len() - 1;
    let inputs: [&[u8]; N] = std::array::from_fn(|at| streams[at.min(last)].input);
    let mut states: [State; N] = std::array::from_fn(|at| *streams[at.min(last)].state);
    if inputs.iter().any(|input| input.len() < blocks * BLOCK) {
        return false;
    }
    // SAFETY: `is_here` says that the processor has these instructions.
    unsafe { compress_streams(&mut states, &inputs, blocks) };
    for (stream, state) in streams.iter_mut().zip(states) {
        *stream.state = state;
    }
    true
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn compress_streams<const N: usize>(states: &mut [State; N], inputs: &[&[u8]; N], blocks: usize) {
    // The instructions want the words in this order: a b e f, and c d g h.
    let (mut abef, mut cdgh) = ([_mm_setzero_si128(); N], [_mm_setzero_si128(); N]);
    for (at, State(words)) in states.iter().enumerate() {
        let (low, high) = words.split_at(4);
        let dcba = _mm_shuffle_epi32::<0xb1>(load_words(low));
        let hgfe = _mm_shuffle_epi32::<0x1b>(load_words(high));
        abef[at] = _mm_alignr_epi8::<8>(dcba, hgfe);
        cdgh[at] = _mm_blend_epi16::<0xf0>(hgfe, dcba);
    }
    for block in 0..blocks {
        let mut m = [[_mm_setzero_si128(); 4]; N];
        for (message, input) in m.iter_mut().zip(inputs) {
            *message = load_block(&input[block * BLOCK..(block + 1) * BLOCK]);
        }
        let before = (abef, cdgh);
        macro_rules! four_rounds {
            ($r:expr) => {
                for at in 0..N {
                    let (w, next) = (m[at][$r % 4], m[at][($r + 1) % 4]);
                    let constants = _mm_set_epi32(
                        ROUND[4 * $r + 3].cast_signed(),
                        ROUND[4 * $r + 2].cast_signed(),
                        ROUND[4 * $r + 1].cast_signed(),
                        ROUND[4 * $r].cast_signed(),
                    );
                    let sum = _mm_add_epi32(w, constants);
                    let high = _mm_shuffle_epi32::<0x0e>(sum);
                    cdgh[at] = _mm_sha256rnds2_epu32(cdgh[at], abef[at], sum);
                    abef[at] = _mm_sha256rnds2_epu32(abef[at], cdgh[at], high);
                    if $r < 12 {
                        let (third, fourth) = (m[at][($r + 2) % 4], m[at][($r + 3) % 4]);
                        let part = _mm_sha256msg1_epu32(w, next);
                        let part = _mm_add_epi32(part, _mm_alignr_epi8::<4>(fourth, third));
                        m[at][$r % 4] = _mm_sha256msg2_epu32(part, fourth);
                    }
                }
            };
        }
        // Spelled out, one or two streams stay in registers; four do not fit, and are faster as a loop.
        macro_rules! spelled_out {
            ($($r:literal)*) => { $(four_rounds!($r);)* };
        }
        if N <= 2 {
            spelled_out!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        } else {
            for round in 0..16 {
                four_rounds!(round);
            }
        }
        for at in 0..N {
            abef[at] = _mm_add_epi32(abef[at], before.0[at]);
            cdgh[at] = _mm_add_epi32(cdgh[at], before.1[at]);
        }
    }
    for (at, State(words)) in states.iter_mut().enumerate() {
        let feba = _mm_shuffle_epi32::<0x1b>(abef[at]);
        let dchg = _mm_shuffle_epi32::<0xb1>(cdgh[at]);
        let (low, high) = words.split_at_mut(4);
        store_words(low, _mm_blend_epi16::<0xf0>(feba, dchg));
        store_words(high, _mm_alignr_epi8::<8>(dchg, feba));
    }
}

#[inline]
#[target_feature(enable = "sse2")]
fn load_words(words: &[u32]) -> __m128i {
    let words = &words[..4];
    // SAFETY: that slice has the 16 bytes that are loaded; the load needs no alignment.
    unsafe { _mm_loadu_si128(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn store_words(words: &mut [u32], value: __m128i) {
    let words = &mut words[..4];
    // SAFETY: that slice has the 16 bytes that are stored; the store needs no alignment.
    unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), value) }
}

/// The sixteen words of a block.
#[inline]
#[target_feature(enable = "sse2,ssse3")]
fn load_block(block: &[u8]) -> [__m128i; 4] {
    let block = &block[..BLOCK];
    let big_endian = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    std::array::from_fn(|at| {
        // SAFETY: the slice has 64 bytes, and `at` is below four; the load needs no alignment.
        let loaded = unsafe { _mm_loadu_si128(block.as_ptr().add(16 * at).cast()) };
        _mm_shuffle_epi8(loaded, big_endian)
    })
}
