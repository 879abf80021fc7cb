//! Does a store keep what a ledger's writers build on? Some servers take the header that makes a
//! write conditional and ignore it: there, two writers at once would fork the log. So a store is put
//! to the test before it is written to. Leaves nothing behind where removing is allowed.

use std::sync::Barrier;

use super::{Created, Store, StoreError};
use crate::digest::Sha256;

/// How much is asked of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What each writer does as it starts: a handful of requests.
    Quick,
    /// Everything, with writers that race each other.
    Full,
}

/// Something that writers and readers rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// A key that is free can be taken.
    Create,
    /// A key that is taken stays as it is, and the second writer is told.
    CreateOnce,
    /// Of writers at the same time one takes the key, and its bytes are there.
    OneWinner,
    /// What was written is read.
    ReadAfterWrite,
    /// What was written is listed.
    ListAfterWrite,
    /// What was replaced is read as it is now.
    ReplaceVisible,
    /// What is not there is not found, and that is no error.
    Absence,
    /// A limit on the size of what is read holds.
    Bound,
    /// What was removed is gone. Writers can do without.
    Remove,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Holds,
    /// The store did otherwise.
    Broken,
    /// The store refused to do it, or could not be asked.
    Refused,
}

/// One guarantee of one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub place: String,
    pub guarantee: Guarantee,
    pub verdict: Verdict,
    /// What was seen.
    pub seen: String,
}

impl Guarantee {
    /// In a word, for reports.
    pub fn name(self) -> &'static str {
        match self {
            Guarantee::Create => "create",
            Guarantee::CreateOnce => "create-once",
            Guarantee::OneWinner => "one-winner",
            Guarantee::ReadAfterWrite => "read-after-write",
            Guarantee::ListAfterWrite => "list-after-write",
            Guarantee::ReplaceVisible => "replace-visible",
            Guarantee::Absence => "absence",
            Guarantee::Bound => "bound",
            Guarantee::Remove => "remove",
        }
    }

    /// Can a ledger be written without it?
    pub fn is_needed(self) -> bool {
        self != Guarantee::Remove
    }
}

impl Verdict {
    /// In a word, for reports.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Holds => "holds",
            Verdict::Broken => "broken",
            Verdict::Refused => "refused",
        }
    }
}

impl Check {
    /// Does this speak against writing a ledger there?
    pub fn is_bad(&self) -> bool {
        self.verdict != Verdict::Holds && self.guarantee.is_needed()
    }
}

/// Puts `store`, and what lies beneath it, to the test.
pub fn probe(store: &dyn Store, depth: Depth) -> Result<Vec<Check>, StoreError> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|error| StoreError::Runtime(error.to_string()))?;
    let name = Sha256::of(&nonce).to_string();
    let prefix = format!("_probe/{}", name.get(..24).unwrap_or_default());
    let mut probe = Probe {
        store,
        place: store.place(),
        prefix,
        used: Vec::new(),
        checks: Vec::new(),
    };
    probe.run(depth);
    let mut checks = probe.checks;
    if let Some(beneath) = store.beneath() {
        checks.extend(self::probe(beneath, depth)?);
    }
    Ok(checks)
}

/// Refuses a store that a ledger must not be written to. Where `probe` finds a broken guarantee the
/// error is [`StoreError::Unsound`].
pub fn require(store: &dyn Store) -> Result<(), StoreError> {
    match probe(store, Depth::Quick)?.into_iter().find(Check::is_bad) {
        None => Ok(()),
        Some(check) if check.verdict == Verdict::Broken => Err(StoreError::Unsound {
            place: check.place,
            what: check.seen,
        }),
        Some(check) => Err(StoreError::NotWritable {
            place: check.place,
            what: check.seen,
        }),
    }
}

struct Probe<'a> {
    store: &'a dyn Store,
    place: String,
    prefix: String,
    used: Vec<String>,
    checks: Vec<Check>,
}

