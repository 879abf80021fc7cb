//! What one entry says, for those who look entries up: pure, over the entry's bytes.

use super::tile::MAX_ENTRY;
use crate::artifact::ArtifactDigest;
use crate::digest::Sha256;
use crate::envelope::Envelope;
use crate::statement::{Kind, Record, Role, STANDING, Statement, may_be};
use crate::time::Timestamp;

/// An entry, understood or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// What the record says; `None` if the entry is none that this version understands.
    pub record: Option<RecordFacts>,
    /// Every digest that the entry names, and in which part.
    pub mentions: Vec<(Mention, Sha256)>,
    /// It names more digests than are listed.
    pub is_cut: bool,
    /// It is about keys, or takes something back: every gate must know of it.
    pub is_standing: bool,
}

/// A record.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordFacts {
    pub kind: Kind,
    pub role: Role,
    pub party: Option<String>,
    /// The key that it names as its signer's. Nothing is verified here.
    pub key_id: Sha256,
    pub time: Timestamp,
    pub name: String,
    pub source: Option<String>,
    pub version: Option<String>,
}

/// In which part of an entry a digest stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mention {
    /// The artifact that the record is about.
    Artifact,
    /// The root of its OMS signature.
    OmsRoot,
    Manifest,
    /// The signature file that a release names.
    Signature,
    /// The key that the record is about.
    Key,

    /// Anywhere else, or in an entry that is not understood.
    Other,
}

impl Mention {
    /// As it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Mention::Artifact => "artifact",
            Mention::OmsRoot => "oms-root",
            Mention::Manifest => "manifest",
            Mention::Signature => "signature",
            Mention::Key => "key",

            Mention::Other => "other",
        }
    }
}

/// The most digests that are looked for in an entry.
const MAX_MENTIONS: usize = 512;

/// What `entry` says. Of one that is not understood, every digest that stands in it in hexadecimal:
/// it may still say that an artifact must not be used.
pub fn facts(entry: &[u8]) -> Facts {
    let envelope = Envelope::parse(entry, MAX_ENTRY).ok();
    let payload = payload(entry);
    let payload = payload.as_slice();
    let mut mentions = Vec::new();
    let statement = Statement::parse(payload)
        .ok()
        .filter(|_| envelope.is_some());
    let record = statement.map(|statement| {
        let [subject] = &statement.subject;
        let digests = &subject.digest;
        let artifact = statement.artifact().map(ArtifactDigest::value);
        mentions.extend(artifact.map(|it| (Mention::Artifact, it)));
        mentions.extend(digests.oms_root.map(|root| (Mention::OmsRoot, root)));
        let manifest = statement.record.manifest();
        mentions.extend(manifest.map(|it| (Mention::Manifest, it.sha256)));
        if statement.record.kind() == Kind::Key {
            mentions.extend(digests.sha256.map(|it| (Mention::Key, it)));
        }
        let (mut source, mut version) = (None, None);
        match &statement.record {
            Record::Acquire(acquire) => source = Some(acquire.source_uri.as_str().to_owned()),
            Record::Release(release) => {
                let signature = release.signature.as_ref();
                mentions.extend(signature.map(|it| (Mention::Signature, it.sha256)));
                let named = release.version.as_ref();
                version = named.map(|version| version.as_str().to_owned());
            }
            _ => {}
        }
        let actor = statement.record.actor();
        RecordFacts {
            kind: statement.record.kind(),
            role: actor.role,
            party: actor.party.as_ref().map(|party| party.as_str().to_owned()),
            key_id: actor.key_id,
            time: statement.record.time(),
            name: subject.name.as_str().to_owned(),
            source,
            version,
        }
    });
    let mut is_cut = false;
    for digest in hexadecimal(payload) {
        if mentions.len() >= MAX_MENTIONS {
            is_cut = true;
            break;
        }
        if !mentions.iter().any(|(_, known)| *known == digest) {
            mentions.push((Mention::Other, digest));
        }
    }
    Facts {
        record,
        mentions,
        is_cut,
        is_standing: may_be(payload, STANDING),
    }
}

/// What `entry` says. One that cannot be read otherwise may still say that an artifact must not be used,
/// so nothing is asked of it here but a `payload` in base64.
pub fn payload(entry: &[u8]) -> Vec<u8> {
    if let Some(payload) = plain_payload(entry) {
        return payload;
    }
    // Lenient on purpose: a key that is there twice must not hide what the entry says.
    let payload = match serde_json::from_slice::<serde_json::Value>(entry) {
        Ok(value) => {
            let text = value.get("payload").and_then(|payload| payload.as_str());
            text.and_then(|text| data_encoding::BASE64.decode(text.as_bytes()).ok())
        }
        Err(_) => None,
    };
    payload.unwrap_or_else(|| entry.to_vec())
}

/// The same of an entry as everybody writes it, with one payload and no escapes, which can be read without taking it apart.
fn plain_payload(entry: &[u8]) -> Option<Vec<u8>> {
    const KEY: &[u8] = b"\"payload\":\"";
    let rest = entry.strip_prefix(b"{")?.strip_prefix(KEY)?;
    let end = memchr::memchr(b'"', rest)?;
    let (text, after) = rest.split_at_checked(end)?;
    let again = memchr::memmem::find(after, b"\"payload\"").is_some();
    if again || entry.contains(&b'\\') {
        return None;
    }
    data_encoding::BASE64.decode(text).ok()
}

/// Runs of exactly 64 hexadecimal digits, in either case.
fn hexadecimal(payload: &[u8]) -> impl Iterator<Item = Sha256> + '_ {
    payload
        .split(|byte| !byte.is_ascii_hexdigit())
        .filter(|run| run.len() == 64)
        .filter_map(|run| {
            let text = std::str::from_utf8(run).ok()?.to_ascii_lowercase();
            text.parse().ok()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_what_is_not_understood_are_found() {
        let digest = Sha256::of(b"x");
        let upper = digest.to_string().to_uppercase();
        for entry in [
            format!("junk {digest}."),
            format!("[\"{upper}\"]"),
            digest.to_string(),
        ] {
            let facts = facts(entry.as_bytes());
            assert_eq!(facts.record, None);
            assert_eq!(facts.mentions, [(Mention::Other, digest)], "{entry}");
        }
        assert!(facts(format!("a{digest}").as_bytes()).mentions.is_empty());
    }
}
