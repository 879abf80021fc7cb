//! What goes wrong between a writer and its store: answers and requests that are lost, servers that
//! are overloaded or late. A real server stands behind the proxy that does the harm.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use weighbridge::ledger::store::postgres::SlotsInPostgres;
use weighbridge::ledger::{Created, DirectoryStore, Store, StoreError};

use crate::ledger_stores::{at, fresh};
use crate::servers::{self, Fault, FaultProxy, Options};
use crate::support::Workspace;

use Fault::{AnswerLost, Delay, DoneButStatus, RequestLost, Status};

/// Every operation comes out as if nothing had happened.
fn bears(proxy: &FaultProxy, store: &dyn Store) {
    let trouble: &[&[Fault]] = &[
        &[AnswerLost],
        &[RequestLost],
        &[Status(500)],
        &[Status(503)],
        &[DoneButStatus(503)],
        &[DoneButStatus(500), AnswerLost, RequestLost],
        &[RequestLost, Status(429), DoneButStatus(500)],
        &[Delay(Duration::from_millis(700))],
    ];
    for (number, faults) in trouble.iter().enumerate() {
        let key = format!("_commit/{number:020}");
        // One's own bytes are recognised, though the server says that they are somebody's.
        proxy.next(faults);
        assert_eq!(
            store.create(&key, b"mine").unwrap(),
            Created::New,
            "{faults:?}"
        );
        proxy.all_happened();
        // Those of others are not one's own.
        proxy.next(faults);
        assert_eq!(
            store.create(&key, b"other").unwrap(),
            Created::Exists,
            "{faults:?}"
        );
        proxy.all_happened();

        proxy.next(faults);
        assert_eq!(store.read(&key, 100).unwrap().unwrap(), b"mine");
        proxy.all_happened();
        proxy.next(faults);
        assert!(store.exists(&key).unwrap());
        proxy.all_happened();
        proxy.next(faults);
        store.replace("checkpoint", key.as_bytes()).unwrap();
        proxy.all_happened();
        assert_eq!(
            store.read("checkpoint", 100).unwrap().unwrap(),
            key.as_bytes()
        );
        proxy.next(faults);
        assert_eq!(store.list("_commit/").unwrap().len(), number + 1);
        proxy.all_happened();
    }
    proxy.next(&[AnswerLost, Status(503)]);
    store.remove("checkpoint").unwrap();
    proxy.all_happened();
    assert!(!store.exists("checkpoint").unwrap());
}

#[test]
fn writers_on_ceph_bear_faults() {
    if let Some(server) = servers::ceph() {
        let proxy = FaultProxy::new(server.port);
        bears(&proxy, &*fresh("s3", &servers::s3(proxy.port)));
    }
}

#[test]
fn writers_on_ministack_bear_faults() {
    if let Some(server) = servers::ministack() {
        let proxy = FaultProxy::new(server.port);
        bears(&proxy, &*fresh("s3", &servers::s3(proxy.port)));
    }
}

#[test]
fn writers_on_azurite_bear_faults() {
    if let Some(server) = servers::azurite() {
        let proxy = FaultProxy::new(server.port);
        bears(&proxy, &*fresh("az", &servers::azure(proxy.port)));
    }
}

/// Patience ends, and what a refusal says is not repeated.
#[test]
fn a_server_that_is_down_is_an_error_and_a_refusal_is_one_at_once() {
    let Some(server) = servers::ministack() else {
        return;
    };
    let proxy = FaultProxy::new(server.port);
    let store = fresh("s3", &servers::s3(proxy.port));
    proxy.next(&[Status(503); 8]);
    let error = store.create("_commit/0", b"mine").unwrap_err().to_string();
    assert!(error.contains("503"), "{error}");
    proxy.all_happened();
    let start = Instant::now();
    proxy.next(&[Status(403)]);
    let error = store.create("_commit/0", b"mine").unwrap_err();
    assert!(matches!(error, StoreError::Remote { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(2));
    proxy.all_happened();
    // None of it was done.
    assert_eq!(store.create("_commit/0", b"mine").unwrap(), Created::New);
}

/// A proxy in front of a database that passes everything on, until a message with the bytes it waits
/// for has been answered: then the answer is lost, and the connection.
fn cutting(server: u16) -> (u16, Arc<Mutex<Option<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let trigger = Arc::new(Mutex::new(None));
    let shared = trigger.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
            let cut = Arc::new(AtomicBool::new(false));
            let (to_server, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            let (trigger, seen) = (shared.clone(), cut.clone());
            std::thread::spawn(move || {
                pump(client, to_server, |bytes| {
                    let mut waiting = trigger.lock().unwrap();
                    let wanted = waiting.as_ref();
                    let here = wanted.is_some_and(|wanted: &Vec<u8>| {
                        bytes.windows(wanted.len()).any(|part| part == wanted)
                    });
                    if here {
                        *waiting = None;
                        seen.store(true, Ordering::SeqCst);
                    }
                    true
                });
            });
            std::thread::spawn(move || {
                pump(server, to_client, |_| !cut.load(Ordering::SeqCst));
            });
        }
    });
    (port, trigger)
}

