//! Commit slots in a PostgreSQL table, beside a ledger that lies elsewhere: for teams that run a
//! database, and a bucket or file system whose conditional writes are not to be trusted. The primary
//! key admits one writer per slot.
//!
//! ```sql
//! CREATE TABLE weighbridge_slots (
//!     log   text  COLLATE "C" NOT NULL,  -- the log's origin
//!     key   text  COLLATE "C" NOT NULL,  -- _commit/<sequence>
//!     bytes bytea NOT NULL,
//!     PRIMARY KEY (log, key)
//! );
//! ```
//!
//! A writer needs INSERT and SELECT, and no UPDATE. DELETE serves the probe alone.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_postgres::config::SslMode;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls};

use super::runtime::{CONNECT, Patience, limit, wait};
use super::{Created, Store, StoreError};
use tls::MakeTls;

mod tls;

/// A ledger whose slots lie in a database, and everything else in another store.
pub struct SlotsInPostgres {
    database: Arc<Database>,
    rest: Box<dyn Store>,
}

struct Database {
    config: Config,
    tls: Option<MakeTls>,
    log: String,
    place: String,
    client: Mutex<Option<Arc<Client>>>,
}

impl SlotsInPostgres {
    /// Puts the slots of the log named `log` into the database at `url`, `postgres://…`, and
    /// everything else into `rest`. `options` may hold `PGPASSWORD` and `PGSSLROOTCERT`. Connects
    /// when it is first used.
    ///
    /// `sslmode` in the URL: `disable` (which on its own is for this machine), or `require`,
    /// `verify-ca` and `verify-full`, which are one and the same here: the certificate and its name are
    /// verified against the file `sslrootcert`. Without it, a socket or loopback address is used as
    /// it is, and any other must say what it wants.
    pub fn new(
        rest: Box<dyn Store>,
        url: &str,
        log: &str,
        options: &[(String, String)],
    ) -> Result<SlotsInPostgres, StoreError> {
        let option = |name: &str| {
            let found = options.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str())
        };
        let place = shown(url);
        let wrong = |why: &str| StoreError::Location {
            text: place.clone(),
            why: why.into(),
        };
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(wrong("slots lie in postgres://user@host/database"));
        }
        // Two parameters that the client does not know in this form.
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut mode, mut root, mut others) = (None, option("PGSSLROOTCERT"), Vec::new());
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value),
                Some(("sslrootcert", value)) => root = Some(value),
                _ => others.push(parameter),
            }
        }
        let mut config: Config = format!("{base}?{}", others.join("&"))
            .parse()
            // The client's message could repeat the URL.
            .map_err(|_| wrong("the URL cannot be read"))?;
        if let (None, Some(password)) = (config.get_password(), option("PGPASSWORD")) {
            config.password(password);
        }
        let tls = match mode {
            Some("require" | "verify-ca" | "verify-full") => {
                let root = root.ok_or_else(|| {
                    wrong(
                        "whose certificate is trusted? add &sslrootcert=FILE, or set PGSSLROOTCERT",
                    )
                })?;
                config.ssl_mode(SslMode::Require);
                Some(MakeTls::new(root.as_ref()).map_err(|why| wrong(&why))?)
            }
            Some("disable") => None,
            None if is_local(&config) => None,
            None => {
                return Err(wrong(
                    "say how it is reached: add ?sslmode=verify-full, or sslmode=disable",
                ));
            }
            Some(_) => {
                return Err(wrong(
                    "sslmode is disable, require, verify-ca or verify-full",
                ));
            }
        };
        if tls.is_none() {
            config.ssl_mode(SslMode::Disable);
        }
        config.connect_timeout(CONNECT).keepalives_idle(IDLE);
        config.application_name("weighbridge");
        let database = Arc::new(Database {
            config,
            tls,
            log: log.into(),
            place,
            client: Mutex::default(),
        });
        Ok(SlotsInPostgres { database, rest })
    }

    /// Makes the table, if it is not there. Only `ledger init` does so.
    pub fn create_table(&self) -> Result<(), StoreError> {
        self.run("make", "weighbridge_slots", |database| async move {
            let mut patience = Patience::new();
            loop {
                let made = match database.client().await {
                    Ok(client) => timed(0, client.batch_execute(TABLE)).await,
                    Err(error) => Err(error),
                };
                match made {
                    Err(error) if error.is_transient() && patience.pause().await => {}
                    result => return result,
                }
            }
        })
    }

    fn run<T, F>(
        &self,
        operation: &'static str,
        key: &str,
        future: impl FnOnce(Arc<Database>) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Trouble>> + Send + 'static,
    {
        wait(future(self.database.clone()))?.map_err(|trouble| StoreError::Remote {
            place: self.database.place.clone(),
            operation,
            key: key.into(),
            why: trouble.to_string(),
        })
    }
}

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{}", said(.0))]
    Client(#[from] tokio_postgres::Error),
    #[error("the database does not answer")]
    Slow,
    #[error("{0}")]
    Setting(&'static str),
    #[error("the key is not one of a slot")]
    Row,
}

impl Trouble {
    /// Can it be different the next time?
    fn is_transient(&self) -> bool {
        match self {
            Trouble::Client(error) => match error.code() {
                // Connections, resources, operators: classes 08, 53, 57 of appendix A of the manual.
                Some(code) => ["08", "53", "57"]
                    .iter()
                    .any(|class| code.code().starts_with(class)),
                None => true,
            },
            Trouble::Slow => true,
            Trouble::Setting(_) | Trouble::Row => false,
        }
    }
}

/// What the server said, or the client, without the connection's parameters.
fn said(error: &tokio_postgres::Error) -> String {
    use std::error::Error;
    match (error.as_db_error(), error.source()) {
        (Some(said), _) => match said.code().code() {
            "42P01" => {
                "there is no table weighbridge_slots; `weighbridge ledger init` makes it".into()
            }
            _ => said.message().into(),
        },
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

async fn timed<T>(
    bytes: u64,
    query: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Trouble> {
    match tokio::time::timeout(limit(bytes), query).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Trouble::Slow),
    }
}

impl Database {
    /// The connection, made anew if it broke.
    async fn client(&self) -> Result<Arc<Client>, Trouble> {
        let lock = || self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = lock().as_ref().filter(|client| !client.is_closed()) {
            return Ok(client.clone());
        }
        // What a connection ends with, the next query says.
        let client = if let Some(tls) = self.tls.clone() {
            let (client, connection) = timed(0, self.config.connect(tls)).await?;
            tokio::spawn(async move { _ = connection.await });
            client
        } else {
            let (client, connection) = timed(0, self.config.connect(NoTls)).await?;
            tokio::spawn(async move { _ = connection.await });
            client
        };
        timed(0, client.batch_execute("SET synchronous_commit = on")).await?;
        let fsync = "SELECT current_setting('fsync') = 'on'";
        let row = timed(0, client.query_one(fsync, &[])).await?;
        if !row.try_get::<_, bool>(0)? {
            return Err(Trouble::Setting(
                "fsync is off: it would acknowledge what a power cut takes away",
            ));
        }
        let client = Arc::new(client);
        *lock() = Some(client.clone());
        Ok(client)
    }

    /// Forgets a connection that does not answer.
    fn forget(&self, trouble: &Trouble) {
        if trouble.is_transient() {
            let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
            *client = None;
        }
    }

    /// The size under `key`, and the bytes if they are at most `most`.
    async fn read(&self, key: &str, most: u64) -> Result<Option<(u64, Option<Vec<u8>>)>, Trouble> {
        let most_here = i64::try_from(most).unwrap_or(i64::MAX);
        let mut patience = Patience::new();
        loop {
            let query = async {
                let client = self.client().await?;
                let values: [&(dyn ToSql + Sync); 3] = [&self.log, &key, &most_here];
                let Some(row) = timed(most, client.query_opt(READ, &values)).await? else {
                    return Ok(None);
                };
                let size: i64 = row.try_get(0)?;
                let bytes: Option<Vec<u8>> = row.try_get(1)?;
                Ok(Some((u64::try_from(size).unwrap_or_default(), bytes)))
            };
            match query.await {
                Err(trouble) => {
                    self.forget(&trouble);
                    if !trouble.is_transient() || !patience.pause().await {
                        return Err(trouble);
                    }
                }
                found => return found,
            }
        }
    }

    async fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, Trouble> {
        let mut patience = Patience::new();
        // Did an earlier attempt of ours perhaps succeed?
        let mut doubt = false;
        loop {
            let insert = async {
                let client = self.client().await?;
                doubt |= patience.is_later();
                let values: [&(dyn ToSql + Sync); 3] = [&self.log, &key, &bytes];
                timed(bytes.len() as u64, client.execute(CREATE, &values)).await
            };
            match insert.await {
                Ok(1) => return Ok(Created::New),
                Ok(_) => {
                    let ours = doubt && self.holds(key, bytes).await?;
                    return Ok(if ours { Created::New } else { Created::Exists });
                }
                Err(trouble) => {
                    self.forget(&trouble);
                    if !trouble.is_transient() || !patience.pause().await {
                        return Err(trouble);
                    }
                }
            }
        }
    }

    async fn holds(&self, key: &str, bytes: &[u8]) -> Result<bool, Trouble> {
        let found = self.read(key, bytes.len() as u64).await?;
        Ok(found.is_some_and(|(_, found)| found.as_deref() == Some(bytes)))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, Trouble> {
        let mut keys: Vec<String> = Vec::new();
        loop {
            let client = self.client().await?;
            let after = keys.last().cloned().unwrap_or_default();
            let values: [&(dyn ToSql + Sync); 3] = [&self.log, &prefix, &after];
            let rows = match timed(0, client.query(LIST, &values)).await {
                Ok(rows) => rows,
                Err(trouble) => {
                    self.forget(&trouble);
                    return Err(trouble);
                }
            };
            let full = rows.len() == PAGE;
            for row in rows {
                let key: String = row.try_get(0)?;
                if !key.starts_with(prefix) {
                    return Err(Trouble::Row);
                }
                keys.push(key);
            }
            if !full {
                return Ok(keys);
            }
        }
    }
}

/// Does the database hold what lies under `key`?
fn is_slot(key: &str) -> bool {
    key.starts_with("_commit/") || key.starts_with("_probe/")
}

impl Store for SlotsInPostgres {
    fn read(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        if !is_slot(key) {
            return self.rest.read(key, limit);
        }
        let wanted = key.to_owned();
        let found = self.run("read", key, |database| async move {
            database.read(&wanted, limit).await
        })?;
        match found {
            None => Ok(None),
            Some((_, Some(bytes))) => Ok(Some(bytes)),
            Some((size, None)) => Err(StoreError::TooLarge {
                place: self.database.place.clone(),
                key: key.into(),
                size,
                limit,
            }),
        }
    }

    fn exists(&self, key: &str) -> Result<bool, StoreError> {
        if !is_slot(key) {
            return self.rest.exists(key);
        }
        let wanted = key.to_owned();
        self.run("look for", key, |database| async move {
            Ok(database.read(&wanted, 0).await?.is_some())
        })
    }

    fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        if !is_slot(key) {
            return self.rest.create(key, bytes);
        }
        let (wanted, bytes) = (key.to_owned(), bytes.to_vec());
        self.run("create", key, |database| async move {
            database.create(&wanted, &bytes).await
        })
    }

    fn create_all(&self, items: &[(String, Vec<u8>)]) -> Result<Vec<Created>, StoreError> {
        if items.iter().any(|(key, _)| is_slot(key)) {
            let create = |(key, bytes): &(String, Vec<u8>)| self.create(key, bytes);
            return items.iter().map(create).collect();
        }
        self.rest.create_all(items)
    }

    fn replace(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        if !is_slot(key) {
            return self.rest.replace(key, bytes);
        }
        // No writer replaces a slot, so no writer needs the permission; the probe sees it refused.
        let (wanted, bytes) = (key.to_owned(), bytes.to_vec());
        self.run("write", key, |database| async move {
            let client = database.client().await?;
            let values: [&(dyn ToSql + Sync); 3] = [&database.log, &wanted, &bytes];
            let write = client.execute(REPLACE, &values);
            timed(bytes.len() as u64, write).await.map(|_| ())
        })
    }

    fn remove(&self, key: &str) -> Result<(), StoreError> {
        if !is_slot(key) {
            return self.rest.remove(key);
        }
        let wanted = key.to_owned();
        self.run("remove", key, |database| async move {
            let client = database.client().await?;
            let values: [&(dyn ToSql + Sync); 2] = [&database.log, &wanted];
            timed(0, client.execute(REMOVE, &values)).await.map(|_| ())
        })
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        if is_slot(prefix) {
            let wanted = prefix.to_owned();
            return self.run("list", prefix, |database| async move {
                database.list(&wanted).await
            });
        }
        // Slots that lie in the other store are another log's, or from before the database.
        let mut keys = self.rest.list(prefix)?;
        keys.retain(|key| !is_slot(key));
        if "_commit/".starts_with(prefix) {
            let wanted = prefix.to_owned();
            keys.extend(self.run("list", prefix, |database| async move {
                database.list(&wanted).await
            })?);
            keys.sort_unstable();
        }
        Ok(keys)
    }

    fn place(&self) -> String {
        format!(
            "{} with slots in {}",
            self.rest.place(),
            self.database.place
        )
    }

    fn beneath(&self) -> Option<&dyn Store> {
        Some(&*self.rest)
    }
}

impl fmt::Debug for SlotsInPostgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlotsInPostgres({})", self.place())
    }
}