impl Probe<'_> {
    fn run(&mut self, depth: Depth) {
        let key = self.fresh("one");
        let first = self.first(&key);
        let created = first.verdict == Verdict::Holds;
        self.checks.push(first);
        // A store that cannot be written to is not asked what it keeps.
        if created {
            let second = self.second(&key);
            self.checks.push(second);
            if depth == Depth::Full {
                self.full(&key);
            }
        }
        self.remove(&key, depth);
    }

    fn full(&mut self, key: &str) {
        for round in 0..ROUNDS {
            let key = self.fresh(&format!("race-{round}"));
            let check = self.race(&key);
            let bad = check.verdict != Verdict::Holds;
            // One line for all rounds, the bad one if there is one.
            if bad || round + 1 == ROUNDS {
                self.checks.push(check);
            }
            if bad {
                break;
            }
        }
        let key = key.to_owned();
        let checks = [
            self.read(),
            self.list(),
            self.replace(),
            self.absence(),
            self.bound(&key),
        ];
        self.checks.extend(checks);
    }

    fn fresh(&mut self, name: &str) -> String {
        let key = format!("{}/{name}", self.prefix);
        self.used.push(key.clone());
        key
    }

    fn check(
        &self,
        guarantee: Guarantee,
        seen: Result<Result<String, String>, StoreError>,
    ) -> Check {
        let (verdict, seen) = match seen {
            Ok(Ok(seen)) => (Verdict::Holds, seen),
            Ok(Err(seen)) => (Verdict::Broken, seen),
            Err(error) => (Verdict::Refused, error.to_string()),
        };
        Check {
            place: self.place.clone(),
            guarantee,
            verdict,
            seen,
        }
    }

    fn first(&self, key: &str) -> Check {
        let seen = self.store.create(key, FIRST).map(|created| match created {
            Created::New => Ok("a new key was taken".to_owned()),
            Created::Exists => Err("a new key was said to be taken already".to_owned()),
        });
        self.check(Guarantee::Create, seen)
    }

    fn second(&self, key: &str) -> Check {
        let seen = self.store.create(key, SECOND).and_then(|created| {
            let bytes = self.store.read(key, SMALL)?;
            let kept = bytes.as_deref() == Some(FIRST);
            Ok(match (created, kept) {
                (Created::Exists, true) => {
                    Ok("a second writer was told, and the first bytes stayed".to_owned())
                }
                (Created::New, false) => Err(
                    "two writers took the same key, and the second overwrote the first: \
                     conditional writes are accepted and ignored"
                        .to_owned(),
                ),
                (Created::New, true) => {
                    Err("two writers were both told that they took the same key".to_owned())
                }
                (Created::Exists, false) => {
                    Err("a second writer was told, and the first bytes are gone".to_owned())
                }
            })
        });
        self.check(Guarantee::CreateOnce, seen)
    }

    fn race(&self, key: &str) -> Check {
        let start = Barrier::new(RACERS);
        let results: Vec<Result<Created, StoreError>> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..RACERS)
                .map(|racer| {
                    let start = &start;
                    scope.spawn(move || {
                        start.wait();
                        self.store.create(key, racer_bytes(racer).as_bytes())
                    })
                })
                .collect();
            let stopped = || StoreError::Runtime("a writer of this process stopped".into());
            let joined = racers.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined
                .map(|joined| joined.unwrap_or_else(|_| Err(stopped())))
                .collect()
        });
        let mut winners = Vec::new();
        for (racer, result) in results.into_iter().enumerate() {
            match result {
                Ok(Created::New) => winners.push(racer),
                Ok(Created::Exists) => {}
                Err(error) => return self.check(Guarantee::OneWinner, Err(error)),
            }
        }
        let seen = self.store.read(key, SMALL).map(|bytes| match winners[..] {
            [winner] if bytes.as_deref() == Some(racer_bytes(winner).as_bytes()) => Ok(format!(
                "{ROUNDS} times {RACERS} writers at once: one took the key"
            )),
            [_] => Err("one of many writers took the key, and other bytes are there".into()),
            _ => Err(format!(
                "{} of {RACERS} writers at once took the same key",
                winners.len()
            )),
        });
        self.check(Guarantee::OneWinner, seen)
    }

    fn read(&mut self) -> Check {
        let mut fresh = |number: u32| self.fresh(&format!("read-{number}"));
        let keys: Vec<String> = (0..8).map(&mut fresh).collect();
        let mut missed = 0;
        let mut look = || {
            for key in &keys {
                self.store.create(key, key.as_bytes())?;
                if self.store.read(key, SMALL)?.as_deref() != Some(key.as_bytes()) {
                    missed += 1;
                }
            }
            Ok(())
        };
        let seen = look().map(|()| match missed {
            0 => Ok("what was written was read at once".to_owned()),
            _ => Err(format!(
                "{missed} of {} writes were not read at once",
                keys.len()
            )),
        });
        self.check(Guarantee::ReadAfterWrite, seen)
    }

    fn list(&mut self) -> Check {
        let seen = self.store.list(&format!("{}/", self.prefix)).map(|found| {
            let mut used = self.used.clone();
            used.sort_unstable();
            if found == used {
                return Ok(format!("all {} keys were listed", used.len()));
            }
            Err(format!(
                "of {} keys {} were listed",
                used.len(),
                found.len()
            ))
        });
        self.check(Guarantee::ListAfterWrite, seen)
    }

    fn replace(&mut self) -> Check {
        let key = self.fresh("replaced");
        let mut stale = 0;
        let mut turn = || {
            for number in 0..8 {
                let bytes = number.to_string();
                self.store.replace(&key, bytes.as_bytes())?;
                if self.store.read(&key, SMALL)?.as_deref() != Some(bytes.as_bytes()) {
                    stale += 1;
                }
            }
            Ok(())
        };
        let seen = turn().map(|()| match stale {
            0 => Ok("what was replaced was read as it is now".to_owned()),
            _ => Err(format!(
                "{stale} of 8 reads gave older bytes than the write before"
            )),
        });
        self.check(Guarantee::ReplaceVisible, seen)
    }

    fn absence(&self) -> Check {
        let key = format!("{}/absent", self.prefix);
        let seen = self.store.read(&key, SMALL).and_then(|bytes| {
            let there = bytes.is_some() || self.store.exists(&key)?;
            Ok(if there {
                Err("a key that nobody wrote is there".to_owned())
            } else {
                Ok("a key that nobody wrote is absent".to_owned())
            })
        });
        self.check(Guarantee::Absence, seen)
    }

    fn bound(&self, key: &str) -> Check {
        let seen = match self.store.read(key, FIRST.len() as u64 - 1) {
            Err(_) => Ok("more bytes than wanted are refused".to_owned()),
            Ok(_) => Err("more bytes than wanted were read".to_owned()),
        };
        self.check(Guarantee::Bound, Ok(seen))
    }

    fn remove(&mut self, first: &str, depth: Depth) {
        let mut removed = Ok(());
        for key in &self.used {
            removed = removed.and_then(|()| self.store.remove(key));
        }
        // An empty directory would be left of it.
        if let (Some(directory), Ok(())) = (self.store.directory(), &removed) {
            _ = directory.remove(&self.prefix);
        }
        if depth == Depth::Full {
            let seen = removed
                .and_then(|()| self.store.exists(first))
                .map(|there| {
                    if there {
                        Err("what was removed is still there".to_owned())
                    } else {
                        Ok("what was removed is gone".to_owned())
                    }
                });
            let check = self.check(Guarantee::Remove, seen);
            self.checks.push(check);
        }
    }
}

