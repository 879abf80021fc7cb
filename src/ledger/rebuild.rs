//! Making a checkpoint anew from the slots, when the one that was there is lost or torn.
//!
//! A log must never sign two trees that contradict each other. So this signs only if every trace
//! that a larger log would have left fits: the signed state, and the tiles.

use super::LedgerError;
use super::chain::{Chain, MAX_STATE, STATE};
use super::head::{Head, View};
use super::publish::{self, CHECKPOINT, Publisher};
use super::reader::Log;
use super::store::{DirectoryStore, Store};
use super::tile::{Row, Tile, WIDTH};
use crate::checkpoint::Checkpoint;
use crate::tlog_policy::TlogPolicy;

/// Replays all slots, makes sure that the tiles that are there agree and that what is `known` of the log
/// is part of it, and publishes a checkpoint. A
/// checkpoint that is there and signed by the log is an error: then nothing is lost.
pub fn rebuild(
    store: &dyn Store,
    publisher: &Publisher<'_>,
    trust: &TlogPolicy,
    known: &[Checkpoint],
) -> Result<Checkpoint, LedgerError> {
    let _lock = store.directory().map(DirectoryStore::lock).transpose()?;
    let trust = &trust.without_quorum();
    match publish::newest(store, trust) {
        Ok((checkpoint, _)) => {
            let what = format!(
                "is sound, at {} entries: there is nothing to rebuild",
                checkpoint.size
            );
            return Err(LedgerError::damaged(CHECKPOINT, what));
        }
        Err(LedgerError::Store(error)) => return Err(error.into()),
        Err(_) => {}
    }
    let empty = publish::empty(publisher.signer.origin());
    let mut head = Head::from_first_slot(store, &empty, View::Tree)?;
    let size = head.chain.size;
    let state = store.read(STATE, MAX_STATE)?;
    if let Some(chain) =
        state.and_then(|state| trust.logs().find_map(|key| Chain::open(&state, key)))
        && chain.size > size
    {
        let what = format!(
            "the slots hold {size} entries, the signed state knows of {}: slots are missing",
            chain.size
        );
        return Err(LedgerError::damaged("_commit", what));
    }
    for key in store.list("tile/entries/")? {
        let Some(tile) = Tile::parse(&key) else {
            continue;
        };
        if tile.width > Tile::width_in(Row::Entries, tile.index, size) {
            let end = tile.index.saturating_mul(WIDTH).saturating_add(tile.width);
            let what =
                format!("holds entries up to {end}, the slots only {size}: slots are missing");
            return Err(LedgerError::damaged(key, what));
        }
    }
    goes_on(store, &mut head, known)?;
    let (checkpoint, _) = publish::publish_over(store, publisher, trust, &mut head)?;
    Ok(checkpoint)
}

/// Is every checkpoint that is known part of the tree that is to be signed?
fn goes_on(store: &dyn Store, head: &mut Head, known: &[Checkpoint]) -> Result<(), LedgerError> {
    let Some(edge) = &mut head.edge else {
        return Ok(());
    };
    publish::write_tiles(store, &edge.take_complete())?;
    publish::write_tiles(store, &edge.partial())?;
    let (size, root) = (edge.size(), edge.root()?);
    for known in known {
        let now = Checkpoint {
            size,
            root,
            ..known.clone()
        };
        let log = Log::at(store, now, Vec::new());
        if known.size > size || log.consistency(known.size)?.1 != known.root {
            let what = format!(
                "the slots lead to {size} entries, which do not go on from the {} that were seen before",
                known.size
            );
            return Err(LedgerError::damaged("_commit", what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cosignature::LogSigner;
    use crate::ledger::commit;
    use crate::ledger::fsck::{Slots, fsck};
    use crate::ledger::{append, create};
    use crate::time::Timestamp;

    #[test]
    fn a_torn_checkpoint_is_made_anew_and_a_shortened_log_is_not_signed() {
        let scratch = tempfile::tempdir().unwrap();
        let store = DirectoryStore::new(scratch.path());
        let key = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
        let signer = LogSigner::new("log", key).unwrap();
        let clock = || Timestamp::from_millis(1_700_000_000_000).unwrap();
        let publisher = Publisher {
            signer: &signer,
            cosigners: None,
            clock: &clock,
        };
        create(&store, &signer, clock()).unwrap();
        let mut newest = None;
        for batch in 0..3_u8 {
            let entries: Vec<_> = (0..200_u8).map(|number| vec![batch, number]).collect();
            newest = append(&store, &signer, &entries, clock())
                .unwrap()
                .checkpoint;
        }
        assert!(
            rebuild(&store, &publisher, &signer.trust(), &[]).is_err(),
            "nothing is lost yet"
        );
        let whole = store.read(CHECKPOINT, 4096).unwrap().unwrap();
        store
            .replace(CHECKPOINT, &whole[..whole.len() / 2])
            .unwrap();
        assert!(append(&store, &signer, &[vec![1]], clock()).is_err());
        assert_eq!(
            Some(rebuild(&store, &publisher, &signer.trust(), &[]).unwrap()),
            newest
        );
        let report = fsck(&store, &signer.trust(), Slots::Required).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);

        // What somebody has seen must be part of it.
        store.replace(CHECKPOINT, b"torn").unwrap();
        let mut seen = newest.clone().unwrap();
        seen.size += 1;
        let error = rebuild(&store, &publisher, &signer.trust(), &[seen.clone()]).unwrap_err();
        assert!(error.to_string().contains("601 that were seen"), "{error}");
        seen.size = 5;
        assert!(rebuild(&store, &publisher, &signer.trust(), &[seen]).is_err());
        rebuild(&store, &publisher, &signer.trust(), newest.as_slice()).unwrap();

        // The last slot is gone: by the state, and without it by the tiles, that is seen.
        let last = store.read(&commit::key(2), 1 << 20).unwrap().unwrap();
        store.remove(&commit::key(2)).unwrap();
        store.replace(CHECKPOINT, b"torn").unwrap();
        let error = rebuild(&store, &publisher, &signer.trust(), &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains("signed state knows of 600"), "{error}");
        store.remove(STATE).unwrap();
        let error = rebuild(&store, &publisher, &signer.trust(), &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains("the slots only 400"), "{error}");
        store.create(&commit::key(2), &last).unwrap();
        assert_eq!(
            Some(rebuild(&store, &publisher, &signer.trust(), &[]).unwrap()),
            newest
        );
    }
}
