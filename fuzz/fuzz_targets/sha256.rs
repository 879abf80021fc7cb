//! Every way to compute SHA-256 that this machine has, on streams of any lengths in steps of any size: all must say the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::digest::Sha256;
use weighbridge::sha256::{BLOCK, Choice, Engine, LANES, State, Stream, padding};

fuzz_target!(|data: &[u8]| {
    let [number, step, data @ ..] = data else {
        return;
    };
    let (number, step) = (usize::from(*number) % LANES + 1, usize::from(*step) % 7 + 1);
    // Each stream is a part of the input, and no two are alike.
    let messages: Vec<&[u8]> = (0..number)
        .map(|lane| data.get(lane * 5..).unwrap_or_default())
        .collect();
    for (_, choice) in Choice::ALL {
        let Ok(engine) = Engine::new(choice) else {
            continue;
        };
        let mut rest: Vec<Vec<u8>> = messages
            .iter()
            .map(|message| {
                let (padding, size) = padding(message.len() as u64);
                [message, padding.get(..size).unwrap_or_default()].concat()
            })
            .collect();
        let mut states = vec![State::default(); number];
        while rest.iter().any(|message| !message.is_empty()) {
            let going = || rest.iter().filter(|message| !message.is_empty());
            let least = going()
                .map(|message| message.len() / BLOCK)
                .min()
                .unwrap_or(0);
            let blocks = least.min(step);
            let mut streams: Vec<Stream<'_>> = states
                .iter_mut()
                .zip(&rest)
                .filter(|(_, message)| !message.is_empty())
                .map(|(state, input)| Stream { state, input })
                .collect();
            engine.compress(&mut streams, blocks);
            for message in rest.iter_mut().filter(|message| !message.is_empty()) {
                message.drain(..blocks * BLOCK);
            }
        }
        for (state, message) in states.iter().zip(&messages) {
            assert_eq!(state.digest(), Sha256::of(message).0, "{choice:?}");
        }
    }
});
