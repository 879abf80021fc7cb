//! Sixteen streams in the lanes of AVX-512: each register holds one word of all of them. Three rotations and one ternary
//! operation make a sigma; `ch` and `maj` are one ternary operation each.
#![expect(
    unsafe_code,
    reason = "instructions that not every processor has, and their loads"
)]
#![expect(
    clippy::indexing_slicing,
    reason = "the bounds are constants, and checked before"
)]

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_loadu_si512, _mm512_ror_epi32, _mm512_set1_epi32,
    _mm512_set4_epi32, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_i32x4,
    _mm512_srli_epi32, _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use super::constants::ROUND;
use super::{BLOCK, LANES, Stream};

/// Exclusive or of three, choice, and majority, as tables of truth.
const XOR3: i32 = 0x96;
const CHOICE: i32 = 0xca;
const MAJORITY: i32 = 0xe8;

pub(super) fn is_here() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

/// Compresses `blocks` blocks of each of up to sixteen streams. False, and nothing done, if that cannot be.
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
    // SAFETY: `is_here` says that the processor has both sets of instructions.
    unsafe { compress_lanes(&mut words, &inputs, blocks) };
    for (lane, stream) in streams.iter_mut().enumerate() {
        for (value, word) in stream.state.0.iter_mut().zip(&words) {
            *value = word[lane];
        }
    }
    true
}

#[expect(clippy::many_single_char_names, reason = "as FIPS 180-4 names them")]
#[target_feature(enable = "avx512f,avx512bw")]
fn compress_lanes(words: &mut [[u32; LANES]; 8], inputs: &[&[u8]; LANES], blocks: usize) {
    let mut state = [_mm512_setzero_si512(); 8];
    for (register, word) in state.iter_mut().zip(words.iter()) {
        // SAFETY: a word of all lanes is 64 bytes; the load needs no alignment.
        *register = unsafe { _mm512_loadu_si512(word.as_ptr().cast()) };
    }
    for block in 0..blocks {
        let mut w = load(inputs, block * BLOCK);
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
        for sixteen in 0..4 {
            for at in 0..16 {
                let constant = _mm512_set1_epi32(ROUND[16 * sixteen + at].cast_signed());
                let t1 = add(
                    add(h, add(w[at], constant)),
                    add(sigma::<6, 11, 25>(e), choice(e, f, g)),
                );
                let t2 = add(sigma::<2, 13, 22>(a), majority(a, b, c));
                (h, g, f, e) = (g, f, e, add(d, t1));
                (d, c, b, a) = (c, b, a, add(t1, t2));
                if sixteen < 3 {
                    let (w1, w14) = (w[(at + 1) % 16], w[(at + 14) % 16]);
                    let low = shifted::<7, 18, 3>(w1);
                    let high = shifted::<17, 19, 10>(w14);
                    w[at] = add(add(w[at], low), add(w[(at + 9) % 16], high));
                }
            }
        }
        for (register, value) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *register = add(*register, value);
        }
    }
    for (register, word) in state.iter().zip(words.iter_mut()) {
        // SAFETY: as for the load.
        unsafe { _mm512_storeu_si512(word.as_mut_ptr().cast(), *register) };
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi32(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn choice(e: __m512i, f: __m512i, g: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<CHOICE>(e, f, g)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn majority(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<MAJORITY>(a, b, c)
}

/// Three rotations.
#[inline]
#[target_feature(enable = "avx512f")]
fn sigma<const A: i32, const B: i32, const C: i32>(x: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<XOR3>(
        _mm512_ror_epi32::<A>(x),
        _mm512_ror_epi32::<B>(x),
        _mm512_ror_epi32::<C>(x),
    )
}

/// Two rotations and a shift.
#[inline]
#[target_feature(enable = "avx512f")]
fn shifted<const A: i32, const B: i32, const C: u32>(x: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<XOR3>(
        _mm512_ror_epi32::<A>(x),
        _mm512_ror_epi32::<B>(x),
        _mm512_srli_epi32::<C>(x),
    )
}

/// The words of the block at `at`, each register with one word of all lanes: a transposition of sixteen by sixteen.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load(inputs: &[&[u8]; LANES], at: usize) -> [__m512i; 16] {
    let big_endian = _mm512_set4_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203);
    let mut r = [_mm512_setzero_si512(); 16];
    for (register, input) in r.iter_mut().zip(inputs) {
        let bytes = &input[at..at + BLOCK];
        // SAFETY: that slice has the 64 bytes that are loaded; the load needs no alignment.
        let loaded = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
        *register = _mm512_shuffle_epi8(loaded, big_endian);
    }
    let mut t = [_mm512_setzero_si512(); 16];
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for i in 0..4 {
        r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    for i in 0..4 {
        t[i] = _mm512_shuffle_i32x4::<0x88>(r[i], r[i + 4]);
        t[i + 4] = _mm512_shuffle_i32x4::<0xdd>(r[i], r[i + 4]);
        t[i + 8] = _mm512_shuffle_i32x4::<0x88>(r[i + 8], r[i + 12]);
        t[i + 12] = _mm512_shuffle_i32x4::<0xdd>(r[i + 8], r[i + 12]);
    }
    for i in 0..4 {
        r[i] = _mm512_shuffle_i32x4::<0x88>(t[i], t[i + 8]);
        r[i + 8] = _mm512_shuffle_i32x4::<0xdd>(t[i], t[i + 8]);
        r[i + 4] = _mm512_shuffle_i32x4::<0x88>(t[i + 4], t[i + 12]);
        r[i + 12] = _mm512_shuffle_i32x4::<0xdd>(t[i + 4], t[i + 12]);
    }
    r
}
