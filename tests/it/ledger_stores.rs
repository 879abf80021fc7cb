//! The same assertions for every store that a ledger can lie in, each a real server where there is
//! one; and the whole program on ledgers that lie in them.

use std::path::Path;
use std::process::Command;

use weighbridge::ledger::store::object::BucketStore;
use weighbridge::ledger::store::postgres::SlotsInPostgres;
use weighbridge::ledger::store::probe::{self, Check, Depth, Guarantee, Verdict};
use weighbridge::ledger::store::{Location, location};
use weighbridge::ledger::{Created, DirectoryStore, Store, StoreError};

use crate::servers::{self, BUCKET, Options, Server};
use crate::support::{Run, Workspace};

/// A store beneath a prefix that no other test uses.
pub(crate) fn fresh(scheme: &str, options: &Options) -> Box<dyn Store> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    at(
        &format!("{scheme}://{BUCKET}/team/ledger-{number}"),
        options,
    )
}

pub(crate) fn at(text: &str, options: &Options) -> Box<dyn Store> {
    location::open(&Location::parse(text).unwrap(), options.clone()).unwrap()
}

/// What every store that is written to must do.
fn conforms(store: &dyn Store) {
    assert!(store.list("").unwrap().is_empty());
    assert_eq!(store.read("checkpoint", 100).unwrap(), None);
    assert!(!store.exists("checkpoint").unwrap());

    // Taken once, whatever is offered later.
    let slot = "_commit/00000000000000000000";
    assert_eq!(store.create(slot, b"first").unwrap(), Created::New);
    assert_eq!(store.create(slot, b"second").unwrap(), Created::Exists);
    assert_eq!(store.create(slot, b"first").unwrap(), Created::Exists);
    assert_eq!(store.read(slot, 100).unwrap().unwrap(), b"first");
    assert!(store.exists(slot).unwrap());

    // Limits are exact.
    assert_eq!(store.read(slot, 5).unwrap().unwrap(), b"first");
    assert!(store.read(slot, 4).is_err());
    assert!(store.read(slot, 0).is_err());

    // Replacing works on what is there and on what is not.
    for text in ["one", "a longer two", ""] {
        store.replace("checkpoint", text.as_bytes()).unwrap();
        assert_eq!(
            store.read("checkpoint", 100).unwrap().unwrap(),
            text.as_bytes()
        );
    }

    // Every byte, and more than one packet of them.
    let large: Vec<u8> = (0..300_000_u32)
        .map(|number| (number % 251) as u8)
        .collect();
    let blob = "blob/sha256/ab/ab12";
    assert_eq!(store.create(blob, &large).unwrap(), Created::New);
    assert_eq!(store.read(blob, 300_000).unwrap().unwrap(), large);
    assert!(store.read(blob, 299_999).is_err());

    // Many at once, some of them there already.
    let mut items: Vec<(String, Vec<u8>)> = (0..40)
        .map(|number| (format!("tile/0/x001/{number:03}"), vec![number; 32]))
        .collect();
    let created = store.create_all(&items).unwrap();
    assert_eq!(created, vec![Created::New; 40]);
    items[7].1 = b"other".to_vec();
    items.push(("tile/0/x001/040.p/7".into(), b"new".to_vec()));
    let created = store.create_all(&items).unwrap();
    assert_eq!(created[..40], vec![Created::Exists; 40]);
    assert_eq!(created[40..], [Created::New]);
    assert_eq!(
        store.read("tile/0/x001/007", 100).unwrap().unwrap(),
        [7; 32]
    );
    assert!(store.create_all(&[]).unwrap().is_empty());

    // Listed in order, by any prefix, also one that ends within a name.
    let list = |prefix: &str| store.list(prefix).unwrap();
    assert_eq!(list("").len(), 44);
    assert!(list("").is_sorted());
    assert_eq!(list("_commit/"), [slot]);
    assert_eq!(list("tile/0/x001/00").len(), 10);
    assert_eq!(list("tile/0/x001/040"), ["tile/0/x001/040.p/7"]);
    assert_eq!(list("c"), ["checkpoint"]);
    assert!(list("tile/9/").is_empty());

    store.remove("checkpoint").unwrap();
    store.remove("checkpoint").unwrap();
    assert_eq!(store.read("checkpoint", 100).unwrap(), None);
    assert_eq!(list("").len(), 43);

    let checks = probe::probe(store, Depth::Full).unwrap();
    let good = |check: &Check| check.verdict == Verdict::Holds;
    assert!(checks.iter().all(good), "{checks:#?}");
    probe::require(store).unwrap();
    assert_eq!(list("").len(), 43, "the probe left something behind");
}

