//! Artifacts: a file or a directory tree, what lies in it, and its digests.
//! Reads files, writes none. Knows nothing of signatures or ledgers.

mod ahead;
mod blake3_split;
pub mod checksum_list;
mod file_state;
pub mod format;
pub mod hash;
mod hub_cache;
mod lanes;
mod listings;
pub mod manifest;
pub mod parts;
pub mod seals;
pub mod stat_cache;
pub mod walk;

pub use file_state::States;
pub use format::Format;
pub use hash::{FileFault, Hashing, Known, NoProgress, Progress, hash};
pub use hub_cache::HubCache;
pub use manifest::{ArtifactDigest, Checked, Manifest, ManifestError, ManifestFile};
pub use seals::{Seals, Unsealed};
pub use stat_cache::StatCache;
pub use walk::{
    Artifact, Exclusions, Names, Obstacle, ObstacleKind, Symlinks, Walk, walk, walk_with,
};
