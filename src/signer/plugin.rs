//! Any other key service, by the protocol of cosign's plugins (sigstore/sigstore,
//! `pkg/signature/kms/cliplugin`, version v1): the program `sigstore-kms-NAME` on the path is given the
//! version and a question in JSON as arguments and the message on standard input, and answers in JSON on
//! standard output. Errors are in the answer; the exit status says nothing.

use std::io::{Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Remote, failed, is_name};
use crate::digest::decode_base64;
use crate::json;
use crate::key::{KeyAlgorithm, PublicKey, Signer, SignerError};

const VERSION: &str = "v1";

/// The largest answer.
const MAX_ANSWER: usize = 1024 * 1024;

/// How long a person may take to touch a key.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long it may go on when it has answered.
const CLEARING_UP: Duration = Duration::from_secs(2);

/// How often it is looked after.
const GLANCE: Duration = Duration::from_millis(20);

/// What a plugin needs not know.
const OTHERS_SECRETS: [&str; 5] = [
    "WEIGHBRIDGE_PASSPHRASE",
    "WEIGHBRIDGE_PIN",
    "SIGSTORE_ID_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
];

/// The key that `reference`, `NAME://…`, names.
pub fn open(reference: &str) -> Result<Box<dyn Signer>, SignerError> {
    let (name, key) = reference.split_once("://").unwrap_or_default();
    if !is_name(name) {
        return Err(SignerError(format!("{reference:?} names no plugin")));
    }
    let plugin = Plugin {
        program: format!("sigstore-kms-{name}"),
        key: key.into(),
    };
    let options = json!({ "publicKeyOptions": { "rpcOptions": {} } });
    let answer = plugin.ask("publicKey", &options, SHA256, b"")?;
    let pem = answer
        .public_key
        .and_then(|answer| decode_base64(&answer.public_key_pem))
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| plugin.odd("it gives no public key"))?;
    let public =
        PublicKey::from_pem(&pem).map_err(|error| plugin.odd(&format!("its key {error}")))?;
    let hash = match public.algorithm() {
        KeyAlgorithm::P256 => SHA256,
        KeyAlgorithm::P384 => SHA384,
        KeyAlgorithm::P521 => SHA512,
        _ => NO_HASH,
    };
    let sign = move |message: &[u8]| {
        let options = json!({ "signOptions": {
            "rpcOptions": {},
            "messageOptions": { "hashFunc": hash },
        } });
        let answer = plugin.ask("signMessage", &options, hash, message)?;
        answer
            .sign_message
            .and_then(|answer| decode_base64(&answer.signature))
            .ok_or_else(|| plugin.odd("it gives no signature"))
    };
    Ok(Box::new(Remote { public, sign }))
}

// Go's numbers for crypto.Hash.
const NO_HASH: u8 = 0;
const SHA256: u8 = 5;
const SHA384: u8 = 6;
const SHA512: u8 = 7;

struct Plugin {
    program: String,
    /// What stands behind the scheme.
    key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    error_message: String,
    public_key: Option<PublicKeyAnswer>,
    sign_message: Option<SignatureAnswer>,
}

#[derive(Deserialize)]
struct PublicKeyAnswer {
    #[serde(rename = "publicKeyPEM")]
    public_key_pem: String,
}

#[derive(Deserialize)]
struct SignatureAnswer {
    signature: String,
}

/// Passes on what is read, until there is no more or nobody wants it.
fn pass_on(mut stdout: ChildStdout, to: &mpsc::Sender<Vec<u8>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = stdout.read(&mut buffer) {
        let chunk = buffer.get(..count).unwrap_or_default().to_vec();
        if to.send(chunk).is_err() {
            return;
        }
    }
}

impl Plugin {
    /// What the plugin writes: until it closes its output, or has ended and is silent, for what it started may
    /// go on holding the output.
    fn collect(
        &self,
        child: &mut Child,
        receiver: &mpsc::Receiver<Vec<u8>>,
    ) -> Result<Vec<u8>, SignerError> {
        let end = Instant::now() + PATIENCE;
        let mut bytes = Vec::new();
        let mut has_ended = false;
        loop {
            match receiver.recv_timeout(GLANCE) {
                Ok(chunk) => bytes.extend(chunk),
                Err(RecvTimeoutError::Disconnected) => return Ok(bytes),
                Err(RecvTimeoutError::Timeout) if has_ended => return Ok(bytes),
                Err(RecvTimeoutError::Timeout) => {
                    has_ended = !matches!(child.try_wait(), Ok(None));
                }
            }
            if bytes.len() > MAX_ANSWER {
                return Ok(bytes);
            }
            if Instant::now() > end {
                let seconds = PATIENCE.as_secs();
                return Err(self.odd(&format!("gives no answer in {seconds} seconds")));
            }
        }
    }

    fn odd(&self, why: &str) -> SignerError {
        failed(&self.program, &why)
    }

    fn ask(
        &self,
        method: &str,
        options: &Value,
        hash: u8,
        message: &[u8],
    ) -> Result<Answer, SignerError> {
        let question = json!({
            "initOptions": {
                "protocolVersion": VERSION,
                "keyResourceID": self.key,
                "hashFunc": hash,
                "rpcOptions": {},
            },
            "methodName": method,
            method: options,
        });
        let mut command = Command::new(&self.program);
        command
            .args([VERSION, &question.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        for secret in OTHERS_SECRETS {
            command.env_remove(secret);
        }
        let mut child = command
            .spawn()
            .map_err(|error| self.odd(&format!("cannot be run: {error}")))?;
        // Both at once: a plugin may answer before it has read everything. What it leaves running may hold
        // its output open, so nobody waits for these threads.
        if let Some(mut stdin) = child.stdin.take() {
            let message = message.to_vec();
            // A plugin that does not read is not wrong.
            std::thread::spawn(move || _ = stdin.write_all(&message));
        }
        let (sender, receiver) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || pass_on(stdout, &sender));
        }
        let bytes = self.collect(&mut child, &receiver);
        // It may have something to clear up.
        let end = Instant::now() + CLEARING_UP;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < end && bytes.is_ok() {
            std::thread::sleep(GLANCE);
        }
        _ = child.kill();
        _ = child.wait();
        let bytes = bytes?;
        let answer: Answer = json::parse(&bytes, MAX_ANSWER)
            .map_err(|error| self.odd(&format!("its answer is malformed: {error}")))?;
        if !answer.error_message.is_empty() {
            let message: String = answer.error_message.chars().take(500).collect();
            return Err(self.odd(&crate::path::display(&message)));
        }
        Ok(answer)
    }
}