/// The URL without user, password and parameters.
fn shown(url: &str) -> String {
    let base = url.split('?').next().unwrap_or_default();
    let (scheme, rest) = base.split_once("://").unwrap_or(("postgres", ""));
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    format!("{scheme}://{rest}")
}

/// Does every address stay on this machine?
fn is_local(config: &Config) -> bool {
    use tokio_postgres::config::Host;
    config
        .get_hostaddrs()
        .iter()
        .all(std::net::IpAddr::is_loopback)
        && config.get_hosts().iter().all(|host| match host {
            Host::Unix(_) => true,
            Host::Tcp(name) => {
                name == "localhost"
                    || name
                        .trim_matches(['[', ']'])
                        .parse::<std::net::IpAddr>()
                        .is_ok_and(|address| address.is_loopback())
            }
        })
}

const TABLE: &str = r#"CREATE TABLE IF NOT EXISTS weighbridge_slots (
    log text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    bytes bytea NOT NULL,
    PRIMARY KEY (log, key)
)"#;
const CREATE: &str =
    "INSERT INTO weighbridge_slots (log, key, bytes) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
const READ: &str = "SELECT octet_length(bytes)::bigint,
    CASE WHEN octet_length(bytes)::bigint <= $3 THEN bytes END
    FROM weighbridge_slots WHERE log = $1 AND key = $2";
