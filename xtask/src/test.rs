//! `cargo xtask test`: the whole test suite, with the peers it compares with in place.

use std::path::Path;

use crate::failure::Failure;
use crate::{peers, process, real_model};

pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), Failure> {
    let (own, for_cargo) = split(arguments);
    let mut with_real_model = false;
    for argument in own {
        match argument.as_str() {
            "--real-model" => with_real_model = true,
            other => {
                return Err(Failure::usage(format!(
                    "unknown argument {other:?} of test"
                )));
            }
        }
    }
    let peers = peers::ensure(root)?;
    let mut test = process::cargo(root);
    test.args(["test", "--locked", "--workspace", "--all-features"])
        .args(for_cargo)
        .env("WEIGHBRIDGE_PEERS", &peers.directory)
        // A peer that is missing fails its tests instead of skipping them.
        .env("WEIGHBRIDGE_REQUIRE_PEERS", "1");
    test.env("WEIGHBRIDGE_WITHOUT", peers.without.join(","));
    process::run(&mut test)?;
    if with_real_model {
        real_model::run(root, &peers.directory)
    } else {
        Ok(())
    }
}

/// Parts at `--`: ours before it, another program's behind it.
pub(crate) fn split(arguments: &[String]) -> (&[String], &[String]) {
    let mut parts = arguments.splitn(2, |argument| argument == "--");
    (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_dashes_part() {
        let arguments = ["--real-model", "--", "--test", "it", "--", "--nocapture"];
        let arguments = arguments.map(str::to_owned);
        let (own, rest) = split(&arguments);
        assert_eq!(own, ["--real-model"]);
        assert_eq!(rest, ["--test", "it", "--", "--nocapture"]);
        assert_eq!(split(&[]), (&[][..], &[][..]));
    }
}
