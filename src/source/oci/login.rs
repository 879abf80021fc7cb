//! Who asks a registry: what `docker login`, `podman login` and their helpers left.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use data_encoding::BASE64;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::disk;
use crate::json;

/// A name and a secret; a token that stands for both has no name.
#[derive(Clone)]
pub struct Login {
    pub user: String,
    pub secret: Zeroizing<String>,
}

/// Where they are looked for.
#[derive(Clone, Debug, Default)]
pub struct Logins {
    /// Files in the form of docker's `config.json`, in the order in which they are asked.
    pub files: Vec<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ConfigFile {
    auths: BTreeMap<String, Entry>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Entry {
    auth: Option<String>,
    #[serde(alias = "identitytoken")]
    identity_token: Option<String>,
}

#[derive(Deserialize)]
struct FromHelper {
    #[serde(rename = "Username")]
    user: String,
    #[serde(rename = "Secret")]
    secret: String,
}

/// The largest file of logins.
const MAX_FILE: u64 = 1024 * 1024;

impl Logins {
    /// Who asks `host` for `repository`, if anybody is known there.
    pub fn find(&self, host: &str, repository: &str) -> Result<Option<Login>, String> {
        for path in &self.files {
            let bytes = match disk::read(path, MAX_FILE) {
                Ok(bytes) => Zeroizing::new(bytes),
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(crate::gate::cause(&error)),
            };
            let limit = usize::try_from(MAX_FILE).unwrap_or(usize::MAX);
            // What is wrong with it is not shown: it holds secrets.
            let config: ConfigFile = json::parse(&bytes, limit)
                .map_err(|_| format!("{} is no file of logins", path.display()))?;
            if let Some(login) = in_config(&config, host, repository)? {
                return Ok(Some(login));
            }
        }
        Ok(None)
    }
}

fn in_config(config: &ConfigFile, host: &str, repository: &str) -> Result<Option<Login>, String> {
    // What `docker login` calls the Docker Hub.
    let host = if host == "docker.io" {
        "index.docker.io"
    } else {
        host
    };
    let helper = config
        .cred_helpers
        .get(host)
        .or(config.creds_store.as_ref());
    if let Some(helper) = helper
        && let Some(login) = ask(helper, host)?
    {
        return Ok(Some(login));
    }
    // Podman tells logins by repository too: the longest that fits counts.
    let mut keys = vec![format!("{host}/{repository}")];
    while let Some((shorter, _)) = keys.last().and_then(|key| key.rsplit_once('/')) {
        keys.push(shorter.to_owned());
    }
    keys.extend([
        format!("https://{host}"),
        format!("https://{host}/v1/"),
        format!("https://{host}/v2/"),
    ]);
    let entry = keys.iter().find_map(|key| config.auths.get(key));
    let Some(entry) = entry else { return Ok(None) };
    let decoded = entry.auth.as_ref().and_then(|auth| {
        let bytes = BASE64.decode(auth.as_bytes()).ok()?;
        String::from_utf8(bytes).ok().map(Zeroizing::new)
    });
    let pair = decoded
        .as_ref()
        .and_then(|text| text.split_once(':'))
        .map(|(user, secret)| (user.to_owned(), Zeroizing::new(secret.to_owned())));
    Ok(match (&entry.identity_token, pair) {
        (Some(token), _) if !token.is_empty() => Some(Login {
            user: String::new(),
            secret: Zeroizing::new(token.clone()),
        }),
        (_, Some((user, secret))) => Some(Login { user, secret }),
        _ => None,
    })
}

/// A helper of docker's (docker/docker-credential-helpers): the host on its input, JSON on its output.
fn ask(helper: &str, host: &str) -> Result<Option<Login>, String> {
    let is_name = helper
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if !is_name || helper.is_empty() {
        return Err("the file of logins names a helper that is none".into());
    }
    let program = format!("docker-credential-{helper}");
    let failed = |error: std::io::Error| format!("cannot run {program}: {error}");
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        _ = input.write_all(host.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    let answer = Zeroizing::new(output.stdout);
    if !output.status.success() {
        // It knows nobody there.
        return Ok(None);
    }
    let found: FromHelper =
        serde_json::from_slice(&answer).map_err(|_| format!("{program} answers no login"))?;
    let user = if found.user == "<token>" {
        String::new()
    } else {
        found.user
    };
    Ok(Some(Login {
        user,
        secret: Zeroizing::new(found.secret),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_login_that_fits_best() {
        let auth = |text: &str| BASE64.encode(text.as_bytes());
        let text = format!(
            r#"{{"auths":{{"h":{{"auth":"{}"}},"h/team":{{"auth":"{}"}},"https://d/v1/":{{"auth":"{}"}},"t":{{"identitytoken":"x"}}}}}}"#,
            auth("a:1"),
            auth("b:2:3"),
            auth("c:")
        );
        let config: ConfigFile = serde_json::from_str(&text).unwrap();
        let find = |host: &str, repository: &str| {
            let found = in_config(&config, host, repository).unwrap();
            found.map(|login| (login.user.clone(), login.secret.to_string()))
        };
        let pair = |user: &str, secret: &str| Some((user.to_owned(), secret.to_owned()));
        assert_eq!(find("h", "other/x"), pair("a", "1"));
        assert_eq!(find("h", "team/x"), pair("b", "2:3"));
        assert_eq!(find("d", "x"), pair("c", ""));
        assert_eq!(find("t", "x"), pair("", "x"));
        assert_eq!(find("other", "x"), None);
        assert!(ask("../evil", "h").is_err());
    }
}
