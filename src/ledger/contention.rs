//! Many writers on one bucket: who waits, and how long, so that each gets its turn.

use std::time::{Duration, Instant};

/// How much others write to the same bucket, and how to give them room.
///
/// Who won a slot knows first which one is next, and would win for ever; and who never loses does not
/// know that there are others. So after a win a writer waits a little and then looks whether the next slot
/// is still free, which takes as long as the others need to read the slot that they lost: they claim the
/// next one first. Meanwhile its own entries gather into a larger batch. Who has seen nobody else for a
/// while does so after every fourth win only.
#[derive(Debug)]
pub(super) struct Contention {
    losses: u32,
    wins: u32,
    /// Claims for which others are still reckoned with.
    heat: u32,
    /// How long a claim takes.
    claim: Duration,
    /// How long it takes to find out that the next slot is free.
    look: Duration,
    /// How long it takes to lose: to claim a slot in vain, and to read what it holds.
    loss: Duration,
    give_way_until: Option<Instant>,
}

impl Default for Contention {
    fn default() -> Contention {
        Contention {
            losses: 0,
            wins: 0,
            heat: Self::HEAT,
            claim: Duration::ZERO,
            look: Duration::ZERO,
            loss: Duration::ZERO,
            give_way_until: None,
        }
    }
}

impl Contention {
    /// For so many claims after others were seen, they are reckoned with.
    const HEAT: u32 = 64;
    /// Who saw nobody lets others try after each of so many wins.
    const CHANCE: u32 = 4;

    /// The next slot was looked for.
    pub(super) fn looked(&mut self, took: Duration) {
        self.look = took;
    }

    /// Somebody else committed.
    pub(super) fn seen(&mut self) {
        self.heat = Self::HEAT;
    }

    /// How often in a row a claim was lost, this one included.
    pub(super) fn lost(&mut self, took: Duration) -> u32 {
        self.seen();
        self.losses = self.losses.saturating_add(1);
        self.loss = if self.loss.is_zero() {
            took
        } else {
            (self.loss * 3 + took) / 4
        };
        std::thread::sleep(jitter(took) / (8 * self.losses.min(16)));
        self.losses
    }

    pub(super) fn won(&mut self, took: Duration) {
        self.claim = took;
        self.losses = 0;
        self.wins = self.wins.wrapping_add(1);
        self.heat = self.heat.saturating_sub(1);
        if self.heat > 0 || self.wins.is_multiple_of(Self::CHANCE) {
            // As long as the others take to read the slot that they lost, and to claim the next.
            let pause = self.loss.max(took + self.look / 2) + took + jitter(took);
            self.give_way_until = Some(Instant::now() + pause);
        }
    }

    /// Before a claim: waits, if it is the others' turn. `true` if it was.
    pub(super) fn give_way(&mut self) -> bool {
        let Some(until) = self.give_way_until.take() else {
            return false;
        };
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        true
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