fn racer_bytes(racer: usize) -> String {
    format!("racer {racer}")
}

const FIRST: &[u8] = b"the first writer";
const SECOND: &[u8] = b"the second writer, later";
const SMALL: u64 = 256;
const RACERS: usize = 16;
const ROUNDS: usize = 8;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::*;

    /// A store in memory that breaks one guarantee.
    struct Liar {
        map: Mutex<BTreeMap<String, Vec<u8>>>,
        lie: Guarantee,
    }

    impl Store for Liar {
        fn read(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
            let map = self.map.lock().unwrap();
            if self.lie == Guarantee::ReadAfterWrite && key.contains("read-") {
                return Ok(None);
            }
            if self.lie == Guarantee::Absence && key.ends_with("absent") {
                return Ok(Some(Vec::new()));
            }
            let bytes = map.get(key).cloned();
            if self.lie != Guarantee::Bound
                && bytes.as_ref().is_some_and(|b| b.len() as u64 > limit)
            {
                return Err(StoreError::Runtime("too large".into()));
            }
            Ok(bytes)
        }

        fn exists(&self, key: &str) -> Result<bool, StoreError> {
            Ok(self.map.lock().unwrap().contains_key(key))
        }

        fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
            if self.lie == Guarantee::OneWinner && key.contains("race") {
                // Looks first, writes later.
                let free = !self.exists(key)?;
                std::thread::sleep(std::time::Duration::from_millis(5));
                self.map.lock().unwrap().insert(key.into(), bytes.into());
                return Ok(if free { Created::New } else { Created::Exists });
            }
            let mut map = self.map.lock().unwrap();
            if self.lie == Guarantee::Create {
                return Ok(Created::Exists);
            }
            if map.contains_key(key) && self.lie != Guarantee::CreateOnce {
                return Ok(Created::Exists);
            }
            map.insert(key.into(), bytes.into());
            Ok(Created::New)
        }

        fn replace(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
            let mut map = self.map.lock().unwrap();
            if self.lie == Guarantee::ReplaceVisible && map.contains_key(key) {
                return Ok(());
            }
            map.insert(key.into(), bytes.into());
            Ok(())
        }

        fn remove(&self, key: &str) -> Result<(), StoreError> {
            if self.lie != Guarantee::Remove {
                self.map.lock().unwrap().remove(key);
            }
            Ok(())
        }

        fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
            let map = self.map.lock().unwrap();
            let keys = map.keys().filter(|key| key.starts_with(prefix)).cloned();
            Ok(match self.lie {
                Guarantee::ListAfterWrite => keys.skip(1).collect(),
                _ => keys.collect(),
            })
        }

        fn place(&self) -> String {
            "liar".into()
        }
    }

    #[test]
    fn each_lie_is_found_and_no_other() {
        for lie in [
            Guarantee::Create,
            Guarantee::CreateOnce,
            Guarantee::OneWinner,
            Guarantee::ReadAfterWrite,
            Guarantee::ListAfterWrite,
            Guarantee::ReplaceVisible,
            Guarantee::Absence,
            Guarantee::Bound,
            Guarantee::Remove,
        ] {
            let liar = Liar {
                map: Mutex::default(),
                lie,
            };
            let checks = probe(&liar, Depth::Full).unwrap();
            let bad = checks
                .iter()
                .filter(|check| check.verdict != Verdict::Holds);
            let bad: Vec<Guarantee> = bad.map(|check| check.guarantee).collect();
            // Who overwrites does so in a race too.
            let expected = match lie {
                Guarantee::CreateOnce => vec![lie, Guarantee::OneWinner],
                _ => vec![lie],
            };
            assert_eq!(bad, expected, "{checks:#?}");
            let quick = matches!(lie, Guarantee::Create | Guarantee::CreateOnce);
            assert_eq!(require(&liar).is_err(), quick, "{lie:?}");
        }
    }

    #[test]
    fn a_directory_passes_and_is_left_empty() {
        let scratch = tempfile::tempdir().unwrap();
        let store = super::super::DirectoryStore::new(scratch.path());
        let checks = probe(&store, Depth::Full).unwrap();
        assert!(
            checks.iter().all(|check| check.verdict == Verdict::Holds),
            "{checks:#?}"
        );
        assert_eq!(checks.len(), 9);
        assert!(store.list("").unwrap().is_empty());
    }
}
