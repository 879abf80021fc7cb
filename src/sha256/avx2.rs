//! Eight streams in the lanes of AVX2, for processors without SHA instructions.
#![expect(
    unsafe_code,
    reason = "instructions that not every processor has, and their loads"
)]
#![expect(
    clippy::indexing_slicing,
    reason = "the bounds are constants, and checked before"
)]

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_andnot_si256, _mm256_loadu_si256,
    _mm256_or_si256, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_slli_epi32, _mm256_srli_epi32,
    _mm256_storeu_si256, _mm256_xor_si256,
};

use super::constants::ROUND;
use super::{BLOCK, Stream};

const LANES: usize = 8;

pub(super) fn is_here() -> bool {
    is_x86_feature_detected!("avx2")
}

/// Compresses `blocks` blocks of each of up to eight streams. False, and nothing done, if that cannot be.
pub(super) fn compress(streams: &mut [Stream<'_>], blocks: usize) -> bool {
    if streams.is_empty() || streams.len() > LANES || !is_here() {
        return false;
    }
    let mut inputs: [&[u8]; LANES] = [&[]; LANES];
    let mut words = [[0; LANES]; 8];
    for lane in 0..LANES {
        // Lanes without a stream repeat the last one, and are forgotten.
        let stream = &streams[lane.min(streams.len() - 1)];
        inputs[lane] = stream.input;
        for (word, value) in words.iter_mut().zip(stream.state.0) {
            word[lane] = value;
        }
    }
    if inputs.iter().any(|input| input.len() < blocks * BLOCK) {
        return false;
    }
    // SAFETY: `is_here` says that the processor has these instructions.
    unsafe { compress_lanes(&mut words, &inputs, blocks) };
    for (lane, stream) in streams.iter_mut().enumerate() {
        for (value, word) in stream.state.0.iter_mut().zip(&words) {
            *value = word[lane];
        }
    }
    true
}

#[expect(clippy::many_single_char_names, reason = "as FIPS 180-4 names them")]
#[target_feature(enable = "avx2")]
fn compress_lanes(words: &mut [[u32; LANES]; 8], inputs: &[&[u8]; LANES], blocks: usize) {
    let mut state = [_mm256_setzero_si256(); 8];
    for (register, word) in state.iter_mut().zip(words.iter()) {
        *register = load(word);
    }
    for block in 0..blocks {
        let mut w = [_mm256_setzero_si256(); 16];
        for (at, register) in w.iter_mut().enumerate() {
            // Word by word: this is no machine on which a transposition would be what counts.
            let mut word = [0; LANES];
            for (value, input) in word.iter_mut().zip(inputs) {
                let (words, _) = input[block * BLOCK..(block + 1) * BLOCK].as_chunks::<4>();
                *value = u32::from_be_bytes(words[at]);
            }
            *register = load(&word);
        }
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
        for sixteen in 0..4 {
            for at in 0..16 {
                let constant = _mm256_set1_epi32(ROUND[16 * sixteen + at].cast_signed());
                let choice = _mm256_xor_si256(_mm256_and_si256(e, f), _mm256_andnot_si256(e, g));
                let t1 = add(
                    add(h, add(w[at], constant)),
                    add(sigma::<6, 26, 11, 21, 25, 7>(e), choice),
                );
                let majority = _mm256_or_si256(
                    _mm256_and_si256(a, b),
                    _mm256_and_si256(c, _mm256_or_si256(a, b)),
                );
                let t2 = add(sigma::<2, 30, 13, 19, 22, 10>(a), majority);
                (h, g, f, e) = (g, f, e, add(d, t1));
                (d, c, b, a) = (c, b, a, add(t1, t2));
                if sixteen < 3 {
                    let (w1, w14) = (w[(at + 1) % 16], w[(at + 14) % 16]);
                    let low = shifted::<7, 25, 18, 14, 3>(w1);
                    let high = shifted::<17, 15, 19, 13, 10>(w14);
                    w[at] = add(add(w[at], low), add(w[(at + 9) % 16], high));
                }
            }
        }
        for (register, value) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *register = add(*register, value);
        }
    }
    for (register, word) in state.iter().zip(words.iter_mut()) {
        // SAFETY: a word of all lanes is 32 bytes; the store needs no alignment.
        unsafe { _mm256_storeu_si256(word.as_mut_ptr().cast(), *register) };
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(word: &[u32; LANES]) -> __m256i {
    // SAFETY: a word of all lanes is 32 bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(word.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(a: __m256i, b: __m256i) -> __m256i {
    _mm256_add_epi32(a, b)
}

/// Right by `R`, and what falls out comes in on the left: `L` is 32 less `R`.
#[inline]
#[target_feature(enable = "avx2")]
fn rotated<const R: i32, const L: i32>(x: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_srli_epi32::<R>(x), _mm256_slli_epi32::<L>(x))
}

/// Three rotations.
#[inline]
#[target_feature(enable = "avx2")]
fn sigma<const A: i32, const AL: i32, const B: i32, const BL: i32, const C: i32, const CL: i32>(
    x: __m256i,
) -> __m256i {
    _mm256_xor_si256(
        rotated::<A, AL>(x),
        _mm256_xor_si256(rotated::<B, BL>(x), rotated::<C, CL>(x)),
    )
}

/// Two rotations and a shift.
#[inline]
#[target_feature(enable = "avx2")]
fn shifted<const A: i32, const AL: i32, const B: i32, const BL: i32, const C: i32>(
    x: __m256i,
) -> __m256i {
    _mm256_xor_si256(
        rotated::<A, AL>(x),
        _mm256_xor_si256(rotated::<B, BL>(x), _mm256_srli_epi32::<C>(x)),
    )
}
