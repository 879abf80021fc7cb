//! Every kernel that this machine has, against the crate sha2 and NIST's vectors.

use proptest::prelude::*;
use sha2::Digest as _;

use super::*;

/// What each kernel makes of `messages`, which are of any lengths, in pieces of at most `step` blocks.
fn hashed(engine: &Engine, messages: &[&[u8]], step: usize) -> Vec<[u8; 32]> {
    let padded: Vec<Vec<u8>> = messages
        .iter()
        .map(|message| {
            let (padding, size) = padding(message.len() as u64);
            [message, &padding[..size]].concat()
        })
        .collect();
    let mut states = vec![State::default(); messages.len()];
    let mut at = 0;
    loop {
        let mut streams: Vec<Stream<'_>> = states
            .iter_mut()
            .zip(&padded)
            .filter(|(_, message)| message.len() > at)
            .map(|(state, message)| Stream {
                state,
                input: &message[at..],
            })
            .collect();
        if streams.is_empty() {
            return states.iter().map(State::digest).collect();
        }
        let least = streams
            .iter()
            .map(|stream| stream.input.len() / BLOCK)
            .min();
        let blocks = least.unwrap().min(step);
        engine.compress(&mut streams, blocks);
        at += blocks * BLOCK;
    }
}

/// Every kernel by itself, and all together.
fn engines() -> Vec<Engine> {
    let alone = Kernel::ALL.into_iter().filter(|kernel| kernel.is_here());
    let alone = alone.map(|kernel| {
        let kernels = vec![(kernel, usual(kernel))];
        let (plan, speeds) = planned(&kernels);
        Engine {
            kernels,
            plan,
            speeds,
        }
    });
    alone
        .chain([
            Engine::new(Choice::Auto).unwrap(),
            Engine::tuned(Choice::Auto).unwrap(),
        ])
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_lengths_alignments_and_numbers_of_streams(
        lengths in proptest::collection::vec(0usize..700, 1..20),
        offset in 0usize..64,
        step in 1usize..12,
    ) {
        let bytes: Vec<u8> = (0..2000usize).map(|at| u8::try_from((at * 131 + at / 7) % 256).unwrap()).collect();
        let messages: Vec<&[u8]> = lengths
            .iter()
            .enumerate()
            .map(|(lane, length)| &bytes[offset + lane..offset + lane + length])
            .collect();
        let expected: Vec<[u8; 32]> = messages.iter().map(|message| sha2::Sha256::digest(message).into()).collect();
        for engine in engines() {
            prop_assert_eq!(&hashed(&engine, &messages, step), &expected, "{:?}", engine.kernels);
        }
    }
}

/// NIST's vectors (CAVP, `SHA256ShortMsg` and `SHA256LongMsg`).
#[test]
fn vectors_of_nist() {
    let mut messages = Vec::new();
    let mut digests = Vec::new();
    let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
    for name in ["SHA256ShortMsg.rsp", "SHA256LongMsg.rsp"] {
        let path = format!(
            "{}/fixtures/vectors/nist/{name}",
            env!("CARGO_MANIFEST_DIR")
        );
        let text = std::fs::read_to_string(path).unwrap();
        let mut length = 0;
        for line in text.lines() {
            match line.split_once(" = ") {
                Some(("Len", bits)) => length = bits.trim().parse::<usize>().unwrap() / 8,
                Some(("Msg", message)) => messages.push(hex(message.trim())[..length].to_vec()),
                Some(("MD", digest)) => digests.push(hex(digest.trim())),
                _ => {}
            }
        }
    }
    assert_eq!((messages.len(), digests.len()), (129, 129));
    let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    for engine in engines() {
        for many in [1, 3, 16] {
            for (messages, digests) in messages.chunks(many).zip(digests.chunks(many)) {
                let found = hashed(&engine, messages, usize::MAX);
                assert!(
                    found
                        .iter()
                        .zip(digests)
                        .all(|(found, digest)| found[..] == digest[..]),
                    "{:?}",
                    engine.kernels
                );
            }
        }
    }
}

#[test]
fn nothing_is_compressed_that_is_not_there() {
    for engine in engines() {
        let mut state = State::default();
        let input = [0; 2 * BLOCK + 63];
        let mut streams = [Stream {
            state: &mut state,
            input: &input,
        }];
        engine.compress(&mut streams, 9);
        let mut other = State::default();
        engine.compress(
            &mut [Stream {
                state: &mut other,
                input: &input[..2 * BLOCK],
            }],
            2,
        );
        assert_eq!(state, other);
        engine.compress(&mut [], 9);
    }
}

#[test]
fn the_plan_takes_what_is_fastest() {
    use Kernel::{Avx512, ShaNi1, ShaNi2, ShaNi4};
    let of = |speeds: &[(Kernel, f64)]| {
        let kernels: Vec<(Kernel, Speed)> = speeds
            .iter()
            .map(|(kernel, speed)| (*kernel, Speed(*speed)))
            .collect();
        planned(&kernels).0
    };
    // Four streams slower than two, as on Sapphire Rapids; and faster, as on Zen 5.
    let plan = of(&[(ShaNi1, 1.4), (ShaNi2, 1.6), (ShaNi4, 1.4), (Avx512, 2.7)]);
    assert_eq!(
        (plan[0], plan[1], plan[3], plan[7], plan[9], plan[15]),
        (ShaNi1, ShaNi2, ShaNi2, ShaNi2, Avx512, Avx512)
    );
    let plan = of(&[(ShaNi1, 2.1), (ShaNi2, 3.1), (ShaNi4, 3.6), (Avx512, 4.7)]);
    assert_eq!(
        (plan[0], plan[1], plan[3], plan[7], plan[15]),
        (ShaNi1, ShaNi2, ShaNi4, ShaNi4, Avx512)
    );
}
