//! A page of a list of objects (`ListBucketResult`, Amazon S3 API reference).

use quick_xml::de::from_reader;
use serde::Deserialize;

use crate::percent::decoded;

/// The largest page: 1,000 keys of 1,024 bytes, each byte of which may be encoded.
pub const MAX_PAGE: u64 = 16 * 1024 * 1024;

/// A page.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    pub keys: Vec<String>,
    pub is_truncated: bool,
    pub next: Option<String>,
}

/// Why it is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the list of objects cannot be read: {0}")]
pub struct ListingError(String);

#[derive(Deserialize)]
#[serde(rename = "ListBucketResult", rename_all = "PascalCase")]
struct Answer {
    is_truncated: bool,
    next_continuation_token: Option<String>,
    encoding_type: Option<String>,
    #[serde(default)]
    contents: Vec<Object>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Object {
    key: String,
}

/// Reads a page.
pub fn parse(bytes: &[u8]) -> Result<Page, ListingError> {
    let answer: Answer = from_reader(bytes)
        .map_err(|error| ListingError(error.to_string().chars().take(200).collect()))?;
    let is_encoded = answer.encoding_type.as_deref() == Some("url");
    let key = |object: Object| {
        if !is_encoded {
            return Ok(object.key);
        }
        // In forms a plus is a space; a plus itself comes encoded.
        decoded(&object.key.replace('+', " "))
            .ok_or_else(|| ListingError("a key is not encoded as it says".into()))
    };
    let keys = answer.contents.into_iter().map(key);
    Ok(Page {
        keys: keys.collect::<Result<_, _>>()?,
        is_truncated: answer.is_truncated,
        next: answer.next_continuation_token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        let text = r#"<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>
            <EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>
            <Contents><Key>a%2Fb+c%2B</Key><Size>1</Size><Owner><ID>x</ID></Owner></Contents><KeyCount>1</KeyCount></ListBucketResult>"#;
        let page = parse(text.as_bytes()).unwrap();
        assert_eq!(page.keys, ["a/b c+"]);
        assert_eq!((page.is_truncated, page.next.as_deref()), (true, Some("t")));
        for wrong in [
            "",
            "<x/>",
            "<ListBucketResult/>",
            "<ListBucketResult><IsTruncated>x</IsTruncated></ListBucketResult>",
        ] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