#[test]
fn a_directory_conforms() {
    let workspace = Workspace::new();
    conforms(&DirectoryStore::new(&workspace.path("ledger")));
}

#[test]
fn a_bucket_in_memory_conforms() {
    conforms(&BucketStore::in_memory());
}

#[test]
fn ceph_conforms() {
    if let Some(server) = servers::ceph() {
        conforms(&*fresh("s3", &servers::s3(server.port)));
    }
}

#[test]
fn ministack_conforms() {
    if let Some(server) = servers::ministack() {
        conforms(&*fresh("s3", &servers::s3(server.port)));
    }
}

#[test]
fn azurite_conforms() {
    if let Some(server) = servers::azurite() {
        conforms(&*fresh("az", &servers::azure(server.port)));
    }
}

/// A listing has a thousand keys a page.
#[test]
fn all_pages_are_listed() {
    let Some(server) = servers::ministack() else {
        return;
    };
    let store = fresh("s3", &servers::s3(server.port));
    let items: Vec<(String, Vec<u8>)> = (0..2_050)
        .map(|number| (format!("_commit/{number:020}"), b"x".to_vec()))
        .collect();
    store.create_all(&items).unwrap();
    let keys: Vec<String> = items.into_iter().map(|(key, _)| key).collect();
    assert_eq!(store.list("_commit/").unwrap(), keys);
}

fn slots(
    server: &Server,
    rest: Box<dyn Store>,
    host: &str,
    query: &str,
    log: &str,
) -> Result<SlotsInPostgres, StoreError> {
    let url = format!("postgres://tester@{host}:{}/postgres{query}", server.port);
    let options = [("PGPASSWORD".to_owned(), "tester-secret".to_owned())];
    SlotsInPostgres::new(rest, &url, log, &options)
}

fn directory(workspace: &Workspace, name: &str) -> Box<dyn Store> {
    Box::new(DirectoryStore::new(&workspace.path(name)))
}

/// A statement that somebody else runs.
fn psql(server: &Server, statement: &str) -> String {
    let run: Run = Command::new("psql")
        .args([
            "-h",
            "127.0.0.1",
            "-U",
            "tester",
            "-d",
            "postgres",
            "-qtAc",
            statement,
        ])
        .args(["-p", &server.port.to_string()])
        .env("PGPASSWORD", "tester-secret")
        .output()
        .unwrap()
        .into();
    run.exits(0).stdout
}

#[test]
fn slots_in_postgres_conform() {
    let Some(server) = servers::postgres() else {
        return;
    };
    let workspace = Workspace::new();
    let open = |log| slots(server, directory(&workspace, log), "127.0.0.1", "", log).unwrap();
    let store = open("conform.example");
    store.create_table().unwrap();
    store.create_table().unwrap();
    conforms(&store);
    // The slot is in the table, and nowhere else; another log does not see it.
    assert!(!workspace.path("conform.example/_commit").exists());
    assert!(open("other.example").list("").unwrap().is_empty());
    let kept = psql(
        server,
        "SELECT log, key, convert_from(bytes, 'UTF8') FROM weighbridge_slots \
         WHERE log = 'conform.example'",
    );
    assert_eq!(kept, "conform.example|_commit/00000000000000000000|first\n");
}

#[test]
fn a_database_connection_that_breaks_is_made_anew() {
    let Some(server) = servers::postgres() else {
        return;
    };
    let workspace = Workspace::new();
    let store = slots(
        server,
        directory(&workspace, "a"),
        "127.0.0.1",
        "",
        "broken.example",
    );
    let store = store.unwrap();
    store.create_table().unwrap();
    for number in 0..5 {
        psql(
            server,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE application_name = 'weighbridge'",
        );
        let key = format!("_commit/{number:020}");
        assert_eq!(store.create(&key, b"x").unwrap(), Created::New);
        assert_eq!(store.create(&key, b"y").unwrap(), Created::Exists);
    }
    assert_eq!(store.list("_commit/").unwrap().len(), 5);
}

