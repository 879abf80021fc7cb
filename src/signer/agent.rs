//! Keys in an SSH agent (draft-ietf-sshm-ssh-agent): Ed25519 and ECDSA. One Unix socket, two messages.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use data_encoding::BASE64_NOPAD;

use super::{Remote, failed};
use crate::digest::Sha256;
use crate::key::openssh::{Reader, public_from_blob};
use crate::key::{KeyAlgorithm, Signer, SignerError};

const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// The largest message.
const MAX_MESSAGE: u32 = 256 * 1024;

/// How long a person may take to touch a key.
const PATIENCE: Duration = Duration::from_secs(120);

/// The key in the agent at `socket` that is called `wanted`: its comment, or `SHA256:…` as ssh-add shows it.
/// With nothing asked for, the only one that can be used.
pub fn open(socket: &Path, wanted: &str) -> Result<Box<dyn Signer>, SignerError> {
    let mut agent = Agent::connect(socket)?;
    let mut usable = Vec::new();
    for (blob, comment) in agent.identities()? {
        if !wanted.is_empty() && wanted != comment && wanted != fingerprint(&blob) {
            continue;
        }
        if let Some(public) = public_from_blob(&blob) {
            usable.push((blob, public));
        }
    }
    let [(blob, public)] = <[_; 1]>::try_from(usable).map_err(|usable| {
        let count = usable.len();
        SignerError(if count == 0 {
            format!("the agent has no such key of a type that is used: {wanted:?}")
        } else {
            format!("the agent has {count} such keys: name one by comment or SHA256:…")
        })
    })?;
    let algorithm = public.algorithm();
    let socket = socket.to_owned();
    let sign = move |message: &[u8]| {
        let mut agent = Agent::connect(&socket)?;
        agent
            .sign(&blob, message)?
            .and_then(|signature| to_ours(algorithm, &signature))
            .ok_or_else(|| SignerError("the agent does not sign with this key".into()))
    };
    Ok(Box::new(Remote { public, sign }))
}

/// As `ssh-add -l` shows a key.
fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", BASE64_NOPAD.encode(&Sha256::of(blob).0))
}

struct Agent(UnixStream);

impl Agent {
    fn connect(socket: &Path) -> Result<Agent, SignerError> {
        let fail = |error: std::io::Error| failed("the SSH agent", &error);
        let stream = UnixStream::connect(socket).map_err(fail)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(fail)?;
        Ok(Agent(stream))
    }

    fn ask(&mut self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let fail = |error: std::io::Error| failed("the SSH agent", &error);
        if message.len() > MAX_MESSAGE as usize {
            return Err(SignerError(format!(
                "an SSH agent takes at most {MAX_MESSAGE} bytes, and what is to be signed has {}: sign a model of so many files with a key in a file, a token or a service",
                message.len()
            )));
        }
        self.0.write_all(&string(message)).map_err(fail)?;
        let mut length = [0; 4];
        self.0.read_exact(&mut length).map_err(fail)?;
        let length = u32::from_be_bytes(length);
        if length > MAX_MESSAGE {
            return Err(SignerError("the SSH agent's answer is too long".into()));
        }
        let mut answer = Vec::new();
        (&self.0)
            .take(u64::from(length))
            .read_to_end(&mut answer)
            .map_err(fail)?;
        Ok(answer)
    }

    /// Key blobs and comments.
    fn identities(&mut self) -> Result<Vec<(Vec<u8>, String)>, SignerError> {
        let odd = || SignerError("the SSH agent's answer is malformed".into());
        let answer = self.ask(&[REQUEST_IDENTITIES])?;
        let mut reader = Reader(&answer);
        if reader.byte() != Some(IDENTITIES_ANSWER) {
            return Err(odd());
        }
        let count = reader.number().ok_or_else(odd)?;
        let mut keys = Vec::new();
        for _ in 0..count {
            let blob = reader.string().ok_or_else(odd)?;
            let comment = reader.string().ok_or_else(odd)?;
            keys.push((blob.to_vec(), String::from_utf8_lossy(comment).into_owned()));
        }
        Ok(keys)
    }

    /// The signature blob; `None` if the agent refuses.
    fn sign(&mut self, blob: &[u8], message: &[u8]) -> Result<Option<Vec<u8>>, SignerError> {
        let mut request = vec![SIGN_REQUEST];
        request.extend(string(blob));
        request.extend(string(message));
        request.extend([0; 4]);
        let answer = self.ask(&request)?;
        let mut reader = Reader(&answer);
        if reader.byte() != Some(SIGN_RESPONSE) {
            return Ok(None);
        }
        Ok(reader.string().map(<[u8]>::to_vec))
    }
}

/// A length, and that many bytes (RFC 4251 §5).
fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), bytes].concat()
}

/// A signature blob (RFC 8709 §6, RFC 5656 §3.1.2) as envelopes have it.
fn to_ours(algorithm: KeyAlgorithm, blob: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(blob);
    let name = reader.string()?;
    let signature = reader.string()?;
    if algorithm == KeyAlgorithm::Ed25519 {
        return (name == b"ssh-ed25519").then(|| signature.to_vec());
    }
    let mut numbers = Reader(signature);
    let (r, s) = (numbers.string()?, numbers.string()?);
    // Both are two's complement with as few bytes as it takes, just like DER's INTEGER.
    let number = |bytes: &[u8]| -> Option<Vec<u8>> {
        let length = u8::try_from(bytes.len())
            .ok()
            .filter(|length| *length < 0x80)?;
        Some([&[0x02, length], bytes].concat())
    };
    let body = [number(r)?, number(s)?].concat();
    let length = u8::try_from(body.len()).ok()?;
    let head = if length < 0x80 {
        vec![0x30, length]
    } else {
        vec![0x30, 0x81, length]
    };
    Some([head, body].concat())
}