/// Passes bytes on until `goes_on` says no; then both ends are closed.
fn pump(mut from: TcpStream, mut to: TcpStream, mut goes_on: impl FnMut(&[u8]) -> bool) {
    let mut buffer = [0; 1 << 14];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if !goes_on(&buffer[..read]) || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    _ = from.shutdown(Shutdown::Both);
    _ = to.shutdown(Shutdown::Both);
}

#[test]
fn a_slot_in_a_database_whose_answer_is_lost_is_ones_own() {
    let Some(server) = servers::postgres() else {
        return;
    };
    let (port, trigger) = cutting(server.port);
    let workspace = Workspace::new();
    let rest = Box::new(DirectoryStore::new(workspace.root()));
    let url = format!("postgres://tester:tester-secret@127.0.0.1:{port}/postgres");
    let store = SlotsInPostgres::new(rest, &url, "faults.example", &[]).unwrap();
    store.create_table().unwrap();
    for number in 0..5 {
        let key = format!("_commit/{number:020}");
        let mine = format!("the bytes of writer {number}");
        *trigger.lock().unwrap() = Some(mine.clone().into_bytes());
        assert_eq!(store.create(&key, mine.as_bytes()).unwrap(), Created::New);
        assert!(trigger.lock().unwrap().is_none(), "nothing was cut");
        let other = format!("what writer {number} is too late with");
        *trigger.lock().unwrap() = Some(other.clone().into_bytes());
        assert_eq!(
            store.create(&key, other.as_bytes()).unwrap(),
            Created::Exists
        );
        assert!(trigger.lock().unwrap().is_none(), "nothing was cut");
        assert_eq!(store.read(&key, 100).unwrap().unwrap(), mine.as_bytes());
    }
}

/// A web server that gives one answer after the other, and then none.
fn scripted(answers: Vec<String>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut client, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            _ = client.read(&mut request);
            // A client that has read enough hangs up.
            _ = client.write_all(answer.as_bytes());
        }
    });
    port
}

fn http(port: u16) -> Box<dyn Store> {
    at(&format!("http://127.0.0.1:{port}/log"), &Options::new())
}

fn head(status: u16, more: &str) -> String {
    format!("HTTP/1.1 {status} X\r\nconnection: close\r\n{more}\r\n")
}

#[test]
fn a_reader_over_http_bears_faults_and_believes_little() {
    let good = head(200, "content-length: 2\r\n") + "ok";
    let busy = head(503, "content-length: 0\r\n");
    let cut = head(200, "content-length: 9\r\n") + "cut";
    let store = http(scripted(vec![busy, cut, String::new(), good.clone()]));
    assert_eq!(store.read("checkpoint", 10).unwrap().unwrap(), b"ok");

    // No length is told, and more is sent than is wanted.
    let store = http(scripted(vec![head(200, "") + &"x".repeat(1000)]));
    assert!(matches!(
        store.read("checkpoint", 10),
        Err(StoreError::TooLarge { limit: 10, .. })
    ));
    // A length is told, and nothing is read.
    let store = http(scripted(vec![head(200, "content-length: 99999999999\r\n")]));
    assert!(matches!(
        store.read("checkpoint", 10),
        Err(StoreError::TooLarge {
            size: 99_999_999_999,
            ..
        })
    ));
    for (answer, says) in [
        (
            head(200, "content-encoding: gzip\r\ncontent-length: 2\r\n") + "ok",
            "compresses",
        ),
        (head(403, "content-length: 0\r\n"), "403"),
        (head(206, "content-length: 2\r\n") + "ok", "206"),
    ] {
        let error = http(scripted(vec![answer]))
            .read("checkpoint", 10)
            .unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }

    // Redirects are followed, and not without end.
    let elsewhere = scripted(vec![good]);
    let location = format!("location: http://127.0.0.1:{elsewhere}/x\r\ncontent-length: 0\r\n");
    let store = http(scripted(vec![head(302, &location)]));
    assert_eq!(store.read("checkpoint", 10).unwrap().unwrap(), b"ok");
    let around = head(302, "location: /log/checkpoint\r\ncontent-length: 0\r\n");
    let store = http(scripted(vec![around; 10]));
    assert!(store.read("checkpoint", 10).is_err());
}
