//! A digest list that the publisher publishes, and whether an artifact is what it says.

use std::path::Path;

use crate::artifact::Manifest;
use crate::artifact::manifest::{self, Difference, Line};
use crate::cli::failure::Failure;
use crate::digest::{Algorithm, Sha256};
use crate::disk;
use crate::statement::Text;
use crate::statement::acquire::{EndpointIdentity, UpstreamDigest};

/// A list that was read.
pub(super) struct PublishedList {
    lines: Vec<Line>,
    /// Of the list itself.
    pub(super) sha256: Sha256,
    /// A file name or a URL.
    pub(super) read_from: String,
    /// Who served it.
    pub(super) endpoint: Option<EndpointIdentity>,
}

/// The artifact is what the list says. The digests, file by file, if they fit into a record.
pub(super) struct Checked(pub(super) Vec<UpstreamDigest>);

/// The largest list.
const MAX_LIST: u64 = 64 * 1024 * 1024;
/// The most digests that are repeated in a record; the list itself is named by its digest.
const MAX_REPEATED: usize = 16;

impl PublishedList {
    /// Reads a list from a file or an https URL.
    pub(super) fn read(place: &str) -> Result<PublishedList, Failure> {
        let (bytes, read_from, endpoint) = bytes(place)?;
        let lines = manifest::parse(&bytes, Algorithm::Sha256)
            .map_err(|error| Failure::because(place, &error))?;
        Ok(PublishedList {
            lines,
            sha256: Sha256::of(&bytes),
            read_from,
            endpoint,
        })
    }

    /// Every file of the artifact must be on the list, with its digest. The list may name more.
    pub(super) fn check(&self, manifest: &Manifest) -> Result<Checked, Failure> {
        let mut wrong = Vec::new();
        for difference in manifest::compare(&self.lines, manifest, Algorithm::Sha256) {
            match difference {
                Difference::Changed { path, .. } => {
                    wrong.push(format!("{path}: is not what {} says", self.read_from));
                }
                Difference::Added { path } => {
                    wrong.push(format!("{path}: is not on the list {}", self.read_from));
                }
                Difference::Missing { .. } => {}
            }
        }
        if !wrong.is_empty() {
            wrong.truncate(20);
            return Err(Failure::refused(wrong).hint("nothing was recorded"));
        }
        if manifest.files().len() > MAX_REPEATED {
            return Ok(Checked(Vec::new()));
        }
        let upstream = manifest.files().iter().map(|file| {
            let digest = manifest.digest(file, Algorithm::Sha256).unwrap_or_default();
            Some(UpstreamDigest {
                path: Some(Text::new(file.path.as_str()).ok()?),
                algorithm: Algorithm::Sha256,
                digest: Text::new(data_encoding::HEXLOWER.encode(digest)).ok()?,
                matched: true,
            })
        });
        Ok(Checked(upstream.collect::<Option<_>>().unwrap_or_default()))
    }
}

type Read = (Vec<u8>, String, Option<EndpointIdentity>);

fn bytes(place: &str) -> Result<Read, Failure> {
    if place.split_once("://").is_some() {
        return fetch(place);
    }
    let path = Path::new(place);
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    Ok((disk::read(path, MAX_LIST)?, name, None))
}

#[cfg(feature = "http")]
fn fetch(url: &str) -> Result<Read, Failure> {
    use crate::source::https;
    use crate::statement::SourceUri;
    // Before it is fetched: a URL that may not stand in a record is of no use.
    SourceUri::new(url).map_err(|error| Failure::because("--checksums", &error))?;
    let fetched =
        https::fetch(url, MAX_LIST).map_err(|error| Failure::error(crate::gate::cause(&error)))?;
    let final_url = SourceUri::new(fetched.final_url)
        .map_err(|error| Failure::because("the URL after redirects", &error))?;
    let endpoint = fetched.peers.last().and_then(crate::source::endpoint);

    Ok((fetched.bytes, final_url.as_str().into(), endpoint))
}

#[cfg(not(feature = "http"))]
fn fetch(url: &str) -> Result<Read, Failure> {
    Err(
        Failure::error(format!("{url}: this program was built without the network"))
            .hint("fetch the list yourself, and name the file"),
    )
}
