//! What is trusted about logs (C2SP tlog-policy): their keys, their witnesses, and how many of these
//! must agree. Text in, decision out; opens no file and knows no clock.

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::checkpoint::{Checkpoint, CheckpointError, decimal};
use crate::cosignature::{self, LogSigner, SignedAt};
use crate::note::{KeyMaterial, Note, NoteError, NoteKey};

/// The logs that are trusted, and what a checkpoint of theirs must carry.
#[derive(Clone, Debug, PartialEq)]
pub struct TlogPolicy {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    quorum: Quorum,
}

/// A log that is trusted.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyLog {
    pub key: NoteKey,
    pub url: Option<String>,
}

/// A witness that is known.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyWitness {
    /// How the policy calls it.
    pub name: String,
    pub key: NoteKey,
    /// The prefix to submit to (C2SP tlog-witness).
    pub url: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
struct Group {
    name: String,
    /// How many members must agree.
    threshold: usize,
    members: Vec<Member>,
}

/// A place in the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Witness(usize),
    Group(usize),
}

/// Who must have cosigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quorum {
    Nobody,
    Of(Member),
}

/// Why a policy is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct TlogPolicyError {
    /// Counted from 1; 0 is the whole file.
    pub line: usize,
    pub what: String,
}

/// A checkpoint that a policy accepts.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    pub checkpoint: Checkpoint,
    /// The keys of the log that signed it, and when, where that is said.
    pub log: Vec<(NoteKey, SignedAt)>,
    /// The witnesses that cosigned it, by their name in the policy, and when.
    pub witnesses: Vec<(String, SignedAt)>,
}

/// The largest policy.
pub const MAX_TLOG_POLICY: usize = 1 << 20;
/// The most logs, witnesses and groups, each. The specification asks for 32 at least.
const MAX_NAMED: usize = 256;

impl TlogPolicy {
    /// Trusts the log of `key`, without witnesses.
    pub fn of_log(key: NoteKey) -> TlogPolicy {
        TlogPolicy {
            logs: vec![PolicyLog { key, url: None }],
            witnesses: Vec::new(),
            groups: Vec::new(),
            quorum: Quorum::Nobody,
        }
    }

    /// The key by which the log is known: its Ed25519 key, if it has one.
    pub fn log(&self) -> &NoteKey {
        let ed25519 = |log: &&PolicyLog| matches!(log.key.material(), KeyMaterial::Ed25519(_));
        match self.logs.iter().find(ed25519).or(self.logs.first()) {
            Some(log) => &log.key,
            None => unreachable!("a policy without a log is not made"),
        }
    }

    /// All logs.
    pub fn logs(&self) -> &[PolicyLog] {
        &self.logs
    }

    /// All witnesses.
    pub fn witnesses(&self) -> &[PolicyWitness] {
        &self.witnesses
    }

    /// How many logs there are; a log may have several keys.
    pub fn origins(&self) -> usize {
        let names: HashSet<&str> = self.logs.iter().map(|log| log.key.name()).collect();
        names.len()
    }

    /// Does a checkpoint need cosignatures?
    pub fn asks_for_witnesses(&self) -> bool {
        self.quorum != Quorum::Nobody
    }

    /// The same logs, and no witness asked for.
    #[must_use]
    pub fn without_witnesses(&self) -> TlogPolicy {
        TlogPolicy {
            logs: self.logs.clone(),
            witnesses: Vec::new(),
            groups: Vec::new(),
            quorum: Quorum::Nobody,
        }
    }

    /// Opens a checkpoint, which must carry every signature that this policy asks for.
    pub fn open(&self, note: &[u8]) -> Result<Checkpoint, CheckpointError> {
        Ok(self.accept(note)?.checkpoint)
    }

