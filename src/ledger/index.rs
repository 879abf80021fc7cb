//! The index: an SQLite file that is built by following a log, and answers which entries there are
//! about something. Disposable: whatever is wrong with it, it is built again. A hit is to be proved by
//! inclusion; a miss is complete up to the size that was followed.
//!
//! It keeps the compact Merkle state of what it followed. Before it goes on, the log must prove that
//! it still begins with exactly that; after each step its own root must be the log's.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::LedgerError;
use super::facts::{self, Mention};
use super::reader::Log;
use super::recent::LeafIndex;
use super::tile::WIDTH;
use crate::digest::Sha256;
use crate::disk::{self, DiskError};
use crate::merkle::{Hash, RootBuilder, leaf_hash};
use crate::statement::source_address::host;
use crate::statement::{Kind, Role};
use crate::time::Timestamp;

/// Why the index cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    #[error("the index {}: {source}", path.display())]
    Sqlite {
        path: PathBuf,
        source: rusqlite::Error,
    },
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// An index of one log.
pub struct Index {
    path: PathBuf,
    connection: Connection,
}

/// What following did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed {
    pub from: u64,
    pub to: u64,
    /// The index did not belong to the log, or was damaged, and was built anew.
    pub rebuilt: bool,
}

/// What to look for; everything that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Named anywhere in the entry.
    pub digest: Option<Sha256>,
    pub source: Option<String>,
    pub host: Option<String>,
    pub key_id: Option<Sha256>,
    pub kind: Option<Kind>,
    pub role: Option<Role>,
    pub party: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
}

/// Are the rows counted before they are relied on?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    Counted,
    Assumed,
}

