//! Many writers on one bucket: who waits, and how long, so that each gets its turn.

use std::time::{Duration, Instant};

/// How much others write to the same bucket, and how to give them room.
///
/// Who won a slot knows first which one is next, and would win for ever; and who never loses does not
/// know that there are others. So after each win it waits for as long as the others need to find out that
/// they lost, to read what they missed, and to try for the next slot. Meanwhile its own entries gather
/// into a larger batch. Who lost tries again the sooner, the oftener it lost.
#[derive(Debug, Default)]
pub(super) struct Contention {
    losses: u32,
    /// Claims for which others are still reckoned with.
    heat: u32,
    /// How long a claim takes.
    claim: Duration,
    give_way_until: Option<Instant>,
}

impl Contention {
    /// For so many claims after a lost one, others are reckoned with.
    const HEAT: u32 = 16;

    pub(super) fn lost(&mut self, took: Duration) {
        self.claim = took;
        self.losses = (self.losses + 1).min(16);
        self.heat = Self::HEAT;
        std::thread::sleep(jitter(took) / self.losses);
    }

    pub(super) fn won(&mut self, took: Duration) {
        self.claim = took;
        self.losses = 0;
        self.heat = self.heat.saturating_sub(1);
        // The others read the slots that they lost and the one that is not there yet, and claim it.
        self.give_way_until = Some(Instant::now() + took * 3 + jitter(took));
    }

    /// Before a claim: waits until the others had their turn.
    pub(super) fn give_way(&mut self) {
        if let Some(until) = self.give_way_until.take() {
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
        }
    }

    /// Before publishing: time for another to do it.
    pub(super) fn pause(&self) {
        if self.heat > 0 {
            std::thread::sleep(jitter(self.claim * 2));
        }
    }
}

/// A random part of `limit`.
fn jitter(limit: Duration) -> Duration {
    let mut random = [0; 2];
    // Without randomness writers only meet more often.
    _ = getrandom::fill(&mut random);
    limit * u32::from(u16::from_le_bytes(random)) / u32::from(u16::MAX)
}