    /// The same, with everything that was found on it. A wrong signature by a key that the policy
    /// knows spoils the note.
    pub fn accept(&self, bytes: &[u8]) -> Result<Accepted, CheckpointError> {
        let note = Note::parse(bytes)?;
        let checkpoint = Checkpoint::parse(note.text);
        if let Err(error) = checkpoint {
            // Whose it is matters more than what is wrong with it.
            for log in &self.logs {
                note.verify(&log.key)?;
            }
            return Err(error);
        }
        let checkpoint = checkpoint?;
        let mut log = Vec::new();
        for trusted in &self.logs {
            match cosignature::verify(&note, &checkpoint, &trusted.key) {
                Ok(at) => log.push((trusted.key.clone(), at)),
                Err(NoteError::NoSignature(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let Some((first, _)) = log.first() else {
            return Err(NoteError::NoSignature(self.log().name().into()).into());
        };
        if let Some((other, _)) = log.iter().find(|(key, _)| key.name() != checkpoint.origin) {
            return Err(CheckpointError::Origin {
                found: checkpoint.origin,
                expected: other.name().into(),
            });
        }
        debug_assert_eq!(first.name(), checkpoint.origin);
        // A log that is listed with an Ed25519 and an ML-DSA-44 key signs with both: else breaking
        // one algorithm would be enough. Of several keys of one kind, as in a rotation, one will do.
        let kind = |key: &NoteKey| std::mem::discriminant(key.material());
        for trusted in &self.logs {
            let key = &trusted.key;
            let same = key.name() == checkpoint.origin;
            if same && !log.iter().any(|(signed, _)| kind(signed) == kind(key)) {
                let what = format!("{} ({})", key.name(), key.material().name());
                return Err(NoteError::NoSignature(what).into());
            }
        }
        let mut witnesses = Vec::new();
        let mut signed = HashSet::new();
        for (place, witness) in self.witnesses.iter().enumerate() {
            match cosignature::verify(&note, &checkpoint, &witness.key) {
                // A witness says when: without a time it says nothing about other trees.
                Ok(None) => return Err(NoteError::BadSignature(witness.name.clone()).into()),
                Ok(at) => {
                    witnesses.push((witness.name.clone(), at));
                    signed.insert(place);
                }
                Err(NoteError::NoSignature(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let Quorum::Of(quorum) = self.quorum
            && !self.agrees(quorum, &signed)
        {
            return Err(CheckpointError::Quorum {
                quorum: self.name(quorum).into(),
                signed: witnesses.into_iter().map(|(name, _)| name).collect(),
                missing: self
                    .witnesses
                    .iter()
                    .enumerate()
                    .filter(|(place, _)| !signed.contains(place))
                    .map(|(_, witness)| witness.name.clone())
                    .collect(),
            });
        }
        Ok(Accepted {
            checkpoint,
            log,
            witnesses,
        })
    }

    /// The newest time at which the quorum vouches that `accepted` was the largest tree: what it says
    /// about freshness. `None` if the policy asks for no witness.
    pub fn fresh_at(&self, accepted: &Accepted) -> Option<u64> {
        let Quorum::Of(quorum) = self.quorum else {
            return None;
        };
        let mut times: Vec<u64> = accepted
            .witnesses
            .iter()
            .filter_map(|(_, at)| *at)
            .collect();
        times.sort_unstable();
        times.dedup();
        times.into_iter().rev().find(|time| {
            let named = |name: &str| {
                accepted
                    .witnesses
                    .iter()
                    .any(|(witness, at)| witness == name && at.is_some_and(|at| at >= *time))
            };
            let signed = self.witnesses.iter().enumerate();
            let signed = signed.filter(|(_, witness)| named(&witness.name));
            self.agrees(quorum, &signed.map(|(place, _)| place).collect())
        })
    }

    /// Groups name only what stands before them: this ends.
    fn agrees(&self, member: Member, signed: &HashSet<usize>) -> bool {
        match member {
            Member::Witness(place) => signed.contains(&place),
            Member::Group(place) => self.groups.get(place).is_some_and(|group| {
                let members = group.members.iter();
                let agreeing = members.filter(|member| self.agrees(**member, signed));
                agreeing.count() >= group.threshold
            }),
        }
    }

    fn name(&self, member: Member) -> &str {
        let name = match member {
            Member::Witness(place) => self.witnesses.get(place).map(|witness| &witness.name),
            Member::Group(place) => self.groups.get(place).map(|group| &group.name),
        };
        name.map_or("none", String::as_str)
    }

    /// Reads a policy. Names and addresses must be UTF-8; what else the specification allows is read.
    pub fn parse(bytes: &[u8]) -> Result<TlogPolicy, TlogPolicyError> {
        let whole = |what: &str| TlogPolicyError {
            line: 0,
            what: what.into(),
        };
        if bytes.len() > MAX_TLOG_POLICY {
            return Err(whole("larger than 1 MiB"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| whole("not UTF-8"))?;
        let body = match text.strip_suffix('\n') {
            Some(body) => body,
            None if text.is_empty() => text,
            None => return Err(whole("the last line does not end in a line break")),
        };
        let mut parser = Parser::default();
        for (number, line) in (1..).zip(body.split('\n')) {
            parser
                .line(line)
                .map_err(|what| TlogPolicyError { line: number, what })?;
        }
        let Some(quorum) = parser.quorum else {
            return Err(whole(
                "there is no quorum line; `quorum none` asks for no witness",
            ));
        };
        if parser.logs.is_empty() {
            return Err(whole(
                "there is no log line: nothing could ever be accepted",
            ));
        }
        Ok(TlogPolicy {
            logs: parser.logs,
            witnesses: parser.witnesses,
            groups: parser.groups,
            quorum,
        })
    }
}

impl fmt::Display for TlogPolicy {
    /// The file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url =
            |url: &Option<String>| url.as_ref().map_or(String::new(), |url| format!(" {url}"));
        for log in &self.logs {
            writeln!(f, "log {}{}", log.key, url(&log.url))?;
        }
        for witness in &self.witnesses {
            let PolicyWitness { name, key, url: at } = witness;
            writeln!(f, "witness {name} {key}{}", url(at))?;
        }
        for group in &self.groups {
            write!(f, "group {} {}", group.name, group.threshold)?;
            for member in &group.members {
                write!(f, " {}", self.name(*member))?;
            }
            writeln!(f)?;
        }
        writeln!(
            f,
            "quorum {}",
            match self.quorum {
                Quorum::Nobody => "none",
                Quorum::Of(quorum) => self.name(quorum),
            }
        )
    }
}

impl LogSigner {
    /// Trusts the log by both of its keys: what to give to others.
    pub fn trust_by_all_keys(&self) -> TlogPolicy {
        let keys = [self.verifier(), self.ml_dsa_verifier()];
        let log = |key: &NoteKey| PolicyLog {
            key: key.clone(),
            url: None,
        };
        TlogPolicy {
            logs: keys.into_iter().map(log).collect(),
            ..self.trust()
        }
    }

    /// Trusts exactly the checkpoints that this signs.
    pub fn trust(&self) -> TlogPolicy {
        TlogPolicy::of_log(self.verifier().clone())
    }
}

#[derive(Default)]
struct Parser {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    names: HashMap<String, Member>,
    used: HashSet<String>,
    quorum: Option<Quorum>,
}

impl Parser {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if line.contains(|c: char| c.is_ascii_control() && c != '\t') {
            return Err("holds a control character".into());
        }
        let words: Vec<&str> = line
            .split([' ', '\t'])
            .filter(|word| !word.is_empty())
            .collect();
        match words.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with('#') => Ok(()),
            ["log", key] => self.log(key, None),
            ["log", key, url] => self.log(key, Some(url)),
            ["witness", name, key] => self.witness(name, key, None),
            ["witness", name, key, url] => self.witness(name, key, Some(url)),
            ["group", name, threshold, members @ ..] => self.group(name, threshold, members),
            ["quorum", name] => self.quorum(name),
            [first, ..] => Err(format!(
                "is none of `log <vkey> [<url>]`, `witness <name> <vkey> [<url>]`, \
                 `group <name> all|any|<k> <name>…` and `quorum <name>|none`: it begins with {first:?}"
            )),
        }
    }

    fn log(&mut self, key: &str, url: Option<&&str>) -> Result<(), String> {
        let key = NoteKey::parse(key).map_err(|error| format!("the log's key {error}"))?;
        if matches!(key.material(), KeyMaterial::CosignatureV1(_)) {
            return Err("the key is a witness's (0x04), not a log's".into());
        }
        if self.logs.iter().any(|log| log.key.is_same_key(&key)) {
            return Err("two logs have this key".into());
        }
        full(&self.logs)?;
        self.logs.push(PolicyLog {
            key,
            url: url.map(|url| (*url).into()),
        });
        Ok(())
    }

    fn witness(&mut self, name: &str, key: &str, url: Option<&&str>) -> Result<(), String> {
        let key = NoteKey::parse(key).map_err(|error| format!("the witness's key {error}"))?;
        if matches!(key.material(), KeyMaterial::Ed25519(_)) {
            return Err("the key signs notes (0x01), and a witness cosigns (0x04 or 0x06)".into());
        }
        if self
            .witnesses
            .iter()
            .any(|witness| witness.key.is_same_key(&key))
        {
            return Err("two witnesses have this key".into());
        }
        full(&self.witnesses)?;
        self.define(name, Member::Witness(self.witnesses.len()))?;
        self.witnesses.push(PolicyWitness {
            name: name.into(),
            key,
            url: url.map(|url| (*url).into()),
        });
        Ok(())
    }

    fn group(&mut self, name: &str, threshold: &str, members: &[&str]) -> Result<(), String> {
        let mut places = Vec::new();
        for member in members {
            let place = self.find(member)?;
            if !self.used.insert((*member).into()) {
                return Err(format!("{member:?} is a member already"));
            }
            places.push(place);
        }
        let count = places.len();
        let threshold = match threshold {
            "any" => Some(1),
            "all" => Some(count),
            number => decimal(number).and_then(|number| usize::try_from(number).ok()),
        };
        let threshold = threshold.filter(|threshold| (1..=count).contains(threshold));
        let threshold =
            threshold.ok_or_else(|| format!("expected all, any or a number from 1 to {count}"))?;
        full(&self.groups)?;
        self.define(name, Member::Group(self.groups.len()))?;
        self.groups.push(Group {
            name: name.into(),
            threshold,
            members: places,
        });
        Ok(())
    }

    fn quorum(&mut self, name: &str) -> Result<(), String> {
        let quorum = match name {
            "none" => Quorum::Nobody,
            name => Quorum::Of(self.find(name)?),
        };
        match self.quorum.replace(quorum) {
            None => Ok(()),
            Some(_) => Err("there is a quorum line already".into()),
        }
    }

    fn find(&self, name: &str) -> Result<Member, String> {
        let member = self.names.get(name).copied();
        member.ok_or_else(|| format!("{name:?} is no witness or group that was defined before"))
    }

    fn define(&mut self, name: &str, member: Member) -> Result<(), String> {
        if name == "none" {
            return Err("\"none\" stands for no quorum and cannot be a name".into());
        }
        match self.names.insert(name.into(), member) {
            None => Ok(()),
            Some(_) => Err(format!("{name:?} is defined already")),
        }
    }
}

fn full<T>(list: &[T]) -> Result<(), String> {
    if list.len() < MAX_NAMED {
        Ok(())
    } else {
        Err(format!("more than {MAX_NAMED} of a kind"))
    }
}
