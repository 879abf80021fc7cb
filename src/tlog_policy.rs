//! What is trusted about logs (C2SP tlog-policy): their keys, their witnesses, and how many of them
//! must agree. Bytes in, decision out; opens no file and knows no clock.

use std::fmt;

use crate::checkpoint::{Checkpoint, CheckpointError, decimal};
use crate::cosignature::{self, LogSigner, Signed};
use crate::note::{Note, NoteError, NoteKey, SignatureType};

/// The logs that are trusted, and what a checkpoint of theirs must carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogPolicy {
    /// At least one.
    first: TrustedLog,
    more: Vec<TrustedLog>,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    /// `None`: no cosignature is asked for.
    quorum: Option<Member>,
}

/// A key of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedLog {
    pub key: NoteKey,
    /// Where the log is; opaque bytes.
    url: Option<Vec<u8>>,
}

/// A key of a witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Its name in this policy: opaque bytes.
    name: Vec<u8>,
    pub key: NoteKey,
    /// Its submission prefix; opaque bytes.
    url: Option<Vec<u8>>,
}

impl Witness {
    /// Its name in this policy, for messages.
    pub fn name(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }

    /// Where it takes checkpoints (tlog-witness: the submission prefix).
    pub fn url(&self) -> Option<&str> {
        self.url
            .as_deref()
            .and_then(|url| std::str::from_utf8(url).ok())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    name: Vec<u8>,
    threshold: Threshold,
    members: Vec<Member>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Threshold {
    All,
    Any,
    Count(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Witness(usize),
    Group(usize),
}

/// Why a policy is refused, and in which line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct TlogPolicyError {
    pub line: usize,
    pub problem: TlogPolicyProblem,
}

/// What is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlogPolicyProblem {
    #[error("the file is larger than 1 MiB")]
    TooLarge,
    #[error("the file does not end in a line break")]
    NoLineBreak,
    #[error("it holds a control character")]
    Control,
    #[error("it does not begin with log, witness, group or quorum")]
    Keyword,
    #[error("expected `{0}`")]
    Form(&'static str),
    #[error("the key {0}")]
    Key(#[from] NoteError),
    #[error("the key is of a type that {0} do not sign with")]
    KeyType(&'static str),
    #[error("the key is that of another {0}")]
    DuplicateKey(&'static str),
    #[error("the name {0:?} is taken, or reserved")]
    NameTaken(String),
    #[error("{0:?} is not defined before")]
    Undefined(String),
    #[error("{0:?} is a member of a group already")]
    MemberTwice(String),
    #[error("the threshold must be all, any, or a number from 1 to the number of members")]
    Threshold,
    #[error("there is more than one quorum")]
    QuorumTwice,
    #[error("there is no quorum; `quorum none` asks for no witness")]
    NoQuorum,
    #[error("there is no log")]
    NoLog,
    #[error("there are more than 64 of this kind")]
    TooMany,
}

/// The largest policy that is read.
pub const MAX_TLOG_POLICY: usize = 1 << 20;
/// Of logs, witnesses and groups each; the specification asks for 32.
const MAX_OF_A_KIND: usize = 64;

/// Who signed a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    pub checkpoint: Checkpoint,
    /// The keys of its log that signed it: at least one.
    pub logs: Vec<(&'a NoteKey, Signed)>,
    /// The witnesses that cosigned it, with their time.
    pub witnesses: Vec<(&'a Witness, u64)>,
    /// The witnesses that did not.
    pub missing: Vec<&'a Witness>,
    /// The newest time at which a quorum of witnesses vouched for this as the largest tree.
    /// `None` without a quorum. The log's own clock never counts.
    pub vouched: Option<u64>,
}

impl TlogPolicy {
    /// Trusts the log of `key`, without witnesses.
    pub fn of_log(key: NoteKey) -> TlogPolicy {
        TlogPolicy {
            first: TrustedLog { key, url: None },
            more: Vec::new(),
            witnesses: Vec::new(),
            groups: Vec::new(),
            quorum: None,
        }
    }

    /// The key of the log: the first that is listed.
    pub fn log(&self) -> &NoteKey {
        &self.first.key
    }

    /// The keys of all logs that are trusted.
    pub fn logs(&self) -> impl Iterator<Item = &NoteKey> {
        std::iter::once(&self.first)
            .chain(&self.more)
            .map(|log| &log.key)
    }

    /// The witnesses, in the order of the file.
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    /// Does it ask for cosignatures?
    pub fn asks_for_witnesses(&self) -> bool {
        self.quorum.is_some()
    }

    /// This policy for the one log whose key is `key`, which it must list: that key first, and the
    /// other keys of the same origin. `None` if it does not list it.
    pub fn for_log(&self, key: &NoteKey) -> Option<TlogPolicy> {
        let all = || std::iter::once(&self.first).chain(&self.more);
        let first = all().find(|log| log.key == *key)?.clone();
        let more = all().filter(|log| log.key != *key && log.key.name() == key.name());
        Some(TlogPolicy {
            more: more.cloned().collect(),
            first,
            ..self.clone()
        })
    }

    /// This policy with no quorum. What it opens may be a view that the log shows to nobody else:
    /// for those who ask witnesses for cosignatures, never for those who rely on the log.
    #[must_use]
    pub fn without_quorum(&self) -> TlogPolicy {
        TlogPolicy {
            quorum: None,
            ..self.clone()
        }
    }

    /// Opens a checkpoint, which must carry every signature that this policy asks for.
    pub fn open(&self, note: &[u8]) -> Result<Checkpoint, CheckpointError> {
        Ok(self.examine(note)?.checkpoint)
    }

    /// The same, and says who signed it.
    pub fn examine(&self, note: &[u8]) -> Result<Opened<'_>, CheckpointError> {
        let note = Note::parse(note)?;
        let checkpoint = Checkpoint::parse(note.text)?;
        if self.logs().all(|log| log.name() != checkpoint.origin) {
            return Err(CheckpointError::Origin {
                found: checkpoint.origin,
                expected: self.log().name().into(),
            });
        }
        let mut logs = Vec::new();
        for key in self.logs().filter(|log| log.name() == checkpoint.origin) {
            match cosignature::verify(&note, &checkpoint, key)? {
                Signed::Not => {}
                signed => logs.push((key, signed)),
            }
        }
        if logs.is_empty() {
            return Err(NoteError::NoSignature(checkpoint.origin).into());
        }
        let (mut witnesses, mut missing, mut times) = (Vec::new(), Vec::new(), Vec::new());
        let mut vouching = Vec::new();
        for witness in &self.witnesses {
            let time = match cosignature::verify(&note, &checkpoint, &witness.key)? {
                Signed::At(time) => Some(time),
                Signed::Not | Signed::Untimed => None,
            };
            match time {
                Some(time) => witnesses.push((witness, time)),
                None => missing.push(witness),
            }
            times.push(time);
            // A policy may ask for a second key of the log by listing it as a witness; it is right
            // about the tree, and its clock is still the log's.
            let own = witness.key.name() == checkpoint.origin;
            vouching.push(time.map(|time| if own { u64::MAX } else { time }));
        }
        let mut vouched = None;
        if let Some(quorum) = self.quorum {
            if self.met(quorum, &times).is_none() {
                return Err(CheckpointError::Quorum {
                    needed: self.describe(quorum),
                    signed: names(witnesses.iter().map(|(witness, _)| *witness)),
                    missing: names(missing.iter().copied()),
                });
            }
            vouched = self.met(quorum, &vouching).filter(|time| *time != u64::MAX);
        }
        Ok(Opened {
            checkpoint,
            logs,
            witnesses,
            missing,
            vouched,
        })
    }

    /// Could its witnesses ever vouch for a time? The log's own keys cannot, nor no quorum.
    pub fn can_vouch(&self) -> bool {
        let origin = self.log().name();
        let all = self.witnesses.iter().map(|witness| {
            let own = witness.key.name() == origin;
            Some(if own { u64::MAX } else { 1 })
        });
        let all: Vec<Option<u64>> = all.collect();
        let met = self.quorum.and_then(|quorum| self.met(quorum, &all));
        met.is_some_and(|time| time != u64::MAX)
    }

    /// The newest time that `member` as a whole vouches for: of a group that asks for k, the k-th
    /// newest of its members' times.
    fn met(&self, member: Member, times: &[Option<u64>]) -> Option<u64> {
        // Groups name only what stands before them: one pass suffices, however deep they nest.
        let mut groups: Vec<Option<u64>> = Vec::new();
        for group in &self.groups {
            let mut met: Vec<u64> = group
                .members
                .iter()
                .filter_map(|member| time_of(*member, times, &groups))
                .collect();
            met.sort_unstable_by(|a, b| b.cmp(a));
            groups.push(met.get(group.needed().saturating_sub(1)).copied());
        }
        time_of(member, times, &groups)
    }

    fn name(&self, member: Member) -> &[u8] {
        let name = match member {
            Member::Witness(index) => self.witnesses.get(index).map(|witness| &witness.name),
            Member::Group(index) => self.groups.get(index).map(|group| &group.name),
        };
        name.map_or(&[], Vec::as_slice)
    }

    /// What a member asks for, one level deep.
    fn describe(&self, member: Member) -> String {
        let name = |member| String::from_utf8_lossy(self.name(member)).into_owned();
        match member {
            Member::Group(index) => self.groups.get(index).map_or_else(String::new, |group| {
                let members: Vec<String> = group.members.iter().map(|one| name(*one)).collect();
                format!("{} of {}", group.needed(), members.join(", "))
            }),
            Member::Witness(_) => name(member),
        }
    }
}

impl LogSigner {
    /// Trusts the checkpoints that this signs with its Ed25519 key.
    pub fn trust(&self) -> TlogPolicy {
        TlogPolicy::of_log(self.keys()[0].clone())
    }

    /// Trusts the checkpoints that this signs with both of its keys. By the specification, any listed
    /// log key is enough; so the second one stands as a witness, and makes the quorum.
    pub fn trust_in_both_keys(&self) -> TlogPolicy {
        TlogPolicy {
            witnesses: vec![Witness {
                name: OWN.into(),
                key: self.keys()[1].clone(),
                url: None,
            }],
            quorum: Some(Member::Witness(0)),
            ..self.trust()
        }
    }
}

/// How a log's ML-DSA-44 key is called among the witnesses.
const OWN: &str = "log-ml-dsa-44";

impl Group {
    fn needed(&self) -> usize {
        match self.threshold {
            Threshold::All => self.members.len(),
            Threshold::Any => 1,
            Threshold::Count(count) => count,
        }
    }
}

fn time_of(member: Member, witnesses: &[Option<u64>], groups: &[Option<u64>]) -> Option<u64> {
    match member {
        Member::Witness(index) => witnesses.get(index).copied().flatten(),
        Member::Group(index) => groups.get(index).copied().flatten(),
    }
}

fn names<'a>(witnesses: impl Iterator<Item = &'a Witness>) -> Vec<String> {
    witnesses.map(Witness::name).collect()
}

/// What a quorum line says.
#[derive(Clone, Copy)]
enum Quorum {
    None,
    Of(Member),
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    logs: Vec<TrustedLog>,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    used: Vec<Member>,
    quorum: Option<Quorum>,
}

impl TlogPolicy {
    /// Reads a policy file. It must name a log.
    pub fn parse(bytes: &[u8]) -> Result<TlogPolicy, TlogPolicyError> {
        let fail = |line, problem| TlogPolicyError { line, problem };
        if bytes.len() > MAX_TLOG_POLICY {
            return Err(fail(1, TlogPolicyProblem::TooLarge));
        }
        let mut reading = Reading::default();
        let mut number = 0;
        let mut rest = bytes;
        while !rest.is_empty() {
            number += 1;
            let end = rest.iter().position(|byte| *byte == b'\n');
            let end = end.ok_or(fail(number, TlogPolicyProblem::NoLineBreak))?;
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            reading
                .line(line)
                .map_err(|problem| fail(number, problem))?;
        }
        let quorum = reading
            .quorum
            .ok_or(fail(number, TlogPolicyProblem::NoQuorum))?;
        let mut logs = reading.logs.into_iter();
        let first = logs.next().ok_or(fail(number, TlogPolicyProblem::NoLog))?;
        Ok(TlogPolicy {
            first,
            more: logs.collect(),
            witnesses: reading.witnesses,
            groups: reading.groups,
            quorum: match quorum {
                Quorum::None => None,
                Quorum::Of(member) => Some(member),
            },
        })
    }

    /// The file's text, without comments; [`TlogPolicy::parse`] gives this policy again.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let mut line = |items: &[&[u8]]| {
            let items: Vec<&[u8]> = items
                .iter()
                .copied()
                .filter(|item| !item.is_empty())
                .collect();
            text.extend(items.join(&b' '));
            text.push(b'\n');
        };
        for log in std::iter::once(&self.first).chain(&self.more) {
            let url = log.url.as_deref().unwrap_or_default();
            line(&[b"log", log.key.to_string().as_bytes(), url]);
        }
        for witness in &self.witnesses {
            let url = witness.url.as_deref().unwrap_or_default();
            line(&[
                b"witness",
                &witness.name,
                witness.key.to_string().as_bytes(),
                url,
            ]);
        }
        for group in &self.groups {
            let threshold = match group.threshold {
                Threshold::All => "all".to_owned(),
                Threshold::Any => "any".to_owned(),
                Threshold::Count(count) => count.to_string(),
            };
            let mut items: Vec<&[u8]> = vec![b"group", &group.name, threshold.as_bytes()];
            items.extend(group.members.iter().map(|member| self.name(*member)));
            line(&items);
        }
        line(&[
            b"quorum",
            self.quorum.map_or(b"none", |quorum| self.name(quorum)),
        ]);
        text
    }
}

impl fmt::Display for TlogPolicy {
    /// The file's text; bytes that are not UTF-8 are replaced.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.encode()))
    }
}

impl Reading {
    fn line(&mut self, line: &[u8]) -> Result<(), TlogPolicyProblem> {
        let forbidden = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7F;
        if line.iter().any(forbidden) {
            return Err(TlogPolicyProblem::Control);
        }
        let items: Vec<&[u8]> = line
            .split(|byte| matches!(byte, b' ' | b'\t'))
            .filter(|item| !item.is_empty())
            .collect();
        match items.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"#") => Ok(()),
            [b"log", rest @ ..] => self.log(rest),
            [b"witness", rest @ ..] => self.witness(rest),
            [b"group", rest @ ..] => self.group(rest),
            [b"quorum", rest @ ..] => self.quorum(rest),
            _ => Err(TlogPolicyProblem::Keyword),
        }
    }

    fn log(&mut self, items: &[&[u8]]) -> Result<(), TlogPolicyProblem> {
        let (key, url) = match items {
            [key] => (key, None),
            [key, url] => (key, Some(url.to_vec())),
            _ => return Err(TlogPolicyProblem::Form("log <vkey> [<url>]")),
        };
        let key = vkey(key)?;
        if key.signature_type() == SignatureType::CosignatureV1 {
            return Err(TlogPolicyProblem::KeyType("logs"));
        }
        bounded(&self.logs)?;
        if self.logs.iter().any(|log| log.key.public() == key.public()) {
            return Err(TlogPolicyProblem::DuplicateKey("log"));
        }
        self.logs.push(TrustedLog { key, url });
        Ok(())
    }

    fn witness(&mut self, items: &[&[u8]]) -> Result<(), TlogPolicyProblem> {
        let (name, key, url) = match items {
            [name, key] => (name, key, None),
            [name, key, url] => (name, key, Some(url.to_vec())),
            _ => return Err(TlogPolicyProblem::Form("witness <name> <vkey> [<url>]")),
        };
        let key = vkey(key)?;
        if key.signature_type() == SignatureType::Ed25519 {
            return Err(TlogPolicyProblem::KeyType("witnesses"));
        }
        bounded(&self.witnesses)?;
        let public = |witness: &Witness| witness.key.public() == key.public();
        if self.witnesses.iter().any(public) {
            return Err(TlogPolicyProblem::DuplicateKey("witness"));
        }
        let name = self.new_name(name)?;
        self.witnesses.push(Witness { name, key, url });
        Ok(())
    }

    fn group(&mut self, items: &[&[u8]]) -> Result<(), TlogPolicyProblem> {
        let [name, threshold, names @ ..] = items else {
            let form = "group <name> all|any|<k> <name>...";
            return Err(TlogPolicyProblem::Form(form));
        };
        bounded(&self.groups)?;
        let name = self.new_name(name)?;
        let mut members = Vec::new();
        for name in names {
            let member = self.member(name)?;
            if self.used.contains(&member) {
                return Err(TlogPolicyProblem::MemberTwice(shown(name)));
            }
            self.used.push(member);
            members.push(member);
        }
        let threshold = match *threshold {
            b"all" => Threshold::All,
            b"any" => Threshold::Any,
            number => {
                let number = std::str::from_utf8(number).ok().and_then(decimal);
                let number = number.and_then(|number| usize::try_from(number).ok());
                Threshold::Count(number.ok_or(TlogPolicyProblem::Threshold)?)
            }
        };
        let group = Group {
            name,
            threshold,
            members,
        };
        if !(1..=group.members.len()).contains(&group.needed()) {
            return Err(TlogPolicyProblem::Threshold);
        }
        self.groups.push(group);
        Ok(())
    }

    fn quorum(&mut self, items: &[&[u8]]) -> Result<(), TlogPolicyProblem> {
        let [name] = items else {
            return Err(TlogPolicyProblem::Form("quorum <name>|none"));
        };
        if self.quorum.is_some() {
            return Err(TlogPolicyProblem::QuorumTwice);
        }
        self.quorum = Some(match *name {
            b"none" => Quorum::None,
            name => Quorum::Of(self.member(name)?),
        });
        Ok(())
    }

    fn member(&self, name: &[u8]) -> Result<Member, TlogPolicyProblem> {
        let witness = self.witnesses.iter().position(|one| one.name == name);
        let group = self.groups.iter().position(|one| one.name == name);
        witness
            .map(Member::Witness)
            .or(group.map(Member::Group))
            .ok_or_else(|| TlogPolicyProblem::Undefined(shown(name)))
    }

    fn new_name(&self, name: &[u8]) -> Result<Vec<u8>, TlogPolicyProblem> {
        if name == b"none" || self.member(name).is_ok() {
            return Err(TlogPolicyProblem::NameTaken(shown(name)));
        }
        Ok(name.into())
    }
}

fn vkey(text: &[u8]) -> Result<NoteKey, TlogPolicyProblem> {
    let text = std::str::from_utf8(text).map_err(|_| NoteError::Key("not UTF-8"))?;
    Ok(NoteKey::parse(text)?)
}

fn bounded<T>(of_a_kind: &[T]) -> Result<(), TlogPolicyProblem> {
    if of_a_kind.len() < MAX_OF_A_KIND {
        Ok(())
    } else {
        Err(TlogPolicyProblem::TooMany)
    }
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().take(80).collect()
}