const REPLACE: &str = "INSERT INTO weighbridge_slots (log, key, bytes) VALUES ($1, $2, $3)
    ON CONFLICT (log, key) DO UPDATE SET bytes = excluded.bytes";
const REMOVE: &str = "DELETE FROM weighbridge_slots WHERE log = $1 AND key = $2";
const LIST: &str = "SELECT key FROM weighbridge_slots
    WHERE log = $1 AND starts_with(key, $2) AND key > $3 ORDER BY key LIMIT 10000";
/// As in `LIST`.
const PAGE: usize = 10_000;
/// A dead connection is found after this time without a word.
const IDLE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_without_a_word_of_the_password() {
        for (url, good) in [
            ("postgres://me:hunter2@localhost/db", true),
            ("postgresql://me@127.0.0.1:5433/db?sslmode=disable", true),
            ("postgres:///db?host=/run/postgresql", true),
            ("postgres://me:hunter2@db.example/db?sslmode=disable", true),
            ("postgres://me:hunter2@db.example/db", false),
            ("postgres://me:hunter2@db.example/db?sslmode=require", false),
            ("postgres://me:hunter2@db.example/db?sslmode=prefer", false),
            ("postgres://me:hunter2@localhost:port/db", false),
            ("mysql://me:hunter2@localhost/db", false),
        ] {
            let rest = Box::new(super::super::DirectoryStore::new("nowhere".as_ref()));
            let opened = SlotsInPostgres::new(rest, url, "log.example", &[]);
            assert_eq!(opened.is_ok(), good, "{url}");
            let text = match opened {
                Ok(store) => format!("{} {store:?}", store.place()),
                Err(error) => error.to_string(),
            };
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
