//! The hub as the environment names it: the variables of the hub's own client.

use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::cli::context::variable;
use crate::cli::failure::Failure;
use crate::disk;
use crate::gate;
use crate::source::hub::Hub;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// The hub of the environment. Whom nobody asks needs no token.
pub(in crate::cli) fn hub(offline: bool) -> Result<Hub, Failure> {
    let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.into());
    let token = if offline { None } else { token()? };
    Hub::new(&endpoint, token).map_err(|error| Failure::error(gate::cause(&error)))
}

/// Has the user said that there is no network?
pub(in crate::cli) fn is_offline(flag: bool) -> bool {
    let on = |name| {
        let value = variable(name).unwrap_or_default().to_ascii_uppercase();
        matches!(value.as_str(), "1" | "ON" | "YES" | "TRUE")
    };
    flag || on("HF_HUB_OFFLINE")
}

/// The token as the hub's own client finds it.
fn token() -> Result<Option<Zeroizing<String>>, Failure> {
    let implicit = variable("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_none();
    let text = match variable("HF_TOKEN") {
        Some(token) => Some(token),
        None if implicit => {
            let home = variable("HF_HOME").map(PathBuf::from).or_else(|| {
                let home = variable("HOME").map(PathBuf::from)?;
                Some(home.join(".cache/huggingface"))
            });
            let path = variable("HF_TOKEN_PATH").map(PathBuf::from);
            let path = path.or_else(|| Some(home?.join("token")));
            match path.map(|path| disk::read(&path, 4096)) {
                Some(Ok(bytes)) => String::from_utf8(bytes).ok(),
                Some(Err(error)) if !error.is_not_found() => return Err(error.into()),
                _ => None,
            }
        }
        None => None,
    };
    let text = text.map(|text| Zeroizing::new(text.trim().to_owned()));
    let text = text.filter(|text| !text.is_empty());
    let odd = |text: &Zeroizing<String>| !text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.as_ref().is_some_and(odd) {
        return Err(
            Failure::error("the token of the hub holds characters that no token has")
                .hint("check HF_TOKEN, or the file that HF_TOKEN_PATH names"),
        );
    }
    Ok(text)
}
