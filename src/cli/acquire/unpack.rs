//! Archives that hold files of an artifact: fetched whole and verified, listed, and unpacked file by file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use super::aside::Aside;
use super::download::{Came, Download, Failed};
use crate::cli::failure::Failure;
use crate::digest::{Algorithm, Hasher, Sha256};
use crate::disk::{Directory, Partial};
use crate::gate::cause;
use crate::path::ArtifactPath;
use crate::source::Channel;
use crate::source::archive::{self, ArchiveError, Listing, Members, Sink};
use crate::source::published::{Evidence, PackedFiles, Published};

/// The members of every archive of `published`, which become files of it. Those that `known` has are not read.
pub(super) fn members(
    published: &mut Published,
    known: Option<Members>,
    most: u64,
    mut read: impl FnMut(&PackedFiles, Listing) -> Result<Listing, Failure>,
) -> Result<(), Failure> {
    if published.packed.is_empty() {
        return Ok(());
    }
    let known = known.unwrap_or_default();
    let mut members = Members::new();
    let mut listing = Listing::default();
    for packed in &published.packed {
        let place = packed.file.place.clone();
        if packed.file.size.is_none_or(|size| size > most) {
            let size = packed.file.size.unwrap_or_default();
            return Err(Failure::error(format!(
                "{place} has {size} bytes, and --max-size allows {most}"
            )));
        }
        let list = if let Some(list) = known.archives.get(&place) {
            list.clone()
        } else {
            listing = read(packed, listing.next())?;
            std::mem::take(&mut listing.members)
        };
        members.archives.insert(place, list);
    }
    for packed in &published.packed {
        let files = members.of(packed);
        let wrong = || {
            Failure::refused(vec![format!(
                "{}: a member has a name that no file may have",
                packed.file.place
            )])
        };
        for (path, file) in files.ok_or_else(wrong)? {
            if published.files.contains_key(&path) {
                return Err(Failure::refused(vec![format!(
                    "{path} is published twice: it is not known which is meant"
                )]));
            }
            published.files.insert(path, file);
        }
    }
    published.evidence.push(Evidence {
        name: archive::MEMBERS,
        media_type: "application/json",
        bytes: members.to_json()?,
    });
    Ok(())
}

/// Lists an archive as it comes from its source.
pub(in crate::cli) fn stream(
    channel: &dyn Channel,
    packed: &PackedFiles,
    listing: Listing,
    most: u64,
) -> Result<Listing, Failure> {
    let place = &packed.file.place;
    let path = ArtifactPath::new(place)?;
    let mut content = channel
        .open(&path, &packed.file, 0, None)
        .map_err(|error| Failure::because(place, &error))?;
    list(&mut content, packed, listing, most)
}

fn list(
    input: &mut dyn std::io::Read,
    packed: &PackedFiles,
    mut listing: Listing,
    most: u64,
) -> Result<Listing, Failure> {
    let read = archive::read(input, packed, most, &mut listing);
    read.map_err(|error| failure(&error, packed))?;
    Ok(listing)
}

fn failure(error: &ArchiveError, packed: &PackedFiles) -> Failure {
    let text = format!("{}: {}", packed.file.place, cause(error));
    if error.is_trouble() {
        return Failure::error(text);
    }
    Failure::refused(vec![text]).hint("nothing is recorded")
}

/// Where archives are kept until they are unpacked.
pub(super) struct Archives<'a> {
    pub(super) download: Download<'a>,
    pub(super) aside: &'a Aside,
    pub(super) target: &'a Directory,
}

impl Archives<'_> {
    /// Fetches an archive, unless an earlier run did; it is the one that was published.
    fn fetched(&self, packed: &PackedFiles) -> Result<File, Failure> {
        let name = ArtifactPath::new(&format!("archive {}", packed.file.place))?;
        let fetched = self.download.keep(&name, &packed.file);
        let path = fetched.map_err(|failed| match failed {
            Failed::Refused(why) => Failure::refused(vec![why]).hint(
                "the source served other bytes than it publishes; nothing is recorded. Ask again later, from elsewhere",
            ),
            Failed::Error(why) => Failure::error(why).hint(format!(
                "run the same command again: what came is kept, in part in {}",
                self.aside.path().display()
            )),
        })?;
        File::open(&path).map_err(|error| Failure::because(path.display(), &error))
    }

    /// Fetches and lists an archive.
    pub(super) fn list(&self, packed: &PackedFiles, listing: Listing) -> Result<Listing, Failure> {
        list(
            &mut self.fetched(packed)?,
            packed,
            listing,
            self.download.most,
        )
    }

    /// Unpacks those of `wanted` that are in archives; what came.
    pub(super) fn unpack(
        &self,
        published: &Published,
        wanted: &BTreeSet<&ArtifactPath>,
    ) -> Result<Vec<Came>, Failure> {
        let mut came = Vec::new();
        for packed in &published.packed {
            let is_in = |path: &&&ArtifactPath| {
                let file = published.files.get(**path);
                file.is_some_and(|file| file.is_member && file.place == packed.file.place)
            };
            let wanted: BTreeMap<&ArtifactPath, Option<&crate::source::published::PublishedFile>> =
                wanted
                    .iter()
                    .filter(is_in)
                    .map(|path| (*path, published.files.get(*path)))
                    .collect();
            if wanted.is_empty() {
                continue;
            }
            let mut sink = Unpack {
                archives: self,
                wanted: &wanted,
                now: None,
                came: Vec::new(),
            };
            let read = archive::read(
                &mut self.fetched(packed)?,
                packed,
                self.download.most,
                &mut sink,
            );
            read.map_err(|error| failure(&error, packed))?;
            came.append(&mut sink.came);
        }
        Ok(came)
    }
}

type Wanted<'a> = BTreeMap<&'a ArtifactPath, Option<&'a crate::source::published::PublishedFile>>;

/// Writes what is wanted to its place.
struct Unpack<'a> {
    archives: &'a Archives<'a>,
    wanted: &'a Wanted<'a>,
    now: Option<(ArtifactPath, Partial, Hasher)>,
    came: Vec<Came>,
}

impl Sink for Unpack<'_> {
    fn begin(&mut self, path: &ArtifactPath, size: u64) -> Result<(), ArchiveError> {
        if !self.wanted.contains_key(path) {
            return Ok(());
        }
        let mut partial = Partial::open(&self.archives.aside.place(path))?;
        partial.restart()?;
        let hasher = Hasher::new(&[Algorithm::Sha256], size);
        self.now = Some((path.clone(), partial, hasher));
        Ok(())
    }

    fn piece(&mut self, piece: &[u8]) -> Result<(), ArchiveError> {
        if let Some((_, partial, hasher)) = &mut self.now {
            partial.write(piece)?;
            hasher.update(piece);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), ArchiveError> {
        let Some((path, partial, hasher)) = self.now.take() else {
            return Ok(());
        };
        let digest = hasher.finish();
        let size = partial.have();
        let file = self.wanted.get(&path).copied().flatten();
        if file.is_none_or(|file| file.check(size, &digest, &[]).is_err()) {
            return Err(ArchiveError::Member(format!(
                "{path} is not what it was when the archive was listed"
            )));
        }
        partial.finish(self.archives.target, &path)?;
        let sha256 = digest.try_into().map_or(Sha256([0; 32]), Sha256);
        self.came.push((path, size, sha256));
        Ok(())
    }
}