/// The layout; another one is built anew.
const VERSION: i64 = 3;
const SCHEMA: &str = "
    CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), origin TEXT NOT NULL,
        size INTEGER NOT NULL, subtrees BLOB NOT NULL, mentions INTEGER NOT NULL);
    CREATE TABLE leaf (hash BLOB PRIMARY KEY, entry INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE record (entry INTEGER PRIMARY KEY, kind TEXT, role TEXT, party TEXT, key BLOB,
        time INTEGER, source TEXT, host TEXT, standing INTEGER NOT NULL);
    CREATE TABLE mention (digest BLOB NOT NULL, entry INTEGER NOT NULL, part TEXT NOT NULL,
        PRIMARY KEY (digest, entry, part)) WITHOUT ROWID;
    CREATE INDEX mention_of ON mention (entry);
    CREATE INDEX record_source ON record (source) WHERE source IS NOT NULL;
    CREATE INDEX record_host ON record (host) WHERE host IS NOT NULL;
    CREATE INDEX record_key ON record (key) WHERE key IS NOT NULL;
    CREATE INDEX record_standing ON record (standing) WHERE standing > 0;
    CREATE INDEX record_time ON record (time) WHERE time IS NOT NULL;
";
/// How many bundles are read in one transaction.
const STEP: u64 = 64;

impl Index {
    /// Opens the index at `path`, or begins one. A file that is no index of this layout is replaced.
    pub fn open(path: &Path) -> Result<Index, IndexError> {
        let fail = |source| IndexError::Sqlite {
            path: path.into(),
            source,
        };
        match Index::try_open(path) {
            Ok(index) => Ok(index),
            // Only what is no index is replaced: another process may be using one.
            Err(error) if is_no_index(&error) => {
                remove(path)?;
                Index::try_open(path).map_err(fail)
            }
            Err(error) => Err(fail(error)),
        }
    }

    fn try_open(path: &Path) -> Result<Index, rusqlite::Error> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(std::time::Duration::from_secs(60))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        let version = |connection: &Connection| -> Result<i64, rusqlite::Error> {
            connection.query_row("PRAGMA user_version", [], |row| row.get(0))
        };
        if version(&connection)? == 0 {
            // Another process may be faster: then there is nothing to do.
            let step =
                Transaction::new_unchecked(&connection, rusqlite::TransactionBehavior::Immediate)?;
            if version(&step)? == 0 {
                step.execute_batch(&format!("{SCHEMA} PRAGMA user_version = {VERSION};"))?;
            }
            step.commit()?;
        }
        if version(&connection)? != VERSION {
            return Err(rusqlite::Error::InvalidQuery);
        }
        Ok(Index {
            path: path.into(),
            connection,
        })
    }

    fn sqlite(&self, source: rusqlite::Error) -> IndexError {
        IndexError::Sqlite {
            path: self.path.clone(),
            source,
        }
    }

    /// Goes on to the checkpoint of `log`, after making sure that no row is missing.
    pub fn follow(&mut self, log: &Log<'_>) -> Result<Followed, IndexError> {
        self.follow_with(log, Rows::Counted)
    }

    fn follow_with(&mut self, log: &Log<'_>, rows: Rows) -> Result<Followed, IndexError> {
        match self.try_follow(log, rows) {
            Ok(Some((from, to))) => Ok(Followed {
                from,
                to,
                rebuilt: false,
            }),
            Ok(None) | Err(IndexError::Sqlite { .. }) => {
                self.rebuild()?;
                let followed = self.try_follow(log, rows)?;
                let (from, to) = followed.ok_or_else(|| {
                    LedgerError::damaged("tile", "does not lead to the same root twice")
                })?;
                Ok(Followed {
                    from,
                    to,
                    rebuilt: true,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Throws away what is there.
    pub fn rebuild(&mut self) -> Result<(), IndexError> {
        let memory = Connection::open_in_memory().map_err(|error| self.sqlite(error))?;
        drop(std::mem::replace(&mut self.connection, memory));
        remove(&self.path)?;
        *self = Index::open(&self.path)?;
        Ok(())
    }

    /// From where to where; `None` if the index is not of this log.
    fn try_follow(&mut self, log: &Log<'_>, rows: Rows) -> Result<Option<(u64, u64)>, IndexError> {
        let path = self.path.clone();
        let sqlite = |source| IndexError::Sqlite {
            path: path.clone(),
            source,
        };
        let checkpoint = log.checkpoint();
        let Some((from, mut tree, mut mentions)) =
            self.state(&checkpoint.origin, rows).map_err(sqlite)?
        else {
            return Ok(None);
        };
        if from > checkpoint.size || log.consistency(from)?.1 != tree.root() {
            return Ok(None);
        }
        while tree.size() < checkpoint.size {
            let first = tree.size() / WIDTH;
            let last = checkpoint.size.div_ceil(WIDTH).min(first + STEP);
            let step = self.connection.transaction().map_err(sqlite)?;
            for bundle in first..last {
                let skip = usize::try_from(tree.size() - bundle * WIDTH).unwrap_or(usize::MAX);
                for entry in log.entries(bundle)?.into_iter().skip(skip) {
                    mentions += insert(&step, tree.size(), &entry).map_err(sqlite)?;
                    tree.push(leaf_hash(&entry));
                }
            }
            let (_, root) = log.consistency(tree.size())?;
            if root != tree.root() {
                log.distrust();
                let what = format!("the entries up to {} have another root", tree.size());
                return Err(LedgerError::damaged("tile/entries", what).into());
            }
            save(&step, &checkpoint.origin, &tree, mentions).map_err(sqlite)?;
            step.commit().map_err(sqlite)?;
        }
        Ok(Some((from, checkpoint.size)))
    }

    /// What was followed; `None` if that was another log, or rows are missing.
    fn state(
        &self,
        origin: &str,
        rows: Rows,
    ) -> Result<Option<(u64, RootBuilder, i64)>, rusqlite::Error> {
        let row = "SELECT origin, size, subtrees, mentions FROM state";
        let state = self
            .connection
            .query_row(row, [], |row| {
                let subtrees: Vec<u8> = row.get(2)?;
                let size: i64 = row.get(1)?;
                Ok((
                    row.get::<_, String>(0)?,
                    size,
                    subtrees,
                    row.get::<_, i64>(3)?,
                ))
            })
            .optional()?;
        let Some((known, size, subtrees, mentions)) = state else {
            return Ok(Some((0, RootBuilder::default(), 0)));
        };
        let (hashes, rest) = subtrees.as_chunks::<32>();
        let hashes = hashes.iter().map(|hash| Sha256(*hash)).collect();
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        let tree = RootBuilder::from_parts(size, hashes).filter(|_| rest.is_empty());
        let count = |table: &str| {
            let count = format!("SELECT count(*) FROM {table}");
            self.connection
                .query_row(&count, [], |row| row.get::<_, i64>(0))
        };
        let whole = rows == Rows::Assumed
            || u64::try_from(count("record")?).ok() == Some(size) && count("mention")? == mentions;
        let whole = whole && known == origin;
        Ok(tree.filter(|_| whole).map(|tree| (size, tree, mentions)))
    }

    /// The first entry with this leaf hash.
    pub fn find_leaf(&self, leaf: &Hash) -> Result<Option<u64>, IndexError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT entry FROM leaf WHERE hash = ?1")
            .map_err(|error| self.sqlite(error))?;
        let found = statement
            .query_row([leaf.0.as_slice()], |row| row.get::<_, i64>(0))
            .optional()
            .map_err(|error| self.sqlite(error))?;
        Ok(found.and_then(|entry| u64::try_from(entry).ok()))
    }

    /// Every entry that names `digest`, anywhere.
    pub fn naming(&self, digest: &Sha256) -> Result<Vec<u64>, IndexError> {
        let value: Box<dyn rusqlite::ToSql> = Box::new(digest.0.to_vec());
        let sql = "SELECT DISTINCT entry FROM mention WHERE digest = ?1 ORDER BY entry";
        self.entries(sql, &[value])
    }

    /// Every entry that may name any digest; if `all`, those too that every gate must know of.
    pub fn standing(&self, all: bool) -> Result<Vec<u64>, IndexError> {
        let value: Box<dyn rusqlite::ToSql> = Box::new(if all { 1 } else { 2 });
        let sql = "SELECT entry FROM record WHERE standing > 0 AND standing >= ?1 ORDER BY entry";
        self.entries(sql, &[value])
    }

    /// The entries that `query` is about, oldest first, at most `limit`.
    pub fn find(&self, query: &Query, limit: usize) -> Result<Vec<u64>, IndexError> {
        let mut conditions = Vec::new();
        let mut values: Vec<Box<dyn rusqlite::ToSql>> = Vec::new();
        let mut add = |condition: &str, value: Option<Box<dyn rusqlite::ToSql>>| {
            if let Some(value) = value {
                values.push(value);
                conditions.push(condition.replace('?', &format!("?{}", values.len())));
            }
        };
        let blob = |digest: &Sha256| -> Box<dyn rusqlite::ToSql> { Box::new(digest.0.to_vec()) };
        let text = |text: &String| -> Box<dyn rusqlite::ToSql> { Box::new(text.clone()) };
        let word = |word: &'static str| -> Box<dyn rusqlite::ToSql> { Box::new(word) };
        let time = |time: Timestamp| -> Box<dyn rusqlite::ToSql> { Box::new(time.millis()) };
        add(
            "entry IN (SELECT entry FROM mention WHERE digest = ?)",
            query.digest.as_ref().map(blob),
        );
        add("source = ?", query.source.as_ref().map(text));
        add("host = ?", query.host.as_ref().map(text));
        add("key = ?", query.key_id.as_ref().map(blob));
        add("kind = ?", query.kind.map(|kind| word(kind.name())));
        add("role = ?", query.role.map(|role| word(role.name())));
        add("party = ?", query.party.as_ref().map(text));
        add("time >= ?", query.since.map(time));
        add("time <= ?", query.until.map(time));
        if conditions.is_empty() {
            conditions.push("1".into());
        }
        let sql = format!(
            "SELECT entry FROM record WHERE {} ORDER BY entry LIMIT {limit}",
            conditions.join(" AND ")
        );
        self.entries(&sql, &values)
    }

    /// The entries that are connected with `digest` through what they name: about it, and about
    /// whatever those name, any depth. At most `limit`; what was seen is not followed twice.
    pub fn lineage(&self, digest: &Sha256, limit: usize) -> Result<Vec<u64>, IndexError> {
        let (mut digests, mut seen) = (vec![digest.0.to_vec()], HashSet::new());
        let mut entries = BTreeSet::new();
        while let Some(digest) = digests.pop() {
            if !seen.insert(digest.clone()) || entries.len() >= limit {
                continue;
            }
            let value: Box<dyn rusqlite::ToSql> = Box::new(digest);
            let about =
                format!("SELECT DISTINCT entry FROM mention WHERE digest = ?1 LIMIT {limit}");
            for entry in self.entries(&about, &[value])? {
                if !entries.insert(entry) {
                    continue;
                }
                let named = "SELECT digest FROM mention WHERE entry = ?1 AND part IN \
                             ('artifact', 'oms-root', 'other')";
                let mut statement = self
                    .connection
                    .prepare_cached(named)
                    .map_err(|error| self.sqlite(error))?;
                let rows = statement.query_map([number(entry)], |row| row.get::<_, Vec<u8>>(0));
                for digest in rows.map_err(|error| self.sqlite(error))? {
                    digests.push(digest.map_err(|error| self.sqlite(error))?);
                }
            }
        }
        Ok(entries.into_iter().take(limit).collect())
    }

    fn entries(
        &self,
        sql: &str,
        values: &[Box<dyn rusqlite::ToSql>],
    ) -> Result<Vec<u64>, IndexError> {
        let mut statement = self
            .connection
            .prepare_cached(sql)
            .map_err(|error| self.sqlite(error))?;
        let values = rusqlite::params_from_iter(values.iter());
        let rows = statement
            .query_map(values, |row| row.get::<_, i64>(0))
            .map_err(|error| self.sqlite(error))?;
        let mut entries = Vec::new();
        for entry in rows {
            let entry = entry.map_err(|error| self.sqlite(error))?;
            entries.extend(u64::try_from(entry).ok());
        }
        Ok(entries)
    }
}

impl LeafIndex for Index {
    fn follow(&mut self, log: &Log<'_>) -> Result<(), LedgerError> {
        // A writer only asks for leaves; to count all rows would cost more than it appends.
        let followed = self.follow_with(log, Rows::Assumed);
        followed.map(|_| ()).map_err(into_ledger)
    }

    fn find(&mut self, leaf: &Hash) -> Result<Option<u64>, LedgerError> {
        self.find_leaf(leaf).map_err(into_ledger)
    }
}

fn into_ledger(error: IndexError) -> LedgerError {
    match error {
        IndexError::Ledger(error) => error,
        error => LedgerError::Index {
            what: error.to_string(),
        },
    }
}

/// Another layout, or no database at all.
fn is_no_index(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error, rusqlite::Error::InvalidQuery)
        || matches!(
            error.sqlite_error_code(),
            Some(DatabaseCorrupt | NotADatabase)
        )
}

/// The file, and what SQLite keeps beside it.
fn remove(path: &Path) -> Result<(), DiskError> {
    for ending in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        disk::remove_file(Path::new(&name))?;
    }
    Ok(())
}

/// SQLite's integers have a sign; no log has 2^63 entries.
fn number(entry: u64) -> i64 {
    i64::try_from(entry).unwrap_or(i64::MAX)
}

/// How many mentions were added.
fn insert(step: &Transaction<'_>, index: u64, entry: &[u8]) -> Result<i64, rusqlite::Error> {
    let index = number(index);
    step.prepare_cached("INSERT OR IGNORE INTO leaf VALUES (?1, ?2)")?
        .execute(params![leaf_hash(entry).0.as_slice(), index])?;
    let facts = facts::facts(entry);
    let record = facts.record.as_ref();
    step.prepare_cached("INSERT INTO record VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?
        .execute(params![
            index,
            record.map(|record| record.kind.name()),
            record.map(|record| record.role.name()),
            record.and_then(|record| record.party.as_deref()),
            record.map(|record| record.key_id.0.as_slice()),
            record.map(|record| record.time.millis()),
            record.and_then(|record| record.source.as_deref()),
            record.and_then(|record| host(record.source.as_deref()?)),
            if facts.is_cut {
                2
            } else {
                i64::from(facts.is_standing)
            },
        ])?;
    let mut added = 0;
    let mut mention = step.prepare_cached("INSERT OR IGNORE INTO mention VALUES (?1, ?2, ?3)")?;
    for (part, digest) in &facts.mentions {
        let part: &Mention = part;
        let rows = mention.execute(params![digest.0.as_slice(), index, part.name()])?;
        added += i64::try_from(rows).unwrap_or(0);
    }
    Ok(added)
}

fn save(
    step: &Transaction<'_>,
    origin: &str,
    tree: &RootBuilder,
    mentions: i64,
) -> Result<(), rusqlite::Error> {
    let subtrees: Vec<u8> = tree.subtrees().iter().flat_map(|hash| hash.0).collect();
    step.execute(
        "INSERT OR REPLACE INTO state VALUES (1, ?1, ?2, ?3, ?4)",
        params![origin, number(tree.size()), subtrees, mentions],
    )?;
    Ok(())
}
