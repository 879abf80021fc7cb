//! Making a checkpoint anew from the slots, when the one that was there is lost or torn.
//!
//! A log must never sign two trees that contradict each other. So this signs only if every trace
//! that a larger log would have left fits: the signed state, and the tiles.

use super::LedgerError;
use super::chain::{Chain, MAX_STATE, STATE};
use super::head::{Head, View};
use super::publish::{self, CHECKPOINT, Publisher};
use super::store::{DirectoryStore, Store};
use super::tile::{Row, Tile, WIDTH};
use crate::checkpoint::Checkpoint;

/// Replays all slots, makes sure that the tiles that are there agree, and publishes a checkpoint. A
/// checkpoint that is there and signed by the log is an error: then nothing is lost.
pub fn rebuild(store: &dyn Store, publisher: &Publisher<'_>) -> Result<Checkpoint, LedgerError> {
    let _lock = store.directory().map(DirectoryStore::lock).transpose()?;
    let trust = publisher.signer.trust();
    match publish::newest(store, &trust) {
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
    if let Some(chain) = state.and_then(|state| Chain::open(&state, trust.log()))
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
    let (checkpoint, _) = publish::publish_over(store, publisher, &mut head)?;
    Ok(checkpoint)
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
        assert!(rebuild(&store, &publisher).is_err(), "nothing is lost yet");
        let whole = store.read(CHECKPOINT, 4096).unwrap().unwrap();
        store
            .replace(CHECKPOINT, &whole[..whole.len() / 2])
            .unwrap();
        assert!(append(&store, &signer, &[vec![1]], clock()).is_err());
        assert_eq!(Some(rebuild(&store, &publisher).unwrap()), newest);
        let report = fsck(&store, &signer.trust(), Slots::Required).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);

        // The last slot is gone: by the state, and without it by the tiles, that is seen.
        let last = store.read(&commit::key(2), 1 << 20).unwrap().unwrap();
        store.remove(&commit::key(2)).unwrap();
        store.replace(CHECKPOINT, b"torn").unwrap();
        let error = rebuild(&store, &publisher).unwrap_err().to_string();
        assert!(error.contains("signed state knows of 600"), "{error}");
        store.remove(STATE).unwrap();
        let error = rebuild(&store, &publisher).unwrap_err().to_string();
        assert!(error.contains("the slots only 400"), "{error}");
        store.create(&commit::key(2), &last).unwrap();
        assert_eq!(Some(rebuild(&store, &publisher).unwrap()), newest);
    }
}
