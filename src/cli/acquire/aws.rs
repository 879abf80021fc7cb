//! Who asks S3: the variables and files of the AWS command line.

use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::cli::context::{now, variable};
use crate::cli::failure::Failure;
use crate::client::sigv4::AwsKeys;
use crate::disk;
use crate::source::s3::Account;

/// The largest file of credentials.
const MAX_FILE: u64 = 1024 * 1024;

/// The account of the environment; with no credentials, everybody's.
pub(super) fn account() -> Result<Account, Failure> {
    let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
    let region = region.unwrap_or_else(|| "us-east-1".into());
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !region.bytes().all(plain) {
        let shown = crate::path::display(&region);
        return Err(
            Failure::error(format!("{shown:?} is no region of AWS")).hint("check AWS_REGION")
        );
    }
    let anonymous =
        variable("AWS_SKIP_SIGNATURE").is_some_and(|value| value == "true" || value == "1");
    Ok(Account {
        endpoint: variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL")),
        keys: if anonymous { None } else { keys(&region)? },
        region,
        now,
    })
}

fn keys(region: &str) -> Result<Option<AwsKeys>, Failure> {
    let keys = |id: String, secret: String, token: Option<String>| AwsKeys {
        access_key_id: id,
        secret_access_key: Zeroizing::new(secret),
        session_token: token,
        region: region.into(),
    };
    match (
        variable("AWS_ACCESS_KEY_ID"),
        variable("AWS_SECRET_ACCESS_KEY"),
    ) {
        (Some(id), Some(secret)) => {
            return Ok(Some(keys(id, secret, variable("AWS_SESSION_TOKEN"))));
        }
        (None, None) => {}
        _ => {
            return Err(Failure::error(
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are one without the other",
            ));
        }
    }
    let asked = variable("AWS_PROFILE");
    let profile = asked.clone().unwrap_or_else(|| "default".into());
    let path = variable("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
    let path = path.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".aws/credentials")));
    let text = match path.as_ref().map(|path| disk::read(path, MAX_FILE)) {
        Some(Ok(bytes)) => Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()),
        Some(Err(error)) if !error.is_not_found() => return Err(error.into()),
        _ => Zeroizing::new(String::new()),
    };
    let value = |name: &str| in_profile(&text, &profile, name);
    match (value("aws_access_key_id"), value("aws_secret_access_key")) {
        (Some(id), Some(secret)) => Ok(Some(keys(id, secret, value("aws_session_token")))),
        _ if asked.is_some() => Err(Failure::error(format!(
            "the profile {} has no access key",
            crate::path::display(&profile)
        ))
        .hint("`aws configure export-credentials --format env` gives those of roles and of SSO")),
        _ => Ok(None),
    }
}

/// `name = value` beneath `[profile]`.
fn in_profile(text: &str, profile: &str, name: &str) -> Option<String> {
    let mut here = false;
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            here = section.trim() == profile;
        } else if here
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == name
        {
            found = Some(value.trim().to_owned());
        }
    }
    found.filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles() {
        let text = "[default]\naws_access_key_id = a\n# x\n[other]\naws_access_key_id=b\naws_secret_access_key = c=d\n";
        let value = |profile, name| in_profile(text, profile, name);
        assert_eq!(value("default", "aws_access_key_id").as_deref(), Some("a"));
        assert_eq!(value("default", "aws_secret_access_key"), None);
        assert_eq!(
            value("other", "aws_secret_access_key").as_deref(),
            Some("c=d")
        );
        assert_eq!(value("none", "aws_access_key_id"), None);
    }
}
