//! `debug`: plumbing that lets others try our primitives with their own vectors. Hidden.

use std::io::{BufRead, Read};

use clap::{Args, Subcommand};
use serde::Deserialize;

use super::Outcome;
use super::engine;
use super::failure::Failure;
use super::output::Output;
use crate::json;
use crate::x509::verify_raw;

/// Plumbing for tests
#[derive(Args)]
pub(super) struct DebugArgs {
    #[command(subcommand)]
    verb: DebugVerb,
}

#[derive(Subcommand)]
enum DebugVerb {
    VerifyRaw(VerifyRawArgs),
    /// Say what SHA-256 is computed with on this processor, and why: what there is, how fast, for how many files at once
    Engine,
}

/// Verify bare signatures: JSON lines on standard input, one word a line on standard output
///
/// Each line is an object with algorithm, key, message and signature. The algorithm is ed25519, ml-dsa-65,
/// ecdsa-CURVE-HASH with p256, p384, p521 and sha256, sha384, sha512, or rsa-pkcs1-HASH. The key is a
/// SubjectPublicKeyInfo in DER, or the bare key of ed25519 and ml-dsa-65; ECDSA signatures are ASN.1 DER.
/// Everything is in lower-case hexadecimal. The word is valid, invalid, or unusable for a key that is none.
#[derive(Args)]
#[command(after_help = "Example:
  weighbridge debug verify-raw < vectors.jsonl")]
struct VerifyRawArgs {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    algorithm: String,
    key: String,
    message: String,
    signature: String,
}

/// The longest line.
const MAX_LINE: usize = 16 * 1024 * 1024;

pub(super) fn run(args: &DebugArgs, output: &Output) -> Outcome {
    match args.verb {
        DebugVerb::Engine => engine::describe(output),
        DebugVerb::VerifyRaw(VerifyRawArgs {}) => verify_lines(output),
    }
}

fn verify_lines(output: &Output) -> Outcome {
    let (mut all_valid, mut count) = (true, 0);
    let mut input = std::io::stdin().lock();
    for number in 0_usize.. {
        let mut line = Vec::new();
        let read = (&mut input)
            .take(MAX_LINE as u64)
            .read_until(b'\n', &mut line);
        if read.map_err(|error| Failure::because("standard input", &error))? == 0 {
            break;
        }
        if line.len() == MAX_LINE {
            let message = format!("line {} is longer than {MAX_LINE} bytes", number + 1);
            return Err(Failure::error(message));
        }
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        count += 1;
        let fail = |why: String| Failure::error(format!("line {}: {why}", number + 1));
        let vector: Vector =
            json::parse(line, MAX_LINE).map_err(|error| fail(error.to_string()))?;
        let hex = |text: &str| {
            data_encoding::HEXLOWER
                .decode(text.as_bytes())
                .map_err(|error| fail(error.to_string()))
        };
        let (key, message) = (hex(&vector.key)?, hex(&vector.message)?);
        let signature = hex(&vector.signature)?;
        let verdict = verify_raw(&vector.algorithm, &key, &message, &signature)
            .ok_or_else(|| fail(format!("there is no algorithm {:?}", vector.algorithm)))?;
        all_valid &= verdict == crate::x509::RawVerdict::Valid;
        output.data(&format!("{}\n", verdict.name()))?;
    }
    if count == 0 {
        return Err(Failure::error("standard input holds no vector"));
    }
    Ok(u8::from(!all_valid))
}