#[test]
fn the_certificate_of_a_database_is_verified() {
    let Some(server) = servers::postgres() else {
        return;
    };
    let workspace = Workspace::new();
    let root = server.directory.join("root.crt");
    let query = |mode: &str, root: &Path| format!("?sslmode={mode}&sslrootcert={}", root.display());
    let open = |host: &str, query: &str| {
        slots(
            server,
            directory(&workspace, "a"),
            host,
            query,
            "tls.example",
        )
        .unwrap()
    };
    let store = open("localhost", &query("verify-full", &root));
    store.create_table().unwrap();
    assert_eq!(store.create("_commit/0", b"x").unwrap(), Created::New);
    let encrypted = psql(
        server,
        "SELECT bool_or(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
         WHERE application_name = 'weighbridge'",
    );
    assert_eq!(encrypted, "t\n");
    // Another authority; and the right one, for another name.
    let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
                  -subj /CN=other -keyout other.key -out other.crt 2>/dev/null";
    workspace.shell(script).exits(0);
    for (host, root) in [
        ("localhost", workspace.path("other.crt")),
        ("127.0.0.1", root),
    ] {
        let refused = open(host, &query("require", &root)).read("_commit/0", 10);
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("certificate"), "{text}");
        assert!(!text.contains("tester-secret"), "{text}");
    }
}

#[test]
fn a_database_without_the_table_or_with_another_password_says_so() {
    let Some(server) = servers::postgres() else {
        return;
    };
    let workspace = Workspace::new();
    psql(server, "CREATE DATABASE bare");
    let url = format!(
        "postgres://tester:tester-secret@127.0.0.1:{}/bare",
        server.port
    );
    let open =
        |url: &str| SlotsInPostgres::new(directory(&workspace, "a"), url, "log", &[]).unwrap();
    let text = open(&url).read("_commit/0", 10).unwrap_err().to_string();
    assert!(text.contains("ledger init"), "{text}");
    let wrong = url.replace("tester-secret", "hunter2");
    let text = open(&wrong).read("_commit/0", 10).unwrap_err().to_string();
    assert!(text.contains("password authentication failed"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

/// s3rver takes the condition of a write and ignores it.
#[test]
fn a_store_that_ignores_conditions_is_refused() {
    let Some(server) = servers::s3rver() else {
        return;
    };
    let options = servers::s3rver_options(server.port);
    let store = fresh("s3", &options);
    let error = probe::require(&*store).unwrap_err();
    assert!(matches!(error, StoreError::Unsound { .. }), "{error}");
    let checks = probe::probe(&*store, Depth::Full).unwrap();
    let verdict = |guarantee| {
        let check = checks
            .iter()
            .find(|check: &&Check| check.guarantee == guarantee);
        check.unwrap().verdict
    };
    assert_eq!(verdict(Guarantee::Create), Verdict::Holds);
    assert_eq!(verdict(Guarantee::CreateOnce), Verdict::Broken);
    assert_eq!(verdict(Guarantee::OneWinner), Verdict::Broken);

    let workspace = Workspace::new();
    let place = format!("s3://{BUCKET}/liar");
    let run = |args: &[&str]| -> Run {
        let mut command = workspace.command(args);
        command
            .envs(options.iter().cloned())
            .output()
            .unwrap()
            .into()
    };
    run(&["ledger", "probe", &place])
        .exits(1)
        .says("conditional writes are accepted and ignored")
        .says("is no place for a ledger");
    let report = run(&["ledger", "probe", "--json", &place]).exits(1).json();
    assert_eq!(report["sound"], false);
}

#[test]
fn probe_says_what_holds() {
    let workspace = Workspace::initialised();
    let run = workspace.run(["ledger", "probe"]).exits(0);
    assert_eq!(run.stdout.matches("holds").count(), 9, "{run:?}");
    let report = workspace
        .run(["ledger", "probe", "--json", "other"])
        .exits(0)
        .json();
    assert_eq!(report["sound"], true);
    assert_eq!(report["checks"].as_array().unwrap().len(), 9);
    // Nothing listens there: it could not be tried.
    let port = servers::free_port();
    let mut command = workspace.command(["ledger", "probe", "s3://bucket/a"]);
    let run: Run = command.envs(servers::s3(port)).output().unwrap().into();
    run.exits(2).says("could not be tried").says("bucket/a");
    workspace
        .run(["ledger", "probe", "ftp://host/a"])
        .exits(2)
        .says("hint: a ledger is a path, s3://");
}

/// Copies the ledger of a workspace into another store.
fn upload(workspace: &Workspace, store: &dyn Store) {
    let from = DirectoryStore::new(&workspace.path("ledger"));
    for key in from.list("").unwrap() {
        let bytes = from.read(&key, 1 << 20).unwrap().unwrap();
        store.create(&key, &bytes).unwrap();
    }
}

/// Every verb that reads, on a ledger that lies elsewhere.
fn is_read_from(workspace: &Workspace, place: &str, options: &Options, lists: bool) {
    let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    let other = policy.replace("path = \"ledger\"", &format!("path = \"{place}\""));
    assert_ne!(policy, other);
    workspace.write("other.toml", other);
    let run = |args: &[&str]| -> Run {
        let mut command = workspace.command(["--config", "other.toml"]);
        let command = command.args(args).envs(options.iter().cloned());
        command.output().unwrap().into()
    };
    run(&["gate", "model"]).exits(0);
    run(&["ledger", "log"]).exits(0).says("release");
    run(&["ledger", "show", "--manifest", "0"])
        .exits(0)
        .says("weights.bin");
    run(&["ledger", "prove", "0", "--out", "far.tlog-proof"]).exits(0);
    workspace
        .run(["ledger", "verify", "far.tlog-proof"])
        .exits(0);
    let fsck = run(&["ledger", "fsck"]);
    if lists {
        fsck.exits(0).says("is sound");
    } else {
        fsck.exits(2).says("lists nothing");
    }
    let typed = workspace
        .command(["ledger", "--ledger", place, "checkpoint"])
        .envs(options.iter().cloned())
        .output();
    Run::from(typed.unwrap()).exits(0);
}

#[test]
fn a_ledger_in_a_bucket_is_read() {
    let Some(server) = servers::ministack() else {
        return;
    };
    let workspace = Workspace::released();
    let options = servers::s3(server.port);
    let place = format!("s3://{BUCKET}/read/ledger");
    upload(&workspace, &*at(&place, &options));
    is_read_from(&workspace, &place, &options, true);
}

#[test]
fn a_ledger_with_its_slots_in_a_database_is_checked() {
    let Some(server) = servers::postgres() else {
        return;
    };
    let workspace = Workspace::released();
    let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    let key = workspace.log_key();
    let (origin, _) = key.split_once('+').unwrap();
    let url = format!("postgres://tester@127.0.0.1:{}/postgres", server.port);
    let store = slots(
        server,
        directory(&workspace, "ledger"),
        "127.0.0.1",
        "",
        origin,
    )
    .unwrap();
    store.create_table().unwrap();
    let files = DirectoryStore::new(&workspace.path("ledger"));
    for key in files.list("_commit/").unwrap() {
        let bytes = files.read(&key, 1 << 20).unwrap().unwrap();
        assert_eq!(store.create(&key, &bytes).unwrap(), Created::New);
    }
    std::fs::remove_dir_all(workspace.path("ledger/_commit")).unwrap();
    let run = |args: &[&str]| -> Run {
        let mut command = workspace.command(args);
        command
            .env("PGPASSWORD", "tester-secret")
            .output()
            .unwrap()
            .into()
    };
    run(&["ledger", "fsck"]).exits(1);
    run(&["ledger", "--slots", &url, "fsck"])
        .exits(0)
        .says("is sound");
    let slots = format!("[log]\nslots = \"{url}\"");
    workspace.write("weighbridge.toml", policy.replace("[log]", &slots));
    run(&["ledger", "fsck"]).exits(0).says("is sound");
    run(&["gate", "model"]).exits(0);
    let probe = run(&["ledger", "probe"]).exits(0);
    assert_eq!(probe.stdout.matches("holds").count(), 18, "{probe:?}");
    // The slots are asked for where the policy says that they are.
    psql(
        server,
        &format!("DELETE FROM weighbridge_slots WHERE log = '{origin}'"),
    );
    run(&["ledger", "fsck"]).exits(1);
}

/// Where removing is forbidden a probe leaves its keys, which are no damage.
#[test]
fn what_a_probe_leaves_is_no_damage() {
    let workspace = Workspace::released();
    workspace.write("ledger/_probe/0123/one", "the first writer");
    workspace
        .run(["ledger", "fsck"])
        .exits(0)
        .says("left of a probe");
}

#[test]
fn a_bucket_that_is_not_there_is_no_place_for_a_ledger() {
    let Some(server) = servers::ceph() else {
        return;
    };
    let store = at("s3://no-such-bucket/a", &servers::s3(server.port));
    let error = probe::require(&*store).unwrap_err();
    assert!(matches!(error, StoreError::NotWritable { .. }), "{error}");
    assert!(error.to_string().contains("NoSuchBucket"), "{error}");
}

#[test]
fn a_ledger_behind_a_web_server_is_read_and_not_written() {
    let workspace = Workspace::released();
    let Some(server) = servers::files(workspace.root()) else {
        return;
    };
    let place = format!("http://127.0.0.1:{}/ledger", server.port);
    is_read_from(&workspace, &place, &Options::new(), false);

    let store = at(&place, &Options::new());
    let entry = "tile/entries/000.p/1";
    let bytes = workspace.read(&format!("ledger/{entry}"));
    let size = bytes.len() as u64;
    assert_eq!(store.read(entry, size).unwrap().unwrap(), bytes);
    assert!(matches!(
        store.read(entry, size - 1),
        Err(StoreError::TooLarge { .. })
    ));
    assert_eq!(store.read("tile/entries/000", size).unwrap(), None);
    assert!(store.exists(entry).unwrap());
    assert!(!store.exists("tile/entries/000").unwrap());
    assert!(matches!(
        store.create("a", b"a"),
        Err(StoreError::ReadOnly { .. })
    ));
    assert!(matches!(
        store.replace("a", b"a"),
        Err(StoreError::ReadOnly { .. })
    ));
    assert!(matches!(
        store.remove("a"),
        Err(StoreError::ReadOnly { .. })
    ));
    assert!(matches!(store.list(""), Err(StoreError::NoList { .. })));
    workspace.run(["ledger", "probe", &place]).exits(2);
}

/// Over TLS, by the roots of the system: with the authority among them, and without.
#[test]
fn the_certificate_of_a_server_is_verified() {
    let workspace = Workspace::released();
    let Some(server) = servers::files_over_tls(workspace.root()) else {
        return;
    };
    let key = workspace.log_key();
    let root = server.directory.join("root.crt");
    let port = server.port;
    for (place, host) in [
        (format!("https://localhost:{port}/ledger"), "localhost"),
        ("s3://ledger".to_owned(), "localhost"),
        (format!("https://127.0.0.1:{port}/ledger"), "127.0.0.1"),
        ("s3://ledger".to_owned(), "127.0.0.1"),
    ] {
        let run = |roots: Option<&Path>| -> Run {
            let args = [
                "ledger",
                "--ledger",
                &place,
                "--log-key",
                &key,
                "checkpoint",
            ];
            let mut command = workspace.command(args);
            command.envs(servers::s3(port));
            command.env("AWS_ENDPOINT_URL", format!("https://{host}:{port}"));
            command.envs(roots.map(|roots| ("SSL_CERT_FILE", roots)));
            command.output().unwrap().into()
        };
        // The certificate is for the name and not for the number.
        if host == "localhost" {
            run(Some(&root))
                .exits(0)
                .says(key.split('+').next().unwrap());
        } else {
            run(Some(&root)).exits(2).says("certificate");
        }
        run(None).exits(2).says("certificate");
    }
}

#[test]
fn no_message_shows_a_credential() {
    let Some(server) = servers::ceph() else {
        return;
    };
    let mut options = servers::s3(server.port);
    for (name, value) in &mut options {
        if name == "AWS_SECRET_ACCESS_KEY" {
            *value = "hunter2hunter2".into();
        }
    }
    let store = fresh("s3", &options);
    let error = store.read("checkpoint", 100).unwrap_err().to_string();
    assert!(error.contains("403"), "{error}");
    for secret in ["hunter2", "tester"] {
        assert!(!error.contains(secret), "{error}");
    }
    assert!(matches!(
        probe::require(&*store),
        Err(StoreError::NotWritable { .. })
    ));
}
